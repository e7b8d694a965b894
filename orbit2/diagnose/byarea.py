"""Sums of cells' days by area, compiled: a cell is in two or three areas of sixty, and all of them take one pass. Never reads days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

from orbit2.jit import compiled

Array = npt.NDArray[np.float64]
Days = npt.NDArray[np.floating[Any]]
Bool = npt.NDArray[np.bool_]
Index = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class ByArea:
    """The areas of cell c are `area[pointer[c] : pointer[c + 1]]`, of `count`, and what it weighs in them `weight`."""

    pointer: Index
    area: Index
    weight: Array
    count: int

    @classmethod
    def of(cls, weights: Array) -> ByArea:
        """From weights [R, C]."""
        by_cell = csc_array(weights)
        return cls(by_cell.indptr.astype(np.int64), by_cell.indices.astype(np.int64), by_cell.data.astype(np.float64), len(weights))

    def number(self, found: Bool) -> Array:
        """[T, R]: in how many cells `found` [T, C] is true."""
        made: Array = _where(np.ascontiguousarray(found), self.pointer, self.area, np.ones(len(self.weight)), self.count)
        return made

    def size(self, found: Bool) -> Array:
        """[T, R]: the weight of the cells where `found` [T, C] is true."""
        made: Array = _where(np.ascontiguousarray(found), self.pointer, self.area, self.weight, self.count)
        return made

    def shares(self, share: Array) -> tuple[Array, Array]:
        """(cells of which any `share` [T, C] counts, the weight of those shares), [T, R] each."""
        number, size = _shares(np.ascontiguousarray(share), self.pointer, self.area, self.weight, self.count)
        return number, size

    def products(self, prediction: Days, truth: Days, share: Array, centre: float) -> Array:
        """[6, T, R]: weighted sums of p, o, p^2, o^2, p o and (p - o)^2 of days [T, C] less `centre`, by the `share` [T, C] that counts;
        what has no share is not looked at."""
        p, o = (np.ascontiguousarray(x) for x in (prediction, truth))
        made: Array = _products(p, o, np.ascontiguousarray(share), centre, self.pointer, self.area, self.weight, self.count)
        return made


@compiled
def _where(found: Bool, pointer: Index, area: Index, weight: Array, count: int) -> Array:
    days, cells = found.shape
    made = np.zeros((days, count))
    for t in range(days):
        for c in range(cells):
            if found[t, c]:
                for k in range(pointer[c], pointer[c + 1]):
                    made[t, area[k]] += weight[k]
    return made


@compiled
def _shares(share: Array, pointer: Index, area: Index, weight: Array, count: int) -> tuple[Array, Array]:
    days, cells = share.shape
    number, size = np.zeros((days, count)), np.zeros((days, count))
    for t in range(days):
        for c in range(cells):
            if share[t, c] > 0:
                for k in range(pointer[c], pointer[c + 1]):
                    number[t, area[k]] += 1.0
                    size[t, area[k]] += weight[k] * share[t, c]
    return number, size


@compiled
def _products(
    prediction: Days, truth: Days, share: Array, centre: float, pointer: Index, area: Index, weight: Array, count: int
) -> Array:  # fmt: skip
    days, cells = share.shape
    made = np.zeros((6, days, count))
    for t in range(days):
        for c in range(cells):
            s = share[t, c]
            if s > 0:
                p, o = np.float64(prediction[t, c]) - centre, np.float64(truth[t, c]) - centre
                for k in range(pointer[c], pointer[c + 1]):
                    r, w = area[k], weight[k] * s
                    made[0, t, r] += w * p
                    made[1, t, r] += w * o
                    made[2, t, r] += w * p * p
                    made[3, t, r] += w * o * o
                    made[4, t, r] += w * p * o
                    made[5, t, r] += w * (p - o) * (p - o)
    return made
