"""Compiled loop of the ensemble scores: each cell's members are ordered once, and everything follows from that."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.jit import compiled

Array = npt.NDArray[np.float64]
SPREADS = 160  # bins of the members' variance, two an octave, from 2^-40; the first is of no variance
OF_CELLS = ("crps", "variance", "square", "outside", "ranked")  # what is told of each cell
Sums = tuple[Array, Array, Array, Array, Array, Array]


@compiled("f8[:,::1], f8[::1], f8[::1], f8[::1], f8")
def member_sums(members: npt.NDArray[Any], truth: Array, weights: Array, limits: Array, dry: float) -> Sums:
    """Sums by area over cells of `members` [M, C] and `truth` [C], none missing:

    [w, CRPS over M^2 pairs, over M (M - 1), unbiased variance, squared error of the mean]; area by the truth's rank [M + 1], where a truth
    equal to k members is shared by k + 1 ranks, what lies below `dry` is equal, and cells where all do count nowhere; per limit the area by
    the number of members at or above it [E, M + 1], and the part of it where the truth is too; [3, SPREADS] area, variance and squared
    error of the mean by the members' variance; of each cell, without its weight, [OF_CELLS, C]: fair CRPS (of one member the absolute
    error), unbiased variance, squared error of the mean, the part of the truth's rank that lies beyond all members, and whether it is
    ranked (1 or 0).
    """
    count, cells = members.shape
    sums, ranks = np.zeros(5), np.zeros(count + 1)
    forecast, happened = np.zeros((limits.shape[0], count + 1)), np.zeros((limits.shape[0], count + 1))
    spreads, each = np.zeros((3, SPREADS)), np.zeros((5, cells))
    x = np.empty(count)
    for c in range(cells):
        y, w = truth[c], weights[c]
        total, absolute = 0.0, 0.0
        for m in range(count):
            value = np.float64(members[m, c])
            total += value
            absolute += abs(value - y)
            i = m  # insertion: few members, and nearly free where they are equal
            while i > 0 and x[i - 1] > value:
                x[i] = x[i - 1]
                i -= 1
            x[i] = value
        mean, apart, squares, below, ties = total / count, 0.0, 0.0, 0, 0
        for m in range(count):
            apart += (2 * m - count + 1) * x[m]
            squares += (x[m] - mean) ** 2
            below += 1 if x[m] < y and y >= dry else 0
            ties += 1 if x[m] == y or (x[m] < dry and y < dry) else 0
        sums[0] += w
        sums[1] += w * (absolute / count - apart / (count * count))
        each[0, c], each[2, c] = absolute / count, (mean - y) ** 2
        if count > 1:
            each[0, c] -= apart / (count * (count - 1))
            sums[2] += w * each[0, c]
            variance = squares / (count - 1)
            each[1, c] = variance
            sums[3] += w * variance
            place = int(min(max(np.floor(2 * np.log2(variance)) + SPREADS // 2, 1.0), SPREADS - 1.0)) if variance > 0 else 0
            spreads[0, place] += w
            spreads[1, place] += w * variance
            spreads[2, place] += w * (mean - y) ** 2
        sums[4] += w * (mean - y) ** 2
        if y >= dry or x[count - 1] >= dry:
            for rank in range(below, below + ties + 1):
                ranks[rank] += w / (ties + 1)
            each[3, c] = ((below == 0) + (below + ties == count)) / (ties + 1)
            each[4, c] = 1.0
        for e in range(limits.shape[0]):
            foresee = 0
            for m in range(count):
                foresee += 1 if x[m] >= limits[e] else 0
            forecast[e, foresee] += w
            happened[e, foresee] += w if y >= limits[e] else 0.0
    return sums, ranks, forecast, happened, spreads, each
