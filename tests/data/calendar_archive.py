"""Archives of climate models in small, as CMIP6 lays them out: a file per variable and period, time bounds, cell bounds, any calendar,
days or months. Values are known from the formulas of `own_archive`, by the number of the sample."""

from __future__ import annotations

from pathlib import Path

import cftime
import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import times
from tests.data.own_archive import COARSE_LAT, COARSE_LON, FINE_LAT, FINE_LON, rain, warmth

EPOCH = "1850-01-01"
FIRST, DAYS, MONTHS = "2000-01-01", 130, 36


def numbers(stamps: times.Times, monthly: bool) -> npt.NDArray[np.int64]:
    """Which sample of the archive each time is: days or months since FIRST in its calendar."""
    if monthly:
        return np.array([12 * (times.year(s) - 2000) + times.month(s) - 1 for s in times.stamps(stamps)], dtype=np.int64)
    first = times.seconds(times.normal(np.array([times.begin(FIRST, times.calendar_of(stamps))])))[0]
    return np.asarray((times.seconds(stamps) - first) // times.DAY_SECONDS, dtype=np.int64)


def starts(calendar: str, monthly: bool) -> times.Times:
    """[T + 1] The beginnings of the samples, and the end of the last."""
    first = times.begin(FIRST, calendar)
    if monthly:
        return times.each_month(first, times.begin("2003-01-01", calendar))
    begin = int(times.seconds(times.normal(np.array([first])))[0])
    return times.from_seconds(begin + times.DAY_SECONDS * np.arange(DAYS + 1), calendar=calendar)


def product(lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64], calendar: str, monthly: bool, stamp: str) -> xr.Dataset:
    """tas (K) and pr: a flux of days, the amount of each month. `stamp`: `middle` or `end` of the time bounds, which CESM takes."""
    edges = times.seconds(starts(calendar, monthly), EPOCH) / times.DAY_SECONDS
    first, last = edges[:-1], edges[1:]
    moment = last if stamp == "end" else (first + last) / 2
    index = numbers(starts(calendar, monthly)[:-1], monthly)[:, None, None]
    at = (index, lat[None, :, None], lon[None, None, :])
    wet = rain(*at) * (last - first)[:, None, None] if monthly else rain(*at) / 86400
    dims = ("time", "lat", "lon")
    units, mean = {"units": f"days since {EPOCH}", "calendar": calendar}, {"cell_methods": "area: time: mean"}
    return xr.Dataset(
        {"tas": (dims, warmth(*at).astype("float32"), {"units": "K", "standard_name": "air_temperature", **mean}),
         "pr": (dims, wet.astype("float32"), {"units": "mm month-1" if monthly else "kg m-2 s-1", "standard_name": "precipitation_flux",
                                              **mean}),
         "time_bnds": (("time", "bnds"), np.stack([first, last], 1)),
         "lat_bnds": (("lat", "bnds"), _bounds(lat)), "lon_bnds": (("lon", "bnds"), _bounds(lon))},
        {"time": ("time", moment, {**units, "bounds": "time_bnds", "standard_name": "time", "axis": "T"}),
         "lat": ("lat", lat, {"units": "degrees_north", "standard_name": "latitude", "bounds": "lat_bnds"}),
         "lon": ("lon", lon, {"units": "degrees_east", "standard_name": "longitude", "bounds": "lon_bnds"}),
         "height": ((), 2.0, {"units": "m", "positive": "up", "standard_name": "height"})},
        {"Conventions": "CF-1.7 CMIP-6.2", "mip_era": "CMIP6", "grid_label": "gn"},
    )  # fmt: skip


def _bounds(centres: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    half = (centres[1] - centres[0]) / 2
    return np.stack([centres - half, centres + half], 1)


def write(folder: Path, calendar: str, monthly: bool = False) -> None:
    """`gcm/` and `rcm/`, a file for each variable and half of the time; the fine model's months are stamped by their end."""
    table = "Amon" if monthly else "day"
    for side, lat, lon, stamp in (("gcm", COARSE_LAT, COARSE_LON, "middle"), ("rcm", FINE_LAT, FINE_LON, "end" if monthly else "middle")):
        (folder / side).mkdir(parents=True, exist_ok=True)
        whole = product(lat, lon, calendar, monthly, stamp)
        for name in ("tas", "pr"):
            for part in (slice(0, 20), slice(20, None)):
                piece = whole[[name, "time_bnds", "lat_bnds", "lon_bnds"]].isel(time=part)
                first, last = (cftime.num2date(float(piece["time_bnds"][i, 0]), f"days since {EPOCH}", calendar) for i in (0, -1))
                span = "-".join(d.strftime("%Y%m" if monthly else "%Y%m%d") for d in (first, last))
                piece.to_netcdf(folder / side / f"{name}_{table}_MODEL_historical_r1i1p1f1_gn_{span}.nc", engine="h5netcdf")
