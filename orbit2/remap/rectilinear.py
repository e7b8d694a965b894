"""Weights between latitude-longitude grids as products of two 1-D matrices, exact on the sphere, and how they are applied fast.

Never looks at missing values: the Regridder does.
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import numpy as np
import numpy.typing as npt
from scipy import sparse

from orbit2.grid import Grid
from orbit2.longitudes import follow

Method = Literal["conservative", "bilinear", "nearest"]
Array = npt.NDArray[np.float64]
_SLIVER = 1e-9  # share of a cell below which an overlap is rounding, not geometry
_BAND = 1 << 18  # float64 values of one band of source rows: 2 MB stay in a core's own caches, few enough calls


class Operator(Protocol):
    """A linear map of one field."""

    def __call__(self, field: npt.NDArray[Any]) -> Array:
        """[H, W] of any number type -> [H', W'], summed in float64."""
        ...


class Separable:
    """rows [H', H] x field [H, W] x columns^T [W, W'], in bands of rows that stay in cache; reads only the cells it needs.

    A band is converted to float64 once, in cache: for float32 fields memory is read once, and constants stay constant to the bit.
    """

    def __init__(self, rows: sparse.csr_matrix, columns: sparse.csr_matrix) -> None:
        self.shape = rows.shape[0], columns.shape[0]
        used = np.unique(columns.indices) if columns.nnz else np.array([0])
        self.columns = slice(int(used[0]), int(used[-1]) + 1)
        columns = columns[:, self.columns]
        width = columns.shape[1]
        per_row = max(1.0, rows.nnz / rows.shape[0])
        height = int(np.clip(_BAND / (per_row * width), 1, rows.shape[0]))
        self.bands = []
        by_height: dict[int, sparse.csr_matrix] = {}
        for start in range(0, rows.shape[0], height):
            band = rows[start : start + height]
            n = band.shape[0]
            if n not in by_height:  # every row's columns at once, as one matrix: no transposes
                by_height[n] = sparse.csr_matrix(sparse.kron(sparse.identity(n, format="csr"), columns, format="csr"))
            first, last = (int(band.indices.min()), int(band.indices.max()) + 1) if band.nnz else (0, 1)
            self.bands.append((slice(start, start + n), slice(first, last), band[:, first:last].tocsr(), by_height[n]))

    def __call__(self, field: npt.NDArray[Any]) -> Array:
        result = np.empty(self.shape)
        for here, there, rows, columns in self.bands:
            by_row = rows @ np.ascontiguousarray(field[there, self.columns], dtype=np.float64)
            result[here] = (columns @ by_row.ravel()).reshape(-1, self.shape[1])
        return result


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
    wrapped = follow(target.lon, float(source.lon_edges[0]))
    return _interpolation(source.lon, wrapped, source.lon_edges, method, period=360.0 if source.periodic else None)


def _overlap(source: Array, target: Array, *, offsets: tuple[float, ...]) -> sparse.csr_matrix:
    """Share of each target interval that each source interval (moved by each offset) covers."""
    rows, columns, shares = [], [], []
    for offset in offsets:
        moved = source + offset
        low, high = max(moved[0], target[0]), min(moved[-1], target[-1])
        if high <= low:
            continue
        cuts = np.unique(np.clip(np.concatenate([moved, target, [low, high]]), low, high))
        middle = (cuts[:-1] + cuts[1:]) / 2  # between two cuts lies one source and one target interval
        rows.append(np.searchsorted(target, middle) - 1)
        columns.append(np.searchsorted(moved, middle) - 1)
        shares.append(np.diff(cuts) / np.diff(target)[rows[-1]])
    shape = (len(target) - 1, len(source) - 1)
    if not rows:
        return sparse.csr_matrix(shape)
    row, column, share = np.concatenate(rows), np.concatenate(columns), np.concatenate(shares)
    keep = share >= _SLIVER
    matrix = sparse.csr_matrix((share[keep], (row[keep], column[keep])), shape=shape)  # adds up duplicates
    matrix.sort_indices()
    return matrix


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
