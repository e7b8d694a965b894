"""Is a day's minimum below its maximum? Counts where it is not. Never takes a variable by its name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.metrics import kernels
from orbit2.metrics.collector import Collector, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import State
from orbit2.metrics.table import TRUTH, Table
from orbit2.metrics.weighting import area_weights
from orbit2.variables import variable

Array = npt.NDArray[np.float64]
Fields = dict[str, npt.NDArray[np.float32]]


class Order(Collector):
    """[area where the minimum is above, area times excess, whole area] per pair of variables and model.

    Holds one time's fields of one of the two, in single precision.
    """

    name, stage = "order", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.weights = area_weights(matched.grid)
        self.pairs = ends(matched.variables)
        self.sums: dict[tuple[str, str], Array] = {}  # (maximum, model)
        self._held: tuple[str, str, Fields] = ("", "", {})  # sample, variable, fields of the truth and models

    def update(self, scored: Scored) -> None:
        for low, high in self.pairs:
            if scored.variable in (low, high):
                fields = {model: values.astype(np.float32) for model, values in self._fields(scored).items()}
                sample, name, held = self._held
                if sample == scored.sample and {name, scored.variable} == {low, high}:
                    self._compare(high, *((held, fields) if name == low else (fields, held)))
                self._held = scored.sample, scored.variable, fields

    def _fields(self, scored: Scored) -> Mapping[str, npt.NDArray[np.floating]]:
        return {**({TRUTH: scored.truth} if self.matched.has_truth else {}), **scored.models}

    def _compare(self, name: str, lows: Fields, highs: Fields) -> None:
        for model in highs:
            if model in lows:
                found = np.array(kernels.excess(lows[model], highs[model], self.weights))
                self.sums[name, model] = self.sums.get((name, model), np.zeros(3)) + found

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
