"""Sums of cells' days by area, compiled: a cell is in two or three areas of sixty, and all of them take one pass. Never reads days."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.sparse import csc_array

from orbit2.jit import compiled, finite

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
        return self._added(found, np.ones(len(self.weight)))

    def size(self, found: Bool) -> Array:
        """[T, R]: the weight of the cells where `found` [T, C] is true."""
        return self._added(found, self.weight)

    def _added(self, found: Bool, weight: Array) -> Array:
        whole = len(found) > 1 and bool(found.all())  # then every day is as the first
        made: Array = _where(np.ascontiguousarray(found[:1] if whole else found), self.pointer, self.area, weight, self.count)
        return np.repeat(made, len(found), axis=0) if whole else made

    def sums(self, values: Days) -> tuple[Array, Array]:
        """(weighted sums of what is known of `values` [T, C], the weight of that), [T, R] each."""
        total, size = _sums(np.ascontiguousarray(values), self.pointer, self.area, self.weight, self.count)
        return total, size

    def events(self, values: Days, limit: float, above: bool, real: Bool, valid: Bool) -> tuple[Array, Array]:
        """(weight of the `valid` cells where `values` [T, C] are at least, or not `above` below, the limit; of those where they `real`ly
        are), [T, R] each."""
        predicted, hits = _events(np.ascontiguousarray(values), limit, above, np.ascontiguousarray(real), np.ascontiguousarray(valid),
                                  self.pointer, self.area, self.weight, self.count)  # fmt: skip
        return predicted, hits

    def shares(self, share: Days) -> tuple[Array, Array]:
        """(cells of which any `share` [T, C] counts, the weight of those shares), [T, R] each."""
        if (share == 1).all():
            return self.number(share == 1), self.size(share == 1)
        number, size = _shares(np.ascontiguousarray(share), self.pointer, self.area, self.weight, self.count)
        return number, size

    def products(self, prediction: Days, truth: Days, share: Days, centre: float) -> Array:
        """[6, T, R]: weighted sums of p, o, p^2, o^2, p o and (p - o)^2 of days [T, C] less `centre`, by the `share` [T, C] that counts;
        what has no share is not looked at."""
        p, o = (np.ascontiguousarray(x) for x in (prediction, truth))
        made: Array = _products(p, o, np.ascontiguousarray(share), centre, self.pointer, self.area, self.weight, self.count)
        return made


@compiled("b1[:,::1], i8[::1], i8[::1], f8[::1], i8")
def _where(found: Bool, pointer: Index, area: Index, weight: Array, count: int) -> Array:
    days, cells = found.shape
    made = np.zeros((days, count))
    for t in range(days):
        for c in range(cells):
            if found[t, c]:
                for k in range(pointer[c], pointer[c + 1]):
                    made[t, area[k]] += weight[k]
    return made


@compiled("f4[:,::1], i8[::1], i8[::1], f8[::1], i8")
def _sums(values: Days, pointer: Index, area: Index, weight: Array, count: int) -> tuple[Array, Array]:
    days, cells = values.shape
    total, size = np.zeros((days, count)), np.zeros((days, count))
    for t in range(days):
        for c in range(cells):
            value = np.float64(values[t, c])
            if finite(value):
                for k in range(pointer[c], pointer[c + 1]):
                    total[t, area[k]] += weight[k] * value
                    size[t, area[k]] += weight[k]
    return total, size


@compiled("f4[:,::1], f8, b1, b1[:,::1], b1[:,::1], i8[::1], i8[::1], f8[::1], i8")
def _events(
    values: Days, limit: float, above: bool, real: Bool, valid: Bool, pointer: Index, area: Index, weight: Array, count: int
) -> tuple[Array, Array]:  # fmt: skip
    days, cells = values.shape
    predicted, hits = np.zeros((days, count)), np.zeros((days, count))
    for t in range(days):
        for c in range(cells):
            value = np.float64(values[t, c])
            if valid[t, c] and (value >= limit if above else value < limit):
                for k in range(pointer[c], pointer[c + 1]):
                    predicted[t, area[k]] += weight[k]
                    if real[t, c]:
                        hits[t, area[k]] += weight[k]
    return predicted, hits


@compiled()
def _shares(share: Days, pointer: Index, area: Index, weight: Array, count: int) -> tuple[Array, Array]:
    days, cells = share.shape
    number, size = np.zeros((days, count)), np.zeros((days, count))
    for t in range(days):
        for c in range(cells):
            if share[t, c] > 0:
                for k in range(pointer[c], pointer[c + 1]):
                    number[t, area[k]] += 1.0
                    size[t, area[k]] += weight[k] * share[t, c]
    return number, size


@compiled("f4[:,::1], f4[:,::1], f4[:,::1], f8, i8[::1], i8[::1], f8[::1], i8")
def _products(
    prediction: Days, truth: Days, share: Days, centre: float, pointer: Index, area: Index, weight: Array, count: int
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
