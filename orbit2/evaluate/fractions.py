"""Fractions skill of rain by threshold and window, and the scale from which it is useful. Never averages scores of single days."""

from __future__ import annotations

import numpy as np

from orbit2.evaluate.turns import Turns
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.fss import SHARES, THRESHOLDS, WINDOWS, FractionsSkill
from orbit2.metrics.matched import Scored
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights
from orbit2.variables import is_precipitation

METHOD = ("sums over samples, then 1 - sum w(F-O)^2 / sum w(F^2+O^2); windows of {window} x {window} cells ({km:.0f} km north to south), "
          "events {event}")  # fmt: skip
USEFUL = "smallest of the windows {windows} cells whose FSS reaches 0.5 + f/2 = {target:.3f}, its side north to south; events {event}"


class Fractions(Keeping):
    """FractionsSkill of every variable of rain and every model."""

    name, stage = "fss", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.weights, self.turns = area_weights(matched.grid), Turns.of(matched, settings)
        most = min(matched.grid.shape)
        self.windows = tuple(window for window in WINDOWS if window <= most)
        rain = [name for name in matched.variables if is_precipitation(name) and matched.has_truth]
        self.statistics: dict[tuple[str, ...], FractionsSkill] = {
            (name, model): FractionsSkill(matched.grid.periodic, self.windows) for name in rain for model in matched.models(name)}

    def update(self, scored: Scored) -> None:
        if is_precipitation(scored.variable) and self.matched.has_truth and self.turns.has(scored):
            for model, values in scored.models.items():
                self.statistics[scored.variable, model].update(values, scored.truth, self.weights)

    def rows(self, table: Table, protocol: str) -> None:
        for (name, model), skill in self.statistics.items() if protocol == "standard" else ():
            values, (target, scale) = skill.values(), skill.useful()
            for e, (label, event) in enumerate(events()):
                for window, value in zip(self.windows, values[e], strict=True):
                    if np.isfinite(value):
                        text = METHOD.format(window=window, km=window * self.matched.grid.km, event=event) + self.turns.method
                        table.add(model, name, "physical", self.matched.region, f"fss_{label}_{window}px", text, value, n=skill.samples)
                if np.isfinite(scale[e]):
                    text = USEFUL.format(windows=", ".join(map(str, self.windows)), target=target[e], event=event) + self.turns.method
                    size = scale[e] * self.matched.grid.km
                    table.add(model, name, "physical", self.matched.region, f"fss_useful_km_{label}", text, size, n=skill.samples)


def events() -> list[tuple[str, str]]:
    """(label in a metric's name, in words) of FractionsSkill's events."""
    return ([(f"{threshold:g}mm", f"of at least {threshold:g} mm/day") for threshold in THRESHOLDS]
            + [(f"q{share:g}", f"at or above each field's own {share:g} quantile") for share in SHARES])  # fmt: skip
