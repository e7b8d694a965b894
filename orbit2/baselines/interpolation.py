"""Nearest, bilinear, bicubic and area-conserving interpolation between nested grids. Never fills missing cells with zero."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from orbit2.errors import OrbitError, did_you_mean
from orbit2.grid import Grid

Array = npt.NDArray[np.float64]
METHODS = ("nearest", "bilinear", "bicubic", "conservative", "bilinear_log1p", "bicubic_log1p")
_CONSERVATION_PASSES = 10


def methods_for(baselines: Sequence[str], precipitation: bool) -> tuple[str, ...]:
    """The interpolations scored for one variable: those configured, and for precipitation their ln(1+x) variants too."""
    plain = tuple(name for name in baselines if name in METHODS)
    extra = tuple(f"{name}_log1p" for name in plain if f"{name}_log1p" in METHODS) if precipitation else ()
    return (*plain, *extra)


def interpolate(
    field: npt.NDArray[Any], grid: Grid, factor: int, method: str, *, lower: float | None = None
) -> npt.NDArray[Any]:
    """Interpolate a cell-centred `field` [..., H, W] on `grid` to the `factor` times finer grid, [..., sH, sW], same units and dtype.

    Longitude wraps where `grid.periodic`, everything else is edge-replicated. Interpolation is in index space, as torch does it
    (no cos(latitude)): `bilinear` and `bicubic` (a = -0.75) equal `torch.nn.functional.interpolate(mode, align_corners=False)` of
    the field padded by wrap/replicate, which is the model's residual path.

    - nearest: each fine cell takes its coarse cell's value; conserves area means exactly.
    - conservative: bilinear, then the residual of the area-weighted block means is added back bilinearly a few times (so that the
      result stays smooth) and what is left piecewise constantly, so that block means equal the input to rounding. With `lower` = 0
      the correction is a factor per coarse cell instead, which keeps the field non-negative.
    - *_log1p: interpolation of ln(1 + x), transformed back; implies `lower` = 0.

    `lower` clips overshoots (0 for precipitation). Missing data: weights are normalised over valid cells; a bicubic stencil with a
    missing cell falls back to the bilinear one; a fine cell with no valid cell in its bilinear stencil is NaN.
    Raises OrbitError for an unknown method, a factor below 1 or a field that does not match the grid.
    """
    if method not in METHODS:
        raise OrbitError("unknown interpolation", got=method, allowed=", ".join(METHODS), hint=did_you_mean(method, METHODS))
    if factor < 1:
        raise OrbitError("refinement factor must be at least 1", where=method, got=factor)
    if field.shape[-2:] != grid.shape:
        raise OrbitError("field does not match its grid", where=method, got=field.shape[-2:], allowed=grid.shape)
    values = np.asarray(field, dtype=np.float64)
    log = method.endswith("_log1p")
    if log:
        lower, values = 0.0, np.log1p(np.maximum(values, 0.0))
    kernel = method.removesuffix("_log1p")
    if kernel == "conservative":
        result = _conservative(values, grid, factor, lower)
    else:
        result = _kernel(values, grid.periodic, factor, kernel)
    if log:
        result = np.expm1(result)
    if lower is not None:
        result = np.maximum(result, lower)  # keeps NaN
    return result.astype(field.dtype if field.dtype.kind == "f" else np.float64)


def _kernel(values: Array, periodic: bool, factor: int, kernel: str) -> Array:
    """Separable interpolation, normalised over the valid cells."""
    valid = np.isfinite(values)
    if valid.all():
        return _apply(values, periodic, factor, kernel)
    known = valid.astype(np.float64)
    base = "bilinear" if kernel == "bicubic" else kernel
    weight = _apply(known, periodic, factor, base)
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Array = np.where(weight > 1e-9, _apply(np.where(valid, values, 0.0), periodic, factor, base) / weight, np.nan)
    if kernel == "bicubic":
        complete = _apply(1 - known, periodic, factor, "reach") == 0  # no missing cell in the 4 x 4 stencil
        neutral = np.where(valid, values, np.nanmean(values) if valid.any() else 0.0)  # never reaches a complete stencil
        result = np.where(complete, _apply(neutral, periodic, factor, "bicubic"), result)
    return result


def _conservative(values: Array, grid: Grid, factor: int, lower: float | None) -> Array:
    fine = _kernel(values, grid.periodic, factor, "bilinear")
    weights = grid.refine(factor).lat_weights
    if lower == 0.0:
        means = block_mean(fine, weights, factor)
        with np.errstate(invalid="ignore", divide="ignore"):
            ratio = np.where(means > 0, values / means, 1.0)
        product: Array = fine * _expand(np.where(np.isfinite(ratio), ratio, 1.0), factor)
        return product
    for _ in range(_CONSERVATION_PASSES):
        residual = values - block_mean(fine, weights, factor)
        fine = fine + _kernel(np.where(np.isfinite(residual), residual, 0.0), grid.periodic, factor, "bilinear")
    residual = values - block_mean(fine, weights, factor)
    return fine + _expand(np.where(np.isfinite(residual), residual, 0.0), factor)


def block_mean(fine: npt.NDArray[Any], lat_weights: Array, factor: int) -> Array:
    """Area-weighted mean of each `factor` x `factor` block over its valid cells: [..., sH, sW] -> [..., H, W]; NaN where none is valid.

    `lat_weights` [sH] are the fine rows' relative areas (`Grid.lat_weights`).
    """
    height, width = fine.shape[-2:]
    blocks = np.asarray(fine, dtype=np.float64).reshape(*fine.shape[:-2], height // factor, factor, width // factor, factor)
    weights = lat_weights.reshape(height // factor, factor, 1, 1)
    if np.isfinite(blocks).all():
        mean: Array = (blocks * weights).sum((-3, -1)) / (weights.sum((-3, -1)) * factor)
        return mean
    known = np.isfinite(blocks) * weights
    with np.errstate(invalid="ignore"):
        mean = np.nansum(blocks * weights, axis=(-3, -1)) / known.sum((-3, -1))
    return mean


def _expand(values: Array, factor: int) -> Array:
    return np.repeat(np.repeat(values, factor, axis=-2), factor, axis=-1)


def _apply(values: Array, periodic: bool, factor: int, kernel: str) -> Array:
    height, width = values.shape[-2:]
    rows, columns = _matrix(height, factor, kernel, False), _matrix(width, factor, kernel, periodic)
    planes = values.reshape(-1, height, width)
    result = np.stack([columns.dot(rows.dot(plane).T).T for plane in planes])
    return result.reshape(*values.shape[:-2], height * factor, width * factor)


@lru_cache(maxsize=32)
def _matrix(cells: int, factor: int, kernel: str, wrap: bool) -> sparse.csr_array:
    """[cells * factor, cells] interpolation weights along one axis; `reach` is 1 at every cell of the bicubic stencil."""
    position = (np.arange(cells * factor) + 0.5) / factor - 0.5  # fine centres in coarse index space
    if kernel == "nearest":
        offsets, weights = [0], [np.ones(len(position))]
        first = np.arange(cells * factor) // factor
    else:
        first = np.floor(position).astype(np.int64)
        t = position - first
        if kernel == "bilinear":
            offsets, weights = [0, 1], [1 - t, t]
        else:
            offsets = [-1, 0, 1, 2]
            weights = [_cubic(t - k) if kernel == "bicubic" else np.ones_like(t) for k in offsets]
    entries = np.concatenate(weights)
    columns = np.concatenate([first + k for k in offsets])
    columns = columns % cells if wrap else np.clip(columns, 0, cells - 1)
    index = np.tile(np.arange(cells * factor), len(offsets))
    return sparse.csr_array((entries, (index, columns)), shape=(cells * factor, cells))


def _cubic(distance: Array, a: float = -0.75) -> Array:
    """Cubic convolution (Keys 1981, IEEE TASSP 29:1153) with torch's a."""
    x = np.abs(distance)
    near = (a + 2) * x**3 - (a + 3) * x**2 + 1
    far = a * (x**3 - 5 * x**2 + 8 * x - 4)
    result: Array = np.where(x <= 1, near, np.where(x < 2, far, 0.0))
    return result
