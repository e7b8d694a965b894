"""Nearest, bilinear, bicubic and area-conserving interpolation between nested grids. Never fills missing cells with zero."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import sparse

from orbit2.areas import relative_areas
from orbit2.errors import OrbitError, one_of
from orbit2.grid import AnyGrid
from orbit2.jit import compiled, finite

Array = npt.NDArray[np.float64]
METHODS = ("nearest", "bilinear", "bicubic", "conservative", "bilinear_log1p", "bicubic_log1p")
_CONSERVATION_PASSES = 10
SMALL = 1 << 12  # coarse cells of a field for which a full matrix is faster than a sparse one
BAND_CELLS = 1 << 18  # fine cells that are worked on together: 2 MB


def methods_for(baselines: Sequence[str], precipitation: bool) -> tuple[str, ...]:
    """The interpolations scored for one variable: those configured, and for precipitation their ln(1+x) variants too."""
    plain = tuple(name for name in baselines if name in METHODS)
    extra = tuple(f"{name}_log1p" for name in plain if f"{name}_log1p" in METHODS) if precipitation else ()
    return (*plain, *extra)


def interpolate(
    field: npt.NDArray[Any], grid: AnyGrid, factor: int, method: str, *, lower: float | None = None,
    precision: type[np.floating[Any]] | None = None,
) -> npt.NDArray[Any]:  # fmt: skip
    """Interpolate a cell-centred `field` [..., H, W] on `grid` to the `factor` times finer grid, [..., sH, sW], same units; computed in
    double precision, the result in `precision` (default: the field's own).

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
        raise OrbitError("unknown interpolation", where="method", got=method, allowed=", ".join(METHODS),
                         hint=one_of(method, METHODS))  # fmt: skip
    if factor < 1:
        raise OrbitError("refinement factor must be at least 1", where=method, got=factor,
                         hint="give the number of fine cells along a side of a coarse one")  # fmt: skip
    if field.shape[-2:] != grid.shape:
        raise OrbitError("field does not match its grid", where=method, got=field.shape[-2:], allowed=grid.shape,
                         hint="give a field [..., lat, lon] and the grid that it lies on")  # fmt: skip
    values = np.asarray(field, dtype=np.float64)
    log = method.endswith("_log1p")
    if log:
        lower, values = 0.0, np.log1p(np.maximum(values, 0.0))
    kernel = method.removesuffix("_log1p")
    own = field.dtype.type if field.dtype.kind == "f" else np.float64
    made = np.empty((*values.shape[:-2], *(size * factor for size in grid.shape)), dtype=own if precision is None else precision)
    for plane, fine in zip(values.reshape(-1, *grid.shape), made.reshape(-1, *made.shape[-2:]), strict=True):
        for rows, part in _bands(plane, grid, factor, kernel, lower):
            if log:
                np.subtract(np.exp(part, out=part), 1.0, out=part)  # vectorised, unlike expm1: 2e-16 of 1 + x
            if lower is not None:
                np.maximum(part, lower, out=part)  # keeps NaN
            fine[rows] = part
    return made


def _bands(values: Array, grid: AnyGrid, factor: int, kernel: str, lower: float | None) -> Iterator[tuple[slice, Array]]:
    """The interpolation of one field [H, W] by bands of fine rows, which stay in the cache while they are worked on; a field with holes is
    one band."""
    if not np.isfinite(values).all():
        yield slice(None), _conservative(values, grid, factor, lower) if kernel == "conservative" else _holed(
            values, grid.periodic, factor, kernel)  # fmt: skip
        return
    width = grid.shape[1] * factor
    weights = relative_areas(grid.refine(factor)) if kernel == "conservative" else np.empty(0)
    scaled = kernel == "conservative" and lower == 0.0
    rest: Array | None = None
    if kernel == "conservative" and not scaled:
        if weights.ndim != 1:
            yield slice(None), _conservative(values, grid, factor, lower)
            return
        values, rest = _conserving(values, grid, factor, weights)
    if kernel != "nearest":
        stencil = "bilinear" if kernel == "conservative" else kernel
        down, along = _matrix(grid.shape[0], factor, stencil, False), _matrix(grid.shape[1], factor, stencil, grid.periodic)
        wide = np.ascontiguousarray(along.dot(values.T).T)
    step = max(1, BAND_CELLS // (width * factor))  # coarse rows
    for first in range(0, grid.shape[0], step):
        coarse = slice(first, min(first + step, grid.shape[0]))
        rows = slice(coarse.start * factor, coarse.stop * factor)
        if kernel == "nearest":
            yield rows, np.repeat(np.repeat(values[coarse], factor, axis=1), factor, axis=0)
            continue
        part: Array = down[rows].dot(wide)
        if scaled:
            _scale(part, values[coarse], weights[rows], factor)
        elif rest is not None:
            _by_block(part, factor)[...] += _wide(rest[coarse], factor)
        yield rows, part


def _holed(values: Array, periodic: bool, factor: int, kernel: str) -> Array:
    """Separable interpolation of a field with missing cells, normalised over the valid ones."""
    if kernel == "nearest":
        return np.repeat(np.repeat(values, factor, axis=-1), factor, axis=-2)
    valid = np.isfinite(values)
    known = valid.astype(np.float64)
    weight = _apply(known, periodic, factor, "bilinear")
    with np.errstate(invalid="ignore", divide="ignore"):
        result: Array = np.where(weight > 1e-9, _apply(np.where(valid, values, 0.0), periodic, factor, "bilinear") / weight, np.nan)
    if kernel == "bicubic":
        complete = _apply(1 - known, periodic, factor, "reach") == 0  # no missing cell in the 4 x 4 stencil
        neutral = np.where(valid, values, np.nanmean(values) if valid.any() else 0.0)  # never reaches a complete stencil
        result = np.where(complete, _apply(neutral, periodic, factor, "bicubic"), result)
    return result


def _conservative(values: Array, grid: AnyGrid, factor: int, lower: float | None) -> Array:
    """Of a field with missing cells, or on a grid whose areas change along rows."""
    weights = relative_areas(grid.refine(factor))
    whole = np.isfinite(values).all()
    fine = _apply(values, grid.periodic, factor, "bilinear") if whole else _holed(values, grid.periodic, factor, "bilinear")
    if lower == 0.0:
        _scale(fine, values, weights, factor)
        return fine
    for _ in range(_CONSERVATION_PASSES):
        residual = values - block_mean(fine, weights, factor)
        fine += _apply(np.where(np.isfinite(residual), residual, 0.0), grid.periodic, factor, "bilinear")
    residual = values - block_mean(fine, weights, factor)
    _by_block(fine, factor)[...] += _wide(np.where(np.isfinite(residual), residual, 0.0), factor)
    return fine


def _scale(fine: Array, values: Array, weights: Array, factor: int) -> None:
    """Multiplies each block of `fine` so that its area mean is the block's value."""
    means = block_mean(fine, weights, factor)
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(means > 0, values / means, 1.0)
    _by_block(fine, factor)[...] *= _wide(np.where(np.isfinite(ratio), ratio, 1.0), factor)


def _conserving(values: Array, grid: AnyGrid, factor: int, weights: Array) -> tuple[Array, Array]:
    """The coarse field whose bilinear interpolation is that of all passes, and what is left to add to each block: where nothing is
    missing every step is linear, so the passes are taken on the coarse grid."""
    rows, columns = _block_mean_of_bilinear(grid.shape, factor, grid.periodic, weights.tobytes())
    given, residual = values, np.empty_like(values)
    if values.size <= SMALL:
        down, along = _dense(grid.shape, factor, grid.periodic, weights.tobytes())
        for _ in range(_CONSERVATION_PASSES):
            given = given + (values - down @ given @ along)
        return given, np.asarray(values - down @ given @ along)
    for step in range(_CONSERVATION_PASSES + 1):
        residual = values - _along_both(given, rows, columns)
        given = given + residual if step < _CONSERVATION_PASSES else given
    return given, residual


@lru_cache(maxsize=8)
def _dense(shape: tuple[int, int], factor: int, periodic: bool, weights: bytes) -> tuple[Array, Array]:
    """`_block_mean_of_bilinear` to multiply a small field with from the left and from the right."""
    rows, columns = _block_mean_of_bilinear(shape, factor, periodic, weights)
    return rows.toarray(), np.ascontiguousarray(columns.toarray().T)


@lru_cache(maxsize=8)
def _block_mean_of_bilinear(
    shape: tuple[int, int], factor: int, periodic: bool, weights: bytes
) -> tuple[sparse.csr_array, sparse.csr_array]:
    """What `block_mean` makes of a bilinear interpolation, along rows [H, H] and along columns [W, W]."""
    height, width = shape
    areas = np.frombuffer(weights)
    means = []
    for cells, weight in ((height, areas), (width, np.ones(width * factor))):
        share = weight / np.repeat(weight.reshape(cells, factor).sum(1), factor)
        index = np.arange(cells * factor)
        means.append(sparse.csr_array((share, (index // factor, index)), shape=(cells, cells * factor)))
    return means[0] @ _matrix(height, factor, "bilinear", False), means[1] @ _matrix(width, factor, "bilinear", periodic)


def block_mean(fine: npt.NDArray[Any], weights: Array, factor: int) -> Array:
    """Area-weighted mean of each `factor` x `factor` block over its valid cells: [..., sH, sW] -> [..., H, W]; NaN where none is valid.

    `weights` are the fine cells' relative areas: `relative_areas` of their grid, [sH] of rows or [sH, sW].
    """
    height, width = fine.shape[-2:]
    planes = np.asarray(fine, dtype=fine.dtype if fine.dtype in (np.float32, np.float64) else np.float64).reshape(-1, height, width)
    areas = np.ascontiguousarray(weights, dtype=np.float64).reshape(height, -1)
    means = _block_means(planes, areas, factor)
    return means.reshape(*fine.shape[:-2], height // factor, width // factor)


@compiled
def _block_means(planes: npt.NDArray[Any], weights: Array, factor: int) -> Array:
    count, height, width = planes.shape
    along = 1 if weights.shape[1] > 1 else 0  # a row's cells are alike, or each has its own area
    means = np.empty((count, height // factor, width // factor))
    for n in range(count):
        for i in range(height // factor):
            for j in range(width // factor):
                total, weight = 0.0, 0.0
                for row in range(i * factor, (i + 1) * factor):
                    for column in range(j * factor, (j + 1) * factor):
                        value = planes[n, row, column]
                        if finite(value):
                            area = weights[row, along * column]
                            total += area * value
                            weight += area
                means[n, i, j] = total / weight if weight > 0 else np.nan
    return means


def _by_block(fine: Array, factor: int) -> Array:
    """A view [..., H, factor, sW] of a fine field."""
    return fine.reshape(*fine.shape[:-2], fine.shape[-2] // factor, factor, fine.shape[-1])


def _wide(values: Array, factor: int) -> Array:
    """[..., H, W] -> [..., H, 1, sW], which spreads over `_by_block`."""
    return np.repeat(values, factor, axis=-1)[..., None, :]


def _apply(values: Array, periodic: bool, factor: int, kernel: str) -> Array:
    height, width = values.shape[-2:]
    return _along_both(values, _matrix(height, factor, kernel, False), _matrix(width, factor, kernel, periodic))


def _along_both(values: Array, rows: sparse.csr_array, columns: sparse.csr_array) -> Array:
    """Matrices applied along the last two axes; rows last, as that is the fast way through a large result."""
    planes = values.reshape(-1, *values.shape[-2:])
    made = [rows.dot(np.ascontiguousarray(columns.dot(plane.T).T)) for plane in planes]
    result = made[0] if len(made) == 1 else np.stack(made)
    return result.reshape(*values.shape[:-2], rows.shape[0], columns.shape[0])


@lru_cache(maxsize=32)
def _matrix(cells: int, factor: int, kernel: str, wrap: bool) -> sparse.csr_array:
    """[cells * factor, cells] interpolation weights along one axis; `reach` is 1 at every cell of the bicubic stencil."""
    position = (np.arange(cells * factor) + 0.5) / factor - 0.5  # fine centres in coarse index space
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
