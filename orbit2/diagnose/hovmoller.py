"""Hovmöller diagrams: time-longitude in a band and time-latitude, with their scores. Never smooths or fills the record."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import times
from orbit2.grid import Grid
from orbit2.metrics import deterministic, kernels
from orbit2.metrics.binning import Bins, band_name
from orbit2.metrics.collector import Collector, Settings, Training, flat, keyed, merge_into
from orbit2.metrics.compared import Compared
from orbit2.metrics.matched import Scored
from orbit2.metrics.netcdf import coordinates
from orbit2.metrics.statistics import PairStatistic, State
from orbit2.metrics.table import Table
from orbit2.remap.parallels import to_parallels, under
from orbit2.variables import variable

Array = npt.NDArray[np.float64]
TRUTH = "truth"
DIAGRAMS = ("longitude", "latitude")
MOST_ROWS = 1500  # of a diagram: of a longer record rows are days, then pentads, then months
MOST_CELLS = 1440  # along a diagram's other side: of a finer grid they are means of neighbours


class Hovmoller(Collector):
    """Each diagram's sums by row (time), and the moments that its scores need, which are of the samples themselves (evaluation.md 4).

    The rows of a record of more than MOST_ROWS samples are means over days, of more than that many days over pentads, then months: what
    is drawn stays small, and a row that two parts share is the sum of both.
    """

    name, stage = "hovmoller", "diagnose"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        band = settings.diagnose.hovmoller_band
        self._to_parallels = None if isinstance(matched.grid, Grid) else to_parallels(matched.grid)
        self.grid = matched.grid if isinstance(matched.grid, Grid) else under(matched.grid)  # whose rows are parallels
        rows = np.flatnonzero((self.grid.lat >= band[0]) & (self.grid.lat <= band[1]))
        self.in_band = len(rows) > 0
        self.band_rows = rows if self.in_band else np.arange(self.grid.shape[0])
        south, north = (float(self.grid.lat_edges[i]) for i in (self.band_rows[0], self.band_rows[-1] + 1))
        self.band = band_name(*band) if self.in_band else band_name(south, north)
        self.per, self.periods = periods(times.stamps(matched.times), times.calendar_of(matched.times))
        self.begins = list(dict.fromkeys(self.periods))  # of the rows
        self._place = {begin: row for row, begin in enumerate(self.begins)}
        self.models = (TRUTH, *matched.all_models)
        height, width = self.grid.shape
        self.steps = {"longitude": -(-width // MOST_CELLS), "latitude": -(-height // MOST_CELLS)}
        # (variable, diagram, row) -> sums [models, cells], and how many samples and cells they are of, the same for all models
        self.sums: dict[tuple[str, str, int], Array] = {}
        self.known: dict[tuple[str, str, int], Array] = {}
        self.weights = {"longitude": np.ones(width), "latitude": self.grid.lat_weights}
        self.statistics: dict[tuple[str, ...], PairStatistic] = {
            (name, model, diagram): PairStatistic(Bins(("all",), np.zeros((1, len(weights)), dtype=np.int64)))
            for name in matched.variables for model in matched.models(name) for diagram, weights in self.weights.items()}  # fmt: skip

    def update(self, scored: Scored) -> None:
        name, row = scored.variable, self._place[self.periods[scored.position]]
        truth = self._rows_of(scored.truth)
        for model, values in {TRUTH: scored.truth, **scored.models}.items():
            m = self.models.index(model)
            for diagram, found in (truth if model == TRUTH else self._rows_of(values)).items():
                key, step = (name, diagram, row), self.steps[diagram]
                if key not in self.sums:
                    size = -(-len(found) // step)
                    self.sums[key], self.known[key] = np.zeros((len(self.models), size)), np.zeros(size)
                kernels.add_steps(found, step, self.sums[key][m], self.known[key], model == TRUTH)
                if model != TRUTH:
                    pair = self.statistics[name, model, diagram]
                    pair.update(times.day(scored.sample), found[None], truth[diagram][None], self.weights[diagram][None])

    def _rows_of(self, values: Array) -> dict[str, Array]:
        if self._to_parallels is not None:
            values = self._to_parallels(values)
        band = self.grid.lat_weights[self.band_rows]
        longitude, latitude = kernels.line_means(np.ascontiguousarray(values), self.band_rows, band)
        return {"longitude": longitude, "latitude": latitude}

    def state(self) -> State:
        """The moments, and the rows that were met, each with its place."""
        made: State = flat(self.statistics, "moments")
        for name in self.matched.variables:
            for diagram in DIAGRAMS:
                met = sorted(row for *key, row in self.sums if key == [name, diagram])
                if met:
                    made[f"rows/{name}/{diagram}/place"] = np.array(met)
                    made[f"rows/{name}/{diagram}/sums"] = np.stack([self.sums[name, diagram, row] for row in met])
                    made[f"rows/{name}/{diagram}/known"] = np.stack([self.known[name, diagram, row] for row in met])
        return made

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        merge_into(self.statistics, state, "moments")
        for (name, diagram), rows in keyed(state, "rows"):
            for row, sums, known in zip(rows["place"], rows["sums"], rows["known"], strict=True):
                key = name, diagram, int(row)
                self.sums[key], self.known[key] = self.sums.get(key, 0.0) + sums, self.known.get(key, 0.0) + known

    def diagram(self, name: str, diagram: str) -> npt.NDArray[np.float32]:
        """[models, rows, cells], NaN where nothing was scored."""
        cells = -(-self.weights[diagram].size // self.steps[diagram])
        made = np.full((len(self.models), len(self.begins), cells), np.nan, dtype=np.float32)
        scored = [m for m, model in enumerate(self.models) if model in (TRUTH, *self.matched.models(name))]
        for row in range(len(self.begins)):
            key = name, diagram, row
            if key in self.sums:
                known = self.known[key]
                made[scored, row] = np.divide(self.sums[key][scored], known, out=np.full((len(scored), cells), np.nan), where=known > 0)
        return made

    def scores(self, name: str, model: str) -> dict[str, tuple[float, float, int]]:
        """Diagram -> (centred pattern correlation r_H, RMSE over the truth's standard deviation, number of values)."""
        result = {}
        for diagram in DIAGRAMS:
            m = self.statistics[name, model, diagram].finalise()
            nrmse = float(np.sqrt(m.se[0] / m.oo[0])) if m.oo[0] > 0 else float("nan")
            result[diagram] = (float(deterministic.pearson_r(m)[0]), nrmse, int(m.n[0]))
        return result

    def best_baseline(self, name: str) -> str:
        """The baseline with the lowest NRMSE of the time-longitude diagram; empty without baselines."""
        found = {model: self.scores(name, model)["longitude"][1] for model in self.matched.baselines(name)}
        known = {model: value for model, value in found.items() if np.isfinite(value)}
        return min(known, key=lambda model: known[model]) if known else ""

    def rows(self, table: Table, protocol: str) -> None:
        """Scores of every model and baseline; nothing where there is no truth."""
        if not self.matched.has_truth or protocol != "standard":
            return
        for name in self.matched.variables:
            for model in self.matched.models(name):
                for diagram, (r, nrmse, n) in self.scores(name, model).items():
                    if not n:
                        continue
                    region = self.band if diagram == "longitude" else self.matched.region
                    what = {"longitude": "time-longitude, area-weighted mean over the band",
                            "latitude": "time-latitude, mean over longitudes"}[diagram]
                    table.add(model, name, "physical", region, f"hovmoller_{diagram}_pattern_r",
                              f"{what}, centred, weighted by cell area, samples as they are", r, n=n)
                    table.add(model, name, "physical", region, f"hovmoller_{diagram}_nrmse",
                              f"{what}, RMSE over the truth's standard deviation, samples as they are", nrmse, n=n)

    def datasets(self) -> Mapping[str, xr.Dataset]:
        """`<variable>_longitude` (model, time, lon) and `<variable>_latitude` (model, time, lat); `model` begins with `truth`."""
        data: dict[str, xr.DataArray] = {}
        rows = f", means over {self.per}" if self.per != "samples" else ""
        for name in self.matched.variables:
            attrs = {"units": variable(name).units, "standard_name": variable(name).standard_name,
                     "best_baseline": self.best_baseline(name)}
            data[f"{name}_longitude"] = xr.DataArray(
                self.diagram(name, "longitude"), dims=("model", "time", "lon"), attrs={
                    **attrs, "long_name": f"{variable(name).long_name}, area-weighted mean {self.band}{rows}", "band": self.band})
            data[f"{name}_latitude"] = xr.DataArray(
                self.diagram(name, "latitude"), dims=("model", "time", "lat"), attrs={
                    **attrs, "long_name": f"{variable(name).long_name}, mean over longitudes{rows}"})
        first = [self.periods.index(begin) for begin in self.begins]
        found = self.matched.times[first]
        stamps = found.astype("datetime64[ns]") if np.issubdtype(found.dtype, np.datetime64) else found
        coarse = self.grid.blocks(self.steps["latitude"], self.steps["longitude"])
        return {"hovmoller.nc": xr.Dataset(data, coords={"model": list(self.models), "time": stamps, **coordinates(coarse)})}


def periods(samples: list[str], calendar: str = "standard") -> tuple[str, list[str]]:
    """(`samples`, `days`, `pentads` or `months`, the period of each sample): the finest with at most MOST_ROWS of them, else months."""
    days = [times.day(sample) for sample in samples]
    if len(samples) <= MOST_ROWS:
        return "samples", samples
    if len(set(days)) <= MOST_ROWS:
        return "days", days
    pentads = {day: f"{times.year(day):04d}-{times.pentad(day, calendar):02d}" for day in dict.fromkeys(days)}
    if len(set(pentads.values())) <= MOST_ROWS:
        return "pentads", [pentads[day] for day in days]
    return "months", [times.month_name(sample) for sample in samples]
