"""A user's own Dataset turned into what a model reads: names, units, axes. Never guesses a variable, a unit or a date."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import allowance
from orbit2 import times as clocks
from orbit2.door.axes import horizontal, uneven
from orbit2.door.damage import reading
from orbit2.door.given import hours, times_of
from orbit2.door.months import monthly
from orbit2.door.naming import find, renaming, rivals
from orbit2.door.regridding import ends, refuse_fills, there, to_latitudes
from orbit2.errors import OrbitError, Unsaid
from orbit2.grid import AnyGrid, Layout, ProjectedGrid, from_centres, of_dataset
from orbit2.grid.axes import Horizontal
from orbit2.hands import in_order
from orbit2.longitudes import eastward
from orbit2.units import Scale, amount, conversion, linear
from orbit2.variables import is_precipitation, variable

log = logging.getLogger(__name__)
FloatArray = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
BAND_CELLS = 1 << 22  # read at once when only asking whether a field has any value
READERS, LARGE = 4, 1 << 20  # threads that read a time of so many values
DRIZZLE = 0.05  # mm: what packing leaves below zero
NOTES = "orbit2_notes"  # in a Dataset's encoding: what is to be said about how it was put together
_INTERVAL = re.compile(r"time: sum \(interval: (\d+(?:\.\d+)? ?\w+)")
LAND_DEGREES = 0.1  # ERA5-Land's spacing
ACCUMULATED = "say it with --accumulated 1h or 24h (in Python accumulated='1h')"


@dataclass(frozen=True)
class Reading:
    """What the user says of a file that it does not say itself.

    `rename`: names in the file -> canonical names. `accumulated`: over how long amounts of precipitation are taken, e.g. `1h`. `time`: of
    fields without times, `2020-01-31T12:00`, or `2020-01-01,6h` for several. `trust_units`: use values as labelled, however unlikely.
    """

    rename: Mapping[str, str] = field(default_factory=dict)
    accumulated: str | None = None
    time: str | None = None
    trust_units: bool = False

    @property
    def identity(self) -> tuple[Any, ...]:
        """What of it decides a prediction's values; nothing where nothing is said."""
        said = (sorted(self.rename.items()), self.accumulated, self.time)
        return () if said == ([], None, None) else said


@dataclass
class Inputs:
    """Lazy input fields by canonical name. `arrays` have dimensions time (unless constant), lat and lon as in the file; `rows` and
    `columns` are its indices of ascending latitude and of longitude from 0 to 360."""

    arrays: dict[str, xr.DataArray]
    grid: AnyGrid
    times: clocks.Times
    rows: Index
    columns: Index
    scales: dict[str, Scale]  # into canonical units
    chunk_width: int = 0  # of the widest stored chunk along longitude, cells; 0 where the file can be read anywhere (or is unknown)
    warnings: list[str] = field(default_factory=list)  # one line each
    where: object = "input"
    attrs: dict[str, Any] = field(default_factory=dict)  # the file's own
    named: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)  # canonical name -> name and attributes in the file
    gaps: bool = False  # whether a field may be missing everywhere
    days: dict[str, npt.NDArray[np.float64]] = field(default_factory=dict)  # canonical name -> [T] days that amounts of months are of

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.arrays)

    def frame(self, index: int) -> FloatArray:
        """[V, H, W] of one time, canonical units. Raises OrbitError for a field that is missing everywhere or out of range."""
        return self.cells(index, np.arange(len(self.rows)), np.arange(len(self.columns)))

    def cells(self, index: int, rows: Index, columns: Index) -> FloatArray:
        """[V, h, w] of one time: some rows and columns of `grid` (indices), read from the file without their surroundings; large fields by
        several threads, a variable each."""
        fields = np.empty((len(self.arrays), len(rows), len(columns)), dtype=np.float32)
        down, along = _runs(self.rows[rows]), _runs(self.columns[columns])
        hands = min(allowance.threads(), READERS) if fields.size >= LARGE else 1
        work = [partial(self._read, name, index, down, along, out) for name, out in zip(self.arrays, fields, strict=True)]
        for _ in in_order(work, hands):
            pass
        return fields

    def _read(self, name: str, index: int, down: Sequence[_Run], along: Sequence[_Run], out: FloatArray) -> None:
        """One variable's cells into `out`; in float32 from the start where they are in canonical units."""
        array, (factor, offset) = self.arrays[name], self.scales[name]
        scaled = (factor, offset) != (1.0, 0.0) or name in self.days
        values = np.empty(out.shape) if scaled else out
        for lat in down:
            for lon in along:
                with reading(self.where, f"'{array.name}'", hint="is the file whole? Download or copy it again"):
                    piece = _at(array.variable, index).isel(lat=lat.cells, lon=lon.cells).compute().transpose("lat", "lon")
                values[lat.there, lon.there] = piece.to_numpy()[:: lat.step, :: lon.step]
        range_ = self.refuse_fill(name, index, values)
        if scaled:
            values *= factor
            values += offset
        if name in self.days:
            values /= self.days[name][index if len(self.days[name]) > 1 else 0]
        range_ = ends(values) if scaled else range_
        if range_ is not None:
            self._plausible(name, index, *range_)
        elif not self.gaps and not self._somewhere(name, index):
            raise OrbitError("variable is missing (NaN) everywhere", where=f"{self.where}: {array.name} at {self.times[index]}",
                             got="no valid value", hint="leave this time out, or name a file that has it")  # fmt: skip
        if scaled:
            out[:] = values

    def refuse_fill(self, name: str, index: int, values: npt.NDArray[Any]) -> tuple[float, float] | None:
        """Least and greatest of what a file holds of one time. Raises OrbitError for a fill value that it does not declare."""
        return refuse_fills(str(self.arrays[name].name), values, f"{self.where}: time {self.times[index]}")

    def _plausible(self, name: str, index: int, least: float, greatest: float) -> None:
        low, high = variable(name).valid
        slack = DRIZZLE if is_precipitation(name) else 0.02 * (high - low)
        if least < low - slack or greatest > high + slack:
            raise OrbitError(
                f"values of '{self.arrays[name].name}' are not plausible for {name}",
                where=f"{self.where}: time {self.times[index]}",
                got=f"{least:g} to {greatest:g} {variable(name).units}",
                allowed=f"{low:g} to {high:g} {variable(name).units}",
                hint=f"check the units attribute of the file ('{self.named.get(name, ('', {}))[1].get('units')}') and its fill values",
            )

    def _somewhere(self, name: str, index: int) -> bool:
        """Whether a field has any value at all; a band of rows at a time."""
        height, width = self.grid.shape
        band = max(1, BAND_CELLS // width)
        field = _at(self.arrays[name].variable, index)
        return any(np.isfinite(np.asarray(field.isel(lat=slice(start, start + band)))).any() for start in range(0, height, band))


def _at(array: xr.Variable, index: int) -> xr.Variable:
    """The field of one time; one without times is that of all. Without coordinates, which a DataArray would read with every field."""
    return array.isel(time=index) if "time" in array.dims else array


class _Run(NamedTuple):
    """Neighbouring cells: `there` in a list of indices, `cells` in the file (ascending), `step` -1 where the list descends."""

    there: slice
    cells: slice
    step: int


def _runs(index: Index) -> list[_Run]:
    """`index` as stretches of neighbours: backends read plain slices, and nothing around them."""
    found, start, values = [], 0, index.tolist()
    while start < len(values):
        step = values[start + 1] - values[start] if start + 1 < len(values) else 1
        stop = start + 1
        while abs(step) == 1 and stop < len(values) and values[stop] - values[stop - 1] == step:
            stop += 1
        step = step if abs(step) == 1 else 1
        low, high = sorted((values[start], values[stop - 1]))
        found.append(_Run(slice(start, stop), slice(low, high + 1), step))
        start = stop
    return found


def read_inputs(
    dataset: xr.Dataset, names: Sequence[str], where: object = "input", said: Reading | None = None, maps: bool = False,
    native: bool = False,
) -> Inputs:
    """Find `names` in a user's Dataset by canonical name, usual short names or CF standard_name.

    Fields on a map projection or a rotated pole are left there with `maps`, those on any grid with `native` (for who regrids them), else
    averaged to latitudes and longitudes. Winds along a grid's axes are turned to east and north.
    Raises OrbitError naming what is missing and what the file has, a unit that cannot be converted, a grid that cannot be recognised,
    times that are none.
    """
    said = said or Reading()
    chosen = renaming(dataset, said.rename, where)
    found = {name: find(dataset, name, chosen, where) for name in names}
    first = next(iter(found.values()))
    told, own, other = "", None, partial(find, dataset, chosen=chosen, where=where)
    try:
        axes = horizontal(dataset, where, first.dims)
    except OrbitError:
        own = _stays(dataset, str(first.name), where, native) if maps or native else None
        if own is None:
            dataset, found, told = to_latitudes(dataset, found, where, other)
            first = next(iter(found.values()))
            axes = horizontal(dataset, where, first.dims)
            log.info("%s: %s", where, told)
    if own is not None:
        found = there(dataset, found, own, where, other)
    lat, lon = own.grid.dims if own is not None else (dataset[axis].dims[0] for axis in axes)
    for array in found.values():
        if not {lat, lon} <= set(array.dims):
            held = ", ".join(map(str, array.dims))
            raise OrbitError(f"'{array.name}' is not on the grid of '{first.name}'", where=where, got=f"({held})",
                             allowed=f"({lat}, {lon})", hint="regrid it to the grid of the others, or name files of one grid")  # fmt: skip
    timed = max(found.values(), key=lambda array: array.ndim)
    spare = [str(d) for d in timed.dims if d not in (lat, lon)]
    time, times = times_of(dataset, timed, spare, where, said.time)
    grid, rows, columns = _of_axes(dataset, axes, where, str(first.name) if native else None) if own is None else _as_they_are(own.grid)
    warnings = [*dataset.encoding.get(NOTES, ()), *([told] if told else [])]
    warnings += [f"names: {name} is taken from '{array.name}', but {', '.join(others)} could be it too; --rename says which"
                for name, array in found.items() if (others := rivals(dataset, name, str(array.name), chosen))]  # fmt: skip
    arrays: dict[str, xr.DataArray] = {}
    scales: dict[str, Scale] = {}
    days: dict[str, npt.NDArray[np.float64]] = {}
    width = 0
    for name, array in found.items():
        width = max(width, _chunk_width(array, lon))
        whole = monthly(array, dataset, times, time, said.accumulated) if is_precipitation(name) else None
        if whole is not None:
            days[name] = whole.days
            array = array.assign_attrs(units=whole.units)
        scales[name] = _scale(array, name, f"{where}: {array.name}", dataset, times, grid, said, warnings, whole=whole is not None)
        arrays[name] = _bare(array, {lat: "lat", lon: "lon", time: "time"}, where)
    named = {name: (str(array.name), dict(array.attrs)) for name, array in found.items()}
    return Inputs(arrays, grid, times, rows, columns, scales, width, warnings, where, _attributes(dataset, told), named, days=days)


def _of_axes(dataset: xr.Dataset, axes: Horizontal, where: object, field: str | None) -> tuple[AnyGrid, Index, Index]:
    """The grid of 1-D latitudes and longitudes, and the file's indices in its order. Raises OrbitError for an uneven one, unless there is a
    `field` whose grid may be any."""
    lats = dataset[axes.lat].to_numpy().astype(np.float64)
    rows = np.argsort(lats, kind="stable").astype(np.int64)
    columns, lons = eastward(dataset[axes.lon].to_numpy())
    try:
        grid = from_centres(lats[rows], lons)
    except OrbitError as error:
        raise OrbitError(f"unusable grid: {error.what}", where=where, got=error.got, allowed=error.allowed, hint=error.hint) from None
    odd = uneven(grid)
    if odd is None:
        return grid, rows, columns
    if field is not None:
        layout = of_dataset(dataset, where, field)
        return layout.grid, layout.rows, layout.columns
    raise OrbitError(f"{odd[0]} spacing is not uniform", where=where, got=f"{odd[1]:g} to {odd[2]:g} degrees",
                     hint="regrid to a regular latitude-longitude grid first")  # fmt: skip


def _as_they_are(grid: AnyGrid) -> tuple[AnyGrid, Index, Index]:
    return grid, np.arange(grid.shape[0], dtype=np.int64), np.arange(grid.shape[1], dtype=np.int64)


def _stays(dataset: xr.Dataset, field: str, where: object, anywhere: bool) -> Layout | None:
    """How fields lie on a map projection or a rotated pole (or `anywhere`); None on another grid."""
    layout = of_dataset(dataset, where, field)
    return layout if anywhere or isinstance(layout.grid, ProjectedGrid) else None


def _attributes(dataset: xr.Dataset, told: str) -> dict[str, Any]:
    """The file's own, with a line before its history where its fields were regridded."""
    history = "\n".join(line for line in (told, str(dataset.attrs.get("history", ""))) if line)
    return {**dataset.attrs, "history": history} if told else dict(dataset.attrs)


def _bare(array: xr.DataArray, dimensions: Mapping[Any, str], where: object) -> xr.DataArray:
    """`array` without coordinates, its dimensions named time, lat and lon; others have one place."""
    extra = [d for d in array.dims if d not in dimensions]
    if any(array.sizes[d] > 1 for d in extra):
        raise OrbitError(
            f"'{array.name}' has a dimension that is neither time, level nor place",
            where=where,
            got=", ".join(map(str, extra)),
            hint="select one level or member first",
        )
    bare = array.drop_vars(list(array.coords)).isel(dict.fromkeys(extra, 0), drop=True)
    return bare.rename({old: new for old, new in dimensions.items() if old in bare.dims and old != new})


def _chunk_width(array: xr.DataArray, lon: Any) -> int:
    """Cells along longitude that are decompressed to read one; a contiguous array has no chunks."""
    chunks = array.encoding.get("chunks") or array.encoding.get("chunksizes")  # as the Zarr and the NetCDF backends say
    if not chunks or len(chunks) != array.ndim or array.encoding.get("contiguous"):
        return 0
    return int(dict(zip(array.dims, chunks, strict=True)).get(lon, 0))


def _scale(
    array: xr.DataArray, name: str, where: str, dataset: xr.Dataset, times: clocks.Times, grid: AnyGrid, said: Reading,
    warnings: list[str], *, whole: bool = False,
) -> Scale:
    """Into canonical units; an amount (of precipitation, of energy) becomes a rate by the period that the file or the user says.
    `whole`: an amount of a month, which is divided by its days."""
    units = array.attrs.get("units")
    if units is None:
        return conversion(units, name, where)
    wanted, water = variable(name).units, variable(name).water
    other = linear(str(units), "mm" if "day" in wanted else "mm day-1", water=True) if is_precipitation(name) else amount(str(units), name)
    if linear(str(units), wanted, water=water) is not None or other is None:
        return conversion(units, name, where)  # or raises
    if whole:
        return conversion(units, name, where, hours=24.0)
    if said.accumulated is not None:
        return conversion(units, name, where, hours=hours(said.accumulated, "--accumulated"))
    interval = _INTERVAL.search(str(array.attrs.get("cell_methods", "")))
    if interval:
        return conversion(units, name, where, hours=hours(interval[1], where))
    period = _of_store(array, dataset, times, grid, where, warnings)
    if period is None:
        raise Unsaid(f"'{array.name}' is an amount ({units}): over which time is not said", ("accumulated",), where=where, got=str(units),
                     allowed=f"{wanted}, or an amount with its period", hint=ACCUMULATED)  # fmt: skip
    return conversion(units, name, where, hours=period)


def _of_store(
    array: xr.DataArray, dataset: xr.Dataset, times: clocks.Times, grid: AnyGrid, where: str, warnings: list[str]
) -> float | None:
    """Hours over which ECMWF's accumulations are taken: as GRIB says, or as the Climate Data Store's hourly ERA5 has them."""
    step, told = array.attrs.get("GRIB_stepType"), array.attrs.get("accumulated_hours")
    if told is not None:
        return float(told)
    if step == "avgad":  # monthly means of daily sums
        return 24.0
    layout = {"number", "expver"} & set(dataset.variables) or "valid_time" in dataset.variables
    if step != "accum" or not layout or "step" in array.dims:
        return None
    if abs(grid.resolution - LAND_DEGREES) < 0.01:
        raise OrbitError("on a grid of 0.1 degree this looks like ERA5-Land, which accumulates since 00:00", where=where,
                         got=str(array.attrs.get("units")), hint=f"make it hourly amounts first, then {ACCUMULATED}")  # fmt: skip
    apart = clocks.steps(times)
    if len(apart) and apart.min() != 1:
        return None
    warnings.append(f"'{array.name}' ({array.attrs.get('units')}, accumulated) is taken as the amount of the hour that ends at its time,"
                    " as in hourly ERA5 of the Climate Data Store; if it is not, give --accumulated")  # fmt: skip
    return 1.0
