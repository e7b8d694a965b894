"""Mergeable sufficient statistics in float64, one row per sample. Never holds a field beyond the update that brought it.

A Statistic is created empty, updated with (sample, fields), merged with others of its kind in any order, and finalised.
Rows are keyed by sample, so the result does not depend on the order of updates or merges, pieces of one sample (tiles) combine
exactly, and a bootstrap over time only resamples rows (evaluation.md 0.9, 1.11).
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError
from orbit2.metrics.binning import Bins
from orbit2.metrics.pooling import Pooled

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Moments:
    """Weighted sufficient statistics of prediction p and truth o; every array has a bin as its last axis.

    n counts cells; w = sum of weights; mean_p, mean_o; pp, oo, po = weighted sums of squares and products about the means;
    se, ae = weighted sums of squared and absolute error.
    """

    n: Array
    w: Array
    mean_p: Array
    mean_o: Array
    pp: Array
    oo: Array
    po: Array
    se: Array
    ae: Array

    def __add__(self, other: Moments) -> Moments:
        """Combine two disjoint sets of cells: no cancellation even for pressure in Pa."""
        both = Pooled.of(self.w, other.w)
        dp, do = other.mean_p - self.mean_p, other.mean_o - self.mean_o
        return Moments(
            self.n + other.n, both.weight, both.mean(self.mean_p, dp), both.mean(self.mean_o, do),
            both.comoment(self.pp, other.pp, dp, dp), both.comoment(self.oo, other.oo, do, do), both.comoment(self.po, other.po, dp, do),
            self.se + other.se, self.ae + other.ae,
        )


def moments(prediction: Array, truth: Array, weights: Array, bins: Bins) -> Moments:
    """Moments of one pair of fields [H, W] per bin; cells where either is missing are left out."""
    valid = np.isfinite(prediction) & np.isfinite(truth)
    p, o = np.where(valid, prediction, 0.0), np.where(valid, truth, 0.0)  # masked cells never enter a sum
    w = bins.sums(weights, valid)
    n = bins.sums(np.ones_like(weights), valid)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean_p, mean_o = (np.where(w > 0, bins.sums(weights * x, valid) / w, 0.0) for x in (p, o))
    index = np.maximum(bins.index, 0)
    dp, do, error = p - mean_p[index], o - mean_o[index], p - o
    return Moments(n, w, mean_p, mean_o, bins.sums(weights * dp * dp, valid), bins.sums(weights * do * do, valid),
                   bins.sums(weights * dp * do, valid), bins.sums(weights * error**2, valid), bins.sums(weights * np.abs(error), valid))


def combine(rows: Iterable[Moments]) -> Moments:
    """Add rows one after the other. Raises ValueError when there is none."""
    iterator = iter(rows)
    try:
        total = next(iterator)
    except StopIteration:
        raise ValueError("no rows to combine") from None
    for row in iterator:
        total = total + row
    return total


@dataclass
class PairStatistic:
    """Moments of (prediction, truth) per sample and bin."""

    bins: Bins
    rows: dict[Hashable, Moments] = field(default_factory=dict)

    def update(self, sample: Hashable, prediction: Array, truth: Array, weights: Array) -> None:
        """Add one field [H, W] of `sample`, or a piece of it on the same bins with NaN elsewhere."""
        if prediction.shape != truth.shape or truth.shape != self.bins.index.shape:
            raise OrbitError("fields do not match", got=f"prediction {prediction.shape}, truth {truth.shape}",
                             allowed=self.bins.index.shape)
        self._put(sample, moments(prediction, truth, weights, self.bins))

    def merge(self, other: PairStatistic) -> None:
        if other.bins.names != self.bins.names:
            raise OrbitError("statistics have different bins", got=other.bins.names, allowed=self.bins.names)
        for sample, row in other.rows.items():
            self._put(sample, row)

    def _put(self, sample: Hashable, row: Moments) -> None:
        self.rows[sample] = self.rows[sample] + row if sample in self.rows else row

    def samples(self) -> list[Hashable]:
        return sorted(self.rows, key=lambda key: (str(type(key)), key))

    def daily(self) -> Moments:
        """All rows in sample order, arrays [T, B]."""
        rows = [self.rows[key] for key in self.samples()]
        return Moments(*(np.stack([getattr(row, name) for row in rows]) for name in Moments.__dataclass_fields__))

    def finalise(self) -> Moments:
        """Pooled over samples, arrays [B]."""
        return combine(self.rows[key] for key in self.samples())


@dataclass
class SeriesStatistic:
    """One array per sample (a spectrum, an SSIM value); finalise gives their mean."""

    rows: dict[Hashable, Array] = field(default_factory=dict)

    def update(self, sample: Hashable, values: npt.ArrayLike) -> None:
        if sample in self.rows:
            raise OrbitError("sample was already added", got=str(sample))
        self.rows[sample] = np.asarray(values, dtype=np.float64)

    def merge(self, other: SeriesStatistic) -> None:
        for sample, values in other.rows.items():
            self.update(sample, values)

    def stacked(self) -> Array:
        return np.stack([self.rows[key] for key in sorted(self.rows, key=lambda key: (str(type(key)), key))])

    def finalise(self) -> Array:
        """Mean over samples of what is finite; NaN where nothing is."""
        return _finite_mean(self.stacked())

    def median(self) -> Array:
        stacked = self.stacked()
        result = np.full(stacked.shape[1:], np.nan)
        known = np.isfinite(stacked).any(axis=0)
        result[known] = np.nanmedian(stacked[:, known], axis=0)
        return result


def _finite_mean(stacked: Array) -> Array:
    if np.isinf(stacked).any():  # a perfect prediction has infinite PSNR: keep it infinite
        mean: Array = stacked.mean(axis=0)
        return mean
    known = np.isfinite(stacked)
    with np.errstate(invalid="ignore"):
        mean = np.where(known, stacked, 0.0).sum(axis=0) / known.sum(axis=0)
    return mean


@dataclass
class MapStatistic:
    """Per-cell mean error and mean squared error over samples, [H, W]."""

    shape: tuple[int, int]
    n: Array = field(init=False)
    error: Array = field(init=False)
    square: Array = field(init=False)

    def __post_init__(self) -> None:
        self.n, self.error, self.square = (np.zeros(self.shape) for _ in range(3))

    def update(self, prediction: Array, truth: Array) -> None:
        error = prediction - truth
        valid = np.isfinite(error)
        self.n += valid
        self.error[valid] += error[valid]
        self.square[valid] += error[valid] ** 2

    def merge(self, other: MapStatistic) -> None:
        self.n += other.n
        self.error += other.error
        self.square += other.square

    def finalise(self) -> tuple[Array, Array]:
        """(bias, rmse) maps in the field's units, NaN where no sample is valid."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.error / self.n, np.sqrt(self.square / self.n)


@dataclass
class HistogramStatistic:
    """Counts of (truth, prediction) in common bins; values beyond the edges count in the outermost bins."""

    edges: Array
    counts: npt.NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        bins = len(self.edges) - 1
        self.counts = np.zeros((bins, bins), dtype=np.int64)

    def update(self, prediction: Array, truth: Array) -> None:
        valid = np.isfinite(prediction) & np.isfinite(truth)
        o, p = (np.clip(np.searchsorted(self.edges, x[valid], side="right") - 1, 0, len(self.counts) - 1) for x in (truth, prediction))
        self.counts += np.bincount(o * len(self.counts) + p, minlength=self.counts.size).reshape(self.counts.shape)

    def merge(self, other: HistogramStatistic) -> None:
        self.counts += other.counts

    def finalise(self) -> npt.NDArray[np.int64]:
        """Counts [truth, prediction]."""
        return self.counts


@dataclass
class QuantileStatistic:
    """Quantiles of a stream of values from a fine histogram between `low` and `high` (error at most one bin width)."""

    low: float
    high: float
    bins: int = 1 << 18
    counts: npt.NDArray[np.int64] = field(init=False)
    minimum: float = field(init=False, default=float("inf"))
    maximum: float = field(init=False, default=float("-inf"))

    def __post_init__(self) -> None:
        self.counts = np.zeros(self.bins, dtype=np.int64)

    def update(self, values: Array) -> None:
        known: Array = values[np.isfinite(values)]
        if not known.size:
            return
        self.minimum, self.maximum = min(self.minimum, float(known.min())), max(self.maximum, float(known.max()))
        position = ((known - self.low) / (self.high - self.low) * self.bins).astype(np.int64)
        self.counts += np.bincount(np.clip(position, 0, self.bins - 1), minlength=self.bins)

    def merge(self, other: QuantileStatistic) -> None:
        self.counts += other.counts
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)

    def quantile(self, q: float) -> float:
        total = np.cumsum(self.counts)
        if not total[-1]:
            return float("nan")
        position = int(np.searchsorted(total, q * total[-1]))
        value = self.low + (position + 0.5) / self.bins * (self.high - self.low)
        return float(np.clip(value, self.minimum, self.maximum))
