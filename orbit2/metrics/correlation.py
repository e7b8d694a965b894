"""How far a field is correlated with itself along rows and columns. Never fills a missing cell, and pairs no cells across an edge."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy import fft

Array = npt.NDArray[np.float64]
FOLD = float(np.exp(-1))


@dataclass(frozen=True)
class Lags:
    """Weighted sums over all pairs of valid cells `k` apart, each [K]; those of several samples add up.

    `product` of a pair's two values; `first` and `second` their squares.
    """

    product: Array
    first: Array
    second: Array

    def __add__(self, other: Lags) -> Lags:
        return Lags(self.product + other.product, self.first + other.first, self.second + other.second)

    @property
    def correlation(self) -> Array:
        """Correlation at lags 0, 1, ... [K], in [-1, 1]; NaN where no pair is valid or nothing varies."""
        scale = np.sqrt(np.maximum(self.first, 0.0) * np.maximum(self.second, 0.0))
        nothing = scale <= 1e-12 * scale[0]
        result: Array = np.divide(self.product, scale, out=np.full_like(scale, np.nan), where=~nothing)
        return result


def lags(field: Array, weights: Array, axis: int, periodic: bool) -> Lags:
    """Pairs of cells of `field` [H, W] (NaN = missing) along `axis`, -1 zonal or -2 meridional, up to half its length apart.

    A pair weighs the geometric mean of its cells' `weights` (areas, [H] of rows or [H, W]). The area-weighted mean of the
    field is taken off first. `periodic` closes the axis around the globe.
    """
    valid = np.isfinite(field)
    root = np.sqrt(weights[:, None] if weights.ndim == 1 else weights)
    total = float((root**2 * valid).sum())
    values = np.where(valid, field, 0.0)
    values = np.where(valid, values - float((root**2 * values).sum()) / total, 0.0) if total else values
    count = field.shape[axis]
    length = count if periodic else fft.next_fast_len(count + count // 2, real=True)
    plain, square, known = (fft.rfft(root * x, length, axis) for x in (values, values**2, valid.astype(np.float64)))

    def paired(a: npt.NDArray[np.complex128], b: npt.NDArray[np.complex128]) -> Array:
        summed: Array = fft.irfft((a.conj() * b).sum(-2 if axis == -1 else -1), length)[: count // 2 + 1]
        return summed

    return Lags(paired(plain, plain), paired(square, known), paired(known, square))


def e_folding(correlation: Array) -> float:
    """Cells to where `correlation` [K] (lags 0, 1, ...) first falls below 1/e, exponential in between.

    Infinite when it never does, NaN when nothing is known.
    """
    known = np.isfinite(correlation)
    if not known[0] or len(correlation) < 2 or not known[1]:
        return float("nan")
    below = np.flatnonzero(known & (correlation < FOLD))
    if not len(below):
        return float("inf")
    right = int(below[0])
    left = int(np.flatnonzero(known[:right])[-1])
    high, low = float(correlation[left]), float(correlation[right])
    share = np.log(high / FOLD) / np.log(high / low) if low > 0 else (high - FOLD) / (high - low)
    return left + float(share) * (right - left)


def lengths(samples: Iterable[Array], weights: Array, periodic: bool) -> list[tuple[float, float]]:
    """(zonal, meridional) e-folding distance in cells of each variable of `samples` [C, H, W]; `periodic` in longitude."""
    sums: list[tuple[Lags, Lags]] = []
    for sample in samples:
        found = [(lags(field, weights, -1, periodic), lags(field, weights, -2, False)) for field in sample]
        sums = [(a + c, b + d) for (a, b), (c, d) in zip(sums, found, strict=True)] if sums else found
    return [(e_folding(zonal.correlation), e_folding(meridional.correlation)) for zonal, meridional in sums]
