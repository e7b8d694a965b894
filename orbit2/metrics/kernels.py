"""Compiled loops of the scores: one pass over a field instead of many. Sums in float64 whatever the fields are, missing cells left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.jit import compiled, finite

Array = npt.NDArray[np.float64]
Field = npt.NDArray[Any]  # float32 or float64


@compiled
def runs_of(index: npt.NDArray[Any]) -> npt.NDArray[np.int32]:
    """Stretches of cells with one bin in `index` [H, W]: [R, 4] row, first column, column after the last, bin; none of bin -1."""
    height, width = index.shape
    found = np.empty((height * width, 4), dtype=np.int32)
    count = 0
    for i in range(height):
        start = 0
        for j in range(1, width + 1):
            if j == width or index[i, j] != index[i, start]:
                if index[i, start] >= 0:
                    found[count, 0], found[count, 1], found[count, 2], found[count, 3] = i, start, j, index[i, start]
                    count += 1
                start = j
    return found[:count].copy()


@compiled
def pair_moments(prediction: Field, truth: Field, weights: Array, runs: npt.NDArray[np.int32], bins: int) -> Array:
    """[9, bins]: the fields of Moments, in its order. Each stretch is centred on its own means while it is in the cache, then joined
    with the rest of its bin (Chan, Golub & LeVeque 1979): as exact as two passes over the whole field."""
    sums = np.zeros((9, bins))
    for r in range(runs.shape[0]):
        row, start, stop, b = runs[r, 0], runs[r, 1], runs[r, 2], runs[r, 3]
        n, w, wp, wo = 0.0, 0.0, 0.0, 0.0
        for j in range(start, stop):
            p, o, weight = np.float64(prediction[row, j]), np.float64(truth[row, j]), weights[row, j]
            known = finite(p - o)
            n += 1.0 if known else 0.0
            w += weight if known else 0.0
            wp += weight * p if known else 0.0
            wo += weight * o if known else 0.0
        sums[0, b] += n
        if not w > 0:
            continue
        mean_p, mean_o = wp / w, wo / w
        pp, oo, po, se, ae = 0.0, 0.0, 0.0, 0.0, 0.0
        for j in range(start, stop):
            p, o, weight = np.float64(prediction[row, j]), np.float64(truth[row, j]), weights[row, j]
            error, dp, do = p - o, p - mean_p, o - mean_o
            known = finite(error)
            pp += weight * dp * dp if known else 0.0
            oo += weight * do * do if known else 0.0
            po += weight * dp * do if known else 0.0
            se += weight * error * error if known else 0.0
            ae += weight * abs(error) if known else 0.0
        before = sums[1, b]
        share = w / (before + w)
        step_p, step_o, between = mean_p - sums[2, b], mean_o - sums[3, b], before * share
        sums[1, b] = before + w
        sums[2, b] += step_p * share
        sums[3, b] += step_o * share
        sums[4, b] += pp + step_p * step_p * between
        sums[5, b] += oo + step_o * step_o * between
        sums[6, b] += po + step_p * step_o * between
        sums[7, b] += se
        sums[8, b] += ae
    return sums


@compiled
def count_values(values: Field, weights: Array, low: float, high: float, counts: Array) -> None:
    """Adds the weight of every finite value to its bin of `counts`, equal bins from `low` to `high`; what lies beyond, to the outermost."""
    bins = counts.shape[0]
    scale = bins / (high - low)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            value = np.float64(values[i, j])
            if finite(value):
                counts[int(min(max((value - low) * scale, 0.0), bins - 1.0))] += weights[i, j]


@compiled
def count_pairs(prediction: Field, truth: Field, edges: Array, counts: npt.NDArray[np.int64]) -> None:
    """Counts the cells where both are finite in `counts` [truth, prediction]; `edges` ascend, values beyond them are in the outermost."""
    bins = counts.shape[0]
    scale = bins / (edges[bins] - edges[0])
    place = np.zeros(2, dtype=np.int64)
    for i in range(prediction.shape[0]):
        for j in range(prediction.shape[1]):
            p, o = np.float64(prediction[i, j]), np.float64(truth[i, j])
            if finite(p - o):
                for which in range(2):
                    value = o if which == 0 else p
                    k = int(min(max((value - edges[0]) * scale, 0.0), bins - 1.0))  # a guess, right but for rounding where bins are equal
                    while k > 0 and value < edges[k]:
                        k -= 1
                    while k < bins - 1 and value >= edges[k + 1]:
                        k += 1
                    place[which] = k
                counts[place[0], place[1]] += 1


@compiled
def add_errors(prediction: Field, truth: Field, block: int, n: Array, error: Array, square: Array) -> None:
    """Adds what each cell with both values says to the sums of its `block` x `block` block (the last row and column may be cut)."""
    height, width = prediction.shape
    for i in range(height):
        row = i // block
        for column in range(n.shape[1]):
            for j in range(column * block, min((column + 1) * block, width)):
                e = np.float64(prediction[i, j]) - np.float64(truth[i, j])
                known = finite(e)
                n[row, column] += 1.0 if known else 0.0
                error[row, column] += e if known else 0.0
                square[row, column] += e * e if known else 0.0


@compiled
def mean_of(values: Field, weights: Array) -> tuple[float, float]:
    """(sum of weights, weighted mean) of the finite values [H, W]; a mean of NaN where no finite value has weight."""
    whole, total = 0.0, 0.0
    for i in range(values.shape[0]):
        w, s = 0.0, 0.0
        for j in range(values.shape[1]):
            value = np.float64(values[i, j])
            known = finite(value)
            w += weights[i, j] if known else 0.0
            s += weights[i, j] * value if known else 0.0
        whole += w
        total += s
    return whole, (total / whole if whole > 0 else np.nan)


@compiled
def ssim_cells(prediction: Field, truth: Field, window: Array, c1: float, c2: float, periodic: bool) -> Array:
    """Local SSIM [H, W] under the separable `window` [2 r + 1]; NaN where it leaves the domain or meets a missing cell.

    Rows first, then columns, in strips of columns that stay in the cache: one pass over both fields.
    """
    height, width = truth.shape
    reach = window.shape[0] // 2
    strip = 512
    result = np.full((height, width), np.nan)
    sums = np.empty((5, strip + 2 * reach))
    bad = np.empty(strip + 2 * reach)
    for first in range(0, width, strip):
        size = min(strip, width - first)
        columns = np.empty(size + 2 * reach, dtype=np.int64)
        for j in range(size + 2 * reach):
            column = first + j - reach
            columns[j] = column % width if periodic else min(max(column, 0), width - 1)
        p, o, holes = np.empty((height, len(columns))), np.empty((height, len(columns))), np.empty((height, len(columns)))
        for i in range(height):
            for j in range(len(columns)):
                x, y = np.float64(prediction[i, columns[j]]), np.float64(truth[i, columns[j]])
                known = finite(x - y)
                p[i, j], o[i, j], holes[i, j] = (x, y, 0.0) if known else (0.0, 0.0, 1.0)
        for i in range(reach, height - reach):
            sums[:], bad[:] = 0.0, 0.0
            for k in range(-reach, reach + 1):
                weight = window[k + reach]
                for j in range(len(columns)):
                    x, y = p[i + k, j], o[i + k, j]
                    sums[0, j] += weight * x
                    sums[1, j] += weight * y
                    sums[2, j] += weight * x * x
                    sums[3, j] += weight * y * y
                    sums[4, j] += weight * x * y
                    bad[j] += holes[i + k, j]
            for j in range(size):
                if not periodic and (first + j < reach or first + j >= width - reach):
                    continue
                missing, a, b, aa, bb, ab = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
                for k in range(2 * reach + 1):
                    weight = window[k]
                    missing += bad[j + k]
                    a += weight * sums[0, j + k]
                    b += weight * sums[1, j + k]
                    aa += weight * sums[2, j + k]
                    bb += weight * sums[3, j + k]
                    ab += weight * sums[4, j + k]
                if missing == 0.0:
                    result[i, first + j] = ((2 * a * b + c1) * (2 * (ab - a * b) + c2)
                                            / ((a * a + b * b + c1) * (aa - a * a + bb - b * b + c2)))  # fmt: skip
    return result
