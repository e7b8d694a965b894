"""Protocol `orbit2_paper`: Table IV's columns, mean over samples. Never enters a verdict, and no other protocol has these names."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.evaluate.turns import Turns
from orbit2.metrics import paper, sampled
from orbit2.metrics.binning import latitudes
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import SeriesStatistic
from orbit2.metrics.table import Table
from orbit2.variables import is_precipitation

Array = npt.NDArray[np.float64]
PROTOCOL = "orbit2_paper"
METHODS = {
    "paper_pearson_r": "unweighted Pearson r of each sample, mean over samples: Table IV's \"R2\"",
    "paper_rmse": "square root of the mean of cos(latitude) (p-o)^2, the weights not divided by their mean, mean over samples",
    "paper_rmse_above": "unweighted, cells with o >= the sample's {} quantile of all cells, mean over samples",
    "paper_ssim": "scikit-image's default window of 7 on images scaled by each sample's own range{}, mean over samples",
    "paper_psnr": "on images scaled by each sample's own range{}, mean of dB over samples",
}
STEPS = " in 256 steps"


class PaperScores(Keeping):
    """paper.METRICS of every sample, field and model; nothing unless the protocol is asked for."""

    name, stage = "paper", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.turns = Turns.of(matched, settings)
        self.active = matched.has_truth and PROTOCOL in settings.evaluate.protocols
        self.own_grid = matched.native_grid.same_as(matched.grid)
        self.cosine = np.cos(np.radians(latitudes(matched.grid)))
        self.statistics: dict[tuple[str, ...], SeriesStatistic] = {
            (f.label, model): SeriesStatistic() for f in self.fields for model in matched.models(f.variable)}

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if self.active and self.turns.has(scored):
            native = scored.native.get(model)
            if is_precipitation(f.variable) and self.own_grid and native is not None and native is not scored.models[model]:
                prediction = f.of(native)  # where the truth has a gap, which is dry, a prediction keeps its own
            row = paper.scores(prediction, truth, self.cosine, dry=drizzle(f), quantise=quantised(f))
            self.statistics[f.label, model].update(scored.sample, row)

    def rows(self, table: Table, protocol: str) -> None:
        for f in self.fields if self.active and protocol == PROTOCOL else ():
            dry = f"; below {paper.DRIZZLE:g} mm/day, and where missing, 0" if drizzle(f) is not None else ""
            for model in self.matched.models(f.variable):
                statistic = self.statistics[f.label, model]
                if not statistic.rows:
                    continue
                found = sampled.of_means(sorted(statistic.rows), statistic.stacked(), self.settings.evaluate.bootstrap)
                for i, (metric, value) in enumerate(zip(paper.METRICS, statistic.finalise(), strict=True)):
                    if not np.isnan(value):
                        kind, _, level = metric.partition("above_")
                        text = METHODS[kind + "above" if level else kind].format(level or (STEPS if quantised(f) else ""))
                        table.add(model, f.variable, f.space, self.matched.region, metric, text + dry + self.turns.method, value,
                                  n=len(statistic.rows), ci=sampled.ends(found, i))  # fmt: skip


def drizzle(f: Field) -> float | None:
    """What counts as no rain, in the field's space; None for what is no rain."""
    return float(f.of(np.array(paper.DRIZZLE))) if is_precipitation(f.variable) else None


def quantised(f: Field) -> bool:
    """The reference scores its US fields as images of 256 steps, rain in mm (its comparison with IMERG) as numbers."""
    return not (is_precipitation(f.variable) and f.space == "physical")
