"""Weights between two grids of one map whose cells are the same or fill each other whole: no polygon is cut. Never guesses."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from orbit2.grid import ProjectedGrid
from orbit2.grid.sphere import Array, Index

_NEAR = 1e-6  # of a cell


def nested_weights(source: ProjectedGrid, target: ProjectedGrid) -> sparse.csr_matrix | None:
    """[H'W', HW]: the share of each target cell's true area in each source cell of it; None where a source cell would be cut, or the two
    lie on different maps. A target cell that the source fills in part gets that part's share of the cells that fill one whole."""
    if not source.same_map(target):
        return None
    down, along = _places(source.y_edges, target.y_edges), _places(source.x_edges, target.x_edges)
    if down is None or along is None:
        return None
    (row, rows), (column, columns) = down, along
    inside = (row >= 0)[:, None] & (column >= 0)[None]
    to = (row[:, None] * target.shape[1] + column[None])[inside]
    size = source.area_km2[inside]
    whole = np.bincount(to, weights=size, minlength=target.shape[0] * target.shape[1])
    filled = np.outer(rows, columns).ravel()  # planar share of each target cell: 1 where it is filled
    (fro,) = np.nonzero(inside.ravel())
    matrix = sparse.csr_matrix((size / whole[to] * filled[to], (to, fro)), shape=(len(whole), inside.size))
    matrix.sort_indices()
    return matrix


def _places(source: Array, target: Array) -> tuple[Index, Array] | None:
    """(target interval that holds each source interval, or -1; share of each target interval that is filled); None where one is cut."""
    near = _NEAR * float(np.diff(source).min())
    place = np.searchsorted(target, (source[:-1] + source[1:]) / 2, side="right") - 1
    place[place >= len(target) - 1] = -1
    held = place >= 0
    if (source[:-1][held] < target[place[held]] - near).any() or (source[1:][held] > target[place[held] + 1] + near).any():
        return None
    outside = ~held  # an outer cell may hold a part of the target: it would be cut
    low, high = float(target[0]), float(target[-1])
    if ((source[1:][outside] > low + near) & (source[:-1][outside] < high - near)).any():
        return None
    filled = np.bincount(place[held], weights=np.diff(source)[held], minlength=len(target) - 1) / np.diff(target)
    return place.astype(np.int64), np.minimum(filled, 1.0)
