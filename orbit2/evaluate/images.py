"""Maps of errors, joint densities and SSIM. Never holds a number that a report prints: those are in the table."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.evaluate.ranges import data_range, density_edges
from orbit2.evaluate.turns import Turns
from orbit2.metrics import sampled, spatial
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.netcdf import coordinates
from orbit2.metrics.statistics import HistogramStatistic, MapStatistic, SeriesStatistic
from orbit2.metrics.table import Table
from orbit2.metrics.weighting import area_weights
from orbit2.variables import variable

Array = npt.NDArray[np.float64]
MOST_CELLS = 1 << 18  # of a map


class Paired(Keeping):
    """One statistic per field and model, of the truth and the model's field alone."""

    statistics: dict[tuple[str, ...], MapStatistic] | dict[tuple[str, ...], HistogramStatistic]

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if f in self.fields:
            self.statistics[f.label, model].update(prediction, truth)


class Maps(Paired):
    """Bias and RMSE over the samples, by cell; on larger grids by blocks of k x k cells, so that a map has at most 262,144."""

    name, stage = "maps", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.block = block_of(matched.grid.shape)
        self.statistics: dict[tuple[str, ...], MapStatistic] = {
            (f.label, model): MapStatistic(matched.grid.shape, self.block)
            for f in self.fields for model in matched.models(f.variable)}  # fmt: skip

    def datasets(self) -> Mapping[str, xr.Dataset]:
        """`<field>_bias`, `<field>_rmse` (model, lat, lon): mean error and RMSE over samples; NaN for a model not scored."""
        matched, grid = self.matched, self.matched.grid.blocks(self.block, self.block)
        data: dict[str, xr.DataArray] = {}
        about = {} if self.block == 1 else {"comment": f"pooled over blocks of {self.block} x {self.block} cells"}
        for f in self.fields:
            stack = np.full((2, len(matched.all_models), *grid.shape), np.nan, dtype=np.float32)
            for m, model in enumerate(matched.all_models):
                if (f.label, model) in self.statistics:
                    stack[0, m], stack[1, m] = self.statistics[f.label, model].finalise()
            for name, values in zip(("bias", "rmse"), stack, strict=True):
                data[f"{f.label}_{name}"] = xr.DataArray(values, dims=("model", *grid.dims), attrs={
                    "units": f.units, "long_name": f"{'Mean error' if name == 'bias' else 'RMSE'} of {variable(f.variable).long_name}",
                    "space": f.space, "reference": matched.reference, **about})
        return {"maps.nc": xr.Dataset(data, coords={"model": list(matched.all_models), **coordinates(grid)})}


def block_of(shape: tuple[int, int]) -> int:
    """The least k whose k x k blocks are at most MOST_CELLS."""
    k = 1
    while -(-shape[0] // k) * -(-shape[1] // k) > MOST_CELLS:
        k += 1
    return k


class Density(Paired):
    """Truth against prediction, counted in common bins; precipitation in ln(1 + mm/day) only."""

    name, stage = "density", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        logs = {f.variable for f in self.fields if f.space == "log1p"}
        self.fields = [f for f in self.fields if f.space == "log1p" or f.variable not in logs]
        self.statistics: dict[tuple[str, ...], HistogramStatistic] = {
            (f.label, model): HistogramStatistic(density_edges(f, training))
            for f in self.fields for model in matched.models(f.variable)}  # fmt: skip

    def datasets(self) -> Mapping[str, xr.Dataset]:
        """`<field>_count` and `<field>_log10_density` (model, truth_bin, prediction_bin), `<field>_edges` (edge): truth against prediction.

        Values beyond the training block's range (plus 2 %) count in the outermost bins.
        """
        matched = self.matched
        data: dict[str, xr.DataArray] = {}
        dims = ("model", "truth_bin", "prediction_bin")
        for f in self.fields:
            edges = self.statistics[f.label, matched.model].edges
            counts = np.zeros((len(matched.all_models), len(edges) - 1, len(edges) - 1), dtype=np.int64)
            for m, model in enumerate(matched.all_models):
                if (f.label, model) in self.statistics:
                    counts[m] = self.statistics[f.label, model].finalise()
            area = np.outer(np.diff(edges), np.diff(edges))
            total = counts.sum((1, 2), keepdims=True)
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = np.where(counts > 0, np.log10(counts / total / area), np.nan).astype(np.float32)
            data[f"{f.label}_count"] = xr.DataArray(counts, dims=dims, attrs={"long_name": "Number of cells", "units": "1"})
            data[f"{f.label}_log10_density"] = xr.DataArray(logs, dims=dims, attrs={"long_name": "log10 of the joint probability density",
                                                                                    "units": "1"})
            data[f"{f.label}_edges"] = xr.DataArray(edges, dims="edge", attrs={"units": f.units, "space": f.space,
                                                                               "long_name": variable(f.variable).long_name})
        return {"density.nc": xr.Dataset(data, coords={"model": list(matched.all_models)})}


class Similarity(Keeping):
    """SSIM of every sample whose turn it is."""

    name, stage = "ssim", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.weights, self.turns = area_weights(matched.grid), Turns.of(matched, settings)
        self.statistics: dict[tuple[str, ...], SeriesStatistic] = {
            (f.label, model): SeriesStatistic()
            for f in self.fields for model in matched.models(f.variable)}  # fmt: skip

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if self.matched.has_truth and self.turns.has(scored):
            span = data_range(f, self.training)
            found = spatial.ssim(prediction, truth, span, self.weights, self.matched.grid.periodic) if span > 0 else np.nan
            self.statistics[f.label, model].update(scored.sample, np.array([found, np.isfinite(prediction).sum()]))

    def rows(self, table: Table, protocol: str) -> None:
        if protocol != "standard":
            return
        for f in self.fields:
            for model in self.matched.models(f.variable):
                if self.statistics[f.label, model].rows:
                    self._row(table, f, model)

    def _row(self, table: Table, f: Field, model: str) -> None:
        statistic = self.statistics[f.label, model]
        value, series = statistic.finalise()[0], statistic.stacked()
        if np.isfinite(value):
            method = spatial.SSIM_METHOD.format(data_range(f, self.training)) + self.turns.method
            found = sampled.of_means(sorted(statistic.rows), series[:, 0], self.settings.evaluate.bootstrap)
            table.add(model, f.variable, f.space, self.matched.region, "ssim", method, value, n=int(series[:, 1].sum()),
                      ci=sampled.ends(found))  # fmt: skip
