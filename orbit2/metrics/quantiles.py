"""Errors of what is rare: RMSE above a quantile of the day or of the climate, and of quantiles over time. Never assumes a distribution.

A score over cells where the TRUTH is high rewards too much everywhere (the forecaster's dilemma, Lerch et al. 2017), so it stands
beside the same over cells where the prediction is high, and beside a proper score of the tail (Taggart 2022).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
LEVELS = (0.6827, 0.9545, 0.9973, 0.9999)  # 1 to 4 standard deviations of a normal distribution
WET = 0.25  # mm/day
TIME_LEVELS = (0.01, 0.05, 0.5, 0.95, 0.99)
LEAST_BEYOND = 5  # values beyond a quantile over time that it needs
BINS = 4096


def weighted_quantiles(values: Array, weights: Array, levels: Sequence[float]) -> Array:
    """The smallest of `values` [N] at or below which a share of at least each level [Q] of `weights` [N] lies; NaN without a value.

    Exact: a histogram finds the bin, the values of that bin are sorted.
    """
    result = np.full(len(levels), np.nan)
    if not values.size or not weights.sum() > 0:
        return result
    low, high = float(values.min()), float(values.max())
    if low == high:
        return np.full(len(levels), low)
    place = np.minimum(((values - low) * (BINS / (high - low))).astype(np.int64), BINS - 1)
    below = np.cumsum(np.bincount(place, weights=weights, minlength=BINS))
    for i, level in enumerate(levels):
        wanted = level * below[-1]
        found = int(np.searchsorted(below, wanted))
        inside = place == min(found, BINS - 1)
        some, share = values[inside], weights[inside]
        order = np.argsort(some, kind="stable")
        running = np.cumsum(share[order]) + (below[found - 1] if found else 0.0)
        result[i] = some[order][min(int(np.searchsorted(running, wanted * (1 - 1e-12))), len(some) - 1)]
    return result


def tail_sums(of: Array, square: Array, weights: Array, thresholds: Array, dry: float | None = None) -> Array:
    """[Q, 3] cells, weight and weighted squared error where `of` [N] is at or above each of the ascending `thresholds` [Q].

    Cells of the value `dry` never count as above: of a threshold that is itself dry, only what is more. NaN thresholds have no cells.
    """
    known = thresholds[np.isfinite(thresholds)]
    sums = np.zeros((len(thresholds), 3))
    if not len(known):
        return sums
    use = of >= known[0] if dry is None else (of >= known[0]) & (of > dry)
    passed = np.searchsorted(known, of[use], side="right")  # thresholds at or below the value
    parts = (None, weights[use], weights[use] * square[use])
    for column, part in enumerate(parts):
        per_class = np.bincount(passed, weights=part, minlength=len(known) + 1)
        sums[: len(known), column] = per_class[::-1].cumsum()[::-1][1:]
    return sums


def above_day(prediction: Array, truth: Array, weights: Array, *, dry: float | None = None, wet: float | None = None) -> Array:
    """[2, Q, 3] tail_sums of one day above the day's own quantiles LEVELS by area of the truth; all arrays [N], of valid cells.

    Row 0: quantiles of all cells; row 1: of cells with at least `wet` (zeros where that is not given).
    """
    square = (prediction - truth) ** 2
    sums = np.zeros((2, len(LEVELS), 3))
    sums[0] = tail_sums(truth, square, weights, weighted_quantiles(truth, weights, LEVELS), dry)
    if wet is not None:
        rain = truth >= wet
        sums[1] = tail_sums(truth[rain], square[rain], weights[rain], weighted_quantiles(truth[rain], weights[rain], LEVELS))
    return sums


def above_fixed(prediction: Array, truth: Array, weights: Array, thresholds: Array, dry: float | None = None) -> Array:
    """[3, Q, 3] sums of one day for thresholds of the climate [Q].

    Row 0: where the truth is above; 1: where the prediction is; 2: tail_score everywhere.
    """
    square = (prediction - truth) ** 2
    proper = np.zeros((len(thresholds), 3))
    for i, threshold in enumerate(thresholds):
        if np.isfinite(threshold):
            proper[i] = len(truth), weights.sum(), (weights * tail_score(prediction, truth, threshold)).sum()
    return np.stack([tail_sums(truth, square, weights, thresholds, dry), tail_sums(prediction, square, weights, thresholds, dry), proper])


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


def over_time(prediction: Array, truth: Array, weights: Array, levels: Sequence[float] = TIME_LEVELS) -> tuple[Array, Array]:
    """(quantile_rmse [Q], quantile_bias [Q]) over cells of each cell's quantiles over time; fields [T, C], NaN = missing, weights [C].

    A cell counts for a level when at least LEAST_BEYOND of its values lie beyond it on either side; NaN where none does.
    """
    both = np.isfinite(prediction) & np.isfinite(truth)
    number = both.sum(axis=0)
    rmse, bias = np.full(len(levels), np.nan), np.full(len(levels), np.nan)
    for i, level in enumerate(levels):
        use = number * min(level, 1 - level) >= LEAST_BEYOND - 1e-9
        if use.any():
            known = both[:, use]
            p, o = (np.nanquantile(np.where(known, x[:, use], np.nan), level, axis=0) for x in (prediction, truth))
            share = weights[use] / weights[use].sum()
            rmse[i], bias[i] = np.sqrt((share * (p - o) ** 2).sum()), (share * (p - o)).sum()
    return rmse, bias
