"""Fractions skill of rain by threshold and window, and the scale from which it is useful. Never averages scores of single days."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.evaluate.turns import Turns
from orbit2.metrics import sampled
from orbit2.metrics.bootstrap import Interval
from orbit2.metrics.collector import Collector, Settings, Training, flat, merge_into
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.fss import SHARES, THRESHOLDS, WINDOWS, FractionsSkill
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import SeriesStatistic, State
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights
from orbit2.variables import is_precipitation

Array = npt.NDArray[np.float64]
METHOD = ("sums over samples, then 1 - sum w(F-O)^2 / sum w(F^2+O^2); windows of {window} x {window} cells ({km:.0f} km north to south), "
          "events {event}")  # fmt: skip
USEFUL = "smallest of the windows {windows} cells whose FSS reaches 0.5 + f/2 = {target:.3f}, its side north to south; events {event}"


class Fractions(Collector):
    """FractionsSkill of every variable of rain and every model, and what each sample adds to its sums [E, N, 2]: intervals want them."""

    name, stage = "fss", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.weights, self.turns = area_weights(matched.grid), Turns.of(matched, settings)
        most = min(matched.grid.shape)
        self.windows = tuple(window for window in WINDOWS if window <= most)
        rain = [name for name in matched.variables if is_precipitation(name) and matched.has_truth]
        self.statistics: dict[tuple[str, ...], FractionsSkill] = {
            (name, model): FractionsSkill(matched.grid.periodic, self.windows) for name in rain for model in matched.models(name)}
        self.each: dict[tuple[str, ...], SeriesStatistic] = {key: SeriesStatistic() for key in self.statistics}

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if f.space == "physical" and (f.variable, model) in self.statistics and self.turns.has(scored):
            one = FractionsSkill(self.matched.grid.periodic, self.windows)
            one.update(prediction, truth, self.weights)
            self.statistics[f.variable, model].add(one.state())
            self.each[f.variable, model].update(scored.sample, one.sums)

    def state(self) -> State:
        return {**flat(self.statistics, "skill"), **flat(self.each, "each")}

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        merge_into(self.statistics, state, "skill")
        merge_into(self.each, state, "each")

    def rows(self, table: Table, protocol: str) -> None:
        for (name, model), skill in self.statistics.items() if protocol == "standard" else ():
            values, (target, scale) = skill.values(), skill.useful()
            found = self._intervals(name, model)
            for e, (label, event) in enumerate(events()):
                for w, (window, value) in enumerate(zip(self.windows, values[e], strict=True)):
                    if np.isfinite(value):
                        text = METHOD.format(window=window, km=window * self.matched.grid.km, event=event) + self.turns.method
                        table.add(model, name, "physical", self.matched.region, f"fss_{label}_{window}px", text, value, n=skill.samples,
                                  ci=sampled.ends(found, e * len(self.windows) + w))  # fmt: skip
                if np.isfinite(scale[e]):
                    text = USEFUL.format(windows=", ".join(map(str, self.windows)), target=target[e], event=event) + self.turns.method
                    size = scale[e] * self.matched.grid.km
                    table.add(model, name, "physical", self.matched.region, f"fss_useful_km_{label}", text, size, n=skill.samples)


    def _intervals(self, name: str, model: str) -> Interval | None:
        """Of every event and window, in order."""
        each = self.each[name, model]
        if not each.rows:
            return None
        sums = each.stacked()
        return sampled.of_skill(sorted(each.rows), sums[..., 0], sums[..., 1], self.settings.evaluate.bootstrap)


def events() -> list[tuple[str, str]]:
    """(label in a metric's name, in words) of FractionsSkill's events."""
    return ([(f"{threshold:g}mm", f"of at least {threshold:g} mm/day") for threshold in THRESHOLDS]
            + [(f"q{share:g}", f"at or above each field's own {share:g} quantile") for share in SHARES])  # fmt: skip
