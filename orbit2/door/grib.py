"""Reads GRIB by an index of its messages: one pass over the headers, then each wanted message once. Writes no index file.

The wanted fields become hypercubes (time, level, latitude, longitude), lazily; a message that is not there is NaN.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

_KINDS = ("regular_ll", "regular_gg", "rotated_ll", "lambert", "polar_stereographic", "mercator", "lambert_azimuthal_equal_area", "albers")
_ADVICE = {"reduced": "(rows of different lengths): make it regular first, cdo setgridtype,regular, or MARS grid=0.25/0.25",
           "healpix": "(no rows and columns): regrid it first, cdo remapcon,r1440x720",
           "unstructured": "(no rows and columns): regrid it first, cdo remapcon,r1440x720", "sh": ": cdo sp2gp first"}  # fmt: skip
_GRID_KEYS = ("gridType", "uvRelativeToGrid", "LaDInDegrees", "LoVInDegrees", "Latin1InDegrees", "Latin2InDegrees", "DxInMetres",
              "DyInMetres", "orientationOfTheGridInDegrees", "projectionCentreFlag", "angleOfRotationInDegrees",
              "latitudeOfSouthernPoleInDegrees", "longitudeOfSouthernPoleInDegrees", "iDirectionIncrementInDegrees",
              "jDirectionIncrementInDegrees", "radius")  # fmt: skip
_ECCODES = Lock()  # decoding is not thread-safe in every build


@dataclass(frozen=True)
class _Message:
    short: str
    kind: str  # of level
    level: int
    stamp: np.datetime64
    number: int
    expver: int
    units: str
    grid: tuple[Any, ...]  # first and last latitude, first and last longitude, rows, columns; or type, rows, columns, its checksum
    offset: int
    length: int
    step: str  # instant, accum, avg, ...
    hours: float  # that an accumulation is taken over


class _Cube(BackendArray):
    """Messages by (number, time, level), decoded when asked for."""

    def __init__(self, file: Path, messages: dict[tuple[int, int, int], _Message], shape: tuple[int, ...]) -> None:
        self.file, self.messages, self.shape, self.dtype = file, messages, shape, np.dtype(np.float32)

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[np.float32]:
        chosen = [np.atleast_1d(np.arange(size)[k]) for k, size in zip(key[:3], self.shape[:3], strict=True)]
        result = np.full((*map(len, chosen), *self.shape[3:]), np.nan, dtype=np.float32)
        with open(self.file, "rb") as handle:
            for at in np.ndindex(*map(len, chosen)):
                message = self.messages.get(tuple(int(c[i]) for c, i in zip(chosen, at, strict=True)))  # type: ignore[arg-type]
                if message is not None:
                    handle.seek(message.offset)
                    result[at] = _decoded(handle.read(message.length), self.shape[3:])
        single = tuple(0 if np.ndim(k) == 0 and not isinstance(k, slice) else slice(None) for k in key[:3])
        part: npt.NDArray[np.float32] = result[(*single, *key[3:])]
        return part


def open_grib(file: Path, shorts: Collection[str], others: set[str] | None = None) -> list[xr.Dataset]:
    """One dataset per short name and type of level among `shorts`; the names of what else there is are added to `others`.

    Fields of a map projection or a rotated pole get 2-D latitudes and longitudes, and GRIB's keys of the grid as attributes.
    Raises ValueError for messages that have no rows and columns.
    """
    groups: dict[tuple[str, str], list[_Message]] = {}
    for message in _scan(file, set(shorts), others if others is not None else set()):
        groups.setdefault((message.short, message.kind), []).append(message)
    return [_cube(file, messages) for messages in groups.values()]


def _scan(file: Path, shorts: set[str], others: set[str]) -> list[_Message]:
    import eccodes  # only who reads GRIB needs it

    found = []
    with open(file, "rb") as handle, _ECCODES:
        while (message := eccodes.codes_grib_new_from_file(handle, headers_only=True)) is not None:
            try:
                short = eccodes.codes_get(message, "shortName")
                if short in shorts:
                    found.append(_header(message, short, eccodes))
                else:
                    level = eccodes.codes_get(message, "typeOfLevel") == "isobaricInhPa"
                    others.add(f"{short} at {eccodes.codes_get(message, 'level', int)} hPa" if level else short)
            finally:
                eccodes.codes_release(message)
        if handle.tell() < file.stat().st_size and not found and not others:
            raise ValueError("no GRIB message")
    if found and max(m.offset + m.length for m in found) > file.stat().st_size:
        raise ValueError("last message is cut")
    return found


def _header(message: Any, short: str, eccodes: Any) -> _Message:
    get = eccodes.codes_get
    kind = get(message, "gridType")
    if kind not in _KINDS or get(message, "jPointsAreConsecutive") or get(message, "alternativeRowScanning"):
        raise ValueError(f"{short} is on a grid of type {kind} {_ADVICE.get(kind.split('_')[0], '')}".strip())
    date, time = get(message, "validityDate", int), get(message, "validityTime", int)
    stamp = np.datetime64(f"{date // 10000:04d}-{date // 100 % 100:02d}-{date % 100:02d}T{time // 100:02d}:{time % 100:02d}", "s")
    if kind == "regular_ll" and not get(message, "iScansNegatively"):
        west, east = (get(message, f"longitudeOf{end}GridPointInDegrees", float) for end in ("First", "Last"))
        grid: tuple[Any, ...] = (*(get(message, f"latitudeOf{end}GridPointInDegrees", float) for end in ("First", "Last")),
                                 west, east + 360 if east < west else east, get(message, "Nj", int), get(message, "Ni", int))  # fmt: skip
    else:
        grid = kind, get(message, "Nj", int), get(message, "Ni", int), get(message, "md5GridSection", str)
    number = get(message, "number", int) if eccodes.codes_is_defined(message, "number") else 0
    expver = get(message, "expver", str) if eccodes.codes_is_defined(message, "expver") else "1"
    return _Message(short, get(message, "typeOfLevel"), get(message, "level", int), stamp, number,
                    int(expver) if expver.isdigit() else 1, get(message, "units"), grid, get(message, "offset", int),
                    get(message, "totalLength", int), get(message, "stepType", str), _hours(message, get))


def _hours(message: Any, get: Any) -> float:
    """From the first to the last step of a message."""
    start, end, unit = (str(get(message, key, str)) for key in ("startStep", "endStep", "stepUnits"))
    seconds = {"h": 3600.0, "m": 60.0, "s": 1.0, "1": 3600.0, "0": 60.0, "13": 1.0}.get(unit, 3600.0)
    first, last = (float(text.rstrip("hms")) for text in (start, end))
    return (last - first) * seconds / 3600


def _cube(file: Path, messages: list[_Message]) -> xr.Dataset:
    first = messages[0]
    if len({m.grid for m in messages}) > 1:
        raise ValueError(f"{first.short} comes on several grids")
    numbers, stamps, levels = (sorted({getattr(m, key) for m in messages}) for key in ("number", "stamp", "level"))
    places: dict[tuple[int, int, int], _Message] = {}
    rank = [{value: i for i, value in enumerate(values)} for values in (numbers, stamps, levels)]
    for m in sorted(messages, key=lambda m: -m.expver):  # final data (1) replace preliminary (5)
        places[rank[0][m.number], rank[1][m.stamp], rank[2][m.level]] = m
    (rows, columns), dims, coordinates, keys = _places(file, first)
    lazy = indexing.LazilyIndexedArray(_Cube(file, places, (len(numbers), len(stamps), len(levels), rows, columns)))
    variable = xr.Variable(("number", "time", "level", *dims), lazy, {**_about(messages), **keys})
    expver = np.array([min(m.expver for (_, t, _), m in places.items() if t == i) for i in range(len(stamps))])
    data = xr.Dataset({first.short: variable}, coords={
        "number": numbers, "time": np.array(stamps).astype("datetime64[ns]"), "level": ("level", levels, {"units": "hPa"}),
        **coordinates, "expver": ("time", expver)})
    if first.kind != "isobaricInhPa":
        data = data.isel(level=0, drop=True)
    return data if len(numbers) > 1 else data.isel(number=0, drop=True)


def _places(file: Path, first: _Message) -> tuple[tuple[int, int], tuple[str, str], dict[str, Any], dict[str, Any]]:
    """Shape, dimensions, coordinates and GRIB's keys of a grid."""
    if not isinstance(first.grid[0], str):
        north, south, west, east, rows, columns = first.grid
        return (rows, columns), ("latitude", "longitude"), {
            "latitude": np.linspace(north, south, rows), "longitude": np.linspace(west, east, columns)}, {}  # fmt: skip
    import eccodes

    kind, rows, columns, _ = first.grid
    with open(file, "rb") as handle, _ECCODES:
        handle.seek(first.offset)
        message = eccodes.codes_new_from_message(handle.read(first.length))
        try:
            lat, lon = (eccodes.codes_get_array(message, name).reshape(rows, columns) for name in ("latitudes", "longitudes"))
            keys = {f"GRIB_{key}": eccodes.codes_get(message, key) for key in _GRID_KEYS if eccodes.codes_is_defined(message, key)}
        finally:
            eccodes.codes_release(message)
    if kind.startswith("regular"):
        return (rows, columns), ("latitude", "longitude"), {"latitude": lat[:, 0], "longitude": lon[0]}, {}
    north, east = {"units": "degrees_north", "standard_name": "latitude"}, {"units": "degrees_east", "standard_name": "longitude"}
    return (rows, columns), ("y", "x"), {"latitude": (("y", "x"), lat, north), "longitude": (("y", "x"), lon, east)}, keys


def _about(messages: list[_Message]) -> dict[str, Any]:
    """Attributes of a field; `accumulated_hours` only where all messages are sums over one and the same length of time."""
    kinds, hours = {m.step for m in messages}, {m.hours for m in messages}
    about: dict[str, Any] = {"units": messages[0].units}
    if len(kinds) == 1:
        about["GRIB_stepType"] = kinds.pop()
    if about.get("GRIB_stepType") == "accum" and len(hours) == 1:
        about["accumulated_hours"] = hours.pop()
    return about


def _decoded(content: bytes, shape: tuple[int, ...]) -> npt.NDArray[np.float32]:
    import eccodes

    with _ECCODES:
        message = eccodes.codes_new_from_message(content)
        try:
            values = eccodes.codes_get_values(message)
            if eccodes.codes_get(message, "bitmapPresent", int):
                values[values == eccodes.codes_get(message, "missingValue", float)] = np.nan
        finally:
            eccodes.codes_release(message)
    field: npt.NDArray[np.float32] = values.reshape(shape).astype(np.float32)
    return field
