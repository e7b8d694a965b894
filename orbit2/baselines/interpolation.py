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
from orbit2.logarithms import expm1

Array = npt.NDArray[np.float64]
METHODS = ("nearest", "bilinear", "bicubic", "conservative", "bilinear_log1p", "bicubic_log1p")
_CONSERVATION_PASSES = 10
SMALL = 1 << 12  # coarse cells of a field for which a full matrix is faster than a sparse one
BAND_CELLS = 1 << 16  # fine cells that are worked on together: 512 KB


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
    own = field.dtype.type if field.dtype.kind == "f" else np.float64
    made = np.empty((*values.shape[:-2], *(size * factor for size in grid.shape)), dtype=own if precision is None else precision)
    for plane, fine in zip(values.reshape(-1, *grid.shape), made.reshape(-1, *made.shape[-2:]), strict=True):
        of = Interpolation(plane, grid, factor, method, lower)
        for coarse in bands(grid, factor):
            fine[coarse.start * factor : coarse.stop * factor] = of.part(coarse)
    return made


def bands(grid: AnyGrid, factor: int, rows: slice = slice(None)) -> Iterator[slice]:
    """Rows of the coarse `grid` that are worked on together, of those that `rows` of the fine one lie in."""
    first, last, _ = rows.indices(grid.shape[0] * factor)
    end, step = -(-last // factor), max(1, BAND_CELLS // (grid.shape[1] * factor * factor))
    for start in range(first // factor, end, step):
        yield slice(start, min(start + step, end))


class Interpolation:
    """That of one field [H, W], as `interpolate` makes it, by bands of rows, which stay in the cache while they are worked on."""

    def __init__(self, field: Array, grid: AnyGrid, factor: int, method: str, lower: float | None = None) -> None:
        self.log = method.endswith("_log1p")
        values = np.log1p(np.maximum(field, 0.0)) if self.log else field
        self.kernel, self.grid, self.factor, self.lower = method.removesuffix("_log1p"), grid, factor, 0.0 if self.log else lower
        self.width = grid.shape[1] * factor
        self._areas = relative_areas(grid.refine(factor)) if self.kernel == "conservative" else np.empty(0)
        self._scaled = self.kernel == "conservative" and lower == 0.0
        self._rest: Array | None = None
        self._whole: Array | None = None
        by_row = self._areas.ndim == 1
        if not np.isfinite(values).all() or not (by_row or self._scaled):
            self._whole = _conservative(values, grid, factor, lower) if self.kernel == "conservative" else _holed(
                values, grid.periodic, factor, self.kernel)  # fmt: skip
            return
        if self.kernel == "conservative" and not self._scaled:
            values, self._rest = _conserving(values, grid, factor, self._areas)
        self._values = values
        if self.kernel != "nearest":
            stencil = "bilinear" if self.kernel == "conservative" else self.kernel
            self._down = _matrix(grid.shape[0], factor, stencil, False)
            self._wide = np.ascontiguousarray(_matrix(grid.shape[1], factor, stencil, grid.periodic).dot(values.T).T)

    def part(self, coarse: slice) -> Array:
        """Values [n, sW] of the fine rows of some coarse ones; the caller's own."""
        rows = slice(coarse.start * self.factor, coarse.stop * self.factor)
        if self._whole is not None:
            part = self._whole[rows].copy()
        elif self.kernel == "nearest":
            part = np.repeat(np.repeat(self._values[coarse], self.factor, axis=1), self.factor, axis=0)
        else:
            part = np.empty((rows.stop - rows.start, self.width))
            _weighted_rows(part, self._wide, self._down.indptr, self._down.indices, self._down.data, rows.start)
            if self._scaled and self._areas.ndim == 1:
                _scale_rows(part, self._values[coarse], self._areas[rows], self.factor)
            elif self._scaled:
                _scale(part, self._values[coarse], self._areas[rows], self.factor)
            elif self._rest is not None:
                _by_block(part, self.factor)[...] += _wide(self._rest[coarse], self.factor)
        if self.log:
            expm1(part, out=part)
        if self.lower is not None:
            np.maximum(part, self.lower, out=part)  # keeps NaN
        return part


@compiled("f8[:,::1], f8[:,::1], i8[::1], i8[::1], f8[::1], i8")
def _weighted_rows(
    part: Array, wide: Array, ends: npt.NDArray[np.int32], places: npt.NDArray[np.int32], weights: Array, first: int
) -> None:  # fmt: skip
    """Each row of `part` [n, sW] from rows of `wide` [H, sW]: the product with the rows of a sparse matrix from `first` on, up to four of
    `wide` at once."""
    for i in range(part.shape[0]):
        start, stop = ends[first + i], ends[first + i + 1]
        for k in range(start, stop, 4):
            a, p = weights[k], wide[places[k]]
            b, q = (weights[k + 1], wide[places[k + 1]]) if k + 1 < stop else (0.0, p)
            c, r = (weights[k + 2], wide[places[k + 2]]) if k + 2 < stop else (0.0, p)
            d, s = (weights[k + 3], wide[places[k + 3]]) if k + 3 < stop else (0.0, p)
            made = part[i]
            if k > start:
                for j in range(len(made)):
                    made[j] += a * p[j] + b * q[j] + c * r[j] + d * s[j]
            elif stop - k <= 2:
                for j in range(len(made)):
                    made[j] = a * p[j] + b * q[j]
            else:
                for j in range(len(made)):
                    made[j] = a * p[j] + b * q[j] + c * r[j] + d * s[j]


@compiled("f8[:,::1], f8[:,::1], f8[::1], i8")
def _scale_rows(fine: Array, values: Array, areas: Array, factor: int) -> None:
    """`_scale` of complete fields with `areas` [n] of rows: in place, a row of blocks after the other."""
    width = fine.shape[1]
    sums = np.empty(width)
    for i in range(values.shape[0]):
        sums[:] = 0.0
        whole = 0.0
        for row in range(i * factor, (i + 1) * factor):
            area, line = areas[row], fine[row]
            whole += area
            for j in range(width):
                sums[j] += area * line[j]
        for block in range(values.shape[1]):
            total = 0.0
            for j in range(block * factor, (block + 1) * factor):
                total += sums[j]
            mean = total / (whole * factor)
            ratio = values[i, block] / mean if mean > 0 else 1.0
            ratio = ratio if finite(ratio) else 1.0
            for j in range(block * factor, (block + 1) * factor):
                sums[j] = ratio
        for row in range(i * factor, (i + 1) * factor):
            line = fine[row]
            for j in range(width):
                line[j] *= sums[j]


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


@compiled("f8[:,:,::1], f8[:,::1], i8", "f8[:,:, :], f8[:,::1], i8", "f4[:,:,::1], f8[:,::1], i8")
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
    result = np.empty((len(planes), rows.shape[0], columns.shape[0]))
    for plane, made in zip(planes, result, strict=True):
        _weighted_rows(made, np.ascontiguousarray(columns.dot(plane.T).T), rows.indptr, rows.indices, rows.data, 0)
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
