"""The rainy season from cumulative anomalies: compiled loops and the seasons of the climatology. Never smooths a year's own days.

Liebmann & Marengo 2001 (J. Climate 14:4308), Liebmann et al. 2012, Dunning et al. 2016 (J. Geophys. Res. Atmos. 121:11405).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.climate.years import MOST_MISSING
from orbit2.jit import compiled, finite

Array = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
MARGIN = 50  # days before and after the climatological season in which a year's own is looked for
SMOOTH = 30  # days over which the climatology of a cell with two rainy seasons is averaged
SEASONS = 2


def amplitudes(climatology: Array) -> Array:
    """[..., L] -> [..., 2]: amplitudes of the first and the second harmonic, in the units given."""
    return np.asarray(np.abs(np.fft.rfft(climatology, axis=-1)[..., 1:3]) * 2 / climatology.shape[-1])


def rainy_seasons(climatology: Array) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """First and last day, [n, SEASONS], of the rainy seasons of climatologies [n, L], and which cells have two.

    One season: from the day after the minimum of the cumulative anomaly to its maximum. Two where the second harmonic is larger than the
    first: after a running mean of SMOOTH days, the two rises of the cumulative anomaly that are left when the least fluctuations are taken
    away one by one; the wetter season first. -1: none (missing days, or no season at all).
    """
    n, length = climatology.shape
    first, last = np.full((n, SEASONS), -1, dtype=np.int64), np.full((n, SEASONS), -1, dtype=np.int64)
    known = np.isfinite(climatology).all(axis=1) & (np.ptp(climatology, axis=1) > 0)
    anomaly = climatology - climatology.mean(axis=1, keepdims=True)
    total = np.cumsum(anomaly, axis=1)
    first[known, 0] = (total[known].argmin(axis=1) + 1) % length
    last[known, 0] = total[known].argmax(axis=1)
    one, two = np.moveaxis(amplitudes(np.where(known[:, None], climatology, 0.0)), -1, 0)
    twofold = known & (two > one)
    for i in np.flatnonzero(twofold):
        starts, ends = _two(_smoothed(climatology[i]))
        twofold[i] = len(starts) == SEASONS
        if twofold[i]:
            amounts = [_amount(climatology[i], s, e) for s, e in zip(starts, ends, strict=True)]
            order = np.argsort(amounts)[::-1]
            first[i], last[i] = starts[order], ends[order]
    return first, last, twofold


def _smoothed(days: Array) -> Array:
    """Running mean over SMOOTH days, round the year."""
    before = SMOOTH // 2
    around = np.concatenate([days[-before:], days, days[: SMOOTH - before - 1]])
    return np.convolve(around, np.full(SMOOTH, 1 / SMOOTH), mode="valid")


def _amount(days: Array, first: int, last: int) -> float:
    return float(np.take(days, np.arange(first, first + (last - first) % len(days) + 1), mode="wrap").sum())


def _two(days: Array) -> tuple[Ints, Ints]:
    """First and last days of the at most two seasons of a smooth climatology [L]."""
    starts, ends = _extremes(np.cumsum(days - days.mean()))
    return starts, ends


@compiled("f8[::1]")
def _extremes(total: Array) -> tuple[Ints, Ints]:
    """The same of the cumulative anomaly [L], whose least swings are taken away one by one."""
    length = len(total)
    rising, at, count = np.zeros(length, dtype=np.bool_), np.zeros(length, dtype=np.int64), 0
    for d in range(length):
        rising[d] = total[(d + 1) % length] > total[d]  # from day d to d + 1
    for d in range(length):
        if rising[d] != rising[d - 1]:
            at[count] = d  # alternately the lowest and highest days
            count += 1
    while count > 2 * SEASONS:
        gone, least = 0, np.inf
        for k in range(count):
            swing = abs(total[at[(k + 1) % count]] - total[at[k]])
            if swing < least:
                gone, least = k, swing
        other, left = (gone + 1) % count, 0
        for k in range(count):
            if k != gone and k != other:
                at[left] = at[k]
                left += 1
        count = left
    starts, ends, found = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64), 0
    for k in range(count):
        if rising[at[k]]:
            starts[found], ends[found] = (at[k] + 1) % length, at[(k + 1) % count]
            found += 1
    return starts[:found], ends[:found]


def margins(first: Ints, last: Ints, length: int) -> Ints:
    """[n, SEASONS, 2]: how many days before and after a season its year's own is looked for: MARGIN, or half the dry time between."""
    made = np.zeros((*first.shape, 2), dtype=np.int64)
    for s in range(SEASONS):
        following = np.where(first[:, 1] >= 0, first[:, 1 - s], first[:, 0])
        preceding = np.where(first[:, 1] >= 0, last[:, 1 - s], last[:, 0])
        made[:, s, 0] = np.minimum(MARGIN, (first[:, s] - preceding - 1) % length // 2)
        made[:, s, 1] = np.minimum(MARGIN, (following - last[:, s] - 1) % length // 2)
    return made


@compiled("f4[:,::1], f8[::1], i8[:,::1], i8[:,::1], i8[:,:,::1], i8", "f8[:,::1], f8[::1], i8[:,::1], i8[:,::1], i8[:,:,::1], i8")
def dates_of_years(days: npt.NDArray[np.floating], mean: Array, first: Ints, last: Ints, around: Ints, length: int) -> tuple[Array, Array]:
    """Onset and withdrawal [n, SEASONS, Y] of series [n, Y * L], as days since the 1 January of the year in which the climatological
    season begins (negative and beyond the year too); NaN where the days looked at leave the record or more than MOST_MISSING of them
    are missing, and where the season failed: its onset would come after the climatological last day.

    Onset: the day after the lowest cumulative anomaly from `mean` up to the climatological last day (a long dry time after a weak season
    may go lower), withdrawal: the day of its highest afterwards.
    """
    n, total = days.shape
    years = total // length
    onset, withdrawal = np.full((n, first.shape[1], years), np.nan), np.full((n, first.shape[1], years), np.nan)
    for i in range(n):
        for s in range(first.shape[1]):
            if first[i, s] < 0:
                continue
            for y in range(years):
                begin = y * length + first[i, s] - around[i, s, 0]
                close = y * length + first[i, s] + (last[i, s] - first[i, s]) % length
                end = close + around[i, s, 1] + 1
                if begin < 0 or end > total:
                    continue
                missing, sums, lowest, highest, low_day, high_day = 0, 0.0, np.inf, -np.inf, -1, -1
                for d in range(begin, end):
                    value = np.float64(days[i, d])
                    if finite(value):
                        sums += value - mean[i]
                    else:
                        missing += 1
                    if sums < lowest and d <= close:  # a new lowest day: withdrawal is looked for after it
                        lowest, low_day, highest, high_day = sums, d, -np.inf, -1
                    elif sums > highest:
                        highest, high_day = sums, d
                if missing <= MOST_MISSING and high_day >= 0 and low_day < close:
                    onset[i, s, y], withdrawal[i, s, y] = low_day + 1 - y * length, high_day - y * length
    return onset, withdrawal
