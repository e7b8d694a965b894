"""What is rare: RMSE above quantiles of the day and of the training block, of predictions too, and a proper score of the tail."""

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
from orbit2.metrics.weighting import area_weights
from orbit2.variables import is_precipitation

Array = npt.NDArray[np.float64]
DAY = "cells with o {more} the sample's {q:g} quantile of {cells} by area, mean over samples of the area-weighted RMSE"
CLIMATE = "{whose} above the training block's {q:g} quantile over all cells and samples ({value:.4g}), area-weighted, pooled"
PROPER = "square root of the mean threshold-weighted squared error above the training block's {q:g} quantile ({value:.4g})"
NAMES = ("rmse_above_{q:g}", "rmse_above_wet_{q:g}", "rmse_above_clim_{q:g}", "rmse_predicted_above_clim_{q:g}", "tail_rmse_clim_{q:g}")


class Tails(Collector):
    """Sums of quantiles.tail_sums over samples, and of the daily RMSE above the day's thresholds."""

    name, stage = "tails", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.weights = area_weights(matched.grid)
        self.sums: dict[tuple[str, ...], MeanStatistic] = {}  # [5, Q, 3] of tail_sums
        self.daily: dict[tuple[str, ...], MeanStatistic] = {}  # [2, Q] RMSE of the samples that have such cells
        for f in self.fields:
            for model in matched.models(f.variable):
                self.sums[f.label, model], self.daily[f.label, model] = MeanStatistic(), MeanStatistic()
        self.fixed = {f.label: self._fixed(f) for f in self.fields}
        self._day: tuple[Array, Array] = (np.empty(0), np.empty(0))  # thresholds of the truth that `begin` was told of

    def _fixed(self, f: Field) -> Array:
        """The training block's quantiles [Q], NaN where they are not told."""
        known = [None if self.training is None else self.training.quantile(f.variable, q, f.space) for q in quantiles.LEVELS]
        return np.array([np.nan if value is None else value for value in known])

    def begin(self, scored: Scored, f: Field, truth: Array) -> None:
        if self.matched.has_truth:
            wet = float(f.of(np.array(quantiles.WET))) if is_precipitation(f.variable) else None
            self._day = quantiles.day_thresholds(truth, self.weights, wet)

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if self.matched.has_truth:
            dry = 0.0 if is_precipitation(f.variable) else None
            sums = quantiles.tail_sums(prediction, truth, self.weights, self._day, self.fixed[f.label], dry)
            self.sums[f.label, model].update(sums)
            self.daily[f.label, model].update(quantiles.rmse_of(sums[:2]))

    def state(self) -> State:
        return {**flat(self.sums, "sums"), **flat(self.daily, "daily")}

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        merge_into(self.sums, state, "sums")
        merge_into(self.daily, state, "daily")

    def rows(self, table: Table, protocol: str) -> None:
        for f in self.fields if protocol == "standard" and self.matched.has_truth else ():
            for model in self.matched.models(f.variable):
                if self.sums[f.label, model].samples:
                    self._rows(table, f, model)

    def _rows(self, table: Table, f: Field, model: str) -> None:
        statistic = self.sums[f.label, model]
        pooled = quantiles.rmse_of(statistic.finalise())
        pooled[:2] = self.daily[f.label, model].finalise()
        for row, name in enumerate(NAMES):
            for i, q in enumerate(quantiles.LEVELS):
                cells, value = int(statistic.total[row, i, 0]), pooled[row, i]
                if cells and np.isfinite(value):
                    table.add(model, f.variable, f.space, self.matched.region, name.format(q=q), self._method(f, row, i), value, n=cells)

    def _method(self, f: Field, row: int, i: int) -> str:
        q, value = quantiles.LEVELS[i], self.fixed[f.label][i]
        if row < 2:
            cells = f"cells with at least {quantiles.WET:g} mm/day" if row else "all cells"
            more = "at least (dry: above)" if is_precipitation(f.variable) else "at least"
            return DAY.format(q=q, cells=cells, more=more)
        if row == 4:
            return PROPER.format(q=q, value=value)
        return "RMSE where " + CLIMATE.format(whose="the prediction is" if row == 3 else "the truth is", q=q, value=value)
