"""How ERA5 files of every generation are read: NetCDF before and since 2024, zips of them, GRIB. Never guesses units, never reads at open.

Every field of every file becomes a Piece: its stamps, its canonical axes and a lazy array in canonical units.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.door.archive import unpack
from orbit2.door.axes import horizontal, time_name
from orbit2.door.damage import reading
from orbit2.door.ecmwf import LEXICON, Field
from orbit2.door.grib import open_grib
from orbit2.door.opening import kind_of, read
from orbit2.door.stamps import CALENDARS, dates
from orbit2.door.stored import Member, stored_members
from orbit2.errors import OrbitError
from orbit2.longitudes import eastward
from orbit2.sources import slabs
from orbit2.units import Scale, convert, linear

SUFFIXES = (".nc", ".nc4", ".grib", ".grib2", ".grb")
MAY_BE_EMPTY = ("sea_surface_temperature",)  # an inland region has none
SIGNIFICANT = 0.05  # mm day-1: more than the rounding of packed files
FINAL, PRELIMINARY = 1, 5  # ECMWF's expver
FloatArray = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
Times = npt.NDArray[np.datetime64]
_LEVELS = ("pressure_level", "isobaricInhPa", "plev", "level")


@dataclass(frozen=True)
class Piece:
    """One field of one file: `stamps` [T] (datetime64[s]), `version` [T] (expver), `lat` [H], `lon` [W], lazy `data` [T, H, W]."""

    where: str
    stamps: Times
    version: npt.NDArray[np.int64]
    lat: Array
    lon: Array
    data: Any
    amount: bool = False  # the file holds amounts (m), which are taken to be those of the hour that ends at the stamp


@dataclass(frozen=True)
class _Layout:
    """A file's axes, and what turns its rows and columns into canonical order."""

    stamps: Times
    version: npt.NDArray[np.int64]
    lat: Array
    lon: Array
    rows: slice
    columns: npt.NDArray[np.int64] | None


def pieces(
    paths: Sequence[Path], names: Sequence[str], cache: slabs.Cache, first: np.datetime64 | None, last: np.datetime64 | None,
    member: int | None = None,
) -> tuple[dict[str, list[Piece]], set[str]]:
    """Per variable its pieces between the stamps `first` and `last` (inclusive), and all names that the files hold.

    Raises OrbitError naming file and field: unreadable, wrong or missing units, a calendar that is not the real one, several members.
    """
    found: dict[str, list[Piece]] = {name: [] for name in names}
    offered: set[str] = set()
    for path in paths:
        for file in _contents(Path(path)):
            with reading(file, "ERA5", "NetCDF, GRIB, or a zip of them"):
                for raw in _open(file, names, offered):
                    offered |= _described(raw)
                    if not any(key in raw.data_vars for name in names for key in LEXICON[name].keys):
                        continue  # a zip may hold another stream on another grid
                    data = _axes(raw, file, member)
                    layout = _layout(data, file)
                    keep = _window(layout.stamps, first, last)
                    for name, piece in _fields(data, layout, keep, names, file, cache):
                        found[name].append(piece)
    return found, offered


def _contents(path: Path) -> Iterator[Path | Member]:
    """The file itself or, of a zip (CDS has sent zips named .nc), its data files: in place where they are not compressed."""
    if not path.is_file():
        raise OrbitError("file not found", where=path, hint="run the retrieve stage")
    if kind_of(path) != "zip":
        yield path
        return
    try:
        members = stored_members(path, SUFFIXES)
    except zipfile.BadZipFile as error:
        raise OrbitError(f"damaged archive ({error})", where=path, hint="delete it and retrieve it again") from None
    if members and all(kind_of(member) == "hdf5" for member in members):
        yield from members
    else:
        yield from unpack(path, SUFFIXES)


def _described(raw: xr.Dataset) -> set[str]:
    """The names of a file's fields, with their pressure levels."""
    level = next((name for name in _LEVELS if name in raw.variables), None)
    at = "" if level is None else " at " + ", ".join(f"{value:g}" for value in np.atleast_1d(raw[level].values)) + " hPa"
    if level is not None and raw[level].attrs.get("units") == "Pa":
        at = at.replace(" hPa", " Pa")
    return {f"{name}{at if level in array.dims or level in array.coords else ''}" for name, array in raw.data_vars.items()}


def _open(file: Path | Member, names: Sequence[str], others: set[str]) -> list[xr.Dataset]:
    """The file's hypercubes, undecoded beyond CF scaling and time; names that a GRIB file has besides are added to `others`."""
    if kind_of(file) != "grib":
        return [_times_decoded(read(file, decode_times=False), file)]
    assert isinstance(file, Path)
    return open_grib(file, {short for name in names for short in LEXICON[name].grib}, others)


def _times_decoded(raw: xr.Dataset, file: Path | Member) -> xr.Dataset:
    for axis in ("valid_time", "time"):
        calendar = raw[axis].attrs.get("calendar", "standard") if axis in raw.variables else "standard"
        if calendar not in CALENDARS:
            raise OrbitError("calendar is not the real one", where=f"{file}: {axis}", got=str(calendar), allowed=", ".join(CALENDARS),
                             hint="name files of another calendar under `files` of a dataset instead")  # fmt: skip
    return xr.decode_cf(raw, mask_and_scale=False, concat_characters=False, decode_coords=False, decode_timedelta=False)


def _axes(raw: xr.Dataset, file: Path | Member, member: int | None) -> xr.Dataset:
    """Canonical dimension names and one ensemble member; nothing is read but coordinates."""
    found, time = horizontal(raw, file), time_name(raw)
    if time is None:
        raise OrbitError("no time coordinate", where=file, got=list(map(str, raw.variables))[:12], hint="give a file of fields with times")
    if time != "time" and "time" in raw.variables:  # a forecast's reference time
        raw = raw.drop_vars("time")
    stamps = dates(raw[time], file).astype("datetime64[ns]")
    level = next((name for name in _LEVELS if name in raw.variables), None)
    old = {found.lat: "lat", found.lon: "lon", time: "time", **({level: "level"} if level else {})}
    data = raw.assign_coords({time: (raw[time].dims, stamps.reshape(raw[time].shape))})
    along = raw[time].dims[0] if raw[time].dims else None
    if along is not None and along != time:  # valid_time along steps of a forecast
        data = data.drop_vars([along], errors="ignore").swap_dims({along: time})
    data = data.rename({before: after for before, after in old.items() if before != after})
    if "number" in data.dims:
        if member is None and data.sizes["number"] > 1:
            raise OrbitError("file holds several ensemble members", where=file, got=list(map(int, data["number"].values)),
                             hint="choose one with `member`")
        members = list(map(int, data["number"].values))
        if member is not None and member not in members:
            raise OrbitError("no such ensemble member", where=file, got=member, allowed=members, hint="name a member that the file holds")
        data = data.isel(number=members.index(member) if member is not None else 0)
    return data


def _layout(data: xr.Dataset, file: Path | Member) -> _Layout:
    stamps = np.atleast_1d(data["time"].values).astype("datetime64[s]")
    lat, lon = data["lat"].values.astype(np.float64), data["lon"].values.astype(np.float64)
    steps = np.diff(lat)
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise OrbitError("latitude is not monotonic", where=file, hint="sort the rows of the file")
    rows = slice(None, None, -1) if len(steps) and steps[0] < 0 else slice(None)
    columns, wrapped = eastward(lon)
    return _Layout(stamps, _version(data, len(stamps)), lat[rows], wrapped, rows,
                   None if np.array_equal(columns, np.arange(len(lon))) else columns)


def _version(data: xr.Dataset, count: int) -> npt.NDArray[np.int64]:
    """expver of each stamp: a coordinate along time (since 2024), or a dimension of which the final half may be missing (before).

    FINAL where the file does not say. The old layout is told from one row of one field.
    """
    if "expver" not in data.variables:
        return np.full(count, FINAL, dtype=np.int64)
    if "expver" in data.dims:
        versions = [_number(v) for v in data["expver"].values]
        split = next((a for a in data.data_vars.values() if {"expver", "time", "lat", "lon"} <= set(a.dims)), None)
        if FINAL not in versions or split is None:
            return np.full(count, min(versions, default=FINAL), dtype=np.int64)
        row = split.isel(expver=versions.index(FINAL), lat=split.sizes["lat"] // 2)
        row = row.isel(dict.fromkeys(set(row.dims) - {"time", "lon"}, 0)).transpose("time", "lon")
        return np.where(np.isfinite(row.values).any(axis=1), FINAL, PRELIMINARY).astype(np.int64)
    values = np.broadcast_to(np.atleast_1d(data["expver"].values), count)
    return np.array([_number(v) for v in values], dtype=np.int64)


def _number(value: Any) -> int:
    text = value.decode() if isinstance(value, bytes) else str(value)
    try:
        return int(float(text))
    except ValueError:
        return FINAL


def _window(stamps: Times, first: np.datetime64 | None, last: np.datetime64 | None) -> tuple[int, int]:
    """Steps [a, b) that hold everything between `first` and `last`."""
    inside = np.ones(len(stamps), dtype=bool)
    if first is not None:
        inside &= stamps >= first.astype("datetime64[s]")
    if last is not None:
        inside &= stamps <= last.astype("datetime64[s]")
    positions = np.flatnonzero(inside)
    return (int(positions[0]), int(positions[-1]) + 1) if len(positions) else (0, 0)


def _fields(
    data: xr.Dataset, layout: _Layout, keep: tuple[int, int], names: Sequence[str], file: Path | Member, cache: slabs.Cache
) -> Iterator[tuple[str, Piece]]:
    """The wanted fields of one hypercube. Levels that share chunks share slabs."""
    wanted: dict[tuple[str, int], list[tuple[str, int | None]]] = {}
    for name in names:
        key = next((k for k in LEXICON[name].keys if k in data.data_vars), None)
        if key is None:
            continue
        found, level = _level(data[key], LEXICON[name], data, f"{file}: {key}")
        if found:
            wanted.setdefault((key, 0 if level is None else level // _chunk(data[key], "level")), []).append((name, level))
    for (key, _), members in wanted.items():
        array, where = data[key], f"{file}: {key}"
        if set(array.dims) - {"time", "lat", "lon", "level", "expver"} or not {"lat", "lon"} <= set(array.dims):
            raise OrbitError("field has unexpected dimensions", where=where, got=array.dims, allowed="time, latitude, longitude",
                             hint="give a file as the provider makes it")  # fmt: skip
        amount = LEXICON[members[0][0]].step == "accum" and linear(str(array.attrs.get("units")), "mm", water=True) is not None
        _refuse_means(array, where, amount)
        scales = [LEXICON[name].scale(array.attrs.get("units"), name, where) for name, _ in members]
        if keep[0] == keep[1]:
            for name, _ in members:
                yield name, Piece(where, layout.stamps[:0], layout.version[:0], layout.lat, layout.lon, None, amount)
            continue
        cells = (len(layout.lat), len(layout.lon))
        load = partial(_load, array, layout, tuple(level for _, level in members), tuple(scales), tuple(name for name, _ in members),
                       amount, where)
        borders = slabs.edges(*keep, _chunk(array, "time"), cells[0] * cells[1])
        levels = [level for _, level in members if level is not None] or [0]
        steps = int(np.max(np.diff(borders)))
        band = max(rows.stop - rows.start for rows in _bands(array, steps)) * steps * cells[1] * (max(levels) - min(levels) + 1) * 4
        cache.expect(steps * cells[0] * cells[1] * len(members) * 4, band)
        for i, (name, _) in enumerate(members):
            lazy = slabs.Slabs(load, i, len(members), (where, members[0][0]), borders, cells, cache).lazy()
            yield name, Piece(where, layout.stamps[slice(*keep)], layout.version[slice(*keep)], layout.lat, layout.lon, lazy, amount)


def _level(array: xr.DataArray, field: Field, data: xr.Dataset, where: str) -> tuple[bool, int | None]:
    """Whether the file holds the field at its level, and that level's position (None for a scalar level or the surface)."""
    if field.level is None:
        return "level" not in array.dims, None
    if "level" not in data.variables:
        return False, None
    units = str(data["level"].attrs.get("units", "hPa"))
    scale = linear(units, "hPa")
    if scale is None:
        raise OrbitError("pressure levels have unknown units", where=where, got=units, allowed="units of pressure (hPa, Pa)",
                         hint="set the units attribute of the levels")  # fmt: skip
    levels = np.atleast_1d(data["level"].values).astype(np.float64) * scale.factor
    hits = np.flatnonzero(np.isclose(levels, field.level))
    return bool(len(hits)), int(hits[0]) if len(hits) and "level" in array.dims else None


def _chunk(array: xr.DataArray, axis: str) -> int:
    """How many steps along `axis` the file compresses together; 1 where it does not."""
    sizes = array.encoding.get("chunksizes")
    if not sizes or axis not in array.dims or len(sizes) != array.ndim:
        return 1
    return max(1, int(sizes[array.dims.index(axis)]))


def _load(
    array: xr.DataArray, layout: _Layout, levels: tuple[int | None, ...], scales: tuple[Scale, ...], names: tuple[str, ...],
    amount: bool, where: str, begin: int, end: int,
) -> list[FloatArray]:
    """Steps [begin, end) of each member, [time, lat, lon] in canonical units and order.

    Raises OrbitError for a damaged file, for an hour without any value (ERA5 has none), and for sums that grow through the day.
    """
    chosen = array.isel(time=slice(begin, end)) if "time" in array.dims else array
    low = high = 0
    if levels[0] is not None:
        positions = [level for level in levels if level is not None]
        low, high = min(positions), max(positions) + 1
        chosen = chosen.isel(level=slice(low, high))
    fields = [np.empty((end - begin, len(layout.lat), len(layout.lon)), dtype=np.float32) for _ in names]
    for rows in _bands(array, end - begin):
        with reading(where, "ERA5"):
            part = chosen.isel(lat=rows)
            values = part.transpose(*(d for d in ("expver", "level", "time", "lat", "lon") if d in part.dims)).values
        if "expver" in part.dims:
            values = _merge_versions(values, part["expver"].values)
        values = values.reshape(high - low if levels[0] is not None else 1, end - begin, *values.shape[-2:])
        for field, name, level, scale in zip(fields, names, levels, scales, strict=True):
            band = values[0 if level is None else level - low]
            band = convert(band if layout.columns is None else band[..., layout.columns], scale)
            if name == "precipitation_rate":  # packing leaves values a rounding error below zero
                band[(band <= 0) & (band >= -0.05)] = 0.0
            field[:, layout.rows][:, rows] = band
    for field, name in zip(fields, names, strict=True):
        if amount:
            _refuse_since_midnight(field, layout.stamps[begin:end], where)
        if name not in MAY_BE_EMPTY:
            _refuse_empty(field, layout.stamps[begin:end], where)
    return fields


def _bands(array: xr.DataArray, steps: int) -> Iterator[slice]:
    """Rows of the file that are read together: whole chunks of about BLOCK_BYTES, so that little is in memory twice.

    All rows where the file does not cut them: GRIB decodes whole fields.
    """
    rows, width, height = array.sizes["lat"], array.sizes["lon"], _chunk(array, "lat")
    if array.encoding.get("chunksizes"):
        height *= max(1, int(slabs.BLOCK_BYTES / (4 * steps * width * height)))
    else:
        height = rows
    for start in range(0, rows, height):
        yield slice(start, min(start + height, rows))


def _refuse_means(array: xr.DataArray, where: str, amount: bool) -> None:
    """Raise OrbitError for amounts that are no sums of one hour by the step type that the file gives: monthly means of daily sums."""
    step = str(array.attrs.get("GRIB_stepType", "accum"))
    hours = float(array.attrs.get("accumulated_hours", 1))
    if amount and hours != 1:
        raise OrbitError("amounts are not those of an hour", where=where, got=f"{hours:g} hours", allowed="1 hour",
                         hint="retrieve hourly ERA5")
    if amount and step != "accum":
        raise OrbitError("amounts are not those of an hour" + (": monthly means" if step.startswith("avg") else ""), where=where,
                         got=f"step type {step}", allowed="step type accum (hourly data)", hint="retrieve hourly ERA5")


def _refuse_since_midnight(field: FloatArray, stamps: Times, where: str) -> None:
    """Raise OrbitError where `field` [T, H, W] is a sum since 00 UTC (ERA5-Land): it never falls within a day, and does after midnight.

    Nothing is concluded from a stretch without a midnight. A few thousand cells are looked at.
    """
    stride = max(1, int(np.sqrt(field.shape[1] * field.shape[2] / 4096)))
    values = field[:, ::stride, ::stride]
    change, hourly = np.diff(values, axis=0), np.diff(stamps) == np.timedelta64(3600, "s")
    first = stamps[1:].astype("datetime64[h]").astype(np.int64) % 24 == 1  # the first hour of a day
    inside, after = change[hourly & ~first], -change[hourly & first]
    if len(after) == 0 or len(inside) < 2:
        return
    rise, fall = np.nansum(np.maximum(inside, 0)), np.nansum(np.maximum(-inside, 0))
    dropped, whole = np.nansum(np.maximum(after, 0)), np.nansum(values[:-1][hourly & first])
    if np.count_nonzero(inside > SIGNIFICANT) >= 20 and fall < 0.02 * rise and dropped > 0.5 * whole > 0:
        raise OrbitError("precipitation is accumulated since 00 UTC, as in ERA5-Land, not over the hour", where=where,
                         got=f"it falls only after midnight ({stamps[0]} to {stamps[-1]})", allowed="sums of the hour ending at the stamp",
                         hint="retrieve hourly ERA5 single levels, or take the differences of consecutive hours first")


def _refuse_empty(field: FloatArray, stamps: Times, where: str) -> None:
    empty = np.asarray(~np.isfinite(field[:, ::20, ::20]).any(axis=(1, 2)))  # a sample is enough for hours that are there
    empty[empty] = ~np.isfinite(field[empty]).any(axis=(1, 2))
    if empty.any():
        raise OrbitError("field is missing everywhere (NaN only)", where=where, got=f"{empty.sum()} hours, first {stamps[empty][0]}",
                         hint="delete the file and retrieve it again")


def _merge_versions(values: npt.NDArray[Any], versions: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """Final data (1) where present, else preliminary (5): before 2024 `expver` is a dimension where both meet in one file."""
    order = np.argsort([_number(v) for v in versions], kind="stable")
    merged: npt.NDArray[Any] = values[order[0]].copy()
    for position in order[1:]:
        absent = np.isnan(merged)
        merged[absent] = values[position][absent]
    return merged

