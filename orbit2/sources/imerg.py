"""IMERG (global, 0.1 degree): daily files, or half-hours averaged to UTC days. Never fills a gap and never trusts a file's calendar name.

The files count seconds or days since 1970 (V06) or 1980-01-06 (V07) and call that "julian", but mean ordinary dates.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.config.sources import ImergConfig
from orbit2.door.damage import reading
from orbit2.door.stamps import decoded
from orbit2.errors import OrbitError
from orbit2.lazy import da, delayed
from orbit2.longitudes import eastward
from orbit2.sources.source import Facts, Need, Request
from orbit2.units import linear
from orbit2.variables import variable

Array = npt.NDArray[np.float64]
Fields = npt.NDArray[np.float32]
NAME = "total_precipitation_24hr"
SLOTS = 48
_RUN = {"final": "", "late": "-L", "early": "-E"}
_SHORT_NAME = {  # product -> run -> collection
    "daily": {"final": "GPM_3IMERGDF", "late": "GPM_3IMERGDL", "early": "GPM_3IMERGDE"},
    "half_hourly": {"final": "GPM_3IMERGHH", "late": "GPM_3IMERGHHL", "early": "GPM_3IMERGHHE"}}
_FIELD = {"07": "precipitation", "06": "precipitationCal"}
_FIRST = {"07": np.datetime64("1998-01-01"), "06": np.datetime64("2000-06-01")}
_UNITS = {"daily": ("mm/day", "mm"), "half_hourly": ("mm/hr",)}  # the products differ by them
_SECONDS = {"daily": 86400.0, "half_hourly": 1800.0}
_BYTES = {"daily": 30_000_000, "half_hourly": 8_000_000}


@dataclass(frozen=True)
class Granule:
    """One file: which variable of which group, the UTC time it begins, and its cells in the file's own order."""

    path: Path
    group: str
    field: str
    count: str | None  # how many half-hours each cell of a daily file has
    begin: np.datetime64  # datetime64[s]
    lat: Array
    lon: Array

    @property
    def day(self) -> np.datetime64:
        day: np.datetime64 = self.begin.astype("datetime64[D]")
        return day

    @property
    def slot(self) -> int:
        """Half-hour of the day, 0 to 47."""
        return int((self.begin - self.day.astype("datetime64[s]")).astype(int) // 1800)


class Imerg:
    """IMERG V06 and V07, final, late or early run; whole files or cut-outs from OPeNDAP."""

    name = "imerg"

    def __init__(self, config: ImergConfig) -> None:
        self.config = config
        short = _SHORT_NAME[config.product][config.run]
        code = {"daily": f"IMERG{short[-2:]}/DAY", "half_hourly": {"final": "IMERG/3B-HH", "late": "IMERG/3B-HH-L",
                                                                  "early": "IMERG/3B-HH-E"}[config.run]}[config.product]
        self.facts = Facts(
            title=f"GPM IMERG {config.run} precipitation V{config.version}, {config.product.replace('_', '-')}, 0.1 degree ({short})",
            licence="open (NASA Earth science data policy)",
            doi=f"10.5067/GPM/{code}/{config.version}",
            attribution=f"Huffman, G.J., E.F. Stocker, D.T. Bolvin, E.J. Nelkin, Jackson Tan: GPM IMERG V{config.version}, Greenbelt, MD, "
                        "Goddard Earth Sciences Data and Information Services Center (GES DISC)",
            day="00:00 to 24:00 UTC of its date",
            extra={"completeness": f"a cell counts with at least {config.min_slots} of {SLOTS} half-hours"})

    def offers(self) -> tuple[str, ...]:
        return (NAME,)

    def plan(self, need: Need) -> list[Request]:
        """One request per day (daily), or per half-hour, whose stamp is still the day's. `bytes` is a typical size of a global file."""
        for name in need.variables:
            if name != NAME:
                raise OrbitError("IMERG does not offer this variable", where="imerg", got=name, allowed=NAME,
                                 hint="take other variables from another source")  # fmt: skip
        earliest = _FIRST[self.config.version]
        if need.first < earliest:
            raise OrbitError("IMERG does not go back that far", where=f"version {self.config.version}", got=str(need.first),
                             allowed=f"from {earliest}", hint="begin the dataset's periods later")  # fmt: skip
        if not need.variables:
            return []
        days = np.arange(need.first.astype("datetime64[D]"), need.last.astype("datetime64[D]") + 1)
        slots: list[int | None] = [None] if self.config.product == "daily" else list(range(SLOTS))
        return [self._request(day, slot) for day in days for slot in slots]

    def check(self, path: Path, request: Request) -> None:
        """Opens the file, compares variable, version, units, grid and time with the request, and reads one cell."""
        granule = granule_of(path, self.config.product)
        if granule.field != _FIELD[self.config.version]:
            raise OrbitError("file is of another version", where=path, got=granule.field,
                             allowed=f"{_FIELD[self.config.version]} (version {self.config.version})",
                             hint="remove it and retrieve it again, or set sources.imerg.version")  # fmt: skip
        slot = request.body.get("slot")
        if granule.day != request.first.astype("datetime64[D]") or (slot is not None and granule.slot != int(slot)):
            raise OrbitError("file is of another time", where=path, got=str(granule.begin), allowed=str(request.body["first"]),
                             hint="remove it and retrieve it again")  # fmt: skip
        with _reading(path) as root:
            array = root[granule.group][granule.field]
            array[tuple(size // 2 for size in array.shape)]  # decompresses one block

    def open(self, files: Sequence[Path], names: Sequence[str], first: np.datetime64, last: np.datetime64) -> xr.Dataset:
        """(time, lat, lon) in mm, exactly the days that the files hold, one block a day. Cells with fewer than `min_slots` are NaN.

        Half-hours: the day's mean rate times 24 hours, with `slots(time)`, the number of files of each day; a day with fewer
        than `min_slots` files is NaN. Longitude runs from 0 to 360; a region across 0 runs on past 360. Raises OrbitError
        as the protocol says, and where two files hold the same time or come from different versions.
        """
        for name in names:
            if name != NAME:
                raise OrbitError("IMERG does not offer this variable", where="imerg", got=name, allowed=NAME,
                                 hint="take other variables from another source")  # fmt: skip
        begin, end = first.astype("datetime64[D]"), last.astype("datetime64[D]")
        granules = [g for g in (granule_of(Path(f), self.config.product) for f in files) if begin <= g.day <= end]
        if not granules or not names:
            raise OrbitError("no files of this period", where="imerg", got=f"{first} to {last}", hint="run the retrieve stage for it")
        granules.sort(key=lambda g: (g.begin, str(g.path)))
        _consistent(granules)
        granules = [replace(g, lat=granules[0].lat, lon=granules[0].lon) for g in granules]  # one copy, not one a half-hour
        columns, lon = eastward(granules[0].lon, decimals=2)
        rows = np.argsort(granules[0].lat, kind="stable")
        days, slots, blocks = [], [], []
        for day, found in groupby(granules, key=lambda g: g.day):
            members = list(found)
            days.append(day)
            slots.append(len(members))
            reader = _daily if self.config.product == "daily" else _from_half_hours
            block = delayed(partial(reader, members, self.config.min_slots, rows, columns), traverse=False)()
            blocks.append(da.from_delayed(block, (1, len(rows), len(columns)), np.float32))  # type: ignore[no-untyped-call]
        about = variable(NAME)
        coords: dict[str, Any] = {"time": np.array(days, dtype="datetime64[ns]"), "lat": granules[0].lat[rows], "lon": lon}
        if self.config.product == "half_hourly":
            coords["slots"] = ("time", np.array(slots, dtype=np.int16), {"long_name": "half-hours read", "units": "1"})
        field = da.concatenate(blocks)  # type: ignore[no-untyped-call]
        dataset = xr.Dataset({NAME: (("time", "lat", "lon"), field)}, coords=coords)
        dataset[NAME].attrs = {"units": about.units, "standard_name": about.standard_name, "long_name": about.long_name,
                               "cell_methods": about.cell_methods}
        return dataset

    def _request(self, day: np.datetime64, slot: int | None) -> Request:
        config = self.config
        compact = str(day).replace("-", "")
        if slot is None:
            span, kind, suffix = "S000000-E235959", "DAY", "nc4"
            begin, end = f"{day}T00:00:00", f"{day}T23:59:59"
        else:
            hour, minute = divmod(slot * 30, 60)
            span = f"S{hour:02d}{minute:02d}00-E{hour:02d}{minute + 29:02d}59.{slot * 30:04d}"
            kind, suffix = "HHR", "HDF5"
            begin, end = f"{day}T{hour:02d}:{minute:02d}:00", f"{day}T{hour:02d}:{minute + 29:02d}:59"
        stem = f"3B-{kind}{_RUN[config.run]}.MS.MRG.3IMERG.{compact}-{span}.V{config.version}"
        body = {"short_name": _SHORT_NAME[config.product][config.run], "version": config.version, "pattern": f"{stem}*.{suffix}",
                "first": begin, "last": end}
        stamp = day.astype("datetime64[s]")
        return Request(file=f"{compact[:4]}/{compact[4:6]}/{stem}.{suffix}", client="earthdata",
                       body=body if slot is None else {**body, "slot": slot}, variables=(NAME,), first=stamp, last=stamp,
                       bytes=_BYTES[config.product], note="IMERG files are global; sizes are estimates (a typical file)")


def granule_of(path: Path, product: str) -> Granule:
    """What one file holds. Raises OrbitError for what is not an IMERG file of this product on the 0.1 degree grid."""
    with _reading(path) as root:
        group = root["Grid"] if isinstance(root.get("Grid"), h5py.Group) else root
        field = next((name for name in _FIELD.values() if name in group), None)
        if field is None:
            raise OrbitError("field not in the file", where=path, got=" or ".join(_FIELD.values()),
                             hint=f"the file holds: {', '.join(list(group)[:8]) or 'nothing'}")
        array = group[field]
        where = f"{path}: {field}"
        axes = _axes(array)
        if sorted(axes) != ["lat", "lon", "time"] or array.shape[axes.index("time")] != 1:
            raise OrbitError("field has unexpected dimensions", where=where, got=f"{axes} {array.shape}", allowed="time (1), lon, lat",
                             hint="give IMERG's own files")  # fmt: skip
        units = _text(array, "units")
        if not units or not any((scale := linear(units, own, water=True)) and scale.nothing for own in _UNITS[product]):
            raise OrbitError("field has wrong units" if units else "field has no units", where=where, got=units,
                             allowed=f"{', '.join(_UNITS[product])} (sources.imerg.product is {product})",
                             hint="set sources.imerg.product as the files are")  # fmt: skip
        for axis in ("time", "lat", "lon"):
            if axis not in group:
                raise OrbitError(f"no {axis} coordinate", where=path, got=list(group)[:12], hint="give IMERG's own files")
        time = xr.DataArray(np.atleast_1d(group["time"][()]), dims="time", attrs={"units": _text(group["time"], "units")})
        _refuse_other_spans(group, time.attrs["units"], product, where)
        count = f"{field}_cnt"
        granule = Granule(path, group.name, field, count if count in group else None, decoded(time, path)[0],
                          _centres(group["lat"][()], -90.0, path, "lat"), _centres(group["lon"][()], -180.0, path, "lon"))
        if {axis: size for axis, size in zip(axes, array.shape, strict=True) if axis != "time"} != {
                "lat": len(granule.lat), "lon": len(granule.lon)}:
            raise OrbitError("field and coordinates differ in size", where=where, got=str(array.shape),
                             hint="remove it and retrieve it again")  # fmt: skip
        return granule


def _refuse_other_spans(group: h5py.Group, units: str | None, product: str, where: str) -> None:
    """Raise OrbitError where the file's own bounds of time say another length: monthly files have rates in mm/hr too."""
    if "time_bnds" not in group or not units:
        return
    length = np.diff(np.asarray(group["time_bnds"][()], dtype=np.float64).ravel()[:2])
    seconds = float(length[0]) * {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}.get(units[:1].lower(), np.nan) if len(length) else np.nan
    if seconds > 1.1 * _SECONDS[product]:
        raise OrbitError("the file covers another length of time", where=where, got=f"{seconds / 3600:g} hours",
                         allowed=f"{_SECONDS[product] / 3600:g} hours (sources.imerg.product is {product})",
                         hint="set sources.imerg.product as the files are")  # fmt: skip


@contextmanager
def _reading(path: Path) -> Iterator[h5py.File]:
    """The open file. By h5py, which may be used from several threads at once (the netCDF library may not)."""
    if not path.is_file():
        raise OrbitError("file not found", where=path, hint="run the retrieve stage")
    with reading(path, "IMERG", allowed="NetCDF-4 or HDF5"), h5py.File(path, "r") as root:
        yield root


def _axes(array: h5py.Dataset) -> list[str]:
    """Names of the dimensions, from the dimension scales or the attribute that the provider writes."""
    scales = [dimension[0].name.rsplit("/", 1)[-1] if len(dimension) else "" for dimension in array.dims]
    return scales if all(scales) else (_text(array, "DimensionNames") or "").split(",")


def _text(item: h5py.Dataset, name: str) -> str | None:
    value = item.attrs.get(name)
    if isinstance(value, np.ndarray):
        value = value.ravel()[0] if value.size else None
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None if value is None else str(value)


def _centres(values: npt.NDArray[Any], origin: float, path: Path, axis: str) -> Array:
    """Exact centres of the 0.1 degree cells that float32 coordinates mean. Raises OrbitError for any other grid."""
    centres = np.asarray(values, dtype=np.float64)
    cells = np.round((centres - origin - 0.05) * 10)
    exact: Array = (10 * cells + 5) / 100 + origin
    if centres.ndim != 1 or len(centres) == 0 or not np.allclose(centres, exact, atol=1e-3) or not (np.abs(np.diff(cells)) == 1).all():
        ends = f" from {centres.ravel()[0]:g} to {centres.ravel()[-1]:g}" if centres.size else ""
        raise OrbitError("not IMERG's 0.1 degree grid", where=f"{path}: {axis}", got=f"{centres.size} values{ends}",
                         hint="give IMERG's own files, not regridded ones")  # fmt: skip
    return np.round(exact, 2)


def _consistent(granules: Sequence[Granule]) -> None:
    """One version, one grid, every time once. `granules` are sorted by time."""
    reference = granules[0]
    for before, granule in zip([reference, *granules[:-1]], granules, strict=True):
        pair = f"{reference.path.name} and {granule.path.name}"
        if granule.field != reference.field:
            raise OrbitError("files of different versions are mixed", where=pair, got=granule.field, allowed=reference.field,
                             hint="keep each version in a folder of its own")
        if granule is not reference and (granule.day, granule.slot) == (before.day, before.slot):
            raise OrbitError("two files hold the same time", where=f"{before.path.name} and {granule.path.name}", got=str(granule.begin),
                             hint="remove one of them and run retrieve again")
        for axis in ("lat", "lon"):
            one, other = getattr(reference, axis), getattr(granule, axis)
            if not np.array_equal(one, other):
                raise OrbitError("files lie on different grids", where=pair, got=f"{axis} {other[0]:g} to {other[-1]:g} ({len(other)})",
                                 allowed=f"{one[0]:g} to {one[-1]:g} ({len(one)})", hint="retrieve all files with one box")  # fmt: skip


def _read(granule: Granule, name: str) -> npt.NDArray[Any]:
    """A variable [lat, lon] as stored, in the file's order."""
    with _reading(granule.path) as root:
        array = root[granule.group][name]
        axes = _axes(array)
        values: npt.NDArray[Any] = np.take(array[()], 0, axis=axes.index("time"))
        axes.remove("time")
        return values if axes == ["lat", "lon"] else values.T


def _values(granule: Granule) -> Fields:
    """The field [lat, lon], float32, missing values (-9999.9) NaN."""
    values = _read(granule, granule.field).astype(np.float32)
    return np.where(values > -9000, values, np.float32(np.nan))


def _daily(members: Sequence[Granule], min_slots: int, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Fields:
    """One day [1, lat, lon] in mm; cells whose own count of half-hours is too small are NaN."""
    values = _values(members[0])
    if members[0].count is not None:
        values = np.where(_read(members[0], members[0].count) >= min_slots, values, np.float32(np.nan))
    return values[np.ix_(rows, columns)][None]


def _from_half_hours(members: Sequence[Granule], min_slots: int, rows: npt.NDArray[np.int64], columns: npt.NDArray[np.int64]) -> Fields:
    """One day [1, lat, lon] in mm from rates in mm/h: mean of the half-hours times 24, where there are enough."""
    shape = (len(rows), len(columns))
    if len(members) < min_slots:
        return np.full((1, *shape), np.nan, dtype=np.float32)
    total, count = np.zeros(shape, dtype=np.float64), np.zeros(shape, dtype=np.int16)
    for granule in members:
        values = _values(granule)
        valid = np.isfinite(values)
        total += np.where(valid, values, 0.0)
        count += valid
    mean = np.where(count >= min_slots, total / np.maximum(count, 1), np.nan)
    return (mean * 24.0).astype(np.float32)[np.ix_(rows, columns)][None]
