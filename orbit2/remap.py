"""Regridder: conservative, bilinear or nearest weights between two rectilinear grids. Never fills missing cells with zero.

Built-in weights are products of two 1-D matrices (rows in sin(latitude), columns in longitude), exact on the sphere.
"""

from __future__ import annotations

import hashlib
import io
import os
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal, TypeVar, cast, overload

import numpy as np
import numpy.typing as npt
import xarray as xr
from scipy import sparse

from orbit2.errors import OrbitError
from orbit2.files import atomic
from orbit2.grid import Grid

Method = Literal["conservative", "bilinear", "nearest"]
Backend = Literal["builtin", "xesmf"]
METHODS: tuple[Method, ...] = ("conservative", "bilinear", "nearest")
Array = npt.NDArray[np.float64]
Number = TypeVar("Number", np.float32, np.float64)
_VERSION = "1"  # of the weights: part of the cache key
_SLIVER = 1e-9  # relative area below which an overlap is rounding, not geometry


class Regridder:
    """Linear map from `source` cells to `target` cells.

    Missing values (NaN) are left out by area: a target cell is the mean over its valid part, and NaN where that part is
    less than `min_valid_fraction` of the cell. Cells outside the source are NaN. Weights are kept in memory and, keyed by
    both grids, under `cache` (default: $ORBIT2_CACHE, else ~/.cache/orbit2).

    Raises OrbitError for an unknown method or back end, or when `backend="xesmf"` cannot be imported.
    """

    def __init__(
        self,
        source: Grid,
        target: Grid,
        method: Method = "conservative",
        *,
        min_valid_fraction: float = 0.5,
        cache: str | Path | None = None,
        backend: Backend = "builtin",
    ) -> None:
        if method not in METHODS:
            raise OrbitError("unknown regridding method", got=method, allowed=", ".join(METHODS))
        if not 0 < min_valid_fraction <= 1:
            raise OrbitError("min_valid_fraction out of range", got=min_valid_fraction, allowed="0 < fraction <= 1")
        self.source, self.target, self.method = source, target, method
        self.min_valid_fraction, self.backend = min_valid_fraction, backend
        if backend == "xesmf":
            self._rows: sparse.csr_matrix | None = None
            self._columns: sparse.csr_matrix | None = None
            self._full = _xesmf_weights(source, target, method)
        elif backend == "builtin":
            self._full = None
            self._rows, self._columns = _weights(source, target, method, cache)
        else:
            raise OrbitError("unknown regridding back end", got=backend, allowed="builtin, xesmf")
        # The part of each target cell that the source covers at all: 1 everywhere between global grids.
        self.coverage: Array = self._product(np.ones((1, *source.shape)))[0]

    @overload
    def __call__(self, fields: xr.DataArray) -> xr.DataArray: ...
    @overload
    def __call__(self, fields: npt.NDArray[Number]) -> npt.NDArray[Number]: ...
    def __call__(self, fields: Any) -> Any:
        """[..., H, W] on the source grid -> [..., H', W'] on the target grid, same dtype; a DataArray stays lazy.

        Raises OrbitError when the last two axes do not have the source's shape.
        """
        if isinstance(fields, xr.DataArray):
            return self._data_array(fields)
        values = np.asarray(fields)
        if values.shape[-2:] != self.source.shape:
            raise OrbitError("field is not on the source grid", got=f"shape {values.shape}", allowed=f"[..., {self.source.shape}]")
        stack = values.reshape(-1, *self.source.shape)
        result = np.empty((len(stack), *self.target.shape), dtype=values.dtype if values.dtype.kind == "f" else np.float64)
        for i in range(len(stack)):  # one field at a time: float64 work space stays small
            result[i] = self._one(stack[i])
        return result.reshape(*values.shape[:-2], *self.target.shape)

    def _one(self, field: npt.NDArray[Any]) -> Array:
        valid = np.isfinite(field)
        if valid.all():
            total, weight = self._product(field[None].astype(np.float64))[0], self.coverage
        else:
            both = self._product(np.stack([np.where(valid, field, 0.0), valid.astype(np.float64)]))
            total, weight = both[0], both[1]
        usable = weight >= self.min_valid_fraction - 1e-9
        if self.method == "nearest":
            usable = weight > 0.5
        return np.where(usable, total / np.where(usable, weight, 1.0), np.nan)

    def _product(self, fields: Array) -> Array:
        """[N, H, W] -> [N, H', W']: weighted sums, no masks."""
        count = len(fields)
        if self._full is not None:
            return cast(Array, np.asarray((self._full @ fields.reshape(count, -1).T).T).reshape(count, *self.target.shape))
        assert self._rows is not None and self._columns is not None
        by_column = self._columns @ np.moveaxis(fields, 2, 0).reshape(fields.shape[2], -1)  # [W', N*H]
        by_column = by_column.reshape(-1, count, fields.shape[1])  # [W', N, H]
        result = self._rows @ np.moveaxis(by_column, 2, 0).reshape(fields.shape[1], -1)  # [H', W'*N]
        return cast(Array, np.ascontiguousarray(np.moveaxis(result.reshape(self.target.shape[0], -1, count), 2, 0)))

    def _data_array(self, field: xr.DataArray) -> xr.DataArray:
        if field.dims[-2:] != ("lat", "lon"):
            raise OrbitError("the last dimensions must be (lat, lon)", where=field.name, got=field.dims)
        if field.shape[-2:] != self.source.shape:
            raise OrbitError("field is not on the source grid", where=field.name, got=f"shape {field.shape}",
                             allowed=f"[..., {self.source.shape}]")
        if field.chunks is not None:
            field = field.chunk({"lat": -1, "lon": -1})
        renamed = field.rename(lat="_lat", lon="_lon").drop_vars(["_lat", "_lon"], errors="ignore")
        result = xr.apply_ufunc(
            self.__call__, renamed, input_core_dims=[["_lat", "_lon"]], output_core_dims=[["lat", "lon"]],
            dask="parallelized", output_dtypes=[field.dtype], keep_attrs=True,
            dask_gufunc_kwargs={"output_sizes": {"lat": self.target.shape[0], "lon": self.target.shape[1]}},
        )
        return cast(xr.DataArray, result.assign_coords(lat=self.target.lat, lon=self.target.lon))


@lru_cache(maxsize=64)
def _remembered(key: str, folder: str) -> dict[str, Any]:
    return {}


def _weights(source: Grid, target: Grid, method: Method, cache: str | Path | None) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """Row and column matrices, from memory, from the cache folder, or computed (and then cached where possible)."""
    key = hashlib.sha256(f"{_VERSION}|{method}|{source.digest}|{target.digest}".encode()).hexdigest()[:20]
    folder = Path(cache or os.environ.get("ORBIT2_CACHE") or Path.home() / ".cache" / "orbit2")
    memory = _remembered(key, str(folder))
    if "rows" not in memory:
        file = folder / "weights" / f"{method}-{key}.npz"
        loaded = _load(file, source, target)
        if loaded is None:
            loaded = row_weights(source, target, method), column_weights(source, target, method)
            _store(file, *loaded)
        memory["rows"], memory["columns"] = loaded
    return memory["rows"], memory["columns"]


def _load(file: Path, source: Grid, target: Grid) -> tuple[sparse.csr_matrix, sparse.csr_matrix] | None:
    """Cached matrices, or None when there are none or the file is damaged (it is then written again)."""
    try:
        with np.load(file, allow_pickle=False) as saved:
            parts = [sparse.csr_matrix((saved[f"{axis}_data"], saved[f"{axis}_indices"], saved[f"{axis}_indptr"]),
                                       shape=tuple(saved[f"{axis}_shape"])) for axis in ("rows", "columns")]
    except Exception:  # a damaged cache must never stop the work
        return None
    expected = [(target.shape[i], source.shape[i]) for i in (0, 1)]
    return (parts[0], parts[1]) if [p.shape for p in parts] == expected else None


def _store(file: Path, rows: sparse.csr_matrix, columns: sparse.csr_matrix) -> None:
    buffer = io.BytesIO()
    arrays: dict[str, npt.NDArray[Any]] = {}
    for axis, matrix in (("rows", rows), ("columns", columns)):
        arrays |= {f"{axis}_data": matrix.data, f"{axis}_indices": matrix.indices, f"{axis}_indptr": matrix.indptr,
                   f"{axis}_shape": np.asarray(matrix.shape)}
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    try:
        with atomic(file) as temporary:
            temporary.write_bytes(buffer.getvalue())
    except OSError:
        return  # a read-only home is no reason to stop: the weights are in memory


def row_weights(source: Grid, target: Grid, method: Method) -> sparse.csr_matrix:
    """[H', H] latitude weights. Conservative: area shares in sin(latitude); each row sums to the covered share."""
    if method == "conservative":
        return _overlap(*(np.sin(np.radians(g.lat_edges)) for g in (source, target)), offsets=(0.0,))
    return _interpolation(source.lat, target.lat, source.lat_edges, method, period=None)


def column_weights(source: Grid, target: Grid, method: Method) -> sparse.csr_matrix:
    """[W', W] longitude weights, wrapping by 360 degrees wherever the two grids begin."""
    if method == "conservative":
        span = np.floor((source.lon_edges[0] - target.lon_edges[0]) / 360)
        return _overlap(source.lon_edges, target.lon_edges, offsets=tuple(360.0 * (k - span) for k in (-2, -1, 0, 1, 2)))
    first = source.lon_edges[0]
    wrapped = first + np.mod(target.lon - first, 360)
    return _interpolation(source.lon, wrapped, source.lon_edges, method, period=360.0 if source.periodic else None)


def _overlap(source: Array, target: Array, *, offsets: tuple[float, ...]) -> sparse.csr_matrix:
    """Share of each target interval that each source interval (moved by each offset) covers."""
    widths = np.diff(target)
    total: sparse.csr_matrix | None = None
    for offset in offsets:
        low = np.maximum(target[:-1, None], source[None, :-1] + offset)
        high = np.minimum(target[1:, None], source[None, 1:] + offset)
        share = np.maximum(high - low, 0.0) / widths[:, None]
        share[share < _SLIVER] = 0.0
        matrix = sparse.csr_matrix(share)
        total = matrix if total is None else total + matrix
    assert total is not None
    total.sum_duplicates()
    return sparse.csr_matrix(total)


def _interpolation(source: Array, target: Array, edges: Array, method: Method, *, period: float | None) -> sparse.csr_matrix:
    """Linear or nearest weights between centres. Between the last centre and the edge the last value holds."""
    count = len(source)
    if period is not None:
        extended, index = np.concatenate([[source[-1] - period], source, [source[0] + period]]), np.arange(-1, count + 1) % count
    else:
        extended, index = source, np.arange(count)
    upper = np.clip(np.searchsorted(extended, target, side="left"), 1, len(extended) - 1)
    fraction = np.clip((target - extended[upper - 1]) / (extended[upper] - extended[upper - 1]), 0.0, 1.0)
    if method == "nearest":
        fraction = np.where(fraction >= 0.5, 1.0, 0.0)
    rows = np.tile(np.arange(len(target)), 2)
    columns = np.concatenate([index[upper - 1], index[upper]])
    values = np.concatenate([1 - fraction, fraction])
    outside = (target < edges[0] - 1e-6) | (target > edges[-1] + 1e-6)
    values[np.tile(outside, 2)] = 0.0
    matrix = sparse.csr_matrix((values, (rows, columns)), shape=(len(target), count))
    matrix.eliminate_zeros()
    return matrix


def _xesmf_weights(source: Grid, target: Grid, method: Method) -> sparse.csr_matrix:
    """Weights [H'W', HW] made by ESMF through xesmf."""
    try:
        import xesmf  # type: ignore[import-not-found,import-untyped,unused-ignore]
    except Exception as error:  # xesmf without ESMF fails in several ways
        raise OrbitError(f"the xesmf back end cannot be imported ({error})",
                         hint="install xesmf and esmf with conda, or use backend='builtin'") from None
    described = [xr.Dataset(coords={"lat": g.lat, "lon": g.lon, "lat_b": g.lat_edges, "lon_b": g.lon_edges}) for g in (source, target)]
    names = {"conservative": "conservative", "bilinear": "bilinear", "nearest": "nearest_s2d"}
    regridder = xesmf.Regridder(*described, names[method], periodic=source.periodic and method != "conservative")
    return sparse.csr_matrix(regridder.weights.data.to_scipy_sparse())
