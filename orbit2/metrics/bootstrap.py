"""95 % intervals of scores and of their differences, from per-day sums alone: a paired block bootstrap. Never sees a field.

Blocks of days are drawn, the same for all that is scored, so that the difference of two models has the interval of the difference. A
block's length follows from the autocorrelation of the score itself (Politis & White 2004, corrected by Patton et al. 2009). Blocks of
finite length show too little of the uncertainty, so the draws' spread is widened: by what blocks of that length miss of a first-order
autoregression, and by the fixed-b quantile of Kiefer & Vogelsang (2005, Econometric Theory 21:1130).
`benchmarks/interval_coverage.py` measures how often the intervals then hold the true score.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterator, Mapping
from dataclasses import dataclass, fields
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri

from orbit2.jit import compiled
from orbit2.metrics.statistics import Moments

Array = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]
Score = Callable[[Mapping[str, Moments]], Array]  # of the moments [..., B] of all that is scored, by name, to values [..., B]
K = TypeVar("K", bound=Hashable)  # the name of a score

LEAST_DAYS = 60  # measured: from fewer, intervals hold the true score less than 90 times in 100 where errors last for days
MOST_PERSISTENT = 0.98  # lag-1 autocorrelation beyond which no record tells how much more
LEVEL = 0.95
GROWTH = 1.25  # block lengths that are drawn are so far apart
AT_ONCE = 1 << 22  # numbers of leave-one-out sums, and of draws, in memory
KEPT = 1 << 26  # bytes of draws that are kept: eighteen lengths of ten years
_KEPT: dict[tuple[int, int, int, int], list[npt.NDArray[np.uint8] | npt.NDArray[np.int64]]] = {}


@dataclass(frozen=True, eq=False)
class DailySums:
    """Sums by day that add up: `values` [T, 9, B] (in the order of Moments, products and means about `centre` [2, B])."""

    values: Array
    centre: Array

    @classmethod
    def of(cls, moments: Moments, days: npt.ArrayLike | None = None) -> DailySums:
        """From `moments` [S, B] of samples; `days` [S] says which of them are of one day (None: each is its own)."""
        w = moments.w
        total = w.sum(axis=0)
        centre = np.stack([np.divide((w * mean).sum(axis=0), total, out=np.zeros_like(total), where=total > 0)
                           for mean in (moments.mean_p, moments.mean_o)])  # fmt: skip
        dp, do = moments.mean_p - centre[0], moments.mean_o - centre[1]
        values = np.stack([moments.n, w, w * dp, w * do, moments.pp + w * dp * dp, moments.oo + w * do * do, moments.po + w * dp * do,
                           moments.se, moments.ae], axis=1)  # fmt: skip
        if days is not None:
            names, position = np.unique(np.asarray(days), return_inverse=True)
            grouped = np.zeros((len(names), *values.shape[1:]))
            if len(names) == len(position):
                grouped[position] = values
            else:
                np.add.at(grouped, position, values)
            values = grouped
        return cls(values, centre)

    def __getitem__(self, bins: slice | IntArray) -> DailySums:
        return DailySums(self.values[:, :, bins], self.centre[:, bins])

    def moments(self, sums: Array) -> Moments:
        """Moments [..., B] of sums [..., 9, B] of some of the days."""
        n, w, p, o, pp, oo, po, se, ae = np.moveaxis(sums, -2, 0)
        one = np.divide(1.0, w, out=np.zeros_like(w), where=w > 0)
        return Moments(n, w, self.centre[0] + p * one, self.centre[1] + o * one, np.maximum(pp - p * p * one, 0.0),
                       np.maximum(oo - o * o * one, 0.0), po - p * o * one, se, ae)


@dataclass(frozen=True, eq=False)
class Interval:
    """`low` and `high` [B] of 95 % intervals of `value` [B], NaN where the record is too short; `block` [B] in days, `days` [B] scored."""

    value: Array
    low: Array
    high: Array
    block: IntArray
    days: IntArray

    def at(self, b: int) -> tuple[float, float] | None:
        """The interval of bin `b`, None where there is none."""
        return (float(self.low[b]), float(self.high[b])) if np.isfinite(self.low[b]) and np.isfinite(self.high[b]) else None


def bootstrap(
    sums: Mapping[str, DailySums], scores: Mapping[K, Score], draws: int, *, positive: Collection[K] = (), seed: int = 0,
) -> dict[K, Interval]:
    """An interval of every score, name -> Interval. `sums` of all that is scored lie on the same days and bins.

    Which blocks are drawn depends on the number of days, the block's length and `seed` alone: all models and bins are drawn alike.
    Scores named `positive` (RMSE, MAE) are judged by their ratio to the draws, all others by their distance (see `_ends`). Bins with fewer
    than LEAST_DAYS days get NaN. Raises ValueError for draws < 2 or sums of different days.
    """
    shapes = {one.values.shape for one in sums.values()}
    if draws < 2 or len(shapes) != 1:
        raise ValueError(f"bootstrap needs draws and sums of the same days, got {draws} draws, shapes {sorted(shapes)}")
    days, kinds, bins = shapes.pop()
    step = max(1, AT_ONCE // max(1, len(sums) * days * kinds))
    pieces = [_bootstrap({key: one[start : start + step] for key, one in sums.items()}, scores, positive, draws, seed)
              for start in range(0, bins, step)]  # fmt: skip
    return {name: Interval(*(np.concatenate([getattr(piece[name], f.name) for piece in pieces]) for f in fields(Interval)))
            for name in scores}  # fmt: skip


def _bootstrap(
    sums: Mapping[str, DailySums], scores: Mapping[K, Score], positive: Collection[K], draws: int, seed: int,
) -> dict[K, Interval]:
    total = {key: one.values.sum(axis=0) for key, one in sums.items()}
    whole = {key: one.moments(total[key]) for key, one in sums.items()}
    without = {key: one.moments(total[key] - one.values) for key, one in sums.items()}  # [T, B]: all days but one
    scored: npt.NDArray[np.bool_] = np.min([one.values[:, 0] > 0 for one in sums.values()], axis=0)  # [T, B]
    counted = scored.sum(axis=0)
    found: dict[K, Interval] = {}
    widths: dict[K, Array] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for name, score in scores.items():
            value, left = score(whole), score(without)
            block, width = np.ones(len(value), dtype=np.int64), np.full(len(value), np.nan)
            for b in np.flatnonzero((counted >= LEAST_DAYS) & np.isfinite(value)):
                influence = value[b] - left[scored[:, b], b]  # times T - 1: the day's share in the score's error
                if np.isfinite(influence).all():
                    block[b] = block_length(influence)
                    width[b] = widening(influence, int(block[b]))
            low, high = np.full(len(value), np.nan), np.full(len(value), np.nan)
            found[name], widths[name] = Interval(value, low, high, block, counted), width
        for length in np.unique(np.concatenate([one.block for one in found.values()])):
            _draw(sums, scores, positive, found, widths, int(length), draws, seed)
    return found


def _draw(
    sums: Mapping[str, DailySums], scores: Mapping[K, Score], positive: Collection[K], found: Mapping[K, Interval],
    widths: Mapping[K, Array], length: int, draws: int, seed: int,
) -> None:
    """Fill the intervals of the bins whose scores have blocks of this length."""
    use = {name: np.flatnonzero((one.block == length) & np.isfinite(widths[name])) for name, one in found.items()}
    use = {name: bins for name, bins in use.items() if len(bins)}
    if not use:
        return
    bins = np.unique(np.concatenate(list(use.values())))
    part = {key: one[bins] for key, one in sums.items()}
    days, kinds, size = next(iter(part.values())).values.shape
    values: dict[K, list[Array]] = {name: [] for name in use}
    for counts in block_counts(days, length, draws, seed):
        drawn = {key: one.moments((counts @ one.values.reshape(days, -1)).reshape(-1, kinds, size)) for key, one in part.items()}
        for name, chosen in use.items():
            values[name].append(scores[name](drawn)[:, np.searchsorted(bins, chosen)])
    for name, chosen in use.items():
        one = found[name]
        one.low[chosen], one.high[chosen] = _ends(np.concatenate(values[name]), one.value[chosen], widths[name][chosen], name in positive)


def _ends(drawn: Array, value: Array, width: Array, positive: bool) -> tuple[Array, Array]:
    """Both ends [B] from draws [draws, B]: their quantiles, `width` times as far from the value.

    Of what cannot be negative, in logarithms and mirrored (the "basic" bootstrap interval): squared errors are skewed, so a record without
    its rare bad days has too small a score AND too narrow draws, and the truth lies above most often.
    """
    tail = (1 - LEVEL) / 2
    ends, known = np.empty((2, drawn.shape[1])), ~np.isnan(drawn).any(axis=0)
    ends[:, known] = np.quantile(drawn[:, known], [tail, 1 - tail], axis=0)
    if not known.all():  # bin by bin in Python
        ends[:, ~known] = np.nanquantile(drawn[:, ~known], [tail, 1 - tail], axis=0)
    low, high = ends
    if not positive:
        return value + width * (low - value), value + width * (high - value)
    with np.errstate(divide="ignore", invalid="ignore"):
        return tuple(np.where(value > 0, value * (end / value) ** -width, value) for end in (high, low))  # type: ignore[return-value]


def block_counts(days: int, length: int, draws: int, seed: int) -> Iterator[Array]:
    """How often each day is drawn, [some draws, T] at a time: ceil(T / length) blocks of consecutive days each, which wrap around.

    The same are asked for again and again (of every variable, by every score); those of the last lengths are kept, a byte a day.
    """
    key = days, length, draws, seed
    if key not in _KEPT:
        made = [counts.astype(np.uint8) if counts.max() < 256 else counts for counts in _counted(*key)]
        while _KEPT and sum(one.nbytes for kept in (*_KEPT.values(), made) for one in kept) > KEPT:
            _KEPT.pop(next(iter(_KEPT)))
        _KEPT[key] = made
    for counts in _KEPT[key]:
        yield counts.astype(np.float64)


def _counted(days: int, length: int, draws: int, seed: int) -> Iterator[npt.NDArray[np.int64]]:
    generator = np.random.default_rng((seed, days, length))
    blocks = -(-days // length)
    at_once = max(1, AT_ONCE // days)
    for start in range(0, draws, at_once):
        size = min(at_once, draws - start)
        first = generator.integers(0, days, (size, blocks)) + days * np.arange(size)[:, None]
        starts = np.bincount(first.ravel(), minlength=size * days).reshape(size, days)
        sums = np.cumsum(np.concatenate([starts[:, days - length :], starts], axis=1), axis=1)
        yield sums[:, length:] - sums[:, :days]


def block_length(series: Array) -> int:
    """Days in a block: what Politis & White choose for the circular bootstrap of this series, rounded up to a length that is drawn."""
    if not np.ptp(series) > 0:
        return 1
    best, length = optimal_length(np.ascontiguousarray(series / np.abs(series).max())), 1
    while length < best:
        length = max(length + 1, round(length * GROWTH))
    return min(length, len(series) // 3)


@compiled("f8[::1]")
def optimal_length(series: Array) -> float:
    """Politis & White (2004) with the correction of Patton, Politis & White (2009): the number that `arch`'s `optimal_block_length` gives
    for the circular bootstrap, to rounding, in a thirtieth of its time; lags beyond those that the rule needs are not summed."""
    days = len(series)
    anomaly = series - series.mean()
    fewest = max(5, int(np.log10(days)))  # lags one after the other that must be insignificant
    most = int(np.ceil(np.sqrt(days))) + fewest
    limit = 2 * np.sqrt(np.log10(days) / days)
    covariance = np.zeros(most + 1)
    square = 0.0
    for t in range(days):
        square += anomaly[t] * anomaly[t]
    first, last, small, needed = 0.0, 0.0, 0, most  # sums of squares of the first and the last days; lags found small so far
    for lag in range(most + 1):
        product = 0.0
        for t in range(lag, days):
            product += anomaly[t] * anomaly[t - lag]
        covariance[lag] = product / days
        if lag > needed:
            break
        if needed == most and lag >= fewest and small >= fewest:
            needed = min(2 * max(lag - fewest, 1), most)
        first += anomaly[lag] * anomaly[lag]
        last += anomaly[days - 1 - lag] * anomaly[days - 1 - lag]
        small = small + 1 if abs(product) < limit * np.sqrt(max((square - first) * (square - last), 0.0)) else 0
    curvature, spread = 0.0, covariance[0]
    for lag in range(1, needed + 1):
        window = 1.0 if 2 * lag <= needed else 2 * (1 - lag / needed)
        curvature += 2 * window * lag * covariance[lag]
        spread += 2 * window * covariance[lag]
    longest = np.ceil(min(3 * np.sqrt(days), days / 3))
    best: float = min((1.5 * curvature**2 / spread**2 * days) ** (1 / 3), longest) if spread**2 > 0 else longest
    return best


def widening(series: Array, block: int) -> float:
    """By what the draws' distance from the score is multiplied.

    The first factor makes the spread that blocks of this length have of a first-order autoregression that of the autoregression. Its
    coefficient is the series' lag-1 autocorrelation with the bias of Marriott & Pope (1954) removed, plus two standard errors: by chance
    many a short record looks less persistent than it is. The second is Kiefer and Vogelsang's 97.5 % quantile for Bartlett's kernel
    (which the variance over circular blocks is) over the normal one. The third: whole blocks make the drawn record a little too long.
    """
    days = len(series)
    anomaly = series - series.mean()
    square = float(anomaly @ anomaly)
    if not square > 0:
        return 1.0
    lagged = float(anomaly[1:] @ anomaly[:-1]) / square
    persistence = (days * lagged + 1) / (days - 3) + 2 * np.sqrt(max(0.0, 1 - lagged**2) / days)
    persistence = float(np.clip(persistence, 0.0, MOST_PERSISTENT))
    lags = np.arange(1, block)
    seen = 1 + 2 * float(((1 - lags / block) * persistence**lags).sum())
    missed = (1 + persistence) / (1 - persistence) / seen
    share = block / days
    quantile = 1.9600 + 2.9694 * share + 0.4160 * share**2 - 0.5324 * share**3
    return float(np.sqrt(missed * -(-days // block) * share) * quantile / ndtri(1 - (1 - LEVEL) / 2))
