"""Scores of members by AR6 region, with intervals over days. Never scores a region that has no cell."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from orbit2 import times
from orbit2.diagnose.regions import LAND_FRACTION, ar6
from orbit2.diagnose.shares import ar6_shares, edge_method
from orbit2.metrics import member_areas as areas
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.ensemble import EnsembleStatistic
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.member_events import TOO_FEW, EventStatistic
from orbit2.metrics.registry import find
from orbit2.metrics.statistics import MeanStatistic, Moments, PairStatistic, Statistic
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights
from orbit2.variables import is_precipitation

Array = npt.NDArray[np.float64]
WHICH = "regions"
RAIN_EVENTS = (1, 10, 30)  # mm/day: rain, much rain, a flood's
RARE = 0.99  # of the training years' values, for what is no rain


class MemberRegions(Keeping):
    """Sums of metrics/member_areas by region, field and day, of the same cells as RegionSkill; nothing without members or a truth."""

    name, stage = "members", "diagnose"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.wanted = self.fields if matched.members and matched.has_truth else []
        self.reference = {f.label: matched.counterpart for f in self.wanted
                          if matched.counterpart is not None and matched.counterpart in matched.models(f.variable)}  # fmt: skip
        self.sums: dict[tuple[str, ...], PairStatistic] = {}
        if self.wanted:
            regions, self.weights = ar6(), area_weights(matched.grid)
            shares = ar6_shares(matched.grid).scored(matched.land_fraction >= LAND_FRACTION, regions.kinds)
            self.bins, self.cut = shares.bins(regions.abbreviations), shares.cut()
            self.paired = {WHICH: self.bins} if self.reference else {}
            self.sums = {(f.label, whose): PairStatistic(self.bins) for f in self.wanted for whose in (areas.OWN, areas.REFERENCE)
                         if whose == areas.OWN or f.label in self.reference}  # fmt: skip
        self.ranges: dict[tuple[str, ...], MeanStatistic] = {
            (f.label, "range"): MeanStatistic() for f in self.wanted if f.space == "physical" and matched.members > 1}
        self.events: dict[tuple[str, ...], EventStatistic] = {
            (f.label, "event", name): EventStatistic(matched.members, limit, len(self.bins.names))
            for f in self.wanted if f.space == "physical" and matched.members > 1 for name, limit in self._events(f.variable).items()}
        sums: Mapping[tuple[str, ...], Statistic] = self.sums
        self.statistics = {**sums, **self.ranges, **self.events}

    def _events(self, name: str) -> dict[str, float]:
        """Name -> limit of what members' probabilities are judged by."""
        if is_precipitation(name):
            return {str(limit): float(limit) for limit in RAIN_EVENTS}
        limit = self.training.quantile(name, RARE) if self.training is not None else None
        return {} if limit is None else {f"q{RARE:g}": limit}

    def begin(self, scored: Scored, f: Field, truth: Array) -> None:
        if f not in self.wanted:
            return
        if f.label not in scored.cells:  # evaluate's collector has not been here
            statistic = EnsembleStatistic(self.matched.members, dry=f.dry)
            scored.cells[f.label] = statistic.update(scored.members(self.matched), truth, self.weights, f.of)
        cells, weights, count = scored.cells[f.label].reshape(len(areas.OF_CELLS), -1), self.weights.ravel(), len(self.bins.names)
        own, day = self.sums[f.label, areas.OWN], times.day(scored.sample)
        own.put(day, areas.sums(cells, weights, self.bins.index.ravel(), count))
        if len(self.cut.cell):
            at = self.cut.cell
            own.put(day, areas.sums(cells[:, at], weights[at] * self.cut.share, self.cut.region, count))
        if (f.label, "range") in self.ranges:
            index = self.bins.index.ravel()
            inside = np.flatnonzero(index >= 0)
            place = np.concatenate([index[inside], self.cut.region])
            cell, share = np.concatenate([inside, self.cut.cell]), np.concatenate([np.ones(len(inside)), self.cut.share])
            members, weight = scored.members(self.matched), weights[cell] * share
            self.ranges[f.label, "range"].update(areas.means(members, truth, cell, weight, place, count))
            for (label, *_), event in self.events.items():
                if label == f.label:
                    event.update(members, truth, cell, weight, place)

    def put(self, scored: Scored, f: Field, model: str, which: str, row: Moments) -> None:
        if model == self.reference.get(f.label):
            self.sums[f.label, areas.REFERENCE].put(times.day(scored.sample), row)

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if model == self.reference.get(f.label) and len(self.cut.cell):
            self.sums[f.label, areas.REFERENCE].put(times.day(scored.sample), self.cut.moments(prediction, truth, self.weights))

    def rows(self, table: Table, protocol: str) -> None:
        for f in self.wanted if protocol == "standard" else ():
            own, reference = self.sums[f.label, areas.OWN], self.reference.get(f.label)
            if not own.rows:
                continue
            beside = self.sums[f.label, areas.REFERENCE] if reference is not None else None
            scores, pooled = areas.found(self.matched.members, own, beside, self.settings.evaluate.bootstrap)
            edge = edge_method(self.matched.grid)
            for metric, (values, interval) in scores.items():
                name = f"{metric}_vs_{reference}" if metric == areas.RATIO else metric
                for b in areas.known(values, pooled):
                    table.add(self.matched.model, f.variable, f.space, self.bins.names[b], name,
                              areas.about(metric, str(reference), self.matched.members) + edge, values[b], n=int(pooled.n[b]),
                              ci=interval.at(b) if interval is not None else None)  # fmt: skip
            ranges = self.ranges.get((f.label, "range"))
            for metric, values in zip(areas.RANGE, ranges.finalise() if ranges is not None else (), strict=ranges is not None):
                for b in map(int, np.flatnonzero(np.isfinite(values))):
                    table.add(self.matched.model, f.variable, f.space, self.bins.names[b], metric,
                              areas.range_method(metric, self.matched.members) + edge, values[b], n=ranges.samples if ranges else 0)
            for (label, _, name), event in self.events.items():
                for b in range(event.count) if label == f.label else ():
                    for metric, value in event.scores(b).items():
                        entry = find(f"{metric}_{name}")
                        about = entry.formula if entry is not None else metric
                        limit = f" (at least {event.limit:.4g})" if metric == TOO_FEW else ""
                        table.add(self.matched.model, f.variable, f.space, self.bins.names[b], f"{metric}_{name}",
                                  f"{about}{limit}; {self.matched.members} members{edge}", value, n=int(event.cells[b]))  # fmt: skip
