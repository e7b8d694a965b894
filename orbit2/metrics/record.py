"""What was scored of one field, by sample, for everything that is compared: scores of all of it or of a season, with intervals.
Never gathers anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbit2 import times
from orbit2.metrics import deterministic
from orbit2.metrics.bootstrap import DailySums, Interval, Score, bootstrap
from orbit2.metrics.significance import diebold_mariano
from orbit2.metrics.statistics import Moments, PairStatistic

Array = npt.NDArray[np.float64]
Key = tuple[str, str, str]  # what is scored, the model, and what stands beside it ("": nothing)
METRICS = {metric.name: metric.of for metric in deterministic.METRICS}
BEST = "best_baseline"
POSITIVE = ("rmse", "mae")
A_YEAR = 359  # from a year's first day to its last, in months of 30 days


@dataclass(frozen=True, eq=False)
class Record:
    """`moments` [T, B] of each model and baseline on the same `samples` (stamps, in order of time)."""

    samples: tuple[str, ...]
    moments: Mapping[str, Moments]

    @classmethod
    def of(cls, statistics: Mapping[str, PairStatistic]) -> Record:
        """From statistics that saw the same samples. Raises ValueError for others, and where there is no sample."""
        samples = {tuple(statistic.samples()) for statistic in statistics.values()}
        if len(samples) != 1 or not len(next(iter(samples))):
            raise ValueError(f"models were not scored on the same samples: {[len(s) for s in samples]}")
        return cls(samples.pop(), {name: statistic.daily() for name, statistic in statistics.items()})

    def pooled(self) -> dict[str, Moments]:
        """Over all samples, [B]."""
        return {name: moments.pooled() for name, moments in self.moments.items()}

    def seasons(self) -> dict[str, Record]:
        """By season, in the order of times.SEASONS; nothing where less than a year or not every season was scored."""
        season = np.array([times.season(sample) for sample in self.samples])
        if _place(self.samples[-1]) - _place(self.samples[0]) < A_YEAR or set(season) != set(times.SEASONS):
            return {}
        return {name: self._at(np.flatnonzero(season == name)) for name in times.SEASONS}

    def _at(self, positions: npt.NDArray[np.int64]) -> Record:
        part = {name: Moments(*moments.stacked()[:, positions]) for name, moments in self.moments.items()}
        return Record(tuple(self.samples[i] for i in positions), part)

    def best(self, baselines: Sequence[str], metric: str = "rmse") -> list[str]:
        """The baseline with the lowest RMSE (or MAE) in each bin, [B]; the first where none was scored."""
        found = np.stack([METRICS[metric](self.moments[name].pooled()) for name in baselines])
        return [baselines[i] for i in np.where(np.isfinite(found), found, np.inf).argmin(axis=0)]

    def only(self, *models: str) -> Record:
        return Record(self.samples, {name: self.moments[name] for name in models})

    def beside_best(self, best: Sequence[str], name: str = BEST, of: Record | None = None) -> Record:
        """The same with one more, `name`: in each bin the moments of the baseline that `best` names there, found in `of` (here)."""
        arrays = {model: (of or self).moments[model].stacked() for model in set(best)}
        chosen = np.stack([arrays[model][..., b] for b, model in enumerate(best)], axis=-1)
        return Record(self.samples, {**self.moments, name: Moments(*chosen)})

    def sums(self) -> dict[str, DailySums]:
        days = [times.day(sample) for sample in self.samples]
        return {name: DailySums.of(moments, days) for name, moments in self.moments.items()}

    def intervals(self, scores: Mapping[Key, Score], draws: int) -> dict[Key, Interval]:
        """A 95 % interval of every score; none for fewer than two draws."""
        if draws < 2 or not scores:
            return {}
        return bootstrap(self.sums(), scores, draws, positive={name for name in scores if name[0] in POSITIVE})

    def diebold_mariano(self, model: str, other: str, b: int = 0) -> float:
        """p-value of equal mean squared error in bin `b`, from daily means; NaN for a short record."""
        sums = self.only(model, other).sums()
        square = [one.moments(one.values) for one in sums.values()]
        with np.errstate(invalid="ignore"):
            first, second = (np.where(m.w[:, b] > 0, m.se[:, b] / m.w[:, b], np.nan) for m in square)
        return diebold_mariano(first - second)


def _place(sample: str) -> int:
    """A day's place in years of twelve months of 30 days: whatever the calendar, a year is 360 of them."""
    return 360 * times.year(sample) + 30 * times.month(sample) + min(int(sample[8:10]), 30)


def own(metric: str, model: str) -> dict[Key, Score]:
    """A metric of a model, as `intervals` takes it."""
    of = METRICS[metric]
    return {(metric, model, ""): lambda moments: of(moments[model])}


def difference(model: str, other: str) -> dict[Key, Score]:
    """RMSE of a model less that of another."""
    return {("rmse_difference", model, other): lambda moments: deterministic.rmse(moments[model]) - deterministic.rmse(moments[other])}


def skill(metric: str, model: str, other: str) -> dict[Key, Score]:
    """1 - RMSE / RMSE of another, or of MAE; NaN beside what is perfect."""
    of = METRICS[metric]

    def score(moments: Mapping[str, Moments]) -> Array:
        beside = of(moments[other])
        return np.asarray(1 - np.divide(of(moments[model]), beside, out=np.full(beside.shape, np.nan), where=beside > 0))

    return {(f"{metric}_skill", model, other): score}
