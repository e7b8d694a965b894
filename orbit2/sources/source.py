"""What every provider looks like to orbit2: what it offers, how a need becomes requests, how its files are read. Never downloads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import xarray as xr

from orbit2.times import Time

ClientName = Literal["packaged", "synthetic", "http", "cds", "arco", "earthdata"]
Box = tuple[float, float, float, float]  # south, north, west, east in degrees


@dataclass(frozen=True)
class Need:
    """What the datasets of a run want from one source: variables as the source itself holds them, whole UTC days, a box."""

    variables: tuple[str, ...]
    first: np.datetime64  # datetime64[D], inclusive
    last: np.datetime64  # datetime64[D], inclusive
    box: Box | None = None  # None: everything


@dataclass(frozen=True)
class Request:
    """One file to fetch: the unit of resuming, retrying and recording. `file` is its path below the source's folder.

    `body` is what the client sends (a CDS request, a URL, a granule query): JSON, without credentials. `first`, `last`
    (datetime64[s]) are the first and last time stamps that the file covers; `bytes` is an estimate for the dry run.
    """

    file: str
    client: ClientName
    body: Mapping[str, Any]
    variables: tuple[str, ...]
    first: np.datetime64
    last: np.datetime64
    bytes: int
    box: Box | None = None  # what the file is cut to; None: everything the source has
    note: str = ""  # what a user should know before paying for it; the dry run prints it once


@dataclass(frozen=True)
class Facts:
    """What a manifest, a store and a report say about a source. `day`: what its daily values cover."""

    title: str
    licence: str
    doi: str | None
    attribution: str
    day: str
    extra: Mapping[str, str] = field(default_factory=dict)


Window = tuple[Time, Time]  # first and last stamp, datetime64[s]; of own files in another calendar cftime dates


class Source(Protocol):
    """A provider. Constructed from its section of the configuration (`sources.<name>`)."""

    name: str
    facts: Facts

    def offers(self) -> tuple[str, ...]:
        """Canonical names of the variables that its files hold."""

    def plan(self, need: Need) -> list[Request]:
        """The requests that satisfy `need`, in time order, from the configuration alone (no network).

        The same need always gives the same requests, and overlapping needs share files: a request covers a fixed piece of
        the calendar (a day, a month, a year), whatever period was asked for. Raises OrbitError for a variable or a time
        that the source does not have.
        """

    def check(self, path: Path, request: Request) -> None:
        """Raise OrbitError unless `path` can be read and holds the variables and times of `request` (cheaply: no field is read whole)."""

    def open(self, files: Sequence[Path], names: Sequence[str], first: np.datetime64, last: np.datetime64) -> xr.Dataset:
        """The variables `names` between the stamps `first` and `last` (inclusive), lazily (dask), float32.

        Canonical names and units; dimensions (time, lat, lon), latitude ascending, longitude increasing, or (time, y, x)
        with ascending coordinates in metres and `attrs["crs"]` (WKT) for a projected grid. `time` is datetime64 and sorted without
        duplicates; for daily products it is 00:00 of the nominal date. Recorded gaps are NaN. Raises OrbitError naming file
        and field.
        """


class Shared(Source, Protocol):
    """A source of which one file may hold several variables, not all of them needed at the same times."""

    def published(self) -> np.datetime64:
        """The last day (datetime64[D]) that is published whole by now; later days are not planned."""

    def made_of(self, wanted: Mapping[str, Window]) -> dict[str, Window]:
        """What files must hold for `wanted`, and between which stamps."""

    def open_each(self, files: Sequence[Path], wanted: Mapping[str, Window]) -> xr.Dataset:
        """As `open`, each variable between stamps of its own; NaN at stamps that only others have."""
