"""Cell-area weights normalised over valid cells. Never uses cos(latitude) where exact areas are known."""

from __future__ import annotations

from weakref import WeakKeyDictionary

import numpy as np
import numpy.typing as npt

from orbit2.grid import AnyGrid
from orbit2.metrics import kernels

Array = npt.NDArray[np.float64]
_SHARED: WeakKeyDictionary[AnyGrid, Array] = WeakKeyDictionary()  # of whole grids: many scores want them, and at 7 km they are 130 MB
_BY_ROW: WeakKeyDictionary[AnyGrid, Array] = WeakKeyDictionary()


def area_weights(grid: AnyGrid, valid: npt.NDArray[np.bool_] | None = None) -> Array:
    """Exact relative cell areas [H, W], (sin north - sin south) x width, scaled to mean 1 over the `valid` cells.

    Invalid cells weigh 0, so the weighted mean of a constant is that constant whatever is missing (evaluation.md 1.0). Without `valid` all
    who ask share one array: nobody changes it.
    """
    if valid is None:
        if grid not in _SHARED:
            areas = grid.area_km2
            _SHARED[grid] = areas * (areas.size / areas.sum())
        return _SHARED[grid]
    weights = np.where(valid, grid.area_km2, 0.0)
    total = weights.sum()
    scaled: Array = weights * (int(valid.sum()) / total) if total > 0 else weights
    return scaled


def row_weights(grid: AnyGrid) -> Array:
    """`area_weights` as one column [H, 1] where the cells of each row are alike, else [H, W]: what compiled sums read."""
    if grid not in _BY_ROW:
        weights = area_weights(grid)
        column = np.ascontiguousarray(weights[:, :1])
        _BY_ROW[grid] = column if (weights == column).all() else weights
    return _BY_ROW[grid]


def weighted_mean(values: Array, weights: Array) -> float:
    """Mean of the finite `values` under `weights` (same shape); NaN where no finite value has weight."""
    return float(kernels.mean_of(np.atleast_2d(np.ascontiguousarray(values)), np.atleast_2d(np.ascontiguousarray(weights)))[1])
