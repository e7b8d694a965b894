"""Errors of what is rare: RMSE above a quantile of the day or of the climate, and of quantiles over time. Never assumes a distribution.

A score over cells where the TRUTH is high rewards too much everywhere (the forecaster's dilemma, Lerch et al. 2017), so it stands
beside the same over cells where the prediction is high, and beside a proper score of the tail (Taggart 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from orbit2.jit import compiled, finite

Array = npt.NDArray[np.float64]
Values = npt.NDArray[np.floating]
LEVELS = (0.6827, 0.9545, 0.9973, 0.9999)  # 1 to 4 standard deviations of a normal distribution
WET = 0.25  # mm/day
TIME_LEVELS = (0.01, 0.05, 0.5, 0.95, 0.99)
LEAST_BEYOND = 5  # values beyond a quantile over time that it needs
BINS = 4096
STRETCH = 256  # cells of a row that are looked at together
TAILS = ("day", "day_wet", "climate", "climate_predicted", "climate_proper")  # of tail_sums


def weighted_quantiles(values: Array, weights: Array, levels: Sequence[float], least: float = -np.inf) -> Array:
    """The smallest of `values` [...] at or below which a share of at least each level [Q] of `weights` [...] lies; of the finite ones that
    are at least `least`, NaN without such a value.

    Exact: a histogram finds the bin, the values of that bin are sorted. Nothing else is copied.
    """
    flat, areas = values.ravel(), weights.ravel()
    result = np.full(len(levels), np.nan)
    low, high, total, lowest = _extent(flat, areas, least)
    if not total > 0:
        return result
    if low == high:
        return np.full(len(levels), low)
    scale = BINS / (high - low)
    below = np.cumsum(_histogram(flat, areas, least, low, scale))
    for i, level in enumerate(levels):
        wanted = level * below[-1]
        found = int(np.searchsorted(below, wanted))
        some, share = _inside(flat, areas, least, low, scale, min(found, BINS - 1))
        if not found and (wanted * (1 - 1e-12) <= lowest or not len(some)):
            result[i] = low
            continue
        order = np.argsort(some, kind="stable")
        running = np.cumsum(share[order]) + (below[found - 1] if found else lowest)
        result[i] = some[order][min(int(np.searchsorted(running, wanted * (1 - 1e-12))), len(some) - 1)]
    return result


def day_thresholds(truth: Array, weights: Array, wet: float | None = None) -> tuple[Array, Array]:
    """(quantiles LEVELS of a day's truth by area, the same of its cells with at least `wet`), [Q] each; NaN where there is none."""
    of_all = weighted_quantiles(truth, weights, LEVELS)
    return of_all, np.full(len(LEVELS), np.nan) if wet is None else weighted_quantiles(truth, weights, LEVELS, wet)


@compiled("f8[::1], f8[::1], f8")
def _extent(values: Array, weights: Array, least: float) -> tuple[float, float, float, float]:
    """(the smallest, the greatest, the weight, that of the smallest) of the finite `values` [N] that are at least `least`."""
    low, high, total, lowest = np.inf, -np.inf, 0.0, 0.0
    for k in range(len(values)):
        value = np.float64(values[k])
        if finite(value) and value >= least:
            if value < low:
                low, lowest = value, 0.0
            if value == low:
                lowest += weights[k]
            high = max(high, value)
            total += weights[k]
    return low, high, total, lowest


@compiled("f8[::1], f8[::1], f8, f8, f8")
def _histogram(values: Array, weights: Array, least: float, low: float, scale: float) -> Array:
    """[BINS] their weights, by value."""
    found = np.zeros(BINS)
    for k in range(len(values)):
        value = np.float64(values[k])
        if finite(value) and value >= least:
            found[min(int((value - low) * scale), BINS - 1)] += weights[k]
    return found


@compiled("f8[::1], f8[::1], f8, f8, f8, i8")
def _inside(values: Array, weights: Array, least: float, low: float, scale: float, place: int) -> tuple[Array, Array]:
    """Those of one bin, with their weights, in the order that they come in; not the smallest of all: most of the globe is dry."""
    count = 0
    for k in range(len(values)):
        value = np.float64(values[k])
        if finite(value) and value >= least and value > low and min(int((value - low) * scale), BINS - 1) == place:
            count += 1
    some, share = np.empty(count), np.empty(count)
    count = 0
    for k in range(len(values)):
        value = np.float64(values[k])
        if finite(value) and value >= least and value > low and min(int((value - low) * scale), BINS - 1) == place:
            some[count], share[count] = value, weights[k]
            count += 1
    return some, share


def tail_sums(
    prediction: Array, truth: Array, weights: Array, day: tuple[Array, Array], fixed: Array | None = None, dry: float | None = None
) -> Array:
    """[5, Q, 3] cells, weight and weighted squared error of one day's fields [H, W] (NaN = missing) by threshold. TAILS names the rows.

    `day` are the truth's day_thresholds, `fixed` [Q] those of the climate. A cell counts at or above a threshold; one of the value `dry`
    never does, so that above a threshold which is itself dry lies only what is more.
    """
    none = np.full(len(LEVELS), np.nan)
    thresholds = np.stack([*day, none if fixed is None else fixed])
    sums: Array = _tails(prediction.ravel(), truth.ravel(), weights.ravel(), thresholds, -np.inf if dry is None else dry)
    return sums


@compiled("f8[::1], f8[::1], f8[::1], f8[:,::1], f8")
def _tails(prediction: Array, truth: Array, weights: Array, thresholds: Array, dry: float) -> Array:
    levels = thresholds.shape[1]
    sums = np.zeros((5, levels, 3))
    lowest = np.nanmin(thresholds)
    cells, area = 0, 0.0
    for i in range(truth.size):
        p, o, w = prediction[i], truth[i], weights[i]
        if np.isnan(p) or np.isnan(o):
            continue
        cells += 1
        area += w
        if p < lowest and o < lowest:
            continue
        square = w * (p - o) ** 2
        for q in range(levels):
            for row in range(3):
                if o >= thresholds[row, q] and o > dry:
                    sums[row, q, 0] += 1
                    sums[row, q, 1] += w
                    sums[row, q, 2] += square
            limit = thresholds[2, q]
            if p >= limit and p > dry:
                sums[3, q, 0] += 1
                sums[3, q, 1] += w
                sums[3, q, 2] += square
            if p >= limit or o >= limit:
                a, b = max(p - limit, 0.0), max(o - limit, 0.0)
                sums[4, q, 2] += w * (b * b - a * a - 2 * a * (o - p))
    for q in range(levels):
        if not np.isnan(thresholds[2, q]):
            sums[4, q, 0], sums[4, q, 1] = cells, area
    return sums


def own_sums(
    prediction: Array, truth: Array, weights: Array, thresholds: Values, dry: float | None = None, lowest: Values | None = None
) -> Array:
    """[3, Q, 3] cells, weight and weighted squared error of fields [H, W] (NaN = missing) where the truth is at or above its cell's
    `thresholds` [Q, H, W] (all NaN where they are not known), where the prediction is, and tail_score over all cells; `weights`
    [H, 1 or W], `dry` as in `tail_sums`, `lowest` [H, W] the least threshold of each cell, where that is known already."""
    least = thresholds.min(axis=0) if lowest is None else lowest  # of a zone's quantile and a cell's own either may be the lower one
    p, o, w, limits, least = (np.ascontiguousarray(values) for values in (prediction, truth, weights, thresholds, least))
    sums: Array = _own(p, o, w, limits, least, -np.inf if dry is None else dry)
    return sums


@compiled("f8[:,::1], f8[:,::1], f8[:,::1], f4[:,:,::1], f4[:,::1], f8")
def _own(prediction: Array, truth: Array, weights: Array, limits: Values, lowest: Values, dry: float) -> Array:
    """By stretches of a row: those whose cells weigh the same and are all known many cells at a time, others cell by cell."""
    height, width = prediction.shape
    levels = limits.shape[0]
    sums = np.zeros((3, levels, 3))
    cells, whole = 0.0, 0.0
    for i in range(height):
        for start in range(0, width, STRETCH):
            stop = min(start + STRETCH, width)
            p, o = prediction[i, start:stop], truth[i, start:stop]
            known = weights.shape[1] == 1
            if known:
                w = weights[i, 0]
                for q in range(levels):
                    if q > 0 and not _reached(p, o, limits[q, i, start:stop]):
                        continue
                    found = _beyond(p, o, limits[q, i, start:stop], dry)
                    if not finite(found[5]):  # the first quantile meets every cell, and where one threshold is missing all are
                        known = False
                        break
                    for row in range(2):
                        sums[row, q, 0] += found[row]
                        sums[row, q, 1] += w * found[row]
                        sums[row, q, 2] += w * found[2 + row]
                    sums[2, q, 2] += w * found[4]
            if known:
                n, area = float(stop - start), w * (stop - start)
            else:
                areas = weights[i] if weights.shape[1] == 1 else weights[i, start:stop]
                n, area = _own_cells(p, o, areas, limits[:, i, start:stop], lowest[i, start:stop], dry, sums)
            cells += n
            whole += area
    for q in range(levels):
        sums[2, q, 0], sums[2, q, 1] = cells, whole
    return sums


@compiled("f8[::1], f8[::1], f4[::1]")
def _reached(prediction: Array, truth: Array, limits: Values) -> bool:
    """Whether either reaches its limit in any cell [N]."""
    count = 0
    for j in range(len(prediction)):
        count += 1 if (prediction[j] >= limits[j]) | (truth[j] >= limits[j]) else 0
    return count > 0


@compiled("f8[::1], f8[::1], f4[::1], f8")
def _beyond(prediction: Array, truth: Array, limits: Values, dry: float) -> tuple[float, float, float, float, float, float]:
    """Of complete cells [N] that weigh 1: (number with the truth beyond, with the prediction; their squared errors; tail_score; what is not
    finite where a value or threshold is missing). Factors of 0 and 1, as a loop with branches takes one cell at a time."""
    above_o, above_p, square_o, square_p, score, known = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(len(prediction)):
        p, o, limit = np.float64(prediction[j]), np.float64(truth[j]), np.float64(limits[j])
        error = p - o
        square = error * error
        high_o = 1.0 if o >= limit else 0.0
        high_o *= 1.0 if o > dry else 0.0
        high_p = 1.0 if p >= limit else 0.0
        high_p *= 1.0 if p > dry else 0.0
        a, b = max(p - limit, 0.0), max(o - limit, 0.0)
        above_o += high_o
        above_p += high_p
        square_o += high_o * square
        square_p += high_p * square
        score += b * b - a * a + 2.0 * a * error
        known += error + limit
    return above_o, above_p, square_o, square_p, score, known


@compiled("f8[::1], f8[::1], f8[::1], f4[:,:], f4[::1], f8, f8[:,:,::1]")
def _own_cells(
    prediction: Array, truth: Array, weights: Array, limits: Values, lowest: Values, dry: float, sums: Array
) -> tuple[float, float]:  # fmt: skip
    """Adds to the `sums` of a stretch [N], `weights` [1 or N]; gives the number of its cells and their area."""
    levels = limits.shape[0]
    cells, area = 0.0, 0.0
    along = 1 if len(weights) > 1 else 0
    for i in range(len(truth)):
        p, o, w = np.float64(prediction[i]), np.float64(truth[i]), weights[along * i]
        least = np.float64(lowest[i])
        if np.isnan(p) or np.isnan(o) or np.isnan(least):
            continue
        cells += 1.0
        area += w
        if p < least and o < least:
            continue
        square = w * (p - o) ** 2
        for q in range(levels):
            limit = np.float64(limits[q, i])
            if o >= limit and o > dry:
                sums[0, q, 0] += 1
                sums[0, q, 1] += w
                sums[0, q, 2] += square
            if p >= limit and p > dry:
                sums[1, q, 0] += 1
                sums[1, q, 1] += w
                sums[1, q, 2] += square
            if p >= limit or o >= limit:
                a, b = max(p - limit, 0.0), max(o - limit, 0.0)
                sums[2, q, 2] += w * (b * b - a * a - 2 * a * (o - p))
    return cells, area


def tail_score(prediction: Array, truth: Array, threshold: float) -> Array:
    """Threshold-weighted squared error: a proper score of what lies above `threshold`, 0 where neither does (Taggart 2022, eq. 7).

    phi(o) - phi(p) - phi'(p)(o - p) with phi(x) = max(x - threshold, 0)^2: (p - o)^2 where both are above.
    """
    p, o = np.maximum(prediction - threshold, 0.0), np.maximum(truth - threshold, 0.0)
    score: Array = o**2 - p**2 - 2 * p * (truth - prediction)
    return score


def rmse_of(sums: Array) -> Array:
    """Square root of error over weight, of [..., 3] sums; NaN where no cell is."""
    with np.errstate(invalid="ignore", divide="ignore"):
        root: Array = np.sqrt(np.maximum(sums[..., 2], 0.0) / sums[..., 1])
    return root


def over_time(
    prediction: Values, truth: Values, weights: Array, levels: Sequence[float] = TIME_LEVELS, in_order: Values | None = None
) -> tuple[Array, Array]:
    """(quantile_rmse [Q], quantile_bias [Q]) over cells of each cell's quantiles over time; fields [T, C], NaN = missing, weights [C].

    A cell counts for a level when at least LEAST_BEYOND of its values lie beyond it on either side; NaN where none does. `in_order`:
    `ordered(truth)`, where that is known already.
    """
    known = np.isfinite(truth)
    both = np.isfinite(prediction) & known
    number = both.sum(axis=0)
    p = ordered(np.where(both, prediction, np.nan))
    o = in_order if in_order is not None and (both == known).all() else ordered(np.where(both, truth, np.nan))
    rmse, bias = np.full(len(levels), np.nan), np.full(len(levels), np.nan)
    for i, level in enumerate(levels):
        use = number * min(level, 1 - level) >= LEAST_BEYOND - 1e-9
        if use.any():
            difference = _at(p[use], level, number[use]) - _at(o[use], level, number[use])
            share = weights[use] / weights[use].sum()
            rmse[i], bias[i] = np.sqrt((share * difference**2).sum()), (share * difference).sum()
    return rmse, bias


def ordered(values: Values) -> Values:
    """[T, C] -> [C, T]: each cell's values ascending, missing ones last."""
    made = np.ascontiguousarray(np.where(np.isfinite(values), values, np.nan).T)
    made.sort(axis=1)
    return made


def _at(ordered: Values, level: float, number: npt.NDArray[np.integer]) -> Array:
    """The quantile [C], linear between values, of the first `number` [C] of ascending values [C, T]."""
    place = level * (number - 1)
    below = np.floor(place).astype(np.int64)
    above = np.minimum(below + 1, number - 1)
    cells = np.arange(len(ordered))
    low, high = (ordered[cells, at].astype(np.float64) for at in (below, above))
    value: Array = low + (place - below) * (high - low)
    return value
