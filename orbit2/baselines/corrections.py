"""Compiled loops that put what was fitted on an interpolated field: one pass, in float64 whatever maps and result are kept in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.jit import compiled, finite

Array = npt.NDArray[np.float64]
Kept = npt.NDArray[Any]  # float32 or float64


@compiled
def corrected(result: Kept, base: Array, residual: Kept, slope: Kept, mean: Kept, log: bool, low: float, high: float) -> None:
    """`result` = x + residual (0 where it is missing) + slope (x - mean) within `low` and `high`, x the `base` or, with `log`,
    ln(1 + base), transformed back; without `slope` and `mean` where they have no rows. All are [h, w]; NaN where `base` is."""
    sloped = len(slope) > 0
    most = np.log1p(high) if log else high
    least = np.log1p(low) if log else low
    for i in range(base.shape[0]):
        for j in range(base.shape[1]):
            x = base[i, j]
            if log and x != 0.0:  # most of the globe is dry
                x = np.log1p(x)
            r = np.float64(residual[i, j])
            value = x + (r if finite(r) else 0.0)
            if sloped:
                value += np.float64(slope[i, j]) * (x - np.float64(mean[i, j]))
            if value < least:
                value = least
            elif value > most:
                value = most
            if log:
                value = low if value == least else (high if value == most else np.expm1(value))
            result[i, j] = value


@compiled
def along(result: Kept, base: Array, height: Kept, rate: float) -> None:
    """`result` = base + rate x height, all [h, w]."""
    for i in range(base.shape[0]):
        for j in range(base.shape[1]):
            result[i, j] = base[i, j] + rate * np.float64(height[i, j])
