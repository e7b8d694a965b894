"""One product to be judged: a file of fields on a regular grid, opened lazily and read one field at a time. Never guesses a date."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.door.axes import time_name
from orbit2.door.ingest import Inputs, Reading, read_inputs
from orbit2.door.naming import find, renaming
from orbit2.door.opening import opened
from orbit2.door.stamps import CALENDARS
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid
from orbit2.judge.grids import under
from orbit2.metrics.predictions import all_of
from orbit2.remap import Regridder
from orbit2.variables import ATTRIBUTE, VARIABLES, adopt

log = logging.getLogger(__name__)
Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]


def known() -> tuple[str, ...]:
    """Every dynamic variable that this process knows, declared ones too."""
    return tuple(name for name, facts in VARIABLES.items() if facts.kind != "static")


@dataclass
class Product:
    """`name` in the tables, the file, its Dataset with dates of the ordinary calendar, and `said`: what the user says of it; `notes`
    collect what was left out, a line each."""

    name: str
    path: Path
    dataset: xr.Dataset
    said: Reading
    notes: list[str]

    @classmethod
    def open(cls, name: str, path: Path, said: Reading, stack: ExitStack) -> Product:
        """Raises OrbitError for what cannot be read, and for a prediction of orbit2 that is not finished."""
        dataset = stack.enter_context(opened(path, known(), said.rename))
        adopt(dataset.attrs.get(ATTRIBUTE), (), path)  # a prediction says what it holds
        if "finalised" in dataset.attrs and not dataset.attrs["finalised"]:
            raise OrbitError("the product is not finished: its writing was interrupted", where=path, hint="start what wrote it again")
        held = {theirs: ours for theirs, ours in said.rename.items() if theirs in dataset.data_vars}
        notes: list[str] = []
        return cls(name, path, on_real_days(dataset, name, notes), replace(said, rename=held), notes)

    @cached_property
    def fields(self) -> dict[str, str]:
        """Canonical name -> name in the file, of every variable that orbit2 knows and that is there at its level."""
        chosen = renaming(self.dataset, self.said.rename, self.path)
        found: dict[str, str] = {}
        for name in known():
            try:
                found[name] = str(find(self.dataset, name, chosen, self.path).name)
            except OrbitError:
                continue
        return found

    @property
    def banner(self) -> str:
        """What the file says of values that are none of the real world; empty for all others."""
        return str(self.dataset.attrs.get("synthetic", ""))

    def inputs(self, names: Sequence[str]) -> Inputs:
        """The fields `names`, lazily. Raises OrbitError as `downscale FILE` does: for units, grids, times that cannot be used."""
        return read_inputs(self.dataset, names, self.path, self.said, maps=True)


def on_real_days(dataset: xr.Dataset, name: str, notes: list[str]) -> xr.Dataset:
    """`dataset` with dates of another calendar written as those of the ordinary one; a day that this does not have (30 February) is left
    out, and `notes` say how many."""
    axis = time_name(dataset)
    if axis is None:
        return dataset
    stamps = np.atleast_1d(dataset[axis].values)
    first = stamps.flat[0] if stamps.size else None
    calendar = str(getattr(first, "calendar", "") or dataset[axis].encoding.get("calendar") or "standard")
    if calendar in CALENDARS or not hasattr(first, "calendar") or dataset[axis].ndim > 1:
        return dataset
    dates = [_real(stamp) for stamp in stamps.flat]
    kept = [i for i, date in enumerate(dates) if date is not None]
    if not kept:
        raise OrbitError("no date of the product is a date of the ordinary calendar", where=f"{name}: {axis}", got=calendar,
                         hint="give a product on the ordinary calendar")  # fmt: skip
    if len(kept) < len(dates):
        gone = next(stamp for stamp, date in zip(stamps.flat, dates, strict=True) if date is None)
        notes.append(f"{len(dates) - len(kept)} of {len(dates)} times of {name} are no dates of the ordinary calendar (the first: "
                     f"{str(gone)[:10]}) and were left out")  # fmt: skip
    notes.append(f"{name} is in the {calendar} calendar; it was compared with the same dates of the ordinary one")
    about = {key: value for key, value in dataset[axis].attrs.items() if key != "calendar"}
    values = np.array([dates[i] for i in kept], dtype="datetime64[ns]")
    if dataset[axis].ndim == 0:
        return dataset.assign_coords({axis: xr.DataArray(values[0], attrs=about)})
    dimension = dataset[axis].dims[0]
    return dataset.isel({dimension: kept}).assign_coords({axis: (dimension, values, about)})


def _real(stamp: Any) -> datetime | None:
    """A cftime date as the same date of the ordinary calendar; None where that has no such day."""
    try:
        return datetime(stamp.year, stamp.month, stamp.day, stamp.hour, stamp.minute, stamp.second)
    except ValueError:
        return None


class Placed:
    """A product's fields on the grid that is scored: cells as they are where its own coincide with them, else averaged by area.

    Only what lies under the grid is read. A cell that is not covered by valid ones whole is missing.
    """

    def __init__(self, inputs: Inputs, target: AnyGrid) -> None:
        self.inputs, self.grid = replace(inputs, gaps=True), target
        rows, columns = under(inputs.grid, target)
        own = inputs.grid.crop(rows, columns)
        self.rows, self.columns = inputs.grid.cells(rows, columns)
        self.as_it_is = own.same_place(target)
        self._regrid = None if self.as_it_is else Regridder(own, target, "conservative", min_valid_fraction=all_of(own, target))

    def field(self, name: str, index: int) -> Array:
        """[H, W] of a time, canonical units. Raises OrbitError for values that are none of this variable's."""
        one = replace(self.inputs, arrays={name: self.inputs.arrays[name]})
        field: Array = one.cells(index, self.rows, self.columns)[0].astype(np.float64)
        return field if self._regrid is None else self._regrid(field)

