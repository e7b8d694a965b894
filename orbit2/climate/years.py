"""Daily series as years of equal length, in every calendar: [year, day]. Never fills a day that is missing.

A day keeps its place in the year whatever the year: 29 February is averaged with the day before (Dunning et al. 2016), a year has 365 days,
of the calendar of twelve months of 30 days 360.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import times
from orbit2.errors import OrbitError
from orbit2.jit import compiled, finite

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MONTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
MOST_MISSING = 15  # days of a year or season: ETCCDI's rule
PENTAD = 5
TOGETHER = 32  # cells whose days are put in order together


@dataclass(frozen=True)
class Calendar:
    """Where the days of samples lie: `year` [T], `day` [T] from 0, `leap` [T] for 29 February; `length` of a year in days."""

    year: Ints
    day: Ints
    leap: npt.NDArray[np.bool_]
    months: tuple[int, ...]

    @classmethod
    def of(cls, samples: Sequence[str], name: str = "standard") -> Calendar:
        """Of the stamps of orbit2.times, in the calendar of this CF name."""
        months = (30,) * 12 if name == "360_day" else MONTHS
        starts = np.concatenate([[0], np.cumsum(months)])
        year, month, date = (np.array([int(s[part]) for s in samples], dtype=np.int64) for part in (slice(4), slice(5, 7), slice(8, 10)))
        leap = date > np.asarray(months)[month - 1]
        return cls(year, starts[month - 1] + date - 1 - leap, leap, months)

    @property
    def length(self) -> int:
        return sum(self.months)


def first_day(month: int, length: int) -> int:
    """Day of the year, from 0, of the first of a month (1 to 12)."""
    return sum(month_lengths(length)[: month - 1])


def month_lengths(length: int) -> tuple[int, ...]:
    """Days of the twelve months of a year of `length` days."""
    return (30,) * 12 if length == 360 else MONTHS


def by_year(series: xr.DataArray) -> xr.DataArray:
    """(..., year, day) of a series with a dimension `time`, one sample a day; NaN where there is none. Lazy where `series` is.

    Its coordinate `leap` (year) says whether the year has a 29 February, which is then averaged with the day before. Raises OrbitError
    for two samples of one day.
    """
    calendar, years = placing(series["time"].to_numpy())
    made: xr.DataArray = xr.apply_ufunc(
        placed, series.chunk(time=-1) if series.chunks else series, kwargs={"calendar": calendar, "years": years},
        input_core_dims=[["time"]], output_core_dims=[["year", "day"]], dask="parallelized", output_dtypes=[series.dtype],
        dask_gufunc_kwargs={"output_sizes": {"year": len(years), "day": calendar.length}},
    )  # fmt: skip
    return made.assign_coords(about_years(calendar, years))


def placing(given: npt.NDArray[Any]) -> tuple[Calendar, Ints]:
    """Where samples at the times `given` lie, and the years that hold them. Raises OrbitError for two samples of one day."""
    stamps = times.stamps(given)
    calendar = Calendar.of(stamps, times.calendar_of(given))
    found = len(set(map(times.day, stamps)))
    if found < len(stamps):
        raise OrbitError("a daily series has two samples of one day", where="times", got=f"{len(stamps)} samples of {found} days",
                         hint="keep one sample of each day")  # fmt: skip
    return calendar, np.arange(calendar.year.min(), calendar.year.max() + 1)


def about_years(calendar: Calendar, years: Ints) -> dict[str, Any]:
    """Coordinates of what `placed` gives."""
    return {"year": years, "day": np.arange(calendar.length), "leap": ("year", np.isin(years, calendar.year[calendar.leap]))}


def placed(values: npt.NDArray[np.floating], calendar: Calendar, years: Ints) -> npt.NDArray[np.floating]:
    """[..., T] -> [..., Y, L]."""
    *space, count = values.shape
    order = np.concatenate([np.flatnonzero(~calendar.leap), np.flatnonzero(calendar.leap)])  # a leap day once the day before is there
    at = ((calendar.year - years[0]) * calendar.length + calendar.day)[order]
    flat = values.reshape(prod(space), count)
    made: npt.NDArray[np.floating] = _placed(flat, order, at, count - int(calendar.leap.sum()), len(years) * calendar.length)
    return made.reshape(*space, len(years), calendar.length)


@compiled("f4[::1, :], i8[::1], i8[::1], i8, i8")
def _placed(values: npt.NDArray[np.floating], order: Ints, at: Ints, plain: int, length: int) -> npt.NDArray[np.floating]:
    """[C, T] -> [C, length]: sample `order[k]` at `at[k]`, from the `plain`th k on averaged with what is there. In whatever order the
    samples lie in memory: some cells at a time."""
    cells = len(values)
    made = np.full((cells, length), np.nan, dtype=values.dtype)
    for begin in range(0, cells, TOGETHER):
        end = min(begin + TOGETHER, cells)
        for k in range(plain):
            t, to = order[k], at[k]
            for i in range(begin, end):
                made[i, to] = values[i, t]
        for k in range(plain, len(order)):
            t, to = order[k], at[k]
            for i in range(begin, end):
                value, before = values[i, t], made[i, to]
                if finite(value):
                    made[i, to] = (before + value) / 2 if finite(before) else value
    return made


def climatology(values: npt.NDArray[np.floating]) -> Array:
    """[..., Y, L] -> [..., L]: mean of each day over the years, in double precision; NaN where a day was never known."""
    *space, years, length = values.shape
    made: Array = _climatology(np.ascontiguousarray(values).reshape(prod(space), years, length))
    return made.reshape(*space, length)


@compiled("f4[:,:,::1]", "f8[:,:,::1]")
def _climatology(values: npt.NDArray[np.floating]) -> Array:
    cells, years, length = values.shape
    made, count = np.zeros((cells, length)), np.zeros(length)
    for i in range(cells):
        count[:] = 0.0
        for y in range(years):
            for d in range(length):
                value = np.float64(values[i, y, d])
                known = finite(value)
                made[i, d] += value if known else 0.0
                count[d] += 1.0 if known else 0.0
        for d in range(length):
            made[i, d] = made[i, d] / count[d] if count[d] > 0 else np.nan
    return made


def sums_between(values: npt.NDArray[np.floating], starts: Ints, weight: npt.NDArray[np.floating] | None = None) -> tuple[Array, Array]:
    """[..., Y, L] -> ([..., Y, P] sums of the known days from each of `starts` [P] to the next, the days, the last to the end of the
    year; what those days weigh): `weight` [Y, L], 1 by default."""
    *space, years, length = values.shape
    w = np.ones((years, length)) if weight is None else np.ascontiguousarray(weight, dtype=np.float64)
    flat = np.ascontiguousarray(values).reshape(prod(space), years, length)  # of no years, too
    made = _sums_between(flat, np.append(starts, length).astype(np.int64), w)
    total, count = (each.reshape(*space, years, len(starts)) for each in made)
    return total, count


@compiled("f4[:,:,::1], i8[::1], f8[:,::1]", "f8[:,:,::1], i8[::1], f8[:,::1]")
def _sums_between(values: npt.NDArray[np.floating], edges: Ints, weight: Array) -> tuple[Array, Array]:
    cells, years, _ = values.shape
    total, count = np.zeros((cells, years, len(edges) - 1)), np.zeros((cells, years, len(edges) - 1))
    for i in range(cells):
        for y in range(years):
            for p in range(len(edges) - 1):
                for d in range(edges[p], edges[p + 1]):
                    value = np.float64(values[i, y, d])
                    if finite(value):
                        total[i, y, p] += weight[y, d] * value
                        count[i, y, p] += weight[y, d]
    return total, count


def complete(values: npt.NDArray[np.floating]) -> npt.NDArray[np.bool_]:
    """[..., Y, L] -> [..., Y]: whether at most MOST_MISSING days of the year are missing."""
    return np.asarray((~np.isfinite(values)).sum(axis=-1) <= MOST_MISSING)


def rolled(values: npt.NDArray[np.floating], start: int) -> npt.NDArray[np.floating]:
    """[..., Y, L] -> [..., Y - 1, L]: years that begin on day `start`, each named by the calendar year in which it begins; `start` 0:
    as they are."""
    if not start:
        return values
    *space, years, length = values.shape
    flat = values.reshape(*space, years * length)
    return flat[..., start : start + (years - 1) * length].reshape(*space, years - 1, length)


def pentads(values: npt.NDArray[np.floating], leap: npt.NDArray[np.bool_], start: int = 0) -> Array:
    """[..., Y, L] -> [..., Y', L / 5]: means of five days from day `start` on; the pentad of 29 February is of six days.

    Y' is that of `rolled`. NaN where no day of a pentad is known; days beyond the last whole pentad belong to it.
    """
    *_, length = values.shape
    weight = np.ones((values.shape[-2], length))
    weight[leap, first_day(3, length) - 1] = 2.0
    total, count = sums_between(rolled(values, start), np.arange(0, length - PENTAD + 1, PENTAD), rolled(weight, start))
    made: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return made
