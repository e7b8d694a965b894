"""Daymet (North America, daily, 1 km): one file per variable and year, read lazily on its own Lambert grid. Never regrids or fills.

Every Daymet year has 365 days: in leap years 31 December is missing (29 February is there). Here that day exists and is NaN.
"""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.config.sources import DaymetConfig
from orbit2.door.damage import Guarded, reading
from orbit2.door.opening import read
from orbit2.door.stamps import CALENDARS, decoded
from orbit2.errors import OrbitError, one_of
from orbit2.lazy import da
from orbit2.sources.source import Facts, Need, Request
from orbit2.units import conversion, linear
from orbit2.variables import variable

Days = npt.NDArray[np.datetime64]
Array = npt.NDArray[np.float64]
_KIND = "Daymet"
BLOCK_BYTES = 64 * 2**20
PROJECTION = "+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +x_0=0 +y_0=0 +datum=WGS84 +units=m +no_defs"
_MAPPING = {
    "latitude_of_projection_origin": 42.5, "longitude_of_central_meridian": -100.0, "false_easting": 0.0, "false_northing": 0.0,
    "semi_major_axis": 6378137.0, "inverse_flattening": 298.257223563}
_FIRST_YEAR = {"na": 1980, "hi": 1980, "pr": 1950}
_CELLS = {"na": 7814 * 8075, "hi": 284 * 584, "pr": 364 * 231}


@dataclass(frozen=True)
class Field:
    """Daymet's name and the mean size of a North American year (GB, measured 1980-2024)."""

    name: str
    gigabytes: float


RAIN = "total_precipitation_24hr"
LEXICON = {
    RAIN: Field("prcp", 3.9),
    "2m_temperature_min": Field("tmin", 11.6),
    "2m_temperature_max": Field("tmax", 11.8),
}


class Daymet:
    """Daymet V4 R1 from the archive (x, y in metres), and older or cut-out files of the subset service (kilometres)."""

    name = "daymet"
    facts = Facts(
        title="Daymet: Daily Surface Weather Data on a 1-km Grid for North America, Version 4 R1",
        licence="open (NASA EOSDIS data use policy)",
        doi="10.3334/ORNLDAAC/2129",
        attribution="Thornton, M.M., R. Shrestha, Y. Wei, P.E. Thornton, S-C. Kao, and B.E. Wilson. 2022. Daymet: Daily Surface "
                    "Weather Data on a 1-km Grid for North America, Version 4 R1. ORNL DAAC, Oak Ridge, Tennessee, USA.",
        day="the station's local observation day, named by its date",
        extra={"calendar": "365 days a year: 31 December of leap years does not exist and is NaN"},
    )

    def __init__(self, config: DaymetConfig) -> None:
        self.config = config

    def offers(self) -> tuple[str, ...]:
        return tuple(LEXICON)

    def plan(self, need: Need) -> list[Request]:
        """One request per variable and year. `bytes` is the mean of the real yearly files of 1980-2024 (smaller regions by cells)."""
        first, last = (int(str(day)[:4]) for day in (need.first, need.last))
        earliest = _FIRST_YEAR[self.config.region]
        if first < earliest:
            raise OrbitError("Daymet does not go back that far", where=f"region {self.config.region}", got=str(need.first),
                             allowed=f"from {earliest}-01-01", hint="begin the dataset's periods later")  # fmt: skip
        requests = []
        for year in range(first, last + 1):
            for name in need.variables:
                field = _field(name)
                file = f"daymet_v4_daily_{self.config.region}_{field.name}_{year}.nc"
                requests.append(Request(
                    file=file, client="earthdata", variables=(name,),
                    body={"short_name": self.config.short_name, "pattern": file,
                          "first": f"{year}-01-01T00:00:00", "last": f"{year}-12-31T23:59:59"},
                    first=np.datetime64(f"{year}-01-01", "s"), last=np.datetime64(f"{year}-12-31", "s"),
                    bytes=round(field.gigabytes * 1e9 * _CELLS[self.config.region] / _CELLS["na"]),
                    note="Daymet files hold a whole year of the whole region; sizes are estimates (mean of 1980-2024)"))
        return requests

    def check(self, path: Path, request: Request) -> None:
        """Opens the file, compares variable, units, grid and days with the request, and reads two of its blocks."""
        for name in request.variables:
            piece = _piece(path, name)
            if piece is None:
                raise OrbitError("field not in the file", where=path, got=_field(name).name, hint="delete it and retrieve it again")
            wanted = np.arange(request.first.astype("datetime64[D]"), request.last.astype("datetime64[D]") + 1)
            held = piece["time"].values.astype("datetime64[D]")
            if not np.array_equal(held, wanted):
                raise OrbitError("file does not hold the days asked for", where=path, got=f"{len(held)} days, {held[0]} to {held[-1]}",
                                 allowed=f"{len(wanted)} days, {wanted[0]} to {wanted[-1]}", hint="delete it and retrieve it again")
            rows, columns = piece.sizes["y"], piece.sizes["x"]
            real = [at for at, day in enumerate(wanted) if not _left_out(day)]
            for at, row in ((real[-1], 0), (real[len(real) // 2], rows // 2)):
                piece.isel(time=at, y=row, x=columns // 2).load()

    def open(self, files: Sequence[Path], names: Sequence[str], first: np.datetime64, last: np.datetime64) -> xr.Dataset:
        """(time, y, x) in metres, both ascending; `attrs["crs"]` is WKT, `attrs["gaps"]` the days that Daymet leaves out, by commas.

        Chunks follow those of the files. Raises OrbitError as the protocol says, and for a day that two files hold.
        """
        found: dict[str, list[tuple[Path, xr.DataArray]]] = {name: [] for name in names}
        for name in names:
            _field(name)
        for path in map(Path, files):
            for name in names:
                piece = _piece(path, name, first, last)
                if piece is not None:
                    found[name].append((path, piece))
        joined = {}
        reference: tuple[Path, xr.DataArray] | None = None
        for name, pieces in found.items():
            if not pieces:
                raise OrbitError("field not in the files at these times", where=", ".join(Path(f).name for f in files[:4]) or "daymet",
                                 got=f"{name} ({_field(name).name}), {first} to {last}", hint="run the retrieve stage for this period")
            for path, piece in pieces:
                reference = reference or (path, piece)
                _same_grid(reference, (path, piece))
            assert reference is not None  # there is a piece
            joined[name] = _join(name, pieces).assign_coords(y=reference[1]["y"], x=reference[1]["x"])
        dataset = xr.merge([array.rename(name) for name, array in joined.items()], join="outer", compat="override", combine_attrs="drop")
        for name in joined:
            about = variable(name)
            dataset[name].attrs = {"units": about.units, "standard_name": about.standard_name, "long_name": about.long_name,
                                   "cell_methods": about.cell_methods}
        dataset["x"].attrs = {"units": "m", "standard_name": "projection_x_coordinate"}
        dataset["y"].attrs = {"units": "m", "standard_name": "projection_y_coordinate"}
        gaps = ", ".join(str(day) for day in dataset["time"].values.astype("datetime64[D]") if _left_out(day))
        return dataset.assign_attrs(crs=crs_wkt(), gaps=gaps)


def crs_wkt() -> str:
    """The projection of every Daymet region as WKT."""
    from pyproj import CRS  # slow to import, and not before eccodes

    return str(CRS(PROJECTION).to_wkt())


def _field(name: str) -> Field:
    if name not in LEXICON:
        raise OrbitError("Daymet does not offer this variable", where="daymet", got=name, allowed=", ".join(LEXICON),
                         hint=one_of(name, LEXICON))  # fmt: skip
    return LEXICON[name]


def held_in(path: Path, name: str) -> npt.NDArray[np.datetime64] | None:
    """The days [T] that a file holds of a variable; None where it has none of it. Raises OrbitError for what is no Daymet file."""
    piece = _piece(path, name)
    if piece is None:
        return None
    days: npt.NDArray[np.datetime64] = piece["time"].values.astype("datetime64[D]")
    return days if len(days) else None


def _piece(path: Path, name: str, first: np.datetime64 | None = None, last: np.datetime64 | None = None) -> xr.DataArray | None:
    """One file's field between `first` and `last`: canonical units, days and axes, dask. None without the field or the time."""
    with reading(path, _KIND, "NetCDF"):
        return _field_of(_opened(path), path, name, first, last)


def _field_of(raw: xr.Dataset, path: Path, name: str, first: np.datetime64 | None, last: np.datetime64 | None) -> xr.DataArray | None:
    field = _field(name)
    if field.name not in raw.data_vars:
        return None
    array = raw[field.name]
    where = f"{path}: {field.name}"
    if set(array.dims) != {"time", "y", "x"}:
        raise OrbitError("field has unexpected dimensions", where=where, got=array.dims, allowed="time, y, x",
                         hint="give Daymet's own daily files")  # fmt: skip
    units = array.attrs.get("units")
    if name == RAIN and units and linear(str(units), "mm day-1", water=True) is None:  # in days, that is; a summary says mm
        summary = linear(str(units), "mm", water=True) is not None
        raise OrbitError("field has wrong units", where=where, got=units, allowed="mm/day",
                         hint="annual and monthly summaries cannot be used as days" if summary else "give Daymet's own daily files")
    scale = conversion(units, name, where, hours=24)
    _check_mapping(raw, array, path)
    axes = {axis: _metres(raw, axis, path) for axis in ("y", "x")}
    days, at = _true_calendar(_days(raw, path))
    if first is not None and last is not None:
        keep = (days >= first.astype("datetime64[D]")) & (days <= last.astype("datetime64[D]"))
        days, at = days[keep], at[keep]
    if not len(days):
        return None
    array = array.transpose("time", "y", "x")
    own = array.encoding.get("chunksizes") or array.shape
    real = at[at >= 0]
    begin, end = (int(real[0]), int(real[-1]) + 1) if len(real) else (0, 1)
    blocks, turn = _blocks(array.shape, own, begin, end), {}
    for position, axis in enumerate(("y", "x"), start=1):
        if axes[axis][0] > axes[axis][-1]:
            axes[axis], blocks[position], turn[axis] = axes[axis][::-1], blocks[position][::-1], slice(None, None, -1)
    array = xr.DataArray(array.variable, dims=("time", "y", "x"))  # without the 2-D coordinates that only some files have
    array = array.isel({"time": slice(begin, end), **turn})
    lazy = da.from_array(Guarded(array, path, _KIND), chunks=tuple(blocks), name=False, asarray=False,  # type: ignore[no-untyped-call]
                         fancy=False, lock=False)
    array = xr.DataArray(lazy, dims=array.dims)
    array = array.astype(np.float32)
    array = array if scale.nothing else array * np.float32(scale.factor) + np.float32(scale.offset)
    array = _with_gaps(array, at, begin)
    return array.assign_coords({"time": days.astype("datetime64[ns]"), **axes})


def _opened(path: Path) -> xr.Dataset:
    """By h5py or scipy, which may be used from several threads at once (the netCDF library may not, and files are checked in threads)."""
    if not path.is_file():
        raise OrbitError("file not found", where=path, hint="run the retrieve stage")
    return read(path, decode_times=False, classic="scipy")


def _blocks(shape: tuple[int, ...], own: tuple[int, ...], begin: int, end: int) -> list[tuple[int, ...]]:
    """Block lengths along (time, y, x) that never cut one of the file's own chunks more than the period itself does.

    A whole field is one block where it is small; a block spans several of the file's chunks in time up to BLOCK_BYTES.
    """
    _, rows, columns = shape
    if rows * columns * 4 <= BLOCK_BYTES:
        spans = [(0, rows, rows), (0, columns, columns)]
        days = max(own[0], BLOCK_BYTES // (rows * columns * 4) // own[0] * own[0])
    else:
        spans = [(0, rows, own[1]), (0, columns, own[2])]
        days = own[0]
    return [tuple(_cut(a, b, step)) for a, b, step in [(begin, end, days), *spans]]


def _cut(begin: int, end: int, step: int) -> list[int]:
    """Lengths of the pieces of [begin, end) between multiples of `step`."""
    edges = [begin, *range((begin // step + 1) * step, end, step), end]
    return [b - a for a, b in pairwise(edges)]


def _metres(raw: xr.Dataset, axis: str, path: Path) -> Array:
    """A projection coordinate in metres. Raises OrbitError when its unit is missing or it is not a 1 km axis in that unit."""
    if axis not in raw.variables:
        raise OrbitError(f"no {axis} coordinate", where=path, got=list(map(str, raw.variables))[:12], hint="give Daymet's own daily files")
    units = raw[axis].attrs.get("units")
    metres = linear(str(units), "m") if units else None
    if metres is None:
        raise OrbitError("coordinate has unknown units" if units else "coordinate has no units", where=f"{path}: {axis}", got=units,
                         allowed="m or km", hint="Daymet's archive uses metres, its subset service kilometres")
    values: Array = np.round(raw[axis].values.astype(np.float64) * metres.factor, 3)
    steps = np.abs(np.diff(values))
    signs = np.sign(np.diff(values))
    if values.ndim != 1 or len(values) < 2 or not np.allclose(steps, 1000.0, atol=1.0) or len(set(signs)) != 1:
        raise OrbitError("coordinate is not a 1 km axis", where=f"{path}: {axis}", got=f"steps of {np.median(steps):g} {units}"
                         if len(steps) else "one value", allowed="1 km", hint="the units attribute and the values may disagree")
    return values


def _check_mapping(raw: xr.Dataset, array: xr.DataArray, path: Path) -> None:
    """Raise OrbitError unless the file's own grid mapping is Daymet's Lambert conformal conic."""
    name = array.attrs.get("grid_mapping") or array.encoding.get("grid_mapping") or "lambert_conformal_conic"
    if name not in raw.variables:
        raise OrbitError("no grid mapping variable", where=path, got=list(map(str, raw.variables))[:12], allowed=name,
                         hint="give Daymet's own daily files, with their projection")  # fmt: skip
    held = raw[name].attrs
    wrong = [f"{key}={held.get(key)}" for key, value in _MAPPING.items() if key in held and not np.isclose(held[key], value, rtol=1e-7)]
    wrong += [f"{key} is missing" for key in ("latitude_of_projection_origin", "longitude_of_central_meridian") if key not in held]
    parallels = np.atleast_1d(held.get("standard_parallel", []))
    if parallels.shape != (2,) or not np.allclose(np.sort(parallels), (25.0, 60.0)):
        wrong.append(f"standard_parallel={list(parallels)}")
    if held.get("grid_mapping_name") != "lambert_conformal_conic":
        wrong.append(f"grid_mapping_name={held.get('grid_mapping_name')}")
    if wrong:
        raise OrbitError("not Daymet's projection", where=f"{path}: {name}", got=", ".join(wrong), allowed=PROJECTION,
                         hint="give Daymet's own daily files, not regridded ones")  # fmt: skip


def _days(raw: xr.Dataset, path: Path) -> Days:
    """The dates in the file. Raises OrbitError for another calendar, a date twice or out of order, or a hole that Daymet does not have."""
    if "time" not in raw.variables:
        raise OrbitError("no time coordinate", where=path, got=list(map(str, raw.variables))[:12], hint="give Daymet's own daily files")
    kind = raw["time"].attrs.get("calendar", "standard")
    if kind not in CALENDARS:
        raise OrbitError("time is on another calendar", where=path, got=kind, allowed="standard (days since a date)",
                         hint="give Daymet's own daily files")  # fmt: skip
    days: Days = decoded(raw["time"], path).astype("datetime64[D]")  # 12:00 in the archive
    steps = np.diff(days).astype(int)
    if (steps <= 0).any():
        at = int(np.argmax(steps <= 0))
        raise OrbitError("days are repeated or out of order", where=path, got=f"{days[at + 1]} after {days[at]}",
                         hint="remove the file and retrieve it again")  # fmt: skip
    for before, after in pairwise(days):
        if after - before > 1 and not (after - before == 2 and _left_out(before + 1)):
            raise OrbitError("days are missing inside the file", where=path, got=f"{before} is followed by {after}",
                             hint="delete it and retrieve it again")
    return days


def _left_out(day: np.datetime64) -> bool:
    """31 December of a leap year."""
    text = str(day.astype("datetime64[D]"))
    return text.endswith("-12-31") and calendar.isleap(int(text[:4]))


def _true_calendar(days: Days) -> tuple[Days, npt.NDArray[np.int64]]:
    """The days with every left-out 31 December put in, and where each lies in the file (-1: nowhere)."""
    full = np.arange(days[0], days[-1] + (2 if _left_out(days[-1] + 1) else 1))
    at = np.searchsorted(days, full)
    at[~np.isin(full, days)] = -1
    return full, at.astype(np.int64)


def _with_gaps(array: xr.DataArray, at: npt.NDArray[np.int64], begin: int) -> xr.DataArray:
    """`array` (the file's days from `begin`) with a day of NaN wherever `at` is -1."""
    parts, done = [], 0
    for position in [*np.flatnonzero(at < 0).tolist(), len(at)]:
        if position > done:
            parts.append(array.isel(time=slice(int(at[done]) - begin, int(at[position - 1]) - begin + 1)))
        if position < len(at):
            parts.append(xr.full_like(array.isel(time=[0]), np.nan))
        done = position + 1
    return parts[0] if len(parts) == 1 else xr.concat(parts, dim="time")


def _join(name: str, pieces: list[tuple[Path, xr.DataArray]]) -> xr.DataArray:
    """All files' pieces in the order of time. Raises OrbitError for a day that two files hold."""
    pieces = sorted(pieces, key=lambda piece: piece[1]["time"].values[0])
    for (one, before), (other, after) in pairwise(pieces):
        day = after["time"].values[0]
        if day <= before["time"].values[-1]:
            raise OrbitError("two files hold the same day", where=f"{one.name} and {other.name}", got=f"{name} of {str(day)[:10]}",
                             hint="remove one of them and run retrieve again")
    first = pieces[0][1]
    if len(pieces) == 1:
        return first
    return xr.concat([piece.assign_coords(y=first["y"], x=first["x"]) for _, piece in pieces], dim="time", combine_attrs="drop")


def _same_grid(one: tuple[Path, xr.DataArray], other: tuple[Path, xr.DataArray]) -> None:
    for axis in ("y", "x"):
        a, b = one[1][axis].values, other[1][axis].values
        if len(a) != len(b) or not np.allclose(a, b, atol=0.5):
            raise OrbitError("files lie on different grids", where=f"{one[0].name} and {other[0].name}",
                             got=f"{axis} {b[0]:g} to {b[-1]:g} m ({len(b)})", allowed=f"{a[0]:g} to {a[-1]:g} m ({len(a)})",
                             hint="retrieve all files with one box")  # fmt: skip
