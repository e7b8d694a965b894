"""Quantile mapping: a value takes the place in the truth's distribution that it has in its own. Works on codes as stores pack them.

Empirical, additive in the packed space (ln(1 + x) for precipitation, so that it is no question of units), linear between NODES, the
outermost correction kept beyond them: `xsdba.EmpiricalQuantileMapping(kind="+", interp="linear", extrapolation="constant")`, against
which it is tested. xsdba itself takes seconds per 20,000 cells and time, which a year of 0.25 degree fields does not allow.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.data.packing import GREATEST, MISSING, Packing
from orbit2.jit import compiled, finite
from orbit2.logarithms import expm1, log1p

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int16]
Kept = npt.NDArray[Any]  # float32 or float64
BAND = 16  # rows
NODES = (0.01, *(round(0.05 * i, 2) for i in range(1, 20)), 0.99)


def places(values: Array, packing: Packing) -> Array:
    """Values in units of the packing's steps, not rounded; within its range. NaN stays."""
    low, high = packing.low, packing.high
    inside = np.clip(values, low, high)
    moved = np.log1p(inside) if packing.logarithmic else inside
    return np.asarray((moved - packing.ends[0]) / packing.step - GREATEST)


def values_at(place: Array, packing: Packing) -> Array:
    """The values at `places`, within the packing's range."""
    moved = np.clip(place + GREATEST, 0, 2 * GREATEST) * packing.step + packing.ends[0]
    return np.asarray(np.expm1(moved) if packing.logarithmic else moved)


def codes_of(values: Array, packing: Packing) -> Codes:
    """Values as the store would pack them; MISSING where they are."""
    place = np.rint(places(values, packing))
    return np.where(np.isfinite(place), place, MISSING).astype(np.int16)


def node_codes(samples: Codes) -> Codes:
    """[T, ...] codes -> [NODES, ...] their quantiles, linear between samples, rounded to a code; MISSING where no sample is known.

    Sorts `samples` in place.
    """
    samples.sort(axis=0)  # what is missing comes first
    missing = (samples == MISSING).sum(0)
    known = len(samples) - missing
    found = np.empty((len(NODES), *samples.shape[1:]), dtype=np.int16)
    for i, q in enumerate(NODES):
        place = missing + q * np.maximum(known - 1, 0)
        below = np.minimum(np.floor(place).astype(np.int64), len(samples) - 1)
        above = np.minimum(below + 1, len(samples) - 1)
        low, high = (np.take_along_axis(samples, at[None], 0)[0].astype(np.float64) for at in (below, above))
        found[i] = np.where(known > 0, np.rint(low + (place - below) * (high - low)), MISSING)
    return found


def mapped(values: Array, given: Codes, wanted: Codes, packing: Packing) -> Array:
    """`values` [h, w] mapped from the distribution `given` to `wanted`, [h, w, NODES] codes each; left alone in cells without samples."""
    result = np.empty(values.shape)
    for first in range(0, len(values), BAND):  # rows that stay in the cache
        rows = slice(first, first + BAND)
        x = np.ascontiguousarray(values[rows], dtype=np.float64)
        map_rows(result[rows], x, log1p(x) if packing.logarithmic else x, given[rows], wanted[rows], packing)
    return result


def map_rows(result: Kept, values: Array, transformed: Array, given: Codes, wanted: Codes, packing: Packing) -> None:
    """`result` = `mapped` of some rows of `values`, whose packing's transform is known already."""
    moved, known = np.empty(values.shape), np.empty(values.shape, dtype=np.bool_)
    _moved(moved, known, transformed, given, wanted, *packing.ends, packing.step)
    if packing.logarithmic:
        expm1(moved, out=moved)
    result[...] = np.where(known, moved, values)


@compiled("f8[:,::1], b1[:,::1], f8[:,::1], i2[:,:,::1], i2[:,:,::1], f8, f8, f8")
def _moved(
    moved: Array, known: npt.NDArray[np.bool_], transformed: Array, given: Codes, wanted: Codes, low: float, high: float, step: float
) -> None:  # fmt: skip
    """To each value's place (`places`) the difference of the distributions there, linear between nodes; of nodes with the same value the
    lowest counts; and back (`values_at`), but for the transform. `known`: where there are distributions."""
    last = given.shape[2] - 1
    for i in range(moved.shape[0]):
        for j in range(moved.shape[1]):
            value = transformed[i, j]
            known[i, j] = given[i, j, 0] != MISSING and wanted[i, j, 0] != MISSING
            if not (known[i, j] and finite(value)):
                moved[i, j] = value
                continue
            x = (min(max(value, low), high) - low) / step - GREATEST
            above, below = int(np.ceil(x)), 0  # nodes are whole numbers: how many are below x is counted without a branch
            if int(given[i, j, 0]) < above:  # else none is: no rain
                for k in range(last + 1):
                    below += 1 if int(given[i, j, k]) < above else 0
            if below == 0 or below > last:
                end = 0 if below == 0 else last
                x += float(wanted[i, j, end]) - float(given[i, j, end])
            else:
                one, other = float(given[i, j, below - 1]), float(given[i, j, below])
                first, second = float(wanted[i, j, below - 1]) - one, float(wanted[i, j, below]) - other
                x += first + (x - one) / (other - one) * (second - first)
            moved[i, j] = min(max(x + GREATEST, 0.0), 2.0 * GREATEST) * step + low
