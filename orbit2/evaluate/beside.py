"""The scores of a field with their intervals, and the model beside everything else, as rows of the table. Never gathers anything."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orbit2.metrics import deterministic
from orbit2.metrics.bootstrap import Interval, Score
from orbit2.metrics.fields import Field
from orbit2.metrics.record import BEST, POSITIVE, Key, Record, difference, own, skill
from orbit2.metrics.table import Table

BY_MAE = "best_baseline_by_mae"  # the baseline with the lowest MAE need not be that with the lowest RMSE


class Beside:
    """One record (all of it, or a season) of field `f`, scored in `regions` (its bins), with the `best` baseline of each."""

    def __init__(
        self, f: Field, record: Record, regions: Sequence[str], model: str, baselines: Sequence[str], draws: int, season: str = "all",
    ) -> None:
        self.f, self.regions, self.model, self.season = f, regions, model, season
        self.models = tuple(record.moments)
        self.others = [name for name in self.models if name != model]
        self.best: dict[str, list[str]] = {}
        if baselines:
            self.best = {BEST: record.best(baselines), BY_MAE: record.best(baselines, "mae")}
            for name, best in self.best.items():
                record = record.beside_best(best, name)
            self.others.append(BEST)
        self.record, self.pooled = record, record.pooled()
        scores: dict[Key, Score] = {}
        for name in self.models:
            for metric in deterministic.METRICS:
                scores |= own(metric.name, name)
        for other in self.others:
            scores |= difference(model, other)
            for metric_name in POSITIVE:
                scores |= skill(metric_name, model, self._beside(metric_name, other))
        self.scores = scores
        self.intervals: dict[Key, Interval] = record.intervals(scores, draws)

    @staticmethod
    def _beside(metric: str, other: str) -> str:
        return BY_MAE if (metric, other) == ("mae", BEST) else other

    def _named(self, other: str) -> list[str]:
        """What `other` is in each bin."""
        return self.best.get(other, [other] * len(self.regions))

    def scores_of(self, table: Table, model: str) -> None:
        """The model's own scores, each with its interval; none where nothing was scored."""
        for metric in deterministic.METRICS:
            self._rows(table, model, (metric.name, model, ""), metric.name, [metric.method] * len(self.regions))

    def differences(self, table: Table) -> None:
        """RMSE less that of each other, and the skill against it in RMSE and MAE."""
        for other in self.others:
            self._rows(table, self.model, ("rmse_difference", self.model, other), f"rmse_difference_vs_{other}",
                       [f"rmse minus rmse of {named}" for named in self._named(other)])  # fmt: skip
            for name in POSITIVE:
                beside = self._beside(name, other)
                self._rows(table, self.model, (f"{name}_skill", self.model, beside), f"{name}_skill_vs_{other}",
                           [f"1 - {name}/{name} of {named}" for named in self._named(beside)])  # fmt: skip

    def tests(self, table: Table) -> None:
        """The p-value of Diebold and Mariano beside each other; none for a short record."""
        for other in self.others:
            for b, region in enumerate(self.regions):
                p, n = self.record.diebold_mariano(self.model, other, b), int(self.pooled[self.model].n[b])
                if np.isfinite(p):
                    method = f"two-sided p-value of equal daily MSE of {self._named(other)[b]}; variance of Hering and Genton"
                    table.add(self.model, self.f.variable, self.f.space, region, f"diebold_mariano_p_vs_{other}", method, p, n=n,
                              season=self.season)

    def blocks(self, table: Table) -> None:
        """How long the blocks are that the interval of the model's RMSE is drawn from, and from how many days."""
        found = self.intervals.get(("rmse", self.model, ""))
        for b, region in enumerate(self.regions if found is not None else ()):
            if found is not None and found.at(b) is not None:
                table.add(self.model, self.f.variable, self.f.space, region, "interval_block_days",
                          "length of the blocks that the interval of rmse is drawn from (Politis and White)", float(found.block[b]),
                          n=int(found.days[b]), season=self.season)

    def _rows(self, table: Table, model: str, key: Key, metric: str, methods: Sequence[str]) -> None:
        values = self.scores[key](self.pooled)
        found = self.intervals.get(key)
        for b, region in enumerate(self.regions):
            n = int(self.pooled[model].n[b])
            if n:
                ci = found.at(b) if found is not None else None
                table.add(model, self.f.variable, self.f.space, region, metric, methods[b], values[b], n=n, ci=ci, season=self.season)

