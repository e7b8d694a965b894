"""Is a day's minimum below its maximum? Counts where it is not. Never takes a variable by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.evaluate.seams import TRUTH
from orbit2.metrics.collector import Collector, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import State
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights
from orbit2.variables import variable

Array = npt.NDArray[np.float64]


class Order(Collector):
    """[area where the minimum is above, area times excess, whole area] per pair of variables and model. Holds one time's fields."""

    name, stage = "order", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.weights = area_weights(matched.grid)
        self.pairs = ends(matched.variables)
        self.sums: dict[tuple[str, str], Array] = {}  # (maximum, model)
        self._last: dict[str, Scored] = {}

    def update(self, scored: Scored) -> None:
        for low, high in self.pairs:
            if scored.variable in (low, high):
                self._last = {name: held for name, held in self._last.items() if held.sample == scored.sample} | {scored.variable: scored}
                if low in self._last and high in self._last:
                    self._compare(self._last[low], self._last[high])

    def _compare(self, low: Scored, high: Scored) -> None:
        lows, highs = ({**({TRUTH: each.truth} if self.matched.has_truth else {}), **each.models} for each in (low, high))
        for model in highs:
            if model in lows:
                excess = lows[model] - highs[model]
                above, known = excess > 0, np.isfinite(excess)
                found = np.array([self.weights[above].sum(), (self.weights[above] * excess[above]).sum(), self.weights[known].sum()])
                self.sums[high.variable, model] = self.sums.get((high.variable, model), np.zeros(3)) + found

    def state(self) -> State:
        return {f"{name}/{model}": sums for (name, model), sums in self.sums.items()}

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        for path, sums in state.items():
            name, _, model = path.partition("/")
            self.sums[name, model] = self.sums.get((name, model), np.zeros(3)) + sums

    def rows(self, table: Table, protocol: str) -> None:
        if protocol != "standard":
            return
        samples, region = len(self.matched.times), self.matched.region
        partner = {high: low for low, high in self.pairs}
        for (name, model), (area, excess, whole) in self.sums.items():
            if whole > 0:
                about = f"{partner[name]} above {name}"
                table.add(model, name, "physical", region, "order_violations", f"share of the area with {about}, mean over samples",
                          area / whole, n=samples)
            if area > 0:
                table.add(model, name, "physical", region, "order_violation_size", f"mean excess where {about}", excess / area, n=samples)


def ends(names: Sequence[str]) -> list[tuple[str, str]]:
    """(minimum, maximum): variables that are the two ends of the same quantity over the same interval."""
    found = []
    for low in names:
        for high in names:
            a, b = variable(low), variable(high)
            same = (a.standard_name, a.kind, a.units) == (b.standard_name, b.kind, b.units)
            if same and "minimum" in a.cell_methods and a.cell_methods.replace("minimum", "maximum") == b.cell_methods:
                found.append((low, high))
    return found
