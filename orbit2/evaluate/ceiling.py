"""How well do products agree? Another observational product scored like a prediction, and the model on the same cells. Never a baseline."""

from __future__ import annotations

import numpy as np

from orbit2.metrics import deterministic
from orbit2.metrics.binning import domain_bins
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.matched import Matched, Scored
from orbit2.metrics.others import PREFIX
from orbit2.metrics.statistics import PairStatistic
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights

SCORES = (("rmse", deterministic.rmse), ("mae", deterministic.mae), ("bias", deterministic.bias), ("pearson_r", deterministic.pearson_r))


class Ceiling(Keeping):
    """Moments of every other product, and of the model, against the truth on cells and times that all have."""

    name, stage = "ceiling", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.products = matched.others if isinstance(matched, Matched) else {}
        self.weights = area_weights(matched.grid) if self.products else np.empty(0)
        self.statistics: dict[tuple[str, ...], PairStatistic] = {
            (f.label, product, who): PairStatistic(domain_bins(matched.grid, matched.region))
            for f in self.fields for product in self.products for who in ("product", "model")}  # fmt: skip

    def update(self, scored: Scored) -> None:
        for product, opened in self.products.items():
            found = opened.field(scored.variable, scored.time)
            if found is None:
                continue
            known = np.isfinite(found) & np.isfinite(scored.truth)
            for f in self.fields:
                if f.variable == scored.variable and known.any():
                    truth = f.of(scored.truth)
                    for who, values in (("product", found), ("model", scored.models[self.matched.model])):
                        shared = np.where(known, f.of(values), np.nan)
                        self.statistics[f.label, product, who].update(scored.sample, shared, truth, self.weights)

    def rows(self, table: Table, protocol: str) -> None:
        """`rmse`, `mae`, `bias`, `pearson_r` of `obs:<dataset>`; `rmse_beside_<dataset>` of the model, on the same cells and times."""
        for f in self.fields if protocol == "standard" else ():
            for product in self.products:
                other, own = (self.statistics[f.label, product, who] for who in ("product", "model"))
                if not other.rows:
                    continue
                moments, times = other.finalise(), len(other.rows)
                n = int(moments.n[0])
                about = f"{product}, averaged to the scored cells, against the truth: {n:,} cells in {times:,} times that both have"
                for metric, value in SCORES:
                    table.add(PREFIX + product, f.variable, f.space, self.matched.region, metric, about, float(value(moments)[0]), n=n)
                table.add(self.matched.model, f.variable, f.space, self.matched.region, f"rmse_beside_{product}",
                          f"RMSE on the cells and times on which {PREFIX}{product} is scored", float(deterministic.rmse(own.finalise())[0]),
                          n=n)  # fmt: skip
