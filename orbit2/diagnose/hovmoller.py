"""Hovmöller diagrams: time-longitude in a band and time-latitude, with their scores. Never smooths or fills the record."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.metrics import deterministic
from orbit2.metrics.binning import Bins, band_name
from orbit2.metrics.matched import Matched, Scored
from orbit2.metrics.netcdf import coordinates
from orbit2.metrics.statistics import moments
from orbit2.metrics.table import Table
from orbit2.variables import variable

Array = npt.NDArray[np.float64]
TRUTH = "truth"


class Hovmoller:
    """Gathers one row of each diagram per sample, variable and model (evaluation.md 4, here on the samples themselves)."""

    def __init__(self, matched: Matched, band: tuple[float, float]) -> None:
        self.matched = matched
        rows = np.flatnonzero((matched.grid.lat >= band[0]) & (matched.grid.lat <= band[1]))
        self.in_band = len(rows) > 0
        self.band_rows = rows if self.in_band else np.arange(matched.grid.shape[0])
        south, north = (float(matched.grid.lat_edges[i]) for i in (self.band_rows[0], self.band_rows[-1] + 1))
        self.band = band_name(*band) if self.in_band else band_name(south, north)
        self.times = {str(time): i for i, time in enumerate(matched.times)}
        models = (TRUTH, *matched.all_models)
        shape = matched.grid.shape
        self.models = models
        self.longitude = {name: np.full((len(models), len(self.times), shape[1]), np.nan) for name in matched.variables}
        self.latitude = {name: np.full((len(models), len(self.times), shape[0]), np.nan) for name in matched.variables}

    def update(self, scored: Scored) -> None:
        t, weights = self.times[str(scored.time)], self.matched.grid.lat_weights[self.band_rows]
        for model, values in {TRUTH: scored.truth, **scored.models}.items():
            m = self.models.index(model)
            self.longitude[scored.variable][m, t] = _mean(values[self.band_rows], weights[:, None], axis=0)
            self.latitude[scored.variable][m, t] = _mean(values, np.ones((1, values.shape[1])), axis=1)

    def scores(self, name: str, model: str) -> dict[str, tuple[float, float, int]]:
        """Diagram -> (centred pattern correlation r_H, RMSE over the truth's standard deviation, number of values)."""
        result = {}
        for diagram, stack, weights in (("longitude", self.longitude[name], np.ones(self.matched.grid.shape[1])),
                                        ("latitude", self.latitude[name], self.matched.grid.lat_weights)):
            truth, values = stack[0], stack[self.models.index(model)]
            m = moments(values, truth, np.broadcast_to(weights, truth.shape), Bins(("all",), np.zeros(truth.shape, dtype=np.int64)))
            nrmse = float(np.sqrt(m.se[0] / m.oo[0])) if m.oo[0] > 0 else float("nan")
            result[diagram] = (float(deterministic.pearson_r(m)[0]), nrmse, int(m.n[0]))
        return result

    def best_baseline(self, name: str) -> str:
        """The baseline with the lowest NRMSE of the time-longitude diagram; empty without baselines."""
        found = {model: self.scores(name, model)["longitude"][1] for model in self.matched.baselines(name)}
        known = {model: value for model, value in found.items() if np.isfinite(value)}
        return min(known, key=lambda model: known[model]) if known else ""

    def rows(self, table: Table) -> None:
        """Scores of every model and baseline; nothing where there is no truth."""
        if not self.matched.has_truth:
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

    def dataset(self) -> xr.Dataset:
        """`<variable>_longitude` (model, time, lon) and `<variable>_latitude` (model, time, lat); `model` begins with `truth`."""
        data: dict[str, xr.DataArray] = {}
        for name in self.matched.variables:
            attrs = {"units": variable(name).units, "standard_name": variable(name).standard_name,
                     "best_baseline": self.best_baseline(name)}
            data[f"{name}_longitude"] = xr.DataArray(self.longitude[name].astype(np.float32), dims=("model", "time", "lon"), attrs={
                **attrs, "long_name": f"{variable(name).long_name}, area-weighted mean {self.band}", "band": self.band})
            data[f"{name}_latitude"] = xr.DataArray(self.latitude[name].astype(np.float32), dims=("model", "time", "lat"), attrs={
                **attrs, "long_name": f"{variable(name).long_name}, mean over longitudes"})
        times = self.matched.times.astype("datetime64[ns]")
        return xr.Dataset(data, coords={"model": list(self.models), "time": times, **coordinates(self.matched.grid)})


def _mean(values: Array, weights: Array, axis: int) -> Array:
    """Weighted mean over the valid cells of an axis; NaN where none is valid."""
    known = np.isfinite(values)
    total = (weights * known).sum(axis=axis)
    summed = (weights * np.where(known, values, 0.0)).sum(axis=axis)
    mean: Array = np.divide(summed, total, out=np.full_like(summed, np.nan), where=total > 0)
    return mean
