"""Anomaly correlation: agreement in what differs from a place's normal. Never uses a climatology that has seen the test block."""

from __future__ import annotations

import numpy as np

from orbit2.metrics import deterministic
from orbit2.metrics.binning import domain_bins
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import PairStatistic
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights

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

    def update(self, scored: Scored) -> None:
        if not self.active or self.training is None:
            return
        normal = self.training.climatology(scored.variable, scored.time)
        if normal is None or not np.isfinite(normal).any():
            return
        truth = scored.truth - normal
        for model, values in scored.models.items():
            self.statistics[scored.variable, model].update(scored.sample, values - normal, truth, self.weights)

    def rows(self, table: Table, protocol: str) -> None:
        for (name, model), statistic in self.statistics.items() if protocol == "standard" else ():
            if statistic.rows:
                daily = deterministic.pearson_r(statistic.daily())[:, 0]
                known = daily[np.isfinite(daily)]
                if len(known):
                    table.add(model, name, "physical", self.matched.region, "acc", METHOD, float(known.mean()), n=len(known))
