"""Reads ERA5 as the Copernicus store delivers it (NetCDF of both generations, zip, GRIB), lazily. Never guesses units.

Output: canonical names and units, dimensions (time, lat, lon), latitude ascending, longitude increasing from [0, 360).
A region across the prime meridian runs on past 360, so that its cells stay neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from orbit2.errors import OrbitError, did_you_mean
from orbit2.sources.archive import unpack
from orbit2.variables import variable

SUFFIXES = (".nc", ".nc4", ".grib", ".grib2", ".grb")
CHUNK_BYTES = 64 * 2**20
_AXES = {"valid_time": "time", "latitude": "lat", "longitude": "lon", "pressure_level": "level", "isobaricInhPa": "level", "plev": "level"}
_LEVEL_TO_HPA = {"hPa": 1.0, "millibars": 1.0, "mbar": 1.0, "Pa": 0.01}
_MM_PER_DAY = 24_000.0  # metres of the hour ending at the stamp -> mm day-1


@dataclass(frozen=True)
class Field:
    """How ERA5 names a variable: NetCDF names, GRIB shortName, hPa level, and unit -> (factor, offset)."""

    names: tuple[str, ...]
    grib: tuple[str, ...]
    units: dict[str, tuple[float, float]]
    level: int | None = None


def _same(*units: str) -> dict[str, tuple[float, float]]:
    return dict.fromkeys(units, (1.0, 0.0))


_KELVIN = {**_same("K", "kelvin"), "degC": (1.0, 273.15), "Celsius": (1.0, 273.15)}
_SPEED = _same("m s**-1", "m s-1", "m/s")


def _lexicon() -> dict[str, Field]:
    fields = {
        "2m_temperature": Field(("t2m", "2t", "VAR_2T"), ("2t",), _KELVIN),
        "10m_u_component_of_wind": Field(("u10", "10u", "VAR_10U"), ("10u",), _SPEED),
        "10m_v_component_of_wind": Field(("v10", "10v", "VAR_10V"), ("10v",), _SPEED),
        "mean_sea_level_pressure": Field(("msl",), ("msl",), {**_same("Pa"), "hPa": (100.0, 0.0)}),
        "precipitation_rate": Field(("tp", "mtpr", "avg_tprate"), ("tp", "mtpr", "avg_tprate"), {
            "m": (_MM_PER_DAY, 0.0), "mm": (24.0, 0.0), "kg m**-2 s**-1": (86400.0, 0.0), "kg m-2 s-1": (86400.0, 0.0)}),
        "volumetric_soil_water_layer_1": Field(("swvl1",), ("swvl1",), _same("m**3 m**-3", "m3 m-3", "1")),
    }
    for level in (200, 500, 850):
        fields |= {
            f"temperature_{level}": Field(("t",), ("t",), _KELVIN, level),
            f"u_component_of_wind_{level}": Field(("u",), ("u",), _SPEED, level),
            f"v_component_of_wind_{level}": Field(("v",), ("v",), _SPEED, level),
            f"specific_humidity_{level}": Field(("q",), ("q",), _same("kg kg**-1", "kg kg-1", "1"), level),
        }
    return fields


LEXICON: dict[str, Field] = _lexicon()


def open_era5(paths: Sequence[Path], names: Sequence[str], *, member: int | None = None) -> xr.Dataset:
    """The variables `names` of all `paths` (NetCDF, GRIB, or zip archives of them) as one lazy Dataset (float32).

    Times are the union over variables; where a variable has no data at a time it is NaN. `member` picks one of several
    ensemble members. Raises OrbitError naming file and field: unknown name, not in the files, wrong or missing units,
    missing everywhere, grids that differ, several members, a file that cannot be read.
    """
    files: list[Path] = []
    for path in map(Path, paths):
        if not path.is_file():
            raise OrbitError("file not found", where=path)
        files += unpack(path, SUFFIXES) if _kind(path) == "zip" else [path]  # CDS has sent zips named .nc
    found: dict[str, list[tuple[Path, xr.DataArray]]] = {name: [] for name in names}
    for name in names:
        if name not in LEXICON:
            raise OrbitError("ERA5 does not offer this variable", got=name, allowed=", ".join(LEXICON), hint=did_you_mean(name, LEXICON))
    offered: set[str] = set()
    for file in files:
        for raw in _open(file, names):
            offered |= set(map(str, raw.data_vars))
            prepared = _axes(raw, file, member)
            for name in names:
                array = _pick(prepared, name, file)
                if array is not None:
                    found[name].append((file, array))
    merged = {}
    for name, pieces in found.items():
        if not pieces:
            raise OrbitError("field not in the files", where=", ".join(f.name for f in files[:4]), got=name,
                             allowed=f"one of {LEXICON[name].names}" + (f" at {LEXICON[name].level} hPa" if LEXICON[name].level else ""),
                             hint=f"the files hold: {', '.join(sorted(offered)) or 'nothing readable'}")
        merged[name] = _join(name, pieces)
    _same_grid(merged, found)
    dataset = xr.merge([array.rename(name) for name, array in merged.items()], join="outer", compat="override", combine_attrs="drop")
    for name in merged:
        about = variable(name)
        dataset[name].attrs = {"units": about.units, "standard_name": about.standard_name, "long_name": about.long_name,
                               "cell_methods": about.cell_methods}
    return dataset.chunk({"lat": -1, "lon": -1})


def _open(file: Path, names: Sequence[str]) -> list[xr.Dataset]:
    """The file's hypercubes, undecoded beyond CF scaling and time."""
    try:
        match _kind(file):
            case "netcdf":
                return [xr.open_dataset(file, engine="netcdf4")]
            case "grib":
                return _open_grib(file, names)
        raise ValueError("neither NetCDF nor GRIB by its first bytes")
    except (OSError, ValueError, EOFError, RuntimeError) as error:
        raise OrbitError(f"cannot be read as ERA5 ({str(error).splitlines()[0] if str(error) else type(error).__name__})",
                         where=file, allowed="NetCDF, GRIB, or a zip of them", hint="delete it and retrieve it again") from None


def _kind(file: Path) -> str:
    """By content, not by name: "netcdf", "grib", "zip" or "unknown"."""
    with open(file, "rb") as handle:
        head = handle.read(4)
    kinds = {b"\x89HDF": "netcdf", b"CDF\x01": "netcdf", b"CDF\x02": "netcdf", b"CDF\x05": "netcdf", b"GRIB": "grib", b"PK\x03\x04": "zip"}
    return kinds.get(head, "unknown")


def _open_grib(file: Path, names: Sequence[str]) -> list[xr.Dataset]:
    """One hypercube per short name: GRIB messages of different level types do not fit in one."""
    cubes = []
    for short in dict.fromkeys(s for name in names for s in LEXICON[name].grib):
        levels = [LEXICON[name].level for name in names if short in LEXICON[name].grib]
        keys: dict[str, Any] = {"shortName": short}
        if levels[0] is not None:
            keys["typeOfLevel"] = "isobaricInhPa"
        cube = xr.open_dataset(file, engine="cfgrib", backend_kwargs={
            "filter_by_keys": keys, "indexpath": "", "time_dims": ("valid_time",), "errors": "raise"})
        if cube.data_vars:
            cubes.append(cube)
    return cubes


def _axes(raw: xr.Dataset, file: Path, member: int | None) -> xr.Dataset:
    """Canonical dimension names; expver merged; one member; time always a dimension; axes in canonical order."""
    if "valid_time" in raw.variables and "time" in raw.variables:
        raw = raw.drop_vars("time")
    data = raw.rename({old: new for old, new in _AXES.items() if old in raw.variables or old in raw.dims})
    if "time" not in data.variables and "date" in data.variables:  # integer days, e.g. 20200131
        days = [f"{int(d):08d}" for d in np.atleast_1d(data["date"].values)]
        stamps = np.array([f"{d[:4]}-{d[4:6]}-{d[6:]}" for d in days], dtype="datetime64[ns]")
        data = data.assign_coords(date=stamps if "date" in data.dims else stamps[0]).rename(date="time")
    for axis in ("time", "lat", "lon"):
        if axis not in data.variables:
            raise OrbitError(f"no {axis} coordinate", where=file, got=list(map(str, raw.variables))[:12])
    if not np.issubdtype(data["time"].dtype, np.datetime64):
        raise OrbitError("time is not a date", where=file, got=str(data["time"].dtype), hint="the units or calendar attribute is missing")
    if "number" in data.dims:
        if member is None and data.sizes["number"] > 1:
            raise OrbitError("file holds several ensemble members", where=file, got=list(map(int, data["number"].values)),
                             hint="choose one with `member`")
        members = list(map(int, data["number"].values))
        if member is not None and member not in members:
            raise OrbitError("no such ensemble member", where=file, got=member, allowed=members)
        data = data.isel(number=members.index(member) if member is not None else 0)
    if "expver" in data.dims:
        data = _merge_expver(data)
    for scalar in ("time", "level"):
        if scalar in data.variables and scalar not in data.dims:
            data = data.expand_dims(scalar)
    data = data.drop_vars([c for c in data.coords if c not in ("time", "lat", "lon", "level")])
    return _order(data, file)


def _merge_expver(data: xr.Dataset) -> xr.Dataset:
    """Final data (1) where present, else preliminary (5): `expver` is a dimension where both meet in one file."""
    order = np.argsort([int(str(float(v)).split(".")[0]) if not isinstance(v, str) else int(v) for v in data["expver"].values])
    merged = data.isel(expver=int(order[0]), drop=True)
    for position in order[1:]:
        merged = merged.fillna(data.isel(expver=int(position), drop=True))
    return merged


def _order(data: xr.Dataset, file: Path) -> xr.Dataset:
    lat, lon = data["lat"].values.astype(np.float64), data["lon"].values.astype(np.float64)
    if lat.ndim != 1 or lon.ndim != 1:
        raise OrbitError("latitude and longitude must be 1-D", where=file, hint="request the regular grid")
    steps = np.diff(lat)
    if not (np.all(steps > 0) or np.all(steps < 0)):
        raise OrbitError("latitude is not monotonic", where=file)
    if steps[:1] < 0:
        data = data.isel(lat=slice(None, None, -1))
        lat = lat[::-1]
    wrapped = np.mod(np.round(lon, 6), 360.0)
    order = np.argsort(wrapped, kind="stable")
    order = order[np.concatenate([[True], np.diff(wrapped[order]) > 1e-6])]  # 0 and 360 may both be there
    wrapped = wrapped[order]
    gaps = np.diff(np.append(wrapped, wrapped[0] + 360))
    if len(wrapped) > 1 and gaps[-1] < np.max(gaps) - 1e-6:  # a region across 0: begin after its widest gap
        begin = int(np.argmax(gaps)) + 1
        order = np.roll(order, -begin)
        wrapped = np.concatenate([wrapped[begin:], wrapped[:begin] + 360])
    if not np.array_equal(order, np.arange(len(lon))):
        data = data.isel(lon=order)
    return data.assign_coords(lat=("lat", lat), lon=("lon", wrapped))


def _pick(data: xr.Dataset, name: str, file: Path) -> xr.DataArray | None:
    """The field in canonical units, lazily, or None when this file does not hold it."""
    field = LEXICON[name]
    key = next((k for k in (*field.names, *field.grib) if k in data.data_vars), None)
    if key is None:
        return None
    array = data[key]
    if field.level is not None:
        if "level" not in array.dims:
            return None
        units = data["level"].attrs.get("units", "hPa")
        if units not in _LEVEL_TO_HPA:
            raise OrbitError("pressure levels have unknown units", where=f"{file}: {key}", got=units, allowed=", ".join(_LEVEL_TO_HPA))
        hits = np.flatnonzero(np.isclose(data["level"].values.astype(np.float64) * _LEVEL_TO_HPA[units], field.level))
        if not len(hits):
            return None
        array = array.isel(level=int(hits[0]), drop=True)
    elif "level" in array.dims:
        return None
    if set(array.dims) != {"time", "lat", "lon"}:
        raise OrbitError("field has unexpected dimensions", where=f"{file}: {key}", got=array.dims, allowed="time, latitude, longitude")
    units = array.attrs.get("units")
    if units not in field.units:
        raise OrbitError("field has wrong units" if units else "field has no units", where=f"{file}: {key}", got=units,
                         allowed=", ".join(field.units))
    rows, columns = array.sizes["lat"], array.sizes["lon"]
    array = array.transpose("time", "lat", "lon").chunk({"time": max(1, CHUNK_BYTES // (rows * columns * 4)), "lat": -1, "lon": -1})
    factor, offset = field.units[units]
    array = array.astype(np.float32) if (factor, offset) == (1.0, 0.0) else (array * factor + offset).astype(np.float32)
    if name == "precipitation_rate":  # packing leaves values a rounding error below zero
        array = array.where((array > 0) | (array < -0.05) | array.isnull(), np.float32(0))
    try:
        present = _any_finite(array)
    except (OSError, RuntimeError, EOFError) as error:
        raise OrbitError(f"damaged file ({error})", where=f"{file}: {key}", hint="delete it and retrieve it again") from None
    if not present:
        raise OrbitError("field is missing everywhere (NaN only)", where=f"{file}: {key}")
    return array


def _any_finite(array: xr.DataArray) -> bool:
    """Reads time by time and stops at the first value found, so that good files cost one read."""
    return any(bool(np.isfinite(array.isel(time=i).values).any()) for i in range(array.sizes["time"]))


def _join(name: str, pieces: list[tuple[Path, xr.DataArray]]) -> xr.DataArray:
    """All files' pieces of one field along time; a time that two files hold is taken from the first."""
    first_file, first = pieces[0]
    for file, piece in pieces[1:]:
        _check_grid(first, piece, f"{first_file.name} and {file.name}: {name}")
    joined = first if len(pieces) == 1 else xr.concat(
        [p.assign_coords(lat=first["lat"], lon=first["lon"]) for _, p in pieces], dim="time", combine_attrs="override")
    _, unique = np.unique(joined["time"].values, return_index=True)
    if len(unique) != joined.sizes["time"] or not np.array_equal(unique, np.arange(len(unique))):
        joined = joined.isel(time=unique)
    return joined


def _same_grid(merged: dict[str, xr.DataArray], found: dict[str, list[tuple[Path, xr.DataArray]]]) -> None:
    reference = next(iter(merged))
    for name, array in merged.items():
        _check_grid(merged[reference], array, f"{found[name][0][0].name}: {name}")
        merged[name] = array.assign_coords(lat=merged[reference]["lat"], lon=merged[reference]["lon"])


def _check_grid(one: xr.DataArray, other: xr.DataArray, where: str) -> None:
    for axis in ("lat", "lon"):
        if one.sizes[axis] != other.sizes[axis] or not np.allclose(one[axis], other[axis], atol=1e-4):
            raise OrbitError("fields lie on different grids", where=where, got=f"{other.sizes[axis]} {axis} values",
                             allowed=f"the same {one.sizes[axis]}", hint="request one grid and area for all variables")
