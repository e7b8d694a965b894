"""Scores by region, for the model and every baseline. Never scores a region that has no cell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import times
from orbit2.diagnose import differences
from orbit2.diagnose.regions import ATTRIBUTION, LAND_FRACTION, IntArray, ar6, scored_bins
from orbit2.diagnose.shares import Shares, ar6_shares, edge_method
from orbit2.metrics import deterministic
from orbit2.metrics.binning import Bins
from orbit2.metrics.collector import Collector, Settings, Training, flat, merge_into
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.netcdf import coordinates
from orbit2.metrics.statistics import Moments, PairStatistic, State
from orbit2.metrics.table import ANY, Table
from orbit2.metrics.weighting import area_weights
from orbit2.variables import variable

Array = npt.NDArray[np.float64]
METRICS = ("rmse", "mae", "bias", "pearson_r")
SKILL = "rmse_skill_vs_best_baseline"


@dataclass(frozen=True)
class Best:
    """Per region: RMSE skill of the model against the baseline with the lowest RMSE there, and which one that is."""

    skill: Array
    name: list[str]


class RegionSkill(Collector):
    """Gathers Moments per region, field and model, by day, and which cells were scored at all."""

    name, stage = "regions", "diagnose"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.regions = ar6()
        self.land = matched.land_fraction >= LAND_FRACTION
        shares = ar6_shares(matched.grid).scored(self.land, self.regions.kinds)  # not kept: while days are streamed nobody asks for them
        self.bins: Bins = shares.bins(self.regions.abbreviations)
        self.cut, self.weights = shares.cut(), area_weights(matched.grid)
        self.paired = {"regions": self.bins}
        self.statistics: dict[tuple[str, ...], PairStatistic] = {
            (f.label, model): PairStatistic(self.bins) for f in self.fields for model in matched.models(f.variable)}  # fmt: skip
        self.seen = {name: np.zeros(matched.grid.shape, dtype=np.bool_) for name in matched.variables}  # cells scored at least once

    @cached_property
    def shares(self) -> Shares:
        """Of each cell in the regions that it counts for."""
        return ar6_shares(self.matched.grid).scored(self.land, self.regions.kinds)

    @cached_property
    def ids(self) -> IntArray:
        """Region of each cell's centre [H, W]: for maps, which are made once all parts are summed."""
        return self.regions.on(self.matched.grid)

    @cached_property
    def _on_map(self) -> npt.NDArray[np.integer[Any]]:
        return scored_bins(self.regions, self.ids, self.land).index

    def update(self, scored: Scored) -> None:
        self.seen[scored.variable] |= np.isfinite(scored.truth)  # missing where anything that is compared is

    def put(self, scored: Scored, f: Field, model: str, which: str, row: Moments) -> None:
        self.statistics[f.label, model].put(times.day(scored.sample), row)

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if len(self.cut.cell):
            self.statistics[f.label, model].put(times.day(scored.sample), self.cut.moments(prediction, truth, self.weights))

    def state(self) -> State:
        return {**flat(self.statistics, "moments"), **{f"seen/{name}": np.packbits(seen) for name, seen in self.seen.items()}}

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        merge_into(self.statistics, state, "moments")
        for name, seen in self.seen.items():
            seen |= np.unpackbits(state[f"seen/{name}"], count=seen.size).astype(np.bool_).reshape(seen.shape)

    def _seen(self, name: str | None) -> npt.NDArray[np.bool_]:
        """Cells [H, W] scored at least once for variable `name` (None: for any of them)."""
        return np.logical_or.reduce(list(self.seen.values())) if name is None else self.seen[name]

    def scored(self, name: str | None = None) -> npt.NDArray[np.int64]:
        """For maps: the region of each such cell's centre, -1 elsewhere."""
        return np.where(self._seen(name), self._on_map, -1)

    def cells(self, name: str | None = None) -> npt.NDArray[np.int64]:
        """Number of scored cells by region, [R]; one on an edge counts in each region that it lies in."""
        return self.shares.cells(self._seen(name))

    def moments(self, f: Field, model: str) -> Moments:
        return self.statistics[f.label, model].finalise()

    def best(self, f: Field) -> Best | None:
        """Skill 1 - RMSE/RMSE_best per region; None without baselines or without a truth."""
        model, baselines = self.matched.model, self.matched.baselines(f.variable)
        if not baselines or not self.matched.has_truth:
            return None
        table = np.stack([deterministic.rmse(self.moments(f, name)) for name in baselines])
        filled = np.where(np.isfinite(table), table, np.inf)
        lowest = filled.min(axis=0)
        usable = np.isfinite(lowest) & (lowest > 0)
        skill = np.where(usable, 1 - deterministic.rmse(self.moments(f, model)) / np.where(usable, lowest, 1.0), np.nan)
        return Best(skill, [baselines[i] for i in filled.argmin(axis=0)])

    def rows(self, table: Table, protocol: str) -> None:
        """Scores, then cells and areas, of every region with a scored cell; nothing of the others."""
        if protocol != "standard":
            return
        for f in self.fields:
            self._score_rows(table, f)
        if self.matched.has_truth:
            differences.rows(table, self)
        for name in (None, *self.matched.variables):
            self._area_rows(table, name)

    def _area_rows(self, table: Table, name: str | None) -> None:
        """What was scored of each region, for one variable or (None) for any of them."""
        area, cells, edge = self.matched.grid.area_km2, self.cells(name), edge_method(self.matched.grid)
        scored, covered = self.shares.total(np.where(self._seen(name), area, 0.0)), self.covered(area)
        for r in np.flatnonzero(cells):
            region = self.regions.abbreviations[r]
            kind = {"Land": "land cells", "Ocean": "sea cells"}.get(self.regions.kinds[r], "all cells")
            entries = [("n_cells", f"{kind} of the region scored in at least one sample", float(cells[r])),
                       ("scored_area_km2", f"area of the {kind} scored in at least one sample{edge}", float(scored[r]))]
            if name is None:
                entries.append(("covered_area_fraction", "area of the task's cells in the polygon over the polygon's area, land and sea",
                                float(covered[r])))
            for metric, method, value in entries:
                table.add(ANY, name or ANY, "physical", region, metric, method, value, n=int(cells[r]))

    def covered(self, area: Array) -> Array:
        """Share [R] of each polygon that the grid covers."""
        return ar6_shares(self.matched.grid).total(area) / self.regions.area_km2

    def _score_rows(self, table: Table, f: Field) -> None:
        best = self.best(f)
        for model in self.matched.models(f.variable):
            pooled = self.moments(f, model)
            for metric in deterministic.METRICS:
                if metric.name not in METRICS or (not self.matched.has_truth and metric.name == "pearson_r"):
                    continue
                values = metric.of(pooled)
                name = metric.name if self.matched.has_truth else f"conservation_{metric.name}"
                for r in np.flatnonzero((pooled.n > 0) & np.isfinite(values)):  # a constant field has no correlation
                    table.add(model, f.variable, f.space, self.bins.names[r], name, metric.method, values[r], n=int(pooled.n[r]))
            if best is not None and model == self.matched.model:
                for r in np.flatnonzero((pooled.n > 0) & np.isfinite(best.skill)):  # undefined where a baseline is perfect
                    method = f"1 - rmse/rmse of the region's best baseline ({best.name[r]})"
                    table.add(model, f.variable, f.space, self.bins.names[r], SKILL, method, best.skill[r], n=int(pooled.n[r]))

    def datasets(self) -> Mapping[str, xr.Dataset]:
        return {"regions.nc": self._dataset()}

    def _dataset(self) -> xr.Dataset:
        """`region_id`, `scored_region_id` (lat, lon), `<field>_rmse`, `<field>_bias` (model, region), `<field>_skill` (lat, lon),
        `<field>_region_skill`, `<field>_best_baseline`, `n_cells`, `covered_area_fraction` (region)."""
        matched, area = self.matched, self.matched.grid.area_km2
        covered = self.covered(area)
        flags, cells = {"_FillValue": -1}, self.cells()
        data: dict[str, xr.DataArray] = {
            "region_id": xr.DataArray(self.ids.astype(np.int16), dims=matched.grid.dims, attrs={
                "long_name": "AR6 region of the cell centre, position along `region` (-1: none)", "attribution": ATTRIBUTION, **flags}),
            "scored_region_id": xr.DataArray(self.scored().astype(np.int16), dims=matched.grid.dims, attrs={
                "long_name": "The same, only where the region's land or sea cells were scored at least once", **flags}),
            "region_name": xr.DataArray(list(self.regions.names), dims="region"),
            "region_kind": xr.DataArray(list(self.regions.kinds), dims="region"),
            "n_cells": xr.DataArray(cells, dims="region", attrs={"long_name": "Cells scored at least once"}),
            "covered_area_fraction": xr.DataArray(covered, dims="region", attrs={"long_name": "Share of the polygon in the task's grid"}),
        }
        for name in ("region_id", "scored_region_id"):
            data[name].encoding["_FillValue"] = data[name].attrs.pop("_FillValue")
        for f in self.fields:
            for metric, function in (("rmse", deterministic.rmse), ("bias", deterministic.bias)):
                stack = np.full((len(matched.all_models), len(self.regions.names)), np.nan)
                for m, model in enumerate(matched.all_models):
                    if (f.label, model) in self.statistics:
                        stack[m] = function(self.moments(f, model))
                data[f"{f.label}_{metric}"] = xr.DataArray(stack, dims=("model", "region"), attrs={
                    "units": f.units, "long_name": f"{metric} of {variable(f.variable).long_name}", "space": f.space,
                    "reference": matched.reference})
            best = self.best(f)
            if best is not None:
                attrs = {"long_name": "1 - RMSE/RMSE of the region's best baseline", "units": "1"}
                where, here = self.scored(f.variable), self.cells(f.variable)
                on_map = np.where(where >= 0, best.skill[np.maximum(where, 0)], np.nan).astype(np.float32)
                data[f"{f.label}_skill"] = xr.DataArray(on_map, dims=matched.grid.dims, attrs=attrs)
                data[f"{f.label}_region_skill"] = xr.DataArray(best.skill, dims="region", attrs=attrs)
                names = [name if here[r] else "" for r, name in enumerate(best.name)]
                data[f"{f.label}_best_baseline"] = xr.DataArray(names, dims="region")
        return xr.Dataset(data, coords={"model": list(matched.all_models), "region": list(self.regions.abbreviations),
                                        **coordinates(matched.grid)})
