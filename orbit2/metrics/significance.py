"""Whether a difference of two scores may be chance. Never judges many regions one by one: their false discoveries are limited together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy.special import ndtr, ndtri

from orbit2.metrics.bootstrap import LEAST_DAYS, LEVEL, Interval, block_length

Array = npt.NDArray[np.float64]
FALSE_DISCOVERIES = 0.1  # Wilks (2016, BAMS 97:2263): of the regions that are marked, at most this share by chance


def chance(interval: Interval) -> Array:
    """Two-sided p-values [B] that a difference of scores is 0: 0.05 where its 95 % interval ends at 0, normal beyond. NaN without one."""
    towards = np.where(interval.value > 0, interval.value - interval.low, interval.high - interval.value)
    with np.errstate(invalid="ignore", divide="ignore"):
        z = np.abs(interval.value) / towards * ndtri(1 - (1 - LEVEL) / 2)
    p: Array = np.where(interval.value == 0, 1.0, 2 * ndtr(-z))
    return np.where(np.isfinite(interval.low) & np.isfinite(interval.high), p, np.nan)


def discoveries(p: npt.ArrayLike, share: float = FALSE_DISCOVERIES) -> npt.NDArray[np.bool_]:
    """Which of several p-values stand for a difference when at most `share` of those marked may be chance (Benjamini & Hochberg 1995).

    NaN, where nothing could be tested, is never marked and does not count among the tests.
    """
    from scipy.stats import false_discovery_control  # a second to load

    values = np.asarray(p, dtype=np.float64)
    known = np.isfinite(values)
    marked = np.zeros(values.shape, dtype=bool)
    if known.any():
        marked[known] = false_discovery_control(values[known], method="bh") <= share
    return marked


def diebold_mariano(difference: Array) -> float:
    """Two-sided p-value of equal mean loss from the daily difference of two losses [T] (Diebold & Mariano 1995); NaN for too few days.

    The variance is that of Hering & Genton (2011): an exponential autocovariance, which cannot be negative as the classic truncated sum
    can. The difference is scaled first, as the fit of that curve starts from 1 in the data's own units. Student's t, T - 1 degrees.
    """
    from scores.stats.statistical_tests import diebold_mariano as test

    known = difference[np.isfinite(difference)]
    spread = float(known.std()) if len(known) else 0.0
    if len(known) < LEAST_DAYS:
        return float("nan")
    if not spread > 0:
        return float("nan") if not known[0] else 0.0
    series = xr.DataArray((known / spread)[None], dims=("series", "day"), coords={"series": [0], "lag": ("series", [block_length(known)])})
    below = float(test(series, "series", "lag", method="HG", statistic_distribution="t")["confidence_gt_0"].item())
    return 2 * min(below, 1 - below)
