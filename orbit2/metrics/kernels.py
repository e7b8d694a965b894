"""Compiled loops of the scores: one pass over a field instead of many. Sums in float64 whatever the fields are, missing cells left out."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.jit import compiled, finite

Array = npt.NDArray[np.float64]
Field = npt.NDArray[Any]  # float32 or float64
Sums = tuple[float, float, float, float, float, float, float, float, float]


@compiled("i2[:,::1]")
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


@compiled("f8[:,::1], i4, i4, i4", "f4[:,::1], i4, i4, i4")
def typical(values: Field, row: int, start: int, stop: int) -> float:
    """The middle one of a stretch's first, middle and last value; its first value where one of them is missing, 0 where all are."""
    a, b, c = np.float64(values[row, start]), np.float64(values[row, (start + stop) // 2]), np.float64(values[row, stop - 1])
    if finite(a + b + c):
        return float(max(min(a, b), min(max(a, b), c)))
    for j in range(start, stop):
        if finite(np.float64(values[row, j])):
            return float(values[row, j])
    return 0.0


@compiled("f8[::1], f8[::1], f8, f8, f8", "f8[::1], f4[::1], f8, f8, f8")
def _complete_sums(prediction: Field, truth: Field, weight: float, near_p: float, near_o: float) -> Sums:
    """What `pair_moments` sums of a stretch [N] whose cells weigh the same; not finite where a value is missing."""
    wp, wo, pp, oo, po, se, ae = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(len(prediction)):
        p, o = np.float64(prediction[j]), np.float64(truth[j])
        error, dp, do = p - o, p - near_p, o - near_o
        wp += dp
        wo += do
        pp += dp * dp
        oo += do * do
        po += dp * do
        se += error * error
        ae += abs(error)
    n = float(len(prediction))
    return n, weight * n, weight * wp, weight * wo, weight * pp, weight * oo, weight * po, weight * se, weight * ae


@compiled("f8[::1], f8[::1], f8[::1], f8, f8", "f8[::1], f4[::1], f8[::1], f8, f8")
def _known_sums(prediction: Field, truth: Field, weights: Array, near_p: float, near_o: float) -> Sums:
    """The same of the cells where both are known; `weights` [1 or N]."""
    along = 1 if len(weights) > 1 else 0
    n, w, wp, wo, pp, oo, po, se, ae = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
    for j in range(len(prediction)):
        p, o = np.float64(prediction[j]), np.float64(truth[j])
        error = p - o
        known = finite(error)
        weight = weights[along * j] if known else 0.0
        error = error if known else np.float64(0.0)
        dp, do = (p - near_p) if known else 0.0, (o - near_o) if known else 0.0
        a, c = weight * dp, weight * do
        n += 1.0 if known else 0.0
        w += weight
        wp += a
        wo += c
        pp += a * dp
        oo += c * do
        po += a * do
        se += weight * error * error
        ae += weight * abs(error)
    return n, w, wp, wo, pp, oo, po, se, ae


@compiled("f8[:,::1], f8[:,::1], f8[:,::1], i4[:,::1], i8", "f8[:,::1], f4[:,::1], f8[:,::1], i4[:,::1], i8")
def pair_moments(prediction: Field, truth: Field, weights: Array, runs: npt.NDArray[np.int32], bins: int) -> Array:
    """[9, bins]: the fields of Moments, in its order; `weights` [H, 1 or W]. One pass: each stretch is summed about a typical value of its
    own, near its mean, then joined with the rest of its bin (Chan, Golub & LeVeque 1979): as exact as two passes over the whole field."""
    sums = np.zeros((9, bins))
    alike = weights.shape[1] == 1
    for r in range(runs.shape[0]):
        row, start, stop, b = runs[r, 0], runs[r, 1], runs[r, 2], runs[r, 3]
        near_p, near_o = typical(prediction, row, start, stop), typical(truth, row, start, stop)
        p, o = prediction[row, start:stop], truth[row, start:stop]
        areas = weights[row] if alike else weights[row, start:stop]
        found = _complete_sums(p, o, areas[0], near_p, near_o) if alike else _known_sums(p, o, areas, near_p, near_o)
        if not finite(found[8]):  # the sum of |error|
            found = _known_sums(p, o, areas, near_p, near_o)
        n, w, wp, wo, pp, oo, po, se, ae = found
        sums[0, b] += n
        if not w > 0:
            continue
        beyond_p, beyond_o = wp / w, wo / w
        pp, oo, po = max(pp - wp * beyond_p, 0.0), max(oo - wo * beyond_o, 0.0), po - wp * beyond_o
        before = sums[1, b]
        share = w / (before + w)
        step_p, step_o = near_p + beyond_p - sums[2, b], near_o + beyond_o - sums[3, b]
        between = before * share
        sums[1, b] = before + w
        sums[2, b] += step_p * share
        sums[3, b] += step_o * share
        sums[4, b] += pp + step_p * step_p * between
        sums[5, b] += oo + step_o * step_o * between
        sums[6, b] += po + step_p * step_o * between
        sums[7, b] += se
        sums[8, b] += ae
    return sums


@compiled("f8[:,::1]", "f4[:,::1]")
def complete(values: Field) -> bool:
    """Whether all values [H, W] are finite."""
    for i in range(values.shape[0]):
        missing = 0.0
        for j in range(values.shape[1]):
            missing += 0.0 if finite(np.float64(values[i, j])) else 1.0
        if missing > 0.0:
            return False
    return True


@compiled("f8[:,::1], f8[:,::1], f8, f8, f8[::1]", "f4[:,::1], f8[:,::1], f8, f8, f8[::1]")
def count_values(values: Field, weights: Array, low: float, high: float, counts: Array) -> None:
    """Adds the weight ([H, 1 or W]) of every finite value to its bin of `counts`, equal bins from `low` to `high`; what lies beyond, to the
    outermost. The lowest bin's, where rain has most cells, is summed apart: each sum would wait for the last."""
    bins = counts.shape[0]
    scale, top = bins / (high - low), bins - 1.0
    along = 1 if weights.shape[1] > 1 else 0
    place = np.empty(values.shape[1], dtype=np.int32)
    for i in range(values.shape[0]):
        for j in range(values.shape[1]):
            value = np.float64(values[i, j])
            k = np.int32(min(max((value - low) * scale, 0.0), top))
            place[j] = k if finite(value) else -1
        lowest = 0.0
        for j in range(values.shape[1]):
            if place[j] > 0:
                counts[place[j]] += weights[i, along * j]
            elif place[j] == 0:
                lowest += weights[i, along * j]
        counts[0] += lowest


@compiled("f8[:,::1], f8[:,::1], f8[::1], i8[:,::1]", "f8[:,::1], f4[:,::1], f8[::1], i8[:,::1]")
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


@compiled("f8[:,::1], f8[:,::1], f8[::1]", "f4[:,::1], f8[:,::1], f8[::1]")
def area_at_least(values: Field, weights: Array, limits: Array) -> Array:
    """[K + 1] weight ([H, 1 or W]) of the finite values that reach each of `limits` [K], then of all of them. Three limits in one pass."""
    count = len(limits)
    along = 1 if weights.shape[1] > 1 else 0
    found = np.zeros(count + 1)
    for start in range(0, max(count, 1), 3):
        one = limits[start] if start < count else np.inf
        two = limits[start + 1] if start + 1 < count else np.inf
        three = limits[start + 2] if start + 2 < count else np.inf
        for i in range(values.shape[0]):
            whole, a, b, c = 0.0, 0.0, 0.0, 0.0
            for j in range(values.shape[1]):
                value = np.float64(values[i, j])
                weight = weights[i, along * j] if finite(value) else 0.0
                whole += weight
                a += weight if value >= one else 0.0
                b += weight if value >= two else 0.0
                c += weight if value >= three else 0.0
            if start == 0:
                found[count] += whole
            for k, summed in enumerate((a, b, c)):
                if start + k < count:
                    found[start + k] += summed
    return found


@compiled("f8[:,::1], i8[::1], f8[::1]", "f4[:,::1], i8[::1], f8[::1]")
def line_means(values: Field, band: npt.NDArray[np.int64], row_weights: Array) -> tuple[Array, Array]:
    """(weighted means [W] over the rows `band` by column, means [H] by row) of the finite values; NaN where there is none."""
    height, width = values.shape
    total, weight, rows = np.zeros(width), np.zeros(width), np.empty(height)
    for i in range(height):
        count, summed = 0.0, 0.0
        for j in range(width):
            value = np.float64(values[i, j])
            known = finite(value)
            count += 1.0 if known else 0.0
            summed += value if known else 0.0
        rows[i] = summed / count if count > 0 else np.nan
    for k in range(len(band)):
        for j in range(width):
            value = np.float64(values[band[k], j])
            known = finite(value)
            weight[j] += row_weights[k] if known else 0.0
            total[j] += row_weights[k] * value if known else 0.0
    for j in range(width):
        total[j] = total[j] / weight[j] if weight[j] > 0 else np.nan
    return total, rows


@compiled("f8[::1], i8, f8[::1], f8[::1], b1")
def add_steps(values: Array, step: int, sums: Array, known: Array, counted: bool) -> None:
    """Adds the finite values [N] to the sum [N / step] of the `step` neighbours that each belongs to, and their number where `counted`."""
    for j in range(len(values)):
        if finite(values[j]):
            sums[j // step] += values[j]
            known[j // step] += 1.0 if counted else 0.0


@compiled("f8[::1], f8[::1], f8")
def quantile_by_weight(values: Array, weights: Array, q: float) -> float:
    """The lowest of the finite, non-negative `values` [N] up to which at least `q` of their weight lies: exact, sorting one bin alone."""
    highest, total = -1.0, 0.0
    for k in range(len(values)):
        if finite(values[k]):
            highest = max(highest, values[k])
            total += weights[k]
    if highest <= 0.0:
        return highest if highest == 0.0 else np.nan
    bins = 4096
    share = np.zeros(bins)
    count = np.zeros(bins, dtype=np.int64)
    for k in range(len(values)):
        if finite(values[k]):
            place = min(int(values[k] / highest * bins), bins - 1)
            share[place] += weights[k]
            count[place] += 1
    below, chosen = 0.0, 0
    while chosen < bins - 1 and (count[chosen] == 0 or below + share[chosen] < q * total):
        below += share[chosen]
        chosen += 1
    inside, heavy = np.empty(count[chosen]), np.empty(count[chosen])
    found = 0
    for k in range(len(values)):
        if finite(values[k]) and min(int(values[k] / highest * bins), bins - 1) == chosen:
            inside[found], heavy[found] = values[k], weights[k]
            found += 1
    order = np.argsort(inside)
    last = 0
    while last < found - 1 and below + heavy[order[last]] < q * total:
        below += heavy[order[last]]
        last += 1
    value: float = inside[order[last]]
    return value


@compiled("f8[:,::1], f8[:,::1], i8, f8[:,::1], f8[:,::1], f8[:,::1]", "f8[:,::1], f4[:,::1], i8, f8[:,::1], f8[:,::1], f8[:,::1]")
def add_errors(prediction: Field, truth: Field, block: int, n: Array, error: Array, square: Array) -> None:
    """Adds what each cell with both values says to the sums of its `block` x `block` block (the last row and column may be cut)."""
    height, width = prediction.shape
    for i in range(height):
        row = i // block
        if block == 1:
            for j in range(width):
                e = np.float64(prediction[i, j]) - np.float64(truth[i, j])
                known = finite(e)
                n[i, j] += 1.0 if known else 0.0
                error[i, j] += e if known else 0.0
                square[i, j] += e * e if known else 0.0
            continue
        for column in range(n.shape[1]):
            count, once, twice = 0.0, 0.0, 0.0
            for j in range(column * block, min((column + 1) * block, width)):
                e = np.float64(prediction[i, j]) - np.float64(truth[i, j])
                known = finite(e)
                count += 1.0 if known else 0.0
                once += e if known else 0.0
                twice += e * e if known else 0.0
            n[row, column] += count
            error[row, column] += once
            square[row, column] += twice


@compiled("f8[:,::1], f8[:,::1]")
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


@compiled("f4[:,::1], f4[:,::1], f8[:,::1]")
def excess(low: Field, high: Field, weights: Array) -> tuple[float, float, float]:
    """Area where `low` is above `high`, [H, W] each; area times excess there; area where both are known."""
    above, size, whole = 0.0, 0.0, 0.0
    for i in range(low.shape[0]):
        for j in range(low.shape[1]):
            difference = np.float64(low[i, j]) - np.float64(high[i, j])
            if finite(difference):
                whole += weights[i, j]
                if difference > 0:
                    above += weights[i, j]
                    size += weights[i, j] * difference
    return above, size, whole
