"""The fields of a dataset at its sample times, from what the sources' files hold. Never reads a stamp outside the sample's own day.

Hourly samples (ERA5): at stamp T precipitation, maximum and minimum cover the 24 hours that end at T: stamps T-23 h ... T.
Every 3, 6 or 12 hours: the same, and what is of an hour (rates of precipitation) covers the hours since the sample before.
Daily samples: date D covers 00-24 UTC. What ERA5 accumulates or takes the extreme of over the hour ENDING at a stamp uses the stamps
D 01:00 ... D+1 00:00; instantaneous fields use D 00:00 ... 23:00 (mean, or extremes of the 24 values).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import allowance
from orbit2.config.files import BRIDGED
from orbit2.config.recipes import DAY, HOUR, Recipe, ends_its_hour, recipe, reduction, since, windows
from orbit2.errors import OrbitError
from orbit2.times import months, normal, span, stamp, steps

__all__ = ["DailyFields", "HourlyFields", "Recipe", "covered", "at", "positions", "raw_window", "recipe", "runs", "trailing_day"]

Times = npt.NDArray[Any]  # [T] datetime64[s], or cftime dates (own files in another calendar)
FloatArray = npt.NDArray[np.float32]
OF_HOURS = "24 hours ending at the stamp, UTC"  # what 24-hour fields made of hourly ones cover
OF_DAYS = "00:00 to 24:00 UTC of the date (accumulations: hours ending 01 to 24; instantaneous values: 00 to 23)"


def covered(step_hours: int) -> str:
    """What 24-hour fields that are made of hourly ones cover, in samples so far apart."""
    return OF_HOURS if step_hours < DAY else OF_DAYS


def raw_window(recipes: dict[str, Recipe], times: Times, step_hours: int) -> tuple[np.datetime64, np.datetime64]:
    """First and last raw stamp that hourly source fields are needed at for samples at `times`."""
    found = windows(recipes, times[0], times[-1], step_hours).values()
    return min(first for first, _ in found), max(last for _, last in found)


def runs(times: Times) -> list[Times]:
    """`times` cut where neighbours are further apart than a month (months: than two): a part may reach over a hole between two periods."""
    apart = steps(times) * 3600
    longest = 2 * BRIDGED if len(apart) and months(float(apart.min()) / 3600) else BRIDGED
    return np.split(times, np.flatnonzero(apart >= longest) + 1)


class HourlyFields:
    """Fields at hourly or daily sample times from an hourly source (ERA5), block by block in time order.

    Raw fields that a trailing day is made of are read once: the last 23 hours of a block are kept for the next.
    """

    def __init__(self, source: xr.Dataset, recipes: dict[str, Recipe], step_hours: int) -> None:
        self.source, self.recipes, self.step_hours = source, recipes, step_hours
        self._kept: dict[str, xr.DataArray] = {}

    def check(self, times: Times) -> None:
        """Raises OrbitError naming stamps that the files do not hold; reads no field."""
        for r in self.recipes.values():
            positions(self.source, r.raw, self._stamps(r, times))

    def whole_days(self) -> int:
        """How many raw fields are held in memory hour by hour."""
        return len({r.raw for r in self.recipes.values() if r.over_day}) if self.step_hours < DAY else 0

    def _stamps(self, r: Recipe, times: Times) -> Times:
        """Every raw stamp that variables at `times` are made of."""
        if self.step_hours >= DAY:
            return (times[:, None] + int(ends_its_hour(r.raw)) * HOUR + np.arange(DAY) * HOUR).ravel()
        if r.over_day:
            return np.arange(times[0] - (DAY - 1) * HOUR, times[-1] + HOUR, HOUR)
        return (times[:, None] + np.arange(1 - self.step_hours, 1) * HOUR).ravel() if since(r.raw, self.step_hours) else times

    def block(self, times: Times) -> dict[str, xr.DataArray]:
        """Each variable as an array (time, lat, lon) at `times`, lazy where nothing was accumulated."""
        if self.step_hours >= DAY:
            return {name: self._daily(r, times) for name, r in self.recipes.items()}
        loaded = self._last_days({r.raw for r in self.recipes.values() if r.over_day}, times)
        result = {}
        for name, r in self.recipes.items():
            if r.over_day:
                made = loaded[r.raw][DAY - 1 :].copy(data=trailing_day(loaded[r.raw].values, r.over_day))
                result[name] = made[:: self.step_hours].chunk({"time": 4})
            elif how := since(r.raw, self.step_hours):
                result[name] = self._over(r, times, self.step_hours, how)
            elif r.raw in loaded:
                result[name] = loaded[r.raw][DAY - 1 :: self.step_hours].chunk({"time": 4})
            else:
                result[name] = at(self.source, r.raw, times)
        return result

    def _last_days(self, raws: set[str], times: Times) -> dict[str, xr.DataArray]:
        """Every hour from 23 before the first time to the last one, in memory."""
        stamps = self._stamps(Recipe("", "mean"), times)
        if raws and len(stamps) != (len(times) - 1) * self.step_hours + DAY:
            raise OrbitError("24-hour fields need every hour of the source", where="inputs", got=", ".join(sorted(raws)),
                             hint="ask for hourly variables")  # fmt: skip
        result = {}
        for raw in raws:
            kept = self._kept.get(raw)
            if kept is None:
                result[raw] = _read(self.source, raw, stamps)
            else:
                kept = kept.isel(time=np.isin(kept["time"].values, stamps))
                rest = stamps[~np.isin(stamps, kept["time"].values)]
                result[raw] = xr.concat([kept, _read(self.source, raw, rest)], dim="time")
            self._kept[raw] = result[raw][-(DAY - 1) :]
        return result

    def _daily(self, r: Recipe, dates: Times) -> xr.DataArray:
        """Over the 24 stamps of each date; by the variable's kind where it is a raw one."""
        return self._over(r, dates, DAY, r.over_day or reduction(r.raw, r.raw, DAY))

    def _over(self, r: Recipe, times: Times, hours: int, how: str) -> xr.DataArray:
        """Mean, greatest or least of the `hours` stamps of each time."""
        held = at(self.source, r.raw, self._stamps(r, times)).drop_vars("time").coarsen(time=hours).construct(time=("time", "hour"))
        reduced: xr.DataArray = getattr(held, how)("hour", skipna=False)
        return reduced.assign_coords(time=times.astype("datetime64[ns]")).astype(np.float32)


class DailyFields:
    """Fields at the dates of a daily source (PRISM, DAYMET, IMERG), as its files hold them."""

    def __init__(self, source: xr.Dataset, recipes: dict[str, Recipe]) -> None:
        self.source, self.recipes = source, recipes

    def check(self, times: Times) -> None:
        """Raises OrbitError naming dates that the files do not hold; reads no field."""
        for r in self.recipes.values():
            positions(self.source, r.raw, times)

    def block(self, times: Times) -> dict[str, xr.DataArray]:
        """Each variable as a lazy array (time, lat, lon) or (time, y, x) at `times`."""
        return {name: at(self.source, r.raw, times) for name, r in self.recipes.items()}


def at(source: xr.Dataset, raw: str, stamps: Times) -> xr.DataArray:
    """The raw field at exactly `stamps`, lazily. Raises OrbitError naming the first stamps that the files do not hold."""
    position = positions(source, raw, stamps)
    consecutive = len(position) > 0 and bool((np.diff(position) == 1).all())  # a slice keeps dask's chunks whole
    return source[raw].isel(time=slice(int(position[0]), int(position[-1]) + 1) if consecutive else position)


def _read(source: xr.Dataset, raw: str, stamps: Times) -> xr.DataArray:
    """The same in memory, by as many threads as this process may use."""
    return at(source, raw, stamps).load(scheduler="threads", num_workers=allowance.threads())


def positions(source: xr.Dataset, raw: str, stamps: Times) -> npt.NDArray[np.intp]:
    """Where the stamps lie in the source. Raises OrbitError naming the first ones that are not there."""
    held = normal(source["time"].values)
    position = np.minimum(np.searchsorted(held, stamps), max(len(held) - 1, 0))
    absent = stamps[held[position] != stamps] if len(held) else stamps
    if len(absent):
        raise OrbitError(f"{len(absent)} configured times are not in the source files", where=raw, got=", ".join(map(stamp, absent[:3])),
                         allowed=span(held), hint="retrieve them, or change the periods")
    return position


def trailing_day(values: FloatArray, reduction: str) -> FloatArray:
    """Mean, max or min of every 24 consecutive steps of axis 0: [n, ...] -> [n - 23, ...]; NaN spreads.

    Windows of 8 by doubling, then three of them: five passes, and no running difference that would lose precision.
    """
    join = {"mean": np.add, "max": np.maximum, "min": np.minimum}[reduction]
    eight = values
    for step in (1, 2, 4):
        eight = join(eight[:-step], eight[step:])
    whole = join(join(eight[:-16], eight[8:-8]), eight[16:])
    return np.asarray(whole / np.float32(DAY) if reduction == "mean" else whole, dtype=np.float32)
