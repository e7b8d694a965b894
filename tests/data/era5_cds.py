"""Files exactly as the Climate Data Store writes them since 2024 (ncdump -hs of real ones), from an analytic field; and as GRIB."""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from tests.data.grib import message

# field(request name, times [T] datetime64[s], lat [H], lon [W]) -> [T, H, W] in the store's own units; for a pressure level the name
# is "<variable>_<hPa>", e.g. "temperature_850"
Field = Callable[[str, np.ndarray, np.ndarray, np.ndarray], np.ndarray]
# request name: NetCDF name, GRIB paramId, units, stepType, long name, standard name
NAMES: dict[str, tuple[str, int, str, str, str, str]] = {
    "2m_temperature": ("t2m", 167, "K", "instant", "2 metre temperature", "unknown"),
    "10m_u_component_of_wind": ("u10", 165, "m s**-1", "instant", "10 metre U wind component", "unknown"),
    "10m_v_component_of_wind": ("v10", 166, "m s**-1", "instant", "10 metre V wind component", "unknown"),
    "mean_sea_level_pressure": ("msl", 151, "Pa", "instant", "Mean sea level pressure", "air_pressure_at_mean_sea_level"),
    "sea_surface_temperature": ("sst", 34, "K", "instant", "Sea surface temperature", "unknown"),
    "volumetric_soil_water_layer_1": ("swvl1", 39, "m**3 m**-3", "instant", "Volumetric soil water layer 1", "unknown"),
    "total_precipitation": ("tp", 228, "m", "accum", "Total precipitation", "unknown"),
    "maximum_2m_temperature_since_previous_post_processing": (
        "mx2t", 201, "K", "max", "Maximum temperature at 2 metres since previous post-processing", "unknown"),
    "minimum_2m_temperature_since_previous_post_processing": (
        "mn2t", 202, "K", "min", "Minimum temperature at 2 metres since previous post-processing", "unknown"),
    "land_sea_mask": ("lsm", 172, "(0 - 1)", "instant", "Land-sea mask", "land_binary_mask"),
    "geopotential": ("z", 129, "m**2 s**-2", "instant", "Geopotential", "geopotential"),
    "high_vegetation_cover": ("cvh", 28, "(0 - 1)", "instant", "High vegetation cover", "unknown"),
    "low_vegetation_cover": ("cvl", 27, "(0 - 1)", "instant", "Low vegetation cover", "unknown"),
    "lake_cover": ("cl", 26, "(0 - 1)", "instant", "Lake cover", "unknown"),
    "standard_deviation_of_orography": ("sdor", 160, "m", "instant", "Standard deviation of orography", "unknown"),
    "temperature": ("t", 130, "K", "instant", "Temperature", "air_temperature"),
    "u_component_of_wind": ("u", 131, "m s**-1", "instant", "U component of wind", "eastward_wind"),
    "v_component_of_wind": ("v", 132, "m s**-1", "instant", "V component of wind", "northward_wind"),
    "specific_humidity": ("q", 133, "kg kg**-1", "instant", "Specific humidity", "specific_humidity"),
}
SPACING = 0.25


def result(body: Mapping[str, Any], field: Field, folder: Path, *, expver: str = "0001", spacing: float = SPACING) -> tuple[bytes, str]:
    """What the store sends for the request `body`, and its media type: NetCDF, a zip of one NetCDF per step type, or GRIB."""
    times, lat, lon = hours(body), *axes(body.get("area"), spacing)
    levels = [int(level) for level in body.get("pressure_level", [])]
    if body.get("data_format") == "grib":
        return b"".join(message(NAMES[name][1], level, time, lat, lon, plane(field, name, level, times[i : i + 1], lat, lon)[0])
                        for i, time in enumerate(times) for name in body["variable"] for level in levels or [None]), "application/x-grib"
    members = {}
    for step in dict.fromkeys(NAMES[name][3] for name in body["variable"]):
        names = [name for name in body["variable"] if NAMES[name][3] == step]
        key = hashlib.md5(repr(sorted(body.items())).encode()).hexdigest()
        path = folder / f"{key}-{step}.nc"
        members[f"data_stream-oper_stepType-{step}.nc"] = write(path, names, times, lat, lon, levels, field, expver)
    if len(members) == 1:
        return next(iter(members.values())), "application/netcdf"
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return whole.getvalue(), "application/zip"


def hours(body: Mapping[str, Any]) -> np.ndarray:
    """The stamps of a request that exist in the calendar, datetime64[s], ascending."""
    found = []
    for year in body["year"]:
        for month in body["month"]:
            for day in body["day"]:
                try:
                    found += [np.datetime64(f"{year}-{month}-{day}T{hour}", "s") for hour in body["time"]]
                except ValueError:
                    continue
    return np.array(sorted(found))


def axes(area: Sequence[float] | None, spacing: float = SPACING) -> tuple[np.ndarray, np.ndarray]:
    """Latitudes north to south, longitudes west to east, of the grid points inside `area` (north, west, south, east)."""
    if area is None:
        return 90 - spacing * np.arange(round(180 / spacing) + 1), spacing * np.arange(round(360 / spacing))
    north, west, south, east = area
    lat = 90 - spacing * np.arange(np.ceil((90 - north) / spacing - 1e-9), np.floor((90 - south) / spacing + 1e-9) + 1)
    return lat, spacing * np.arange(np.ceil(west / spacing - 1e-9), np.floor(east / spacing + 1e-9) + 1)


def plane(field: Field, name: str, level: int | None, times: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    whole = name if level is None else f"{name}_{level}"
    return np.broadcast_to(np.asarray(field(whole, times, lat, lon), dtype=np.float32), (len(times), len(lat), len(lon)))


def write(
    path: Path, names: Sequence[str], times: np.ndarray, lat: np.ndarray, lon: np.ndarray, levels: Sequence[int], field: Field,
    expver: str | Sequence[str] = "0001", chunks: Sequence[int] | None = None,
) -> bytes:
    """One NetCDF with the store's dimensions, coordinates, attributes and compression (netCDF-C's default chunks)."""
    dims = ("valid_time", *(("pressure_level",) if levels else ()), "latitude", "longitude")
    data = {}
    for name in names:
        short, code, units, step, long_name, standard = NAMES[name]
        planes = [plane(field, name, level, times, lat, lon) for level in levels or [None]]
        data[short] = (dims, np.stack(planes, axis=1) if levels else planes[0], {
            "GRIB_paramId": code, "GRIB_dataType": "fc" if step != "instant" else "an", "GRIB_numberOfPoints": lat.size * lon.size,
            "GRIB_typeOfLevel": "isobaricInhPa" if levels else "surface", "GRIB_stepUnits": 1, "GRIB_stepType": step,
            "GRIB_gridType": "regular_ll", "GRIB_Nx": lon.size, "GRIB_Ny": lat.size, "GRIB_cfVarName": short, "GRIB_name": long_name,
            "GRIB_units": units, "long_name": long_name, "units": units, "standard_name": standard})
    coords: dict[str, Any] = {
        "number": ((), 0, {"long_name": "ensemble member numerical id", "units": "1", "standard_name": "realization"}),
        "valid_time": (("valid_time",), times.astype("datetime64[ns]"), {"long_name": "time", "standard_name": "time"}),
        "latitude": (("latitude",), lat.astype(np.float64), {
            "units": "degrees_north", "standard_name": "latitude", "long_name": "latitude", "stored_direction": "decreasing"}),
        "longitude": (("longitude",), lon.astype(np.float64), {
            "units": "degrees_east", "standard_name": "longitude", "long_name": "longitude"}),
        "expver": (("valid_time",), np.array([expver] * len(times) if isinstance(expver, str) else list(expver), dtype=object)),
    }
    if levels:
        coords["pressure_level"] = (("pressure_level",), np.array(levels, dtype=np.float64), {
            "long_name": "pressure", "units": "hPa", "positive": "down", "stored_direction": "decreasing", "standard_name": "air_pressure"})
    encoding: dict[str, dict[str, Any]] = {short: {"zlib": True, "complevel": 1, "shuffle": True} for short in data}
    if chunks is not None:
        for short in data:
            encoding[short]["chunksizes"] = tuple(chunks)
    encoding["valid_time"] = {"units": "seconds since 1970-01-01", "dtype": "int64", "calendar": "proleptic_gregorian"}
    xr.Dataset(data, coords=coords, attrs={
        "GRIB_centre": "ecmf", "Conventions": "CF-1.7", "institution": "European Centre for Medium-Range Weather Forecasts",
        "history": "GRIB to CDM+CF via cfgrib-0.9.15.1/ecCodes-2.42.0"}).to_netcdf(path, engine="netcdf4", encoding=encoding)
    return path.read_bytes()
