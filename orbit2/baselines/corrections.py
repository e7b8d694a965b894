"""Compiled loops that put what was fitted on an interpolated field: one pass, in float64 whatever maps and result are kept in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.jit import compiled, finite

Array = npt.NDArray[np.float64]
Kept = npt.NDArray[Any]  # float32 or float64
BAND = 16  # rows


@compiled
def _corrected(result: Kept, x: Array, residual: Kept, slope: Kept, mean: Kept, low: float, high: float) -> None:
    sloped = len(slope) > 0
    for i in range(x.shape[0]):
        for j in range(x.shape[1]):
            r = np.float64(residual[i, j])
            value = x[i, j] + (r if finite(r) else 0.0)
            if sloped:
                value += np.float64(slope[i, j]) * (x[i, j] - np.float64(mean[i, j]))
            if value < low:
                value = low
            elif value > high:
                value = high
            result[i, j] = value


def corrected(result: Kept, base: Array, residual: Kept, slope: Kept, mean: Kept, log: bool, low: float, high: float) -> None:
    """`result` = x + residual (0 where it is missing) + slope (x - mean) within `low` and `high`, x the `base` or, with `log`,
    ln(1 + base), transformed back; without `slope` and `mean` where they have no rows. All are [h, w]; NaN where `base` is."""
    if not log:
        _corrected(result, base, residual, slope, mean, low, high)
        return
    least, most = float(np.log1p(low)), float(np.log1p(high))
    for first in range(0, len(base), BAND):  # logarithms by numpy, of rows that stay in the cache
        rows = slice(first, first + BAND)
        x = np.log(np.add(base[rows], 1.0))  # vectorised, unlike log1p and expm1: 2e-16 of 1 + x, and no rain stays none
        _corrected(x, x, residual[rows], slope[rows], mean[rows], least, most)
        result[rows] = np.clip(np.subtract(np.exp(x, out=x), 1.0, out=x), low, high, out=x)


@compiled
def along(result: Kept, base: Array, height: Kept, rate: float) -> None:
    """`result` = base + rate x height, all [h, w]."""
    for i in range(base.shape[0]):
        for j in range(base.shape[1]):
            result[i, j] = base[i, j] + rate * np.float64(height[i, j])
