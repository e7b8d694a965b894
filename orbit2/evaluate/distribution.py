"""What values a field takes, whatever their place: quantiles and rain's wet share, of the truth and of all that is scored beside it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.metrics import distances, kernels
from orbit2.metrics.collector import Collector, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import State
from orbit2.metrics.table import TRUTH, Table
from orbit2.metrics.weighting import row_weights
from orbit2.variables import is_precipitation, log_scored, variable

Array = npt.NDArray[np.float64]
Values = npt.NDArray[Any]
QUANTILES = (0.001, 0.01, 0.5, 0.9, 0.99, 0.999, 0.9999)
WET = (0.1, 0.25, 1.0)  # mm/day
BINS = 1 << 16


class Distribution(Collector):
    """Histograms by area between the limits of what is physical, of rain in ln(1 + x): 65,536 bins, so a value is known to 0.003 K."""

    name, stage = "distribution", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.weights = row_weights(matched.grid)
        self.spaces = [Field(name, "log1p" if log_scored(name) else "physical") for name in matched.variables if matched.has_truth]
        self.counts: dict[tuple[str, str], Array] = {}
        self.wet: dict[tuple[str, str], Array] = {}  # area at or above each of WET, then the whole

    def begin(self, scored: Scored, f: Field, truth: Array) -> None:
        self._add(f, TRUTH, truth, scored.truth)

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        """Of an ensemble each member: a mean lacks tails and has drizzle."""
        if model == self.matched.model and self.matched.members:
            for member in scored.members(self.matched) if f in self.spaces else ():
                self._add(f, model, f.of(member), member, self.matched.members)
        else:
            self._add(f, model, prediction, scored.models[model])

    def _add(self, f: Field, whose: str, values: Values, plain: Values, of: int = 1) -> None:
        """`values` in the space of `f`, `plain` in physical units, one `of` so many fields of one time."""
        if f not in self.spaces:
            return
        low, high = (float(x) for x in f.of(np.array(variable(f.variable).valid, dtype=np.float64)))
        weights = self.weights / of if of > 1 else self.weights
        kernels.count_values(np.ascontiguousarray(values), weights, low, high, self.counts.setdefault((f.variable, whose), np.zeros(BINS)))
        if is_precipitation(f.variable):
            shares = self.wet.setdefault((f.variable, whose), np.zeros(len(WET) + 1))
            shares += kernels.area_at_least(np.ascontiguousarray(plain), weights, np.array(WET))

    def state(self) -> State:
        return {**{f"counts/{name}/{model}": counts for (name, model), counts in self.counts.items()},
                **{f"wet/{name}/{model}": shares for (name, model), shares in self.wet.items()}}  # fmt: skip

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        for path, values in state.items():
            kind, name, model = path.split("/")
            into = self.counts if kind == "counts" else self.wet
            into[name, model] = into[name, model] + values if (name, model) in into else np.asarray(values, dtype=np.float64)

    def rows(self, table: Table, protocol: str) -> None:
        if protocol != "standard":
            return
        samples = len(self.matched.times)
        for (name, model), counts in self.counts.items():
            rain = log_scored(name)
            low, high = Field(name, "log1p" if rain else "physical").of(np.array(variable(name).valid, dtype=np.float64))
            total = np.cumsum(counts)
            for q in QUANTILES if total[-1] > 0 else ():
                place = int(np.searchsorted(total, q * total[-1]))
                middle = float(low + (place + 0.5) / BINS * (high - low))
                value = middle if not rain else float(np.expm1(middle)) if place or low else 0.0  # the first bin of rain is no rain
                table.add(model, name, "physical", self.matched.region, f"quantile_{q:g}", f"by area, over all scored {self._pool(model)}",
                          value, n=samples)  # fmt: skip
        for name in self.matched.variables:
            self._distances(table, name)
        for (name, model), shares in self.wet.items():
            for least, share in zip(WET, shares, strict=False):
                if shares[-1] > 0:
                    method = f"share of the area with at least {least:g} mm/day, over all scored {self._pool(model)}"
                    table.add(model, name, "physical", self.matched.region, f"wet_share_{least:g}", method, share / shares[-1], n=samples)

    def _pool(self, model: str) -> str:
        """What a model's distribution is of."""
        return "cells, samples and members" if self.matched.members and model == self.matched.model else "cells and samples"

    def _distances(self, table: Table, name: str) -> None:
        """How far a model's distribution lies from the truth's."""
        truth, rain = self.counts.get((name, TRUTH)), log_scored(name)
        if truth is None or not truth.sum() > 0:
            return
        low, high = Field(name, "log1p" if rain else "physical").of(np.array(variable(name).valid, dtype=np.float64))
        edges = np.linspace(low, high, BINS + 1)
        edges = np.expm1(edges) if rain else edges
        coarse = distances.common_edges(truth, edges, rain, variable(name).units)
        for model in self.matched.models(name):
            counts = self.counts[name, model]
            shared = distances.perkins(*(distances.rebinned(each, edges, coarse) for each in (counts, truth)))
            for metric, value, about in (
                ("perkins", shared, f"common area of the two histograms, {len(coarse) - 1} bins"),
                ("wasserstein", distances.wasserstein(counts, truth, edges), "integral of |F_p - F_o|"),
                ("kolmogorov_smirnov", distances.kolmogorov_smirnov(counts, truth), "largest |F_p - F_o|"),
            ):
                method = f"{about}; by area, over all scored {self._pool(model)}"
                table.add(model, name, "physical", self.matched.region, metric, method, value, n=len(self.matched.times))
