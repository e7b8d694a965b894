"""Quantiles over time of single cells: what people who downscale mean by a quantile's error. Never a quantile over space."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.evaluate.turns import Turns
from orbit2.metrics import quantiles
from orbit2.metrics.collector import Collector, Settings, Training, flat, merge_into
from orbit2.metrics.compared import Compared
from orbit2.metrics.lattice import Lattice
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import State, texts
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights

TRUTH = "truth"
MOST_TIMES = 1000  # more values of a cell than this (to twice it) say little more of its 99 % quantile
MOST_VALUES = 1 << 26  # float32 of all series of a task together: 256 MB
METHOD = "{what} over cells, by area, of each cell's {q:g} quantile over time of the prediction less that of the truth{where}"


class CellSeries:
    """Values [C] of the lattice's cells by sample, in single precision as stores have them."""

    def __init__(self) -> None:
        self.rows: dict[str, npt.NDArray[np.float32]] = {}

    def state(self) -> State:
        return {"samples": texts(sorted(self.rows)), "values": self.stacked() if self.rows else np.empty((0, 0), dtype=np.float32)}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        for sample, row in zip(np.asarray(state["samples"]).astype(str), np.asarray(state["values"]), strict=True):
            self.rows[str(sample)] = row.astype(np.float32)

    def stacked(self) -> npt.NDArray[np.float32]:
        return np.stack([self.rows[sample] for sample in sorted(self.rows)])


class OverTime(Collector):
    """The truth's and every model's values on a lattice as fine as MOST_VALUES allows; physical units (a logarithm keeps quantiles)."""

    name, stage = "overtime", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.turns = Turns(len(matched.times), max(1, len(matched.times) // MOST_TIMES))
        keys = [(name, model) for name in matched.variables for model in (TRUTH, *matched.models(name))]
        self.active = matched.has_truth and self.turns.count * 0.5 >= quantiles.LEAST_BEYOND
        self.lattice = Lattice.of(matched.grid.shape, max(1, MOST_VALUES // max(1, len(keys) * self.turns.count)))
        self.series: dict[tuple[str, ...], CellSeries] = {key: CellSeries() for key in keys}

    def update(self, scored: Scored) -> None:
        if self.active and self.turns.has(scored):
            for model, values in {TRUTH: scored.truth, **scored.models}.items():
                self.series[scored.variable, model].rows[scored.sample] = self.lattice.floats(values)

    def state(self) -> State:
        return flat(self.series)

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        merge_into(self.series, state)

    def rows(self, table: Table, protocol: str) -> None:
        if protocol != "standard" or not self.active:
            return
        weights = self.lattice.take(area_weights(self.matched.grid))
        where = self.lattice.method + self.turns.method
        for name in self.matched.variables:
            truth = self.series[name, TRUTH]
            if not truth.rows:
                continue
            days = truth.stacked()
            in_order = quantiles.ordered(days)
            for model in self.matched.models(name):
                found = quantiles.over_time(self.series[name, model].stacked(), days, weights, in_order=in_order)
                for metric, what, values in zip(("quantile_rmse", "quantile_bias"), ("RMSE", "mean"), found, strict=True):
                    for q, value in zip(quantiles.TIME_LEVELS, values, strict=True):
                        if np.isfinite(value):
                            text = METHOD.format(what=what, q=q, where=where)
                            table.add(model, name, "physical", self.matched.region, f"{metric}_{q:g}", text, value, n=len(truth.rows))
