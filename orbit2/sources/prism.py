"""PRISM: daily precipitation and temperature extremes of the contiguous United States, one zip per element and day.

Reads the BIL zips of before 2025 and the COG zips since, one day at a time and lazily. Never fills a missing cell.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from orbit2.config.sources import PrismConfig
from orbit2.errors import OrbitError, one_of
from orbit2.lazy import da
from orbit2.sources.prism_zip import Day, FloatArray, PrismGrid, field, inspect, load
from orbit2.sources.source import Facts, Need, Request
from orbit2.variables import variable

ELEMENTS = {"total_precipitation_24hr": "ppt", "2m_temperature_min": "tmin", "2m_temperature_max": "tmax"}
FIRST_DAY = np.datetime64("1981-01-01", "D")
_ESTIMATE = {"4km": {"ppt": 500_000, "tmin": 1_500_000, "tmax": 1_500_000},
             "800m": {"ppt": 10_000_000, "tmin": 25_000_000, "tmax": 25_000_000}}  # bytes of a zip
_LEAST_FINAL = ("early", "provisional", "unknown", "stable")
_TELLING = 50  # a raster that was packed this many times smaller may be missing everywhere; worth looking at
_log = logging.getLogger(__name__)


class Prism:
    """The PRISM Climate Group's web service and its files."""

    name = "prism"
    facts = Facts(
        title="PRISM daily spatial climate dataset",
        licence="PRISM terms of use: free, with acknowledgement (https://prism.oregonstate.edu/terms/)",
        doi=None,
        attribution="PRISM Group, Oregon State University, https://prism.oregonstate.edu",
        day="24 hours ending at 12:00 UTC of the named date",
        extra={"grid": "cell centres on k/24 degree (4 km) or k/120 degree (800 m), NAD83"},
    )

    def __init__(self, config: PrismConfig) -> None:
        self._config = config

    def offers(self) -> tuple[str, ...]:
        return tuple(ELEMENTS)

    def plan(self, need: Need) -> list[Request]:
        """One request per day and element; a box does not make them smaller."""
        config = self._config
        for name in need.variables:
            if name not in ELEMENTS:
                raise OrbitError("PRISM does not offer this variable", where="prism", got=name, allowed=", ".join(ELEMENTS),
                                 hint=one_of(name, ELEMENTS))  # fmt: skip
        if need.first < FIRST_DAY:
            raise OrbitError("PRISM's daily fields begin later", where="prism", got=str(need.first), allowed=f"{FIRST_DAY} and after",
                             hint="begin the dataset's periods later")  # fmt: skip
        requests = []
        for day in np.arange(need.first, need.last + np.timedelta64(1, "D")):
            date = str(day).replace("-", "")
            for name in need.variables:
                element = ELEMENTS[name]
                requests.append(Request(
                    file=f"{config.resolution}/{element}/{date[:4]}/prism_{element}_{config.region}_{config.resolution}_{date}.zip",
                    client="http", variables=(name,), first=day.astype("datetime64[s]"), last=day.astype("datetime64[s]"),
                    body={"url": f"{config.url}/{config.region}/{config.resolution}/{element}/{date}", "begins": "PK",
                          "absent": "Invalid date"},
                    bytes=_ESTIMATE[config.resolution][element],
                    note="PRISM lets a file be downloaded twice a day at most; what it refuses can be had the day after"))
        return requests

    def check(self, path: Path, request: Request) -> None:
        """Raise OrbitError unless the zip is whole and holds the element, day and grid of `request`."""
        found = inspect(path)
        (name,) = request.variables
        if found.element != ELEMENTS[name]:
            raise OrbitError("file holds another element", where=path, got=found.element, allowed=ELEMENTS[name],
                             hint="remove it and retrieve it again")  # fmt: skip
        if found.day != request.first:
            raise OrbitError("file is of another day", where=path, got=str(found.day), allowed=str(request.first)[:10],
                             hint="remove it and retrieve it again")  # fmt: skip
        if found.resolution != self._config.resolution:
            raise OrbitError("wrong grid", where=path, got=found.resolution, allowed=self._config.resolution,
                             hint="remove it and retrieve it again, or set sources.prism.resolution")  # fmt: skip
        field(found, name, load(found)[0])

    def open(self, files: Sequence[Path], names: Sequence[str], first: np.datetime64, last: np.datetime64) -> xr.Dataset:
        """See `Source.open`: (time, lat, lon), one chunk a day. Days that one variable has and another lacks are NaN there.

        `stability` (time) is how final a day is (early, provisional, stable; the least final of its files): PRISM replaces days
        until half a year later. `attrs["missing_days"]` of a variable lists the days on which it is missing everywhere.
        """
        found = self._chosen(files, names, first, last)
        grid, _ = load(next(iter(found.values())))
        days = np.unique(np.array([day for _, day in found], dtype="datetime64[D]"))
        fields = {}
        for name in names:
            stack = Stack([found.get((name, day)) for day in days], name, grid)
            about = variable(name)
            fields[name] = (("time", "lat", "lon"), stack.lazy(), {
                "units": about.units, "standard_name": about.standard_name, "long_name": about.long_name,
                "cell_methods": about.cell_methods, "missing_days": ", ".join(str(days[i]) for i in stack.nothing())})
        stability = [min((one.stability for name in names if (one := found.get((name, day)))), key=_LEAST_FINAL.index) for day in days]
        return xr.Dataset(fields, attrs={"day": self.facts.day}, coords={
            "time": days.astype("datetime64[ns]"), "lat": grid.lat, "lon": grid.lon,
            "stability": ("time", np.array(stability, dtype="<U11"))})

    def _chosen(
        self, files: Sequence[Path], names: Sequence[str], first: np.datetime64, last: np.datetime64
    ) -> dict[tuple[str, np.datetime64], Day]:
        """The zips of the wanted variables and days. Raises OrbitError for a day that is there twice, and where none is."""
        wanted = {}
        for name in names:
            if name not in ELEMENTS:
                raise OrbitError("PRISM does not offer this variable", where="prism", got=name, allowed=", ".join(ELEMENTS),
                                 hint=one_of(name, ELEMENTS))  # fmt: skip
            wanted[ELEMENTS[name]] = name
        found: dict[tuple[str, np.datetime64], Day] = {}
        for path in files:
            one = inspect(Path(path))
            if one.element not in wanted or not first <= one.day <= last or one.resolution != self._config.resolution:
                continue
            key = (wanted[one.element], one.day)
            if key in found:
                raise OrbitError("day is there twice", where=path, got=f"{one.element} {one.day}", allowed=f"once, as in {found[key].path}",
                                 hint="leave one of the two files")  # fmt: skip
            found[key] = one
        if not found:
            raise OrbitError("no PRISM file holds these variables at these days", where="prism",
                             got=f"{', '.join(names)}, {first} to {last}", allowed=f"{self._config.resolution} files",
                             hint="run the retrieve stage")  # fmt: skip
        return found


class Stack:
    """The days of one variable as an array [time, lat, lon] float32 of which dask reads one day at a time; None: a day without a file."""

    def __init__(self, days: Sequence[Day | None], name: str, grid: PrismGrid) -> None:
        self.days, self.name, self.grid = days, name, grid
        self.shape, self.dtype, self.ndim = (len(days), *grid.shape), np.dtype(np.float32), 3
        length = 4 * grid.lat.size * grid.lon.size
        for one in days:
            if one is not None and one.raw and one.size != length:
                raise OrbitError("corrupt or on another grid: the raster has not the length of the others", where=one.path,
                                 got=f"{one.size} bytes", allowed=f"{length} bytes", hint="delete it and retrieve it again")

    def __getitem__(self, index: tuple[Any, ...]) -> FloatArray:
        read = [self._day(self.days[i])[index[1:]] for i in range(len(self.days))[index[0]]]
        return np.stack(read) if read else np.empty((0, *self.shape[1:]), dtype=np.float32)

    def _day(self, one: Day | None) -> FloatArray:
        return np.full(self.grid.shape, np.nan, dtype=np.float32) if one is None else field(one, self.name, self.grid)

    def lazy(self) -> Any:
        """The dask array, a chunk a day."""
        return da.from_array(self, chunks=(1, *self.shape[1:]), name=False, asarray=False, fancy=False, lock=False)  # type: ignore[no-untyped-call]

    def nothing(self) -> list[int]:
        """Days without a single value. Only a raster that was packed to almost nothing is read to find out."""
        length = 4 * self.grid.lat.size * self.grid.lon.size
        found = []
        for i, one in enumerate(self.days):
            if one is None:
                found.append(i)
            elif one.packed * _TELLING <= length and not np.isfinite(self._day(one)).any():
                _log.warning("%s: all cells are missing", one.path)
                found.append(i)
        return found
