"""Regridder: fields from one grid to another, with missing values by area fraction. Never fills missing cells with zero."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import sparse

from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, CurvilinearGrid, Grid, ProjectedGrid
from orbit2.remap.cache import cached
from orbit2.remap.esmf import esmf_weights
from orbit2.remap.nested import nested_weights
from orbit2.remap.polygons import polygon_weights, reversed_weights
from orbit2.remap.projected import overlap_weights
from orbit2.remap.rectilinear import Method, Operator, Separable, column_weights, row_weights

Backend = Literal["builtin", "xesmf"]
METHODS: tuple[Method, ...] = ("conservative", "bilinear", "nearest")
BACKENDS: tuple[Backend, ...] = ("builtin", "xesmf")
Array = npt.NDArray[np.float64]
Number = TypeVar("Number", np.float32, np.float64)


class Regridder:
    """Linear map from `source` cells to `target` cells; "conservative" alone unless both are latitude-longitude grids.

    Missing values (NaN) are left out by area: a target cell is the mean over its valid part, and NaN where that part is
    less than `min_valid_fraction` of the cell. Cells outside the source are NaN. Sums are float64 whatever the field is.
    Weights are kept on disk, keyed by both grids, under `cache` (default: $ORBIT2_CACHE, else ~/.cache/orbit2).
    `coverage` [H', W'] is the part of each target cell that the source covers at all.

    Raises OrbitError for an unknown method or back end, one that these kinds of grid have not, or when `backend="xesmf"` cannot be
    imported.
    """

    def __init__(
        self,
        source: AnyGrid,
        target: AnyGrid,
        method: Method = "conservative",
        *,
        min_valid_fraction: float = 0.5,
        cache: str | Path | None = None,
        backend: Backend = "builtin",
    ) -> None:
        if method not in METHODS:
            raise OrbitError("unknown regridding method", where="method", got=method, allowed=", ".join(METHODS),
                             hint="choose conservative for amounts, bilinear for smooth fields")  # fmt: skip
        if backend not in BACKENDS:
            raise OrbitError("unknown regridding back end", where="regrid_backend", got=backend, allowed=", ".join(BACKENDS),
                             hint="builtin needs nothing else")  # fmt: skip
        if not 0 < min_valid_fraction <= 1:
            raise OrbitError("min_valid_fraction out of range", where="min_valid_fraction", got=min_valid_fraction,
                             allowed="0 < fraction <= 1", hint="0.5: a cell needs half of its area")  # fmt: skip
        self.source, self.target, self.method = source, target, method
        self.min_valid_fraction, self.backend = min_valid_fraction, backend
        self._apply = _operator(source, target, method, backend, cache)
        self.coverage: Array = self._apply(np.ones(source.shape))
        self._scale = self._inverse(self.coverage)
        self._last_mask: tuple[npt.NDArray[np.bool_], Array] | None = None

    @overload
    def __call__(self, fields: xr.DataArray) -> xr.DataArray: ...
    @overload
    def __call__(self, fields: npt.NDArray[Number]) -> npt.NDArray[Number]: ...
    def __call__(self, fields: Any) -> Any:
        """[..., H, W] on the source grid -> [..., H', W'] on the target grid, same dtype; a DataArray stays lazy.

        A DataArray's last dimensions are those of the source, `source.dims`; they become the target's, with its coordinates.
        Raises OrbitError when the last two axes do not have the source's shape.
        """
        if isinstance(fields, xr.DataArray):
            return self._data_array(fields)
        values = np.asarray(fields)
        if values.shape[-2:] != self.source.shape:
            raise OrbitError("field is not on the source grid", where="field", got=f"shape {values.shape}",
                             allowed=f"[..., {self.source.shape}]",
                             hint="give a field [..., row, column] of the grid that the regridder was made for")  # fmt: skip
        stack = values.reshape(-1, *self.source.shape)
        dtype = values.dtype.newbyteorder("=") if values.dtype.kind == "f" else np.dtype(np.float64)
        result = np.empty((len(stack), *self.target.shape), dtype)
        for i in range(len(stack)):  # one field at a time: float64 work space stays small
            result[i] = self._one(stack[i])
        return result.reshape(*values.shape[:-2], *self.target.shape)

    def _one(self, field: npt.NDArray[Any]) -> Array:
        if self._last_mask is None:
            total = self._apply(field)
            if np.isfinite(total).all():  # a missing value would have spread: cheaper to look here than at the finer source
                return total * self._scale
        valid = np.isfinite(field)
        if valid.all():
            return self._apply(field) * self._scale
        return self._apply(np.where(valid, field, np.float64(0))) * self._inverse(self._valid_part(valid))

    def _valid_part(self, valid: npt.NDArray[np.bool_]) -> Array:
        """Part of each target cell that is valid. The last mask is remembered: a land mask is the same every day."""
        last = self._last_mask
        if last is None or not np.array_equal(last[0], valid):
            last = self._last_mask = valid, self._apply(valid)
        return last[1]

    def _inverse(self, weight: Array) -> Array:
        """1 / weight where enough of the cell is valid, else NaN."""
        usable = weight > 0.5 if self.method == "nearest" else weight >= max(self.min_valid_fraction - 1e-9, 1e-12)
        return np.divide(1.0, weight, out=np.full_like(weight, np.nan), where=usable)

    def _data_array(self, field: xr.DataArray) -> xr.DataArray:
        axes, onto = self.source.dims, self.target.dims
        if field.dims[-2:] != axes:
            raise OrbitError(f"the last dimensions must be ({', '.join(axes)})", where=field.name, got=field.dims,
                             hint="put them last with transpose")  # fmt: skip
        if field.shape[-2:] != self.source.shape:
            raise OrbitError("field is not on the source grid", where=field.name, got=f"shape {field.shape}",
                             allowed=f"[..., {self.source.shape}]", hint="give a field of the grid that the regridder was made for")
        for axis in axes:
            if axis in field.coords and not isinstance(self.source, CurvilinearGrid) and not np.all(np.diff(field[axis].values) > 0):
                raise OrbitError(f"{axis} must ascend", where=field.name, hint="sort the field by its coordinates first")
        if field.chunks is not None:
            field = field.chunk(dict.fromkeys(axes, -1))
        stale = [name for name, values in field.coords.items() if set(values.dims) & set(axes) or name in ("lat", "lon")]
        renamed = field.drop_vars(stale).rename({axis: f"_{axis}" for axis in axes})
        result = xr.apply_ufunc(
            self.__call__, renamed, input_core_dims=[[f"_{axis}" for axis in axes]], output_core_dims=[list(onto)],
            dask="parallelized", output_dtypes=[field.dtype], keep_attrs=True,
            dask_gufunc_kwargs={"output_sizes": dict(zip(onto, self.target.shape, strict=True))},
        )  # fmt: skip
        result.attrs.pop("grid_mapping", None)  # it named the source's projection
        if isinstance(self.target, Grid):
            return cast(xr.DataArray, result.assign_coords(lat=self.target.lat, lon=self.target.lon))
        result.attrs |= self.target.field_attributes
        own = {name: value for name, value in self.target.coordinates().items() if set(value.dims) <= set(onto)}
        return cast(xr.DataArray, result.assign_coords(own))


class _Full:
    """A matrix [H'W', HW] over whole fields."""

    def __init__(self, matrix: sparse.csr_matrix, shape: tuple[int, int]) -> None:
        self.matrix, self.shape = matrix, shape

    def __call__(self, field: npt.NDArray[Any]) -> Array:
        result: Array = self.matrix @ np.ascontiguousarray(field, dtype=np.float64).ravel()
        return result.reshape(self.shape)


def _operator(source: AnyGrid, target: AnyGrid, method: Method, backend: Backend, cache: str | Path | None) -> Operator:
    (height, width), (rows, columns) = source.shape, target.shape
    identity = f"{source.digest}|{target.digest}"
    if not (isinstance(source, Grid) and isinstance(target, Grid)):
        if method != "conservative" or backend != "builtin":
            raise OrbitError("this regridding is only offered between latitude-longitude grids", where="grid",
                             got=f"{method}, back end {backend}", allowed="conservative, back end builtin",
                             hint="regrid conservatively to a latitude-longitude grid first")  # fmt: skip
        whole: tuple[tuple[int, int], ...] = ((rows * columns, height * width),)
        if isinstance(target, Grid):
            return _Full(cached(cache, "projected", identity, whole, lambda: (overlap_weights(source, target),))[0], target.shape)
        if isinstance(source, Grid):
            return _Full(cached(cache, "reversed", identity, whole, lambda: (reversed_weights(source, target),))[0], target.shape)
        if isinstance(source, ProjectedGrid) and isinstance(target, ProjectedGrid):
            nested = nested_weights(source, target)  # quicker made than read
            if nested is not None:
                return _Full(nested, target.shape)
        return _Full(cached(cache, "polygons", identity, whole, lambda: (polygon_weights(source, target),))[0], target.shape)
    if backend == "xesmf":
        return _Full(esmf_weights(source, target, method), target.shape)
    shapes = ((rows, height), (columns, width))
    return Separable(*cached(cache, method, identity, shapes,
                             lambda: (row_weights(source, target, method), column_weights(source, target, method))))
