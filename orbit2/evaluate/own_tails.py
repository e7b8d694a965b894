"""RMSE where the truth, or the prediction, is rare for its own place: above each cell's quantile of the training block."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.metrics import quantiles
from orbit2.metrics.collector import Collector, Settings, Training, flat, merge_into
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import MeanStatistic, State
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import row_weights
from orbit2.variables import is_precipitation

Array = npt.NDArray[np.float64]
NAMES = ("rmse_above_own_{q}", "rmse_predicted_above_own_{q}", "tail_rmse_own_{q}")
WHOSE = ("RMSE where the truth is above", "RMSE where the prediction is above",
         "square root of the mean threshold-weighted squared error above")  # fmt: skip


class OwnTails(Collector):
    """Sums of quantiles.own_sums over samples, in physical units; nothing where the training block's quantiles of cells are not known, or
    are of other cells than those that are scored."""

    name, stage = "own_tails", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.weights = row_weights(matched.grid)
        physical = [f.variable for f in self.fields if f.space == "physical"]
        self.thresholds = {name: known for name in physical if (known := self._known(name)) is not None}
        self.lowest = {name: limits.min(axis=0) for name, (limits, _) in self.thresholds.items()}
        self.sums: dict[tuple[str, ...], MeanStatistic] = {  # [3, Q, 3] of own_sums
            (name, model): MeanStatistic() for name in self.thresholds for model in matched.models(name)}

    def _known(self, name: str) -> tuple[npt.NDArray[np.float32], tuple[float, ...]] | None:
        """([Q, H, W], the share of the area in which they are the cells' own, [Q])."""
        if self.training is None or not self.matched.has_truth or self.matched.observations is not None:
            return None
        found = self.training.own_quantiles(name)
        return found if found is not None and found[0].shape[1:] == self.matched.grid.shape else None

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if f.space == "physical" and f.variable in self.thresholds:
            dry = 0.0 if is_precipitation(f.variable) else None
            limits, lowest = self.thresholds[f.variable][0], self.lowest[f.variable]
            sums = quantiles.own_sums(prediction, truth, self.weights, limits, dry, lowest)
            self.sums[f.variable, model].update(sums)

    def state(self) -> State:
        return flat(self.sums)

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        merge_into(self.sums, state)

    def rows(self, table: Table, protocol: str) -> None:
        for (name, model), statistic in self.sums.items() if protocol == "standard" else ():
            if not statistic.samples:
                continue
            pooled = quantiles.rmse_of(statistic.finalise())
            for row, metric in enumerate(NAMES):
                for i, q in enumerate(quantiles.LEVELS):
                    cells, value = int(statistic.total[row, i, 0]), pooled[row, i]
                    if cells and np.isfinite(value):
                        method = f"{WHOSE[row]} {self._whose(name, i)}; area-weighted, pooled over samples"
                        table.add(model, name, "physical", self.matched.region, metric.format(q=q), method, value, n=cells)

    def _whose(self, name: str, i: int) -> str:
        q, share = quantiles.LEVELS[i], self.thresholds[name][1][i]
        told = "" if self.training is None else f" ({self.training.told})"
        zone = f"the training block's {q:g} quantile of its 10 degrees of latitude"
        if share == 0:
            return f"{zone}: too few samples for a cell's own{told}"
        rest = "" if share == 1 else f", where it saw enough samples ({share:.0%} of the area); elsewhere {zone}"
        return f"the cell's own {q:g} quantile of the training block{rest}{told}"
