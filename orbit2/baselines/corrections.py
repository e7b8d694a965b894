"""Compiled loops that put what was fitted on an interpolated field: one pass, in float64 whatever maps and result are kept in."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.jit import compiled, finite
from orbit2.logarithms import expm1

Array = npt.NDArray[np.float64]
Kept = npt.NDArray[Any]  # float32 or float64


@compiled("f8[:,::1], f8[:,::1], f4[:,::1], f4[:,::1], f4[:,::1], f8, f8")
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


def corrected(
    result: Kept, base: Array, logarithm: Array | None, residual: Kept, slope: Kept, mean: Kept, low: float, high: float
) -> None:  # fmt: skip
    """`result` = x + residual (0 where it is missing) + slope (x - mean) within `low` and `high`, x the `base` or, where it is given, its
    `logarithm` ln(1 + base), transformed back; without `slope` and `mean` where they have no rows. All are [h, w]; NaN where `base` is."""
    if logarithm is None:
        _corrected(result, base, residual, slope, mean, low, high)
        return
    x = np.empty(base.shape)
    _corrected(x, logarithm, residual, slope, mean, float(np.log1p(low)), float(np.log1p(high)))
    result[...] = np.clip(expm1(x, out=x), low, high, out=x)


@compiled("f8[:,::1], f8[:,::1], f8[:,::1], f4[:,::1], f4[:,::1], b1[:,::1], b1, f8, f8")
def on_mean(
    result: Kept, base: Array, anomaly: Array, mean: Kept, more: Kept, seen: npt.NDArray[np.bool_], ratio: bool, low: float, high: float
) -> None:  # fmt: skip
    """`result` = (mean + more) x anomaly, or + anomaly where it is no `ratio`, within `low` and `high`; `base` where that is missing or,
    with `more` and `seen` (which may have no rows), nothing was seen. All are [h, w]."""
    parts = len(more) > 0
    for i in range(base.shape[0]):
        for j in range(base.shape[1]):
            whole = np.float64(mean[i, j])
            if parts:
                whole = np.float64(whole + np.float64(more[i, j])) if seen[i, j] else np.float64(np.nan)
            value = float(whole * anomaly[i, j] if ratio else whole + anomaly[i, j])
            if value < low:
                value = low
            elif value > high:
                value = high
            result[i, j] = value if finite(value) else base[i, j]


@compiled("f8[:,::1], f8[:,::1], f4[:,::1], f8")
def along(result: Kept, base: Array, height: Kept, rate: float) -> None:
    """`result` = base + rate x height, all [h, w]."""
    for i in range(base.shape[0]):
        for j in range(base.shape[1]):
            result[i, j] = base[i, j] + rate * np.float64(height[i, j])
