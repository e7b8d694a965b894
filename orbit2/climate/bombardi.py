"""Onset and withdrawal as Bombardi et al. (2019, RADS) find them: half a year from the dry season's middle on, outliers by the
interquartile range found again or left out. Never gives a date to a cell whose rain has no clear yearly cycle.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.climate.years import MOST_MISSING, climatology
from orbit2.jit import compiled, finite

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
NAME = "half-years with outliers mended"
MEANING = ("Bombardi et al. 2019: lowest cumulative anomaly in the half year after (withdrawal: before) the minimum of the first harmonic; "
    "dates beyond 1.5 interquartile ranges are found again from the smoothed sum's turn, beyond 3 left out; cells with a second or third "
    "harmonic as large as the first, or more than a third of the years without a date, have none")  # fmt: skip
MENDED, LEFT_OUT = 1.5, 3.0  # interquartile ranges beyond the quartiles
PASSES = 50  # of the smoothing 1/4, 1/2, 1/4
FALLS, RISES = 3, 2  # days before and after a turn
MOST_YEARS = 1 / 3  # without a date


def turns(
    values: npt.NDArray[np.floating], first: Array | None = None, normal: Array | None = None
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Of rain [cells, Y, L]: (`first` [cells], onset and withdrawal [cells, Y]) as days since the 1 January of the year in which the dry
    season's middle, `first`, lies (by default the series' own; give a model the truth's, so that their years belong together). `normal`
    [cells, L]: the mean year, where it is known.

    NaN of cells as MEANING says, of half years with more than MOST_MISSING days missing, and where they leave the record.
    """
    cells, years, length = values.shape
    normal = climatology(values) if normal is None else normal
    waves = np.fft.rfft(np.where(np.isfinite(normal), normal, 0.0), axis=-1)[:, 1:4]
    size = np.abs(waves)
    clear = np.isfinite(normal).all(axis=1) & (size[:, 0] > size[:, 1]) & (size[:, 0] > size[:, 2])
    lowest = np.mod(np.rint((np.pi + np.angle(waves[:, 0])) * -length / (2 * np.pi)), length)
    start = np.where(clear, lowest, np.nan) if first is None else np.where(clear, first, np.nan)
    begin = np.where(np.isfinite(start), start, -1).astype(np.int64)
    days = np.ascontiguousarray(values.reshape(cells, years * length))
    mean = normal.mean(axis=1)
    made = []
    for way in (1, -1):
        dates = half_years(days, mean, begin, length, way, np.ones((cells, years), dtype=np.bool_), False)
        outside = beyond(dates, MENDED)
        if outside.any():
            dates[outside] = half_years(days, mean, begin, length, way, outside, True)[outside]
        dates[beyond(dates, LEFT_OUT)] = np.nan
        # a record's first or last half year may be cut: that one counts neither as there nor as missing
        dates[np.isfinite(dates).sum(axis=1) < (1 - MOST_YEARS) * (years - 1)] = np.nan
        made.append(dates)
    return start, made[0], made[1]


def beyond(dates: Array, ranges: float) -> npt.NDArray[np.bool_]:
    """[cells, Y]: whether a date lies more than so many interquartile ranges beyond the quartiles of its cell's."""
    known = np.isfinite(dates).sum(axis=1) >= 4  # fewer have no quartiles
    low, high = np.full(len(dates), -np.inf), np.full(len(dates), np.inf)
    if known.any():
        low[known], high[known] = quartiles(dates[known])
    spread = np.where(known, high - low, 0.0)
    with np.errstate(invalid="ignore"):
        found: npt.NDArray[np.bool_] = (dates < (low - ranges * spread)[:, None]) | (dates > (high + ranges * spread)[:, None])
    return np.asarray(found & known[:, None])


def quartiles(dates: Array) -> tuple[Array, Array]:
    """Of the dates of each row [n, Y] that are known (two at least), as numpy's `nanquantile`, which goes row by row in Python."""
    ordered, rows = np.sort(dates, axis=1), np.arange(len(dates))  # what is missing comes last
    made = []
    for share in (0.25, 0.75):
        place = share * (np.isfinite(dates).sum(axis=1) - 1)
        below = place.astype(np.int64)
        low, high = ordered[rows, below], ordered[rows, below + 1]
        made.append(low + (place - below) * (high - low))
    return made[0], made[1]


@compiled("f4[:,::1], f8[::1], i8[::1], i8, i8, b1[:,::1], b1")
def half_years(
    days: npt.NDArray[np.floating], mean: Array, first: Ints, length: int, way: int, wanted: npt.NDArray[np.bool_], smooth: bool
) -> Array:  # fmt: skip
    """[cells, Y] from series [cells, Y * L], of the years `wanted` [cells, Y]: by the lowest cumulative anomaly; `smooth`: by the first
    turn of the smoothed one, from FALLS days of falling to RISES of rising.

    `way` 1: forward from `first`, the day after; -1: backward from the day before the next year's `first`, the day before.
    """
    n, total = days.shape
    years, half = total // length, length // 2
    found = np.full((n, years), np.nan)
    curve, other = np.zeros(half), np.zeros(half)
    for i in range(n):
        if first[i] < 0:
            continue
        for y in range(years):
            if not wanted[i, y]:
                continue
            begin = y * length + first[i] if way > 0 else y * length + first[i] + length - 1
            last = begin + way * (half - 1)
            if min(begin, last) < 0 or max(begin, last) >= total:
                continue
            missing, sums, lowest, at = 0, 0.0, np.inf, 0
            for d in range(half):
                value = np.float64(days[i, begin + way * d])
                if finite(value):
                    sums += value - mean[i]
                else:
                    missing += 1
                curve[d] = sums
                if sums < lowest:
                    lowest, at = sums, d
            if missing > MOST_MISSING:
                continue
            if not smooth:
                found[i, y] = begin + way * (at + 1) - y * length
                continue
            for _ in range(PASSES):
                other[:] = curve
                for d in range(1, half - 1):
                    curve[d] = 0.25 * other[d - 1] + 0.5 * other[d] + 0.25 * other[d + 1]
            for d in range(FALLS, half - RISES):
                turned = True
                for k in range(FALLS):
                    turned = turned and curve[d - k] < curve[d - k - 1]
                for k in range(RISES):
                    turned = turned and curve[d + k + 1] > curve[d + k]
                if turned:
                    found[i, y] = begin + way * (d + 1) - y * length
                    break
    return found
