"""Is the fine structure real? Scores of what lies inside the input's cells: a field minus the mean of the coarse cell that it lies in."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.baselines.interpolation import block_mean
from orbit2.metrics import deterministic
from orbit2.metrics.binning import domain_bins
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Matched, Scored
from orbit2.metrics.statistics import PairStatistic
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights

Array = npt.NDArray[np.float64]
ABOUT = "of the fields minus their area means over the input's cells, area-weighted, pooled over samples and valid cells"


class FineStructure:
    """Moments of the fine parts per field and model; nothing where the truth has a grid of its own or the window cuts input cells."""

    def __init__(self, matched: Matched) -> None:
        self.matched, self.weights = matched, area_weights(matched.grid)
        whole = not any(size % matched.refinement for size in matched.grid.shape) and matched.aligned
        self.active = matched.has_truth and matched.observations is None and whole
        self.statistics: dict[tuple[str, str], PairStatistic] = {}

    def detail(self, values: Array) -> Array:
        """What lies inside the coarse cells; NaN where the value is missing."""
        factor = self.matched.refinement
        means = block_mean(values, self.matched.grid.lat_weights, factor)
        part: Array = values - np.repeat(np.repeat(means, factor, axis=-2), factor, axis=-1)
        return part

    def update(self, f: Field, scored: Scored) -> None:
        if not self.active:
            return
        truth = self.detail(f.of(scored.truth))
        for model, values in scored.models.items():
            bins = domain_bins(self.matched.grid, self.matched.region)
            statistic = self.statistics.setdefault((f.label, model), PairStatistic(bins))
            statistic.update(str(scored.time), self.detail(f.of(values)), truth, self.weights)

    def rows(self, table: Table, f: Field) -> None:
        """`fine_pearson_r`, `fine_rmse`, and `fine_amplitude`: the ratio of the standard deviations."""
        for model in self.matched.models(f.variable) if self.active else ():
            m = self.statistics[f.label, model].finalise()
            if not m.n[0]:
                continue
            amplitude = np.sqrt(m.pp / m.oo) if m.oo[0] > 0 else np.array([np.nan])
            some = amplitude > 1e-6  # the rest is rounding: nearest neighbours have no fine part
            for name, value, what in (
                ("fine_pearson_r", np.where(some, deterministic.pearson_r(m), np.nan), "correlation"),
                ("fine_rmse", deterministic.rmse(m), "RMSE"),
                ("fine_amplitude", amplitude, "standard deviation of the prediction over that of the truth"),
            ):
                if np.isfinite(value[0]):
                    table.add(model, f.variable, f.space, self.matched.region, name, f"{what} {ABOUT}", value[0], n=int(m.n[0]))
