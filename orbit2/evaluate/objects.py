"""SAL of rain in the boxes of radial spectra, and in the whole domain of a task that covers a box itself. Never of a globe."""

from __future__ import annotations

import numpy as np

from orbit2.evaluate.turns import Turns
from orbit2.metrics import spectra
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.matched import Scored
from orbit2.metrics.sal import sal
from orbit2.metrics.statistics import MeanStatistic
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights
from orbit2.variables import is_precipitation

NAMES = ("sal_structure", "sal_amplitude", "sal_location", "sal_structure_abs", "sal_amplitude_abs")
METHOD = "Wernli et al. 2008, objects above a 15th of the wet cells' 95 % quantile, mean over samples with rain in both{}"
LEAST = 16  # cells to a side


class Objects(Keeping):
    """[S, A, L, |S|, |A|] of rain by model and box."""

    name, stage = "sal", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.turns, self.weights, grid = Turns.of(matched, settings), area_weights(matched.grid), matched.grid
        self.places = {name: grid.window(box) for name, box in settings.evaluate.spectra_boxes.items() if grid.holds(box)}
        if matched.region != "global":
            self.places[matched.region] = slice(0, grid.shape[0]), slice(0, grid.shape[1])
        self.places = {name: place for name, place in self.places.items() if min(grid.crop(*place).shape) >= LEAST}
        self.spacing = {name: spectra.box_spacing_km(grid.crop(*place)) for name, place in self.places.items()}
        rain = [name for name in matched.variables if is_precipitation(name) and matched.has_truth]
        self.statistics: dict[tuple[str, ...], MeanStatistic] = {
            (name, model, place): MeanStatistic() for name in rain for model in matched.models(name) for place in self.places}

    def update(self, scored: Scored) -> None:
        if not (is_precipitation(scored.variable) and self.matched.has_truth and self.turns.has(scored)):
            return
        for place, (rows, columns) in self.places.items():
            cells = np.ix_(*self.matched.grid.cells(rows, columns))
            for model, values in scored.models.items():
                found = sal(np.maximum(values[cells], 0.0), scored.truth[cells], self.weights[cells], *self.spacing[place])
                self.statistics[scored.variable, model, place].update(np.append(found, np.abs(found[:2])))

    def rows(self, table: Table, protocol: str) -> None:
        for (name, model, place), statistic in self.statistics.items() if protocol == "standard" else ():
            if statistic.samples:
                for metric, value in zip(NAMES, statistic.finalise(), strict=True):
                    table.add(model, name, "physical", place, metric, METHOD.format(self.turns.method), value, n=statistic.samples)
