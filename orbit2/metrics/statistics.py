"""Mergeable sufficient statistics in float64, one row per sample. Never holds a field beyond the update that brought it.

A Statistic is created empty, updated with (sample, fields), merged with others of its kind in any order, and finalised. `state` gives
what it has gathered as arrays, `add` takes another's: that is how parts of a task, made by other processes, come together.
Rows are keyed by sample (the text of its time: `times.stamp`), so the result does not depend on the order of updates or merges, pieces
of one sample (tiles) combine exactly, and a bootstrap over time only resamples rows (evaluation.md 0.9, 1.11).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError
from orbit2.metrics import kernels, pieces
from orbit2.metrics.binning import Bins, Partition
from orbit2.metrics.pooling import Pooled

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
State = dict[str, npt.NDArray[Any]]  # what a statistic has gathered; names may not contain "/"


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

    @classmethod
    def of(cls, table: Array) -> Moments:
        """Of what `stacked` gives [9, ...], which is kept, too: nobody changes it."""
        made = cls(*table)
        made.__dict__[STACKED] = table
        return made

    def __add__(self, other: Moments) -> Moments:
        """Combine two disjoint sets of cells: no cancellation even for pressure in Pa."""
        both = Pooled.of(self.w, other.w)
        dp, do = other.mean_p - self.mean_p, other.mean_o - self.mean_o
        return Moments(
            self.n + other.n, both.weight, both.mean(self.mean_p, dp), both.mean(self.mean_o, do),
            both.comoment(self.pp, other.pp, dp, dp), both.comoment(self.oo, other.oo, do, do), both.comoment(self.po, other.po, dp, do),
            self.se + other.se, self.ae + other.ae,
        )

    def stacked(self) -> Array:
        """[9, ...]: the quantities one after the other, as parts keep them."""
        known: Array | None = self.__dict__.get(STACKED)
        return np.stack([getattr(self, name) for name in QUANTITIES]) if known is None else known

    def pooled(self) -> Moments:
        """Samples [T, B] made one [B]; sums over the whole record, so that T is cheap. Raises ValueError when T is 0."""
        if not len(self.w):
            raise ValueError("no rows to pool")
        w = self.w.sum(axis=0)

        def mean(values: Array) -> Array:
            """About a first mean, so that nothing cancels."""
            first: Array = np.divide((self.w * values).sum(axis=0), w, out=np.zeros_like(w), where=w > 0)
            rest: Array = np.divide((self.w * (values - first)).sum(axis=0), w, out=np.zeros_like(w), where=w > 0)
            return first + rest

        mean_p, mean_o = mean(self.mean_p), mean(self.mean_o)
        dp, do = self.mean_p - mean_p, self.mean_o - mean_o
        return Moments(
            self.n.sum(axis=0), w, mean_p, mean_o, (self.pp + self.w * dp * dp).sum(axis=0), (self.oo + self.w * do * do).sum(axis=0),
            (self.po + self.w * dp * do).sum(axis=0), self.se.sum(axis=0), self.ae.sum(axis=0),
        )


QUANTITIES = tuple(each.name for each in fields(Moments))
STACKED = "_stacked"


def moments(prediction: npt.NDArray[Any], truth: npt.NDArray[Any], weights: Array, bins: Bins) -> Moments:
    """Moments of one pair of fields [H, W] per bin, `weights` [H, 1 or W]; cells where either is missing are left out."""
    p, o, w = (np.ascontiguousarray(x) for x in (prediction, truth, weights))
    return Moments.of(kernels.pair_moments(p, o, w, bins.runs, len(bins.names)))


def moments_of(prediction: npt.NDArray[Any], truth: npt.NDArray[Any], weights: Array, partition: Partition) -> list[Moments]:
    """`moments` for every Bins of a partition, from one pass over the fields."""
    cut = moments(prediction, truth, weights, partition.pieces)
    return [gathered(cut, place, len(bins.names)) for bins, place in zip(partition.bins, partition.places, strict=True)]


def gathered(of: Moments, place: npt.NDArray[np.int64], count: int) -> Moments:
    """Moments of bins from those of the pieces that they are made of; `place` [A] is each piece's bin."""
    return Moments.of(pieces.regrouped(of.stacked(), place, count))


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


class Statistic(Protocol):
    """What is gathered piece by piece."""

    def state(self) -> State: ...

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None: ...


def texts(samples: Sequence[str]) -> npt.NDArray[np.bytes_]:
    """Keys of samples as a state holds them."""
    return np.array(samples, dtype=np.bytes_) if len(samples) else np.empty(0, dtype="S1")


@dataclass
class PairStatistic:
    """Moments of (prediction, truth) per sample and bin."""

    bins: Bins
    rows: dict[str, Array] = field(default_factory=dict)  # sample -> Moments.stacked() [9, B]

    def update(self, sample: str, prediction: Array, truth: Array, weights: Array) -> None:
        """Add one field [H, W] of `sample`, or a piece of it on the same bins with NaN elsewhere."""
        if prediction.shape != truth.shape or truth.shape != self.bins.index.shape:
            raise OrbitError("fields do not match", where="scores", got=f"prediction {prediction.shape}, truth {truth.shape}",
                             allowed=self.bins.index.shape, hint="give prediction and truth on one grid")  # fmt: skip
        self.put(sample, moments(prediction, truth, weights, self.bins))

    def put(self, sample: str, row: Moments) -> None:
        """Add moments [B] of `sample` that are known already."""
        self._put(sample, row.stacked())

    def merge(self, other: PairStatistic) -> None:
        if other.bins.names != self.bins.names:
            raise OrbitError("statistics have different bins", where="scores", got=other.bins.names, allowed=self.bins.names,
                             hint="delete the task's parts and run the evaluate stage again")  # fmt: skip
        for sample, row in other.rows.items():
            self._put(sample, row)

    def state(self) -> State:
        """`samples` [T], `moments` [T, 9, B]."""
        size = len(QUANTITIES), len(self.bins.names)
        stack = np.stack([self.rows[key] for key in self.samples()]) if self.rows else np.empty((0, *size))
        return {"samples": texts(self.samples()), "moments": stack}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        """Raises OrbitError for a state of other bins."""
        stack = np.asarray(state["moments"], dtype=np.float64)
        if stack.shape[1:] != (len(QUANTITIES), len(self.bins.names)):
            raise OrbitError("statistics have different bins", where="scores", got=stack.shape, allowed=f"{len(self.bins.names)} bins",
                             hint="delete the task's parts and run the evaluate stage again")  # fmt: skip
        for sample, row in zip(np.asarray(state["samples"]).astype(str), stack, strict=True):
            self._put(str(sample), row)

    def _put(self, sample: str, row: Array) -> None:
        self.rows[sample] = pieces.joined(self.rows[sample], row) if sample in self.rows else row

    def samples(self) -> list[str]:
        return sorted(self.rows)

    def daily(self) -> Moments:
        """All rows in sample order, arrays [T, B]."""
        return Moments(*np.moveaxis(np.stack([self.rows[key] for key in self.samples()]), 0, 1))

    def finalise(self) -> Moments:
        """Pooled over samples, arrays [B]. Raises ValueError when there is none."""
        return self.daily().pooled() if self.rows else combine([])


@dataclass
class SeriesStatistic:
    """One array per sample (a spectrum, an SSIM value); finalise gives their mean."""

    rows: dict[str, Array] = field(default_factory=dict)

    def update(self, sample: str, values: npt.ArrayLike) -> None:
        if sample in self.rows:
            raise OrbitError("sample was already added", where="scores", got=str(sample), hint="add each sample once")
        self.rows[sample] = np.asarray(values, dtype=np.float64)

    def merge(self, other: SeriesStatistic) -> None:
        for sample, values in other.rows.items():
            self.update(sample, values)

    def state(self) -> State:
        """`samples` [T], `values` [T, ...]."""
        return {"samples": texts(sorted(self.rows)), "values": self.stacked() if self.rows else np.empty(0)}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        for sample, values in zip(np.asarray(state["samples"]).astype(str), np.asarray(state["values"]), strict=True):
            self.update(str(sample), values)

    def stacked(self) -> Array:
        return np.stack([self.rows[key] for key in sorted(self.rows)])

    def finalise(self) -> Array:
        """Mean over samples of what is finite; NaN where nothing is."""
        return _finite_mean(self.stacked())

    def median(self) -> Array:
        stacked = self.stacked()
        result = np.full(stacked.shape[1:], np.nan)
        known = np.isfinite(stacked).any(axis=0)
        result[known] = np.nanmedian(stacked[:, known], axis=0)
        return result


@dataclass
class MeanStatistic:
    """Mean of arrays of one shape over samples, element by element, of what is finite; keeps sums only, whatever the number of samples."""

    total: Array = field(default_factory=lambda: np.zeros(0))
    known: Array = field(default_factory=lambda: np.zeros(0))
    samples: int = 0  # with a finite element

    def update(self, values: npt.ArrayLike) -> None:
        found = np.asarray(values, dtype=np.float64)
        finite = np.isfinite(found)
        if finite.all() and found.shape == self.total.shape and found.size:  # as nearly all are
            self.total, self.known, self.samples = self.total + found, self.known + 1.0, self.samples + 1
            return
        self.add({"total": np.where(finite, found, 0.0), "known": finite.astype(np.float64), "samples": np.array(int(finite.any()))})

    def merge(self, other: MeanStatistic) -> None:
        self.add(other.state())

    def state(self) -> State:
        return {"total": self.total, "known": self.known, "samples": np.array(self.samples)}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        total, known, samples = (np.asarray(state[name]) for name in ("total", "known", "samples"))
        if not total.size:
            return
        self.total, self.known = (self.total + total, self.known + known) if self.total.size else (total, known)
        self.samples += int(samples)

    def finalise(self) -> Array:
        """NaN where nothing was finite."""
        return np.divide(self.total, self.known, out=np.full_like(self.total, np.nan), where=self.known > 0)


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
    """Mean error and mean squared error over samples per block of `block` x `block` cells (fewer at the northern and eastern edge)."""

    shape: tuple[int, int]
    block: int = 1
    n: Array = field(init=False)
    error: Array = field(init=False)
    square: Array = field(init=False)

    def __post_init__(self) -> None:
        self.n, self.error, self.square = (np.zeros([-(-size // self.block) for size in self.shape]) for _ in range(3))

    def update(self, prediction: Array, truth: Array) -> None:
        p, o = np.ascontiguousarray(prediction), np.ascontiguousarray(truth)
        kernels.add_errors(p, o, self.block, self.n, self.error, self.square)

    def merge(self, other: MapStatistic) -> None:
        self.add(other.state())

    def state(self) -> State:
        return {"n": self.n, "error": self.error, "square": self.square}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self.n += state["n"]
        self.error += state["error"]
        self.square += state["square"]

    def finalise(self) -> tuple[Array, Array]:
        """(bias, rmse) maps by block in the field's units, NaN where no sample is valid."""
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
        kernels.count_pairs(np.ascontiguousarray(prediction), np.ascontiguousarray(truth), self.edges, self.counts)

    def merge(self, other: HistogramStatistic) -> None:
        self.add(other.state())

    def state(self) -> State:
        return {"counts": self.counts}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self.counts += state["counts"]

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
