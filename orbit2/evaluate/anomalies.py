"""Anomaly correlation: agreement in what differs from a place's normal. Never uses a climatology that has seen the test block."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.metrics import deterministic, sampled
from orbit2.metrics.binning import domain_bins
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import PairStatistic
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights

Array = npt.NDArray[np.float64]
METHOD = ("p and o minus the training block's fine climatology of the time of the year, less their area-weighted means, correlated by "
          "area in each sample, mean over samples")  # fmt: skip


class Anomalies(Keeping):
    """Moments of the anomalies of prediction and truth per sample, in physical units; nothing without a climatology on the scored grid."""

    name, stage = "anomalies", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.weights, self.bins = area_weights(matched.grid), domain_bins(matched.grid, matched.region)
        self.active = training is not None and matched.has_truth and matched.native_grid.same_as(matched.grid)
        self.statistics: dict[tuple[str, ...], PairStatistic] = {
            (name, model): PairStatistic(self.bins) for name in matched.variables for model in matched.models(name)}
        self._normal: Array | None = None  # of the field that `begin` was told of
        self._truth: Array | None = None  # less its normal

    def begin(self, scored: Scored, f: Field, truth: Array) -> None:
        self._normal, self._truth = None, None
        if f.space == "physical" and self.active and self.training is not None:
            normal = self.training.climatology(f.variable, scored.time)
            if normal is not None and np.isfinite(normal).any():
                self._normal = normal.astype(truth.dtype, copy=False)
                self._truth = truth - self._normal

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if self._normal is not None and self._truth is not None:
            self.statistics[f.variable, model].update(scored.sample, prediction - self._normal, self._truth, self.weights)

    def update(self, scored: Scored) -> None:
        self._normal, self._truth = None, None

    def rows(self, table: Table, protocol: str) -> None:
        for (name, model), statistic in self.statistics.items() if protocol == "standard" else ():
            if statistic.rows:
                daily = deterministic.pearson_r(statistic.daily())[:, 0]
                known = daily[np.isfinite(daily)]
                if len(known):
                    found = sampled.of_means(statistic.samples(), daily, self.settings.evaluate.bootstrap)
                    table.add(model, name, "physical", self.matched.region, "acc", METHOD, float(known.mean()), n=len(known),
                              ci=sampled.ends(found))  # fmt: skip
