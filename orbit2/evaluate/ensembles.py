"""Scores of a prediction that has members. Never holds more than one time's members."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from orbit2 import times
from orbit2.metrics import member_areas as areas
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.ensemble import EnsembleStatistic
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.registry import find
from orbit2.metrics.statistics import MeanStatistic, Moments, PairStatistic, Statistic
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights
from orbit2.variables import is_precipitation

Array = npt.NDArray[np.float64]
RAIN_EVENTS = (1, 5, 10, 20, 30, 50)  # mm/day
RARE = 0.99  # of the training years' values, for what is no rain


class Ensembles(Keeping):
    """One EnsembleStatistic per field, and what its cells say by area and day (metrics/member_areas); nothing without members or without a
    truth."""

    name, stage = "ensembles", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.weights = area_weights(matched.grid)
        fields = self.fields if matched.members and matched.has_truth else ()
        self.whole = {f.label: EnsembleStatistic(matched.members, self._events(f), f.dry) for f in fields}
        self.bins = areas.area_bins(matched) if fields else {}
        self.reference = {f.label: matched.counterpart for f in fields
                          if matched.counterpart is not None and matched.counterpart in matched.models(f.variable)}  # fmt: skip
        self.paired = self.bins if self.reference else {}
        self.sums: dict[tuple[str, ...], PairStatistic] = {
            (f.label, whose, which): PairStatistic(bins) for f in fields for which, bins in self.bins.items()
            for whose in (areas.OWN, areas.REFERENCE) if whose == areas.OWN or f.label in self.reference}  # fmt: skip
        self.ranges: dict[tuple[str, ...], MeanStatistic] = {
            (f.label, "range", which): MeanStatistic() for f in fields if f.space == "physical" for which in self.bins}
        whole: Mapping[tuple[str, ...], Statistic] = {(label,): each for label, each in self.whole.items()}
        self.statistics = {**whole, **self.sums, **self.ranges}

    def _events(self, f: Field) -> dict[str, float]:
        if f.space != "physical":
            return {}
        if is_precipitation(f.variable):
            return {str(limit): float(limit) for limit in RAIN_EVENTS}
        limit = self.training.quantile(f.variable, RARE) if self.training is not None else None
        return {} if limit is None else {f"q{RARE:g}": limit}

    def begin(self, scored: Scored, f: Field, truth: Array) -> None:
        if f.label not in self.whole:
            return
        cells = self.whole[f.label].update(scored.members(self.matched), truth, self.weights, f.of)
        scored.cells[f.label] = cells
        flat, weights, day = cells.reshape(len(cells), -1), self.weights.ravel(), times.day(scored.sample)
        for which, bins in self.bins.items():
            index, count = bins.index.ravel(), len(bins.names)
            self.sums[f.label, areas.OWN, which].put(day, areas.sums(flat, weights, index, count))
            if f.space == "physical" and self.matched.members > 1:
                members = scored.members(self.matched)
                self.ranges[f.label, "range", which].update(areas.means(members, truth, np.arange(truth.size), weights, index, count))

    def put(self, scored: Scored, f: Field, model: str, which: str, row: Moments) -> None:
        if model == self.reference.get(f.label):
            self.sums[f.label, areas.REFERENCE, which].put(times.day(scored.sample), row)

    def rows(self, table: Table, protocol: str) -> None:
        if protocol != "standard":
            return
        model, region = self.matched.model, self.matched.region
        for f in self.fields if self.whole else ():
            statistic, by_area = self.whole[f.label], self._areas(table, f)
            shares = statistic.rank_shares()
            ranks = {} if shares is None else {f"rank_share_{rank}": float(share) for rank, share in enumerate(shares)}
            for metric, value in {**statistic.scores(), **ranks}.items():
                if metric in by_area:
                    continue
                entry = find(metric)
                about = entry.formula if entry is not None else metric
                method = f"{about}; {statistic.members} members, area-weighted, pooled over samples"
                table.add(model, f.variable, f.space, region, metric, method, value, n=statistic.n)
            self._curves(table, f, statistic)
            if f.space == "physical" and statistic.n:
                table.add(model, f.variable, f.space, region, "members", "members of the ensemble", statistic.members, n=statistic.n)

    def _areas(self, table: Table, f: Field) -> set[str]:
        """Rows of every area, the domain too, with their intervals. Gives back the names of the scores."""
        reference, written = self.reference.get(f.label), set[str]()
        for which, bins in self.bins.items():
            own = self.sums[f.label, areas.OWN, which]
            beside = self.sums[f.label, areas.REFERENCE, which] if reference is not None else None
            if not own.rows:
                continue
            scores, pooled = areas.found(self.matched.members, own, beside, self.settings.evaluate.bootstrap)
            for metric, (values, interval) in scores.items():
                name = f"{metric}_vs_{reference}" if metric == areas.RATIO else metric
                for b in areas.known(values, pooled):
                    table.add(self.matched.model, f.variable, f.space, bins.names[b], name,
                              areas.about(metric, str(reference), self.matched.members), values[b], n=int(pooled.n[b]),
                              ci=interval.at(b) if interval is not None else None)  # fmt: skip
                    written.add(name)
            ranges = self.ranges.get((f.label, "range", which))
            if ranges is not None and ranges.samples:
                for metric, values in zip(areas.RANGE, ranges.finalise(), strict=True):
                    for b in map(int, np.flatnonzero(np.isfinite(values))):
                        table.add(self.matched.model, f.variable, f.space, bins.names[b], metric,
                                  areas.range_method(metric, self.matched.members), values[b], n=ranges.samples)  # fmt: skip
        return written

    def _curves(self, table: Table, f: Field, statistic: EnsembleStatistic) -> None:
        """Reliability by the number of members with an event, and error by spread: the points of two diagrams."""
        m, rows = statistic.members, []
        for i, name in enumerate(statistic.limits):
            for k, (share, area, frequency) in enumerate(statistic.reliability_curve(i).T):
                if np.isfinite(frequency):
                    about = f"where {k} of {m} members ({share:.3g}) are at or above {statistic.limits[name]:.4g}"
                    rows += [(f"reliability_frequency_{name}_{k}", f"share of the area {about} in which the truth is too", frequency),
                             (f"reliability_area_{name}_{k}", f"share of all area {about}", area)]  # fmt: skip
        curve = statistic.spread_curve()
        for k, (area, spread, error) in enumerate(curve.T):
            about = f"of cells in order of their spread, group {k + 1} of {curve.shape[1]}, {area:.3g} of the area"
            rows += [(f"binned_spread_{k}", f"square root of (M + 1) / M times the mean variance of members; {about}", spread),
                     (f"binned_error_{k}", f"RMSE of the mean of members; {about}", error)]  # fmt: skip
        for metric, method, value in rows:
            table.add(self.matched.model, f.variable, f.space, self.matched.region, metric,
                      f"{method}; {m} members, area-weighted, pooled over samples", float(value), n=statistic.n)  # fmt: skip
