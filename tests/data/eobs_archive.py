"""E-OBS and hourly ERA5 in small, in their layouts: observations every 0.1 degree over land only, by the day from 06:00 UTC; hours of the
Climate Data Store every 0.25 degrees. Values are known from the formulas of `own_archive`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from tests.data.own_archive import rain, warmth

FIRST, DAYS = "2001-01-01", 45
BEGINS = 6  # UTC: the hour at which an observed day begins
SPLIT = {"train": {"start": FIRST, "end": "2001-01-20"}, "validation": {"start": "2001-01-28", "end": "2001-02-02"},
         "test": {"start": "2001-02-10", "end": "2001-02-13"}}  # fmt: skip
FINE_LAT, FINE_LON = np.round(np.arange(42.05, 44.4, 0.1), 2), np.round(np.arange(7.05, 10.2, 0.1), 2)
ERA_LAT, ERA_LON = np.arange(45.5, 40.9, -0.25), np.arange(6.0, 11.6, 0.25)
Array = npt.NDArray[np.float64]


def amount(hour: npt.ArrayLike, lat: npt.ArrayLike, lon: npt.ArrayLike) -> Array:
    """mm of rain in the hour that ends at `hour` (since FIRST)."""
    return rain((np.asarray(hour) - 0.5) / 24, lat, lon) / 24


def observed(day: int, lat: Array, lon: Array) -> dict[str, Array]:
    """Mean, greatest and least temperature (K) of the 24 hours from BEGINS of a date, and the rain (mm) that falls in them."""
    hours = 24 * day + BEGINS + np.arange(24)[:, None, None]
    warm = warmth(hours / 24, lat[None], lon[None])
    return {"tg": warm.mean(0), "tx": warm.max(0), "tn": warm.min(0), "rr": amount(hours + 1, lat[None], lon[None]).sum(0)}


def sea(lat: Array, lon: Array) -> npt.NDArray[np.bool_]:
    """Cells without observations: the south-west."""
    return np.asarray(lat + lon < 50.65, dtype=bool)  # between cells


def write(folder: Path) -> None:
    """`eobs/`, a file for each element; `era5/`, a file for each month with every variable."""
    (folder / "eobs").mkdir(parents=True, exist_ok=True)
    (folder / "era5").mkdir(parents=True, exist_ok=True)
    lat, lon = np.meshgrid(FINE_LAT, FINE_LON, indexing="ij")
    days = [observed(day, lat, lon) for day in range(DAYS)]
    time = np.datetime64(FIRST, "ns") + np.arange(DAYS) * np.timedelta64(1, "D")
    about = {"tg": ("air_temperature", "Celsius"), "tx": ("air_temperature", "Celsius"), "tn": ("air_temperature", "Celsius"),
             "rr": ("thickness_of_rainfall_amount", "mm")}  # fmt: skip
    for name, (standard, units) in about.items():
        values = np.stack([each[name] - (273.15 if units == "Celsius" else 0) for each in days])
        values[:, sea(lat, lon)] = np.nan
        data = xr.Dataset(
            {name: (("time", "latitude", "longitude"), values, {"standard_name": standard, "units": units})},
            {"time": ("time", time, {"standard_name": "time"}),
             "latitude": ("latitude", FINE_LAT, {"units": "degrees_north", "standard_name": "latitude"}),
             "longitude": ("longitude", FINE_LON, {"units": "degrees_east", "standard_name": "longitude"})},
            {"Conventions": "CF-1.4", "E-OBS_version": "28.0e"},
        )  # fmt: skip
        data.to_netcdf(folder / f"eobs/{name}_ens_mean_0.1deg_reg_v28.0e.nc", engine="h5netcdf", encoding={
            name: {"dtype": "int16", "scale_factor": 0.01, "_FillValue": np.int16(-9999)},
            "time": {"units": "days since 1950-01-01 00:00", "dtype": "int64"}})  # fmt: skip
    stamps = np.datetime64(FIRST, "ns") + np.arange(24 * (DAYS + 1) + 7) * np.timedelta64(1, "h")
    for month in np.unique(stamps.astype("datetime64[M]")):
        inside = np.flatnonzero(stamps.astype("datetime64[M]") == month)
        at = inside[:, None, None], ERA_LAT[None, :, None], ERA_LON[None, None, :]
        dims = ("valid_time", "latitude", "longitude")
        fields = {"t2m": (warmth(at[0] / 24, *at[1:]), "K", "instant"), "tp": (amount(*at) / 1000, "m", "accum")}
        xr.Dataset(
            {name: (dims, values.astype("float32"), {"units": units, "GRIB_stepType": step, "standard_name": "unknown"})
             for name, (values, units, step) in fields.items()},
            {"valid_time": ("valid_time", stamps[inside], {"standard_name": "time"}),
             "latitude": ("latitude", ERA_LAT, {"units": "degrees_north", "standard_name": "latitude"}),
             "longitude": ("longitude", ERA_LON, {"units": "degrees_east", "standard_name": "longitude"}),
             "number": ((), 0), "expver": ("valid_time", np.full(len(inside), "0001"))},
            {"Conventions": "CF-1.7", "institution": "European Centre for Medium-Range Weather Forecasts"},
        ).to_netcdf(folder / f"era5/era5_{month}.nc", engine="h5netcdf", encoding={  # type: ignore[call-overload]
            "valid_time": {"units": "seconds since 1970-01-01", "dtype": "int64"}})  # fmt: skip
