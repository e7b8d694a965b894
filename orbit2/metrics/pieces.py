"""Moments of pieces made those of what the pieces make up, compiled: every field of every day wants them. Never reads a field twice."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.jit import compiled, finite

Array = npt.NDArray[np.float64]
Field = npt.NDArray[np.floating[Any]]
Index = npt.NDArray[np.integer[Any]]


@compiled("f8[:,::1], i8[:], i8", "f8[:,::1], i8[::1], i8")
def regrouped(pieces: Array, place: Index, count: int) -> Array:
    """[9, count] moments (statistics.QUANTITIES) of bins from those of pieces [9, A]; `place` [A] is each piece's bin, below 0 none."""
    made = np.zeros((9, count))
    for a in range(pieces.shape[1]):
        b = place[a]
        if b >= 0:
            made[0, b] += pieces[0, a]
            made[1, b] += pieces[1, a]
            made[2, b] += pieces[1, a] * pieces[2, a]
            made[3, b] += pieces[1, a] * pieces[3, a]
            made[7, b] += pieces[7, a]
            made[8, b] += pieces[8, a]
    for b in range(count):
        w = made[1, b]
        made[2, b], made[3, b] = (made[2, b] / w, made[3, b] / w) if w > 0 else (0.0, 0.0)
    for a in range(pieces.shape[1]):
        b = place[a]
        if b >= 0:
            dp, do = pieces[2, a] - made[2, b], pieces[3, a] - made[3, b]
            made[4, b] += pieces[4, a] + pieces[1, a] * dp * dp
            made[5, b] += pieces[5, a] + pieces[1, a] * do * do
            made[6, b] += pieces[6, a] + pieces[1, a] * dp * do
    return made


@compiled("f8[:,::1], f8[:,::1]")
def joined(one: Array, other: Array) -> Array:
    """[9, B] of two disjoint sets of cells, as `Moments.__add__`: about each set's means, so that nothing cancels."""
    made = np.empty_like(one)
    for b in range(one.shape[1]):
        w = one[1, b] + other[1, b]
        share = other[1, b] / w if w > 0 else 0.0
        dp, do, between = other[2, b] - one[2, b], other[3, b] - one[3, b], one[1, b] * share
        made[0, b], made[1, b] = one[0, b] + other[0, b], w
        made[2, b], made[3, b] = one[2, b] + dp * share, one[3, b] + do * share
        made[4, b] = one[4, b] + other[4, b] + dp * dp * between
        made[5, b] = one[5, b] + other[5, b] + do * do * between
        made[6, b] = one[6, b] + other[6, b] + dp * do * between
        made[7, b], made[8, b] = one[7, b] + other[7, b], one[8, b] + other[8, b]
    return made


@compiled("f8[::1], f8[::1], f8[::1], i8[::1], f8[::1], i8[::1], i8", "f8[::1], f4[::1], f8[::1], i8[::1], f8[::1], i8[::1], i8")
def shared(prediction: Field, truth: Field, weights: Array, cell: Index, share: Field, region: Index, count: int) -> Array:
    """[9, count] moments of regions from cells of flat fields; `share` [N] of `cell` counts in `region`, each a position."""
    pieces = np.zeros((9, len(cell)))
    for k in range(len(cell)):
        p, o = np.float64(prediction[cell[k]]), np.float64(truth[cell[k]])
        if finite(p) and finite(o):
            w, error = weights[cell[k]] * share[k], p - o
            pieces[0, k], pieces[1, k], pieces[2, k], pieces[3, k] = 1.0, w, p, o
            pieces[7, k], pieces[8, k] = w * error * error, w * abs(error)
    return regrouped(pieces, region, count)
