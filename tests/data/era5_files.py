"""Tiny ERA5 files in the provider's formats, with values known in closed form."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import xarray as xr

LAT = np.arange(90.0, -91.0, -30.0)  # 7 rows, north to south, with both poles
LON = np.arange(0.0, 360.0, 45.0)  # 8 columns
UNITS = {"t2m": "K", "u10": "m s**-1", "v10": "m s**-1", "msl": "Pa", "tp": "m"}


def values(name: str, times: int, lat: np.ndarray = LAT, lon: np.ndarray = LON, *, since: int = 0) -> np.ndarray:
    """Field [time, lat, lon] in the provider's units: a different plane per variable, drifting with the hours from `since` on."""
    scale, base = {"t2m": (0.1, 280.0), "u10": (0.02, 1.0), "v10": (0.01, -1.0), "msl": (5.0, 101000.0), "tp": (1e-7, 1e-4)}[name]
    return (base + scale * (lat[:, None] + lon[None] / 8)[None] + (since + np.arange(times))[:, None, None] * scale).astype(np.float32)


def cds2024(path: Path, names: tuple[str, ...] = ("t2m",), times: int = 3, *, start: str = "2020-01-01T00",
            lat: np.ndarray = LAT, lon: np.ndarray = LON, units: dict[str, str | None] | None = None, since: int = 0) -> Path:
    """NetCDF as CDS writes it since 2024: valid_time, scalar number, string expver, north to south."""
    stamps = (np.datetime64(start, "ns") + np.arange(times) * np.timedelta64(1, "h")).astype("datetime64[ns]")
    data = {}
    for name in names:
        unit = {**UNITS, **(units or {})}[name]
        attrs = {} if unit is None else {"units": unit}
        data[name] = (("valid_time", "latitude", "longitude"), values(name, times, lat, lon, since=since), attrs)
    xr.Dataset(data, coords={
        "number": ((), 0), "valid_time": stamps, "latitude": lat, "longitude": lon,
        "expver": (("valid_time",), np.full(times, "0001", dtype=object)),
    }).to_netcdf(path, engine="netcdf4", encoding={"valid_time": {"units": "seconds since 1970-01-01", "dtype": "int64"}})
    return path


def zipped(path: Path, members: dict[str, Path]) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        for name, file in members.items():
            archive.write(file, name)
    return path
