"""Quantile mapping: a value takes the place in the truth's distribution that it has in its own. Works on codes as stores pack them.

Empirical, additive in the packed space (ln(1 + x) for precipitation, so that it is no question of units), linear between NODES, the
outermost correction kept beyond them: `xsdba.EmpiricalQuantileMapping(kind="+", interp="linear", extrapolation="constant")`, against
which it is tested. xsdba itself takes seconds per 20,000 cells and time, which a year of 0.25 degree fields does not allow.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.data.packing import GREATEST, MISSING, Packing
from orbit2.jit import compiled

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int16]
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
    _shift(places(values, packing), given, wanted, result)
    return np.where((given[..., 0] == MISSING) | (wanted[..., 0] == MISSING), values, values_at(result, packing))


@compiled
def _shift(place: Array, given: Codes, wanted: Codes, result: Array) -> None:
    """The difference of the distributions at each place, linear between nodes; of nodes with the same value the lowest counts."""
    last = given.shape[2] - 1
    for i in range(place.shape[0]):
        for j in range(place.shape[1]):
            x = place[i, j]
            low, high = 0, last + 1  # how many nodes are below x
            while low < high:
                middle = (low + high) // 2
                if given[i, j, middle] < x:
                    low = middle + 1
                else:
                    high = middle
            if low == 0:
                change = float(wanted[i, j, 0]) - float(given[i, j, 0])
            elif low > last:
                change = float(wanted[i, j, last]) - float(given[i, j, last])
            else:
                one, other = float(given[i, j, low - 1]), float(given[i, j, low])
                first, second = float(wanted[i, j, low - 1]) - one, float(wanted[i, j, low]) - other
                change = first + (x - one) / (other - one) * (second - first)
            result[i, j] = x + change
