"""How far two distributions lie apart, from histograms on common edges. Never needs the values themselves."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
RAIN_EDGES = np.concatenate([[0.0], np.geomspace(0.25, 300, 60), [np.inf]])  # mm/day: dry, then equal steps of the logarithm
KELVIN = 0.5  # the bins of Perkins et al. 2007
BINS = 100  # between the truth's 0.1 and 99.9 % quantiles, of what has no bins of its own


def rebinned(counts: Array, edges: Array, coarse: Array) -> Array:
    """`counts` [B] of bins between `edges` [B + 1] in the bins between `coarse`, by the middle of each bin; beyond: the outermost."""
    position = np.searchsorted(coarse, (edges[:-1] + edges[1:]) / 2, side="right") - 1
    return np.bincount(np.clip(position, 0, len(coarse) - 2), weights=counts, minlength=len(coarse) - 1).astype(np.float64)


def common_edges(truth: Array, edges: Array, rain: bool, units: str) -> Array:
    """Bins that distributions are compared in: rain's, half kelvins, or BINS between the truth's 0.1 % and 99.9 % quantiles."""
    if rain:
        return RAIN_EDGES
    share = np.cumsum(truth) / truth.sum()
    low, high = edges[:-1][np.searchsorted(share, 0.001)], edges[1:][np.searchsorted(share, 0.999)]
    if units == "K":
        return np.arange(np.floor(low / KELVIN), np.ceil(high / KELVIN) + 1) * KELVIN
    return np.linspace(low, high, BINS + 1)


def perkins(prediction: Array, truth: Array) -> float:
    """Sum over bins of the smaller share: 1 for equal distributions, 0 if they do not meet (Perkins et al. 2007, J. Clim. 20:4356)."""
    return float(np.minimum(prediction / prediction.sum(), truth / truth.sum()).sum())


def wasserstein(prediction: Array, truth: Array, edges: Array) -> float:
    """Integral of |F_p - F_o| over the value, in its units: how far the values of one must be moved on average to become the other's.

    Values are taken as even within a bin: wrong by at most the width of a bin.
    """
    p, o = (np.concatenate([[0.0], np.cumsum(counts) / counts.sum()]) for counts in (prediction, truth))
    occupied = np.flatnonzero(prediction + truth)
    difference = np.where(np.arange(len(p)) <= occupied[-1], p - o, 0.0)  # beyond all values it is rounding, times a range of 10,000 mm/day
    left, right = difference[:-1], difference[1:]
    width = np.diff(edges)
    crossing = left * right < 0
    with np.errstate(invalid="ignore", divide="ignore"):
        crossed = (left**2 + right**2) / np.abs(right - left) / 2
    return float((width * np.where(crossing, crossed, np.abs(left + right) / 2)).sum())


def kolmogorov_smirnov(prediction: Array, truth: Array) -> float:
    """Largest |F_p - F_o|."""
    return float(np.abs(np.cumsum(prediction) / prediction.sum() - np.cumsum(truth) / truth.sum()).max())
