"""Compiled loops of what lies between cells: the detail inside blocks, structural similarity. As kernels.py, sums in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.jit import compiled, finite

Array = npt.NDArray[np.float64]
Field = npt.NDArray[Any]  # float32 or float64


@compiled("f8[:,::1], f8[:,::1], f8[:,::1], f8[:,::1], i8")
def detail_moments(prediction: Field, truth: Field, relative: Array, weights: Array, factor: int) -> Array:
    """[9, 1]: `pair_moments` of all cells of the fields less their means, by area (`relative` [H, 1 or W]), over blocks of
    `factor` x `factor` cells.

    What is left has nearly no mean, so plain sums are exact enough to be centred afterwards.
    """
    height, width = prediction.shape
    along = 1 if relative.shape[1] > 1 else 0
    n, w, wp, wo, pp, oo, po, se, ae = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    summed, areas = np.empty((2, width)), np.empty((2, width))
    for first in range(0, height, factor):
        summed[:], areas[:] = 0.0, 0.0
        for i in range(first, first + factor):
            for j in range(width):
                p, o = np.float64(prediction[i, j]), np.float64(truth[i, j])
                area = relative[i, along * j]
                summed[0, j] += area * p if finite(p) else 0.0
                areas[0, j] += area if finite(p) else 0.0
                summed[1, j] += area * o if finite(o) else 0.0
                areas[1, j] += area if finite(o) else 0.0
        for column in range(0, width, factor):
            for k in range(2):
                total, whole = 0.0, 0.0
                for j in range(column, column + factor):
                    total += summed[k, j]
                    whole += areas[k, j]
                mean = total / whole if whole > 0 else np.nan
                for j in range(column, column + factor):
                    summed[k, j] = mean
        for i in range(first, first + factor):
            a, b, c, d, e, f, g, h, q = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for j in range(width):
                p, o = np.float64(prediction[i, j]) - summed[0, j], np.float64(truth[i, j]) - summed[1, j]
                error = p - o
                known = finite(error)
                weight = weights[i, j]
                a += 1.0 if known else 0.0
                b += weight if known else 0.0
                c += weight * p if known else 0.0
                d += weight * o if known else 0.0
                e += weight * p * p if known else 0.0
                f += weight * o * o if known else 0.0
                g += weight * p * o if known else 0.0
                h += weight * error * error if known else 0.0
                q += weight * abs(error) if known else 0.0
            n, w, wp, wo, pp, oo, po, se, ae = n + a, w + b, wp + c, wo + d, pp + e, oo + f, po + g, se + h, ae + q
    sums = np.zeros((9, 1))
    sums[0, 0] = n
    if w > 0:
        found = (w, wp / w, wo / w, max(pp - wp * wp / w, 0.0), max(oo - wo * wo / w, 0.0), po - wp * wo / w, se, ae)
        for k in range(8):
            sums[k + 1, 0] = found[k]
    return sums


@compiled("f8[:,::1], f8[:,::1], f8[::1], f8, f8, b1")
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
