"""Is the fine structure real? Scores of what lies inside the input's cells: a field minus the mean of the coarse cell that it lies in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.areas import relative_areas
from orbit2.metrics import deterministic, structure_kernels
from orbit2.metrics.binning import domain_bins
from orbit2.metrics.collector import Collector, Settings, Training, add_all, flat
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import Moments, PairStatistic, State
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights

Array = npt.NDArray[np.float64]
ABOUT = "of the fields minus their area means over the input's cells, area-weighted, pooled over samples and valid cells"


class FineStructure(Collector):
    """Moments of the fine parts per field and model; nothing where the truth has a grid of its own or the window cuts input cells."""

    name, stage = "structure", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.weights = area_weights(matched.grid)
        self.relative = relative_areas(matched.grid).reshape(matched.grid.shape[0], -1)
        whole = not any(size % matched.refinement for size in matched.grid.shape) and matched.aligned
        self.active = matched.has_truth and matched.observations is None and whole
        self.bins = domain_bins(matched.grid, matched.region)
        self.statistics: dict[tuple[str, ...], PairStatistic] = {}

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if self.active:
            statistic = self.statistics.setdefault((f.label, model), PairStatistic(self.bins))
            statistic.put(scored.sample, self._moments(prediction, truth))

    def _moments(self, prediction: Array, truth: Array) -> Moments:
        """Of what lies inside the coarse cells: the fields less their area means over those of a cell's values that are not missing."""
        p, o = np.ascontiguousarray(prediction), np.ascontiguousarray(truth)
        sums: Array = structure_kernels.detail_moments(p, o, self.relative, self.weights, self.matched.refinement)
        return Moments(*(row for row in sums))

    def state(self) -> State:
        return flat(self.statistics)

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        add_all(self.statistics, state, lambda _: PairStatistic(self.bins))

    def rows(self, table: Table, protocol: str) -> None:
        for f in self.fields if protocol == "standard" else ():
            self._rows(table, f)

    def _rows(self, table: Table, f: Field) -> None:
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
