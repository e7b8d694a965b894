"""Daily rain with known seasons, for tests of the climate diagnostics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cftime
import numpy as np
import numpy.typing as npt
import xarray as xr


def days(first: int, years: int, calendar: str = "standard") -> npt.NDArray[Any]:
    """Every day of whole years: datetime64 of the standard calendar, else cftime."""
    if calendar == "standard":
        return np.arange(np.datetime64(f"{first}-01-01"), np.datetime64(f"{first + years}-01-01")).astype("datetime64[ns]")
    b = cftime.datetime(first + years, 1, 1, calendar=calendar)
    count = int(cftime.date2num(b, f"days since {first}-01-01", calendar=calendar))
    return np.asarray(cftime.num2date(np.arange(count), f"days since {first}-01-01", calendar=calendar))


def places(times: npt.NDArray[Any]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Year and day of the year from 0 of each time, 29 February as the 28th."""
    standard = np.issubdtype(times.dtype, np.datetime64)
    made = xr.DataArray(times, dims="time", coords={"time": times})["time"]
    year, month, day, number = (getattr(made.dt, name).to_numpy() for name in ("year", "month", "day", "dayofyear"))
    leap = standard & (year % 4 == 0) & ((year % 100 != 0) | (year % 400 == 0))
    return year, number - 1 - (leap & ((month > 2) | ((month == 2) & (day == 29))))


def season(
    times: npt.NDArray[Any], spans: Sequence[tuple[int, int]], *, cells: int = 40, shifts: npt.NDArray[np.int64] | int = 0,
    wet: float = 10.0, dry: float = 0.5, shape: float = 0.6, seed: int = 0, length: int = 365,
) -> xr.DataArray:  # fmt: skip
    """(time, cell), mm/day: gamma rain with the mean `wet` on the days of `spans` (first, last day of the year from 0, may cross the new
    year) and `dry` otherwise; all is later by `shifts` days, one number or [years, cells]."""
    year, day = places(times)
    late = np.broadcast_to(shifts, (int(year[-1] - year[0]) + 1, cells))[year - year[0]]
    inside = np.zeros((len(times), cells), dtype=np.bool_)
    for first, last in spans:
        inside |= np.mod(day[:, None] - first - late, length) <= (last - first) % length
    rain = np.random.default_rng(seed).gamma(shape, 1 / shape, inside.shape) * np.where(inside, wet, dry)
    return xr.DataArray(rain.astype(np.float32), dims=("time", "cell"), coords={"time": times})
