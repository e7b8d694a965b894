"""Everything a task's scores need, gathered sample by sample. Never keeps a field."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from orbit2.baselines.interpolation import block_mean
from orbit2.config.schema import EvaluateConfig
from orbit2.errors import OrbitError
from orbit2.evaluate.distribution import Distribution
from orbit2.evaluate.seams import SeamScores
from orbit2.evaluate.structure import FineStructure
from orbit2.grid import Grid
from orbit2.metrics import spatial, spectra
from orbit2.metrics.binning import Bins, band_bins, band_name, domain_bins
from orbit2.metrics.fields import Field, fields_of
from orbit2.metrics.matched import Matched, Scored
from orbit2.metrics.statistics import HistogramStatistic, MapStatistic, PairStatistic, QuantileStatistic, SeriesStatistic
from orbit2.metrics.weighting import area_weights, weighted_mean
from orbit2.progress import counted
from orbit2.variables import is_precipitation, variable

Array = npt.NDArray[np.float64]
TRUTH = "truth"
DENSITY_BINS = 128


@dataclass
class ModelScores:
    """Statistics of one model for one field."""

    domain: PairStatistic
    bands: PairStatistic
    maps: MapStatistic
    density: HistogramStatistic
    ssim: SeriesStatistic = field(default_factory=SeriesStatistic)
    conservation: SeriesStatistic = field(default_factory=SeriesStatistic)  # rows of conservation_row


class Accumulator:
    """Streams a Matched once (after one pass over the truth for its range) and holds the statistics of every field and model."""

    def __init__(self, matched: Matched, settings: EvaluateConfig) -> None:
        self.matched, self.settings = matched, settings
        self.fields = fields_of(matched.variables)
        self.weights = area_weights(matched.grid)
        self.bands = list(dict.fromkeys(_inside(matched.grid, band) for band in settings.spectra_bands
                                        if spectra.zonal_axis(matched.grid, *band) is not None))  # fmt: skip
        bins = (domain_bins(matched.grid, matched.region), band_bins(matched.grid, self.bands if matched.whole else []))
        self.ranges = self._ranges()
        self.scores = {(f.label, model): self._empty(f, bins) for f in self.fields for model in matched.models(f.variable)}
        self.spectra = SpectrumScores(matched, self.bands, settings.spectra_boxes)
        self.seams, self.structure, self.distribution = SeamScores(matched), FineStructure(matched), Distribution(matched)

    def _ranges(self) -> dict[str, QuantileStatistic]:
        """Distribution of the truth over all samples, which fixes L and the density's bins."""
        ranges = {}
        for f in self.fields:
            low, high = f.of(np.array(variable(f.variable).valid))
            ranges[f.label] = QuantileStatistic(float(low), float(high))
        for index in self.matched.indices:
            for f in self.fields:
                ranges[f.label].update(f.of(self.matched.truth(int(index), f.variable)))
        for f in self.fields:
            if not np.isfinite(ranges[f.label].maximum):
                raise OrbitError("truth is missing everywhere", where=self.matched.store.path, got=f.variable)
        return ranges

    def data_range(self, f: Field) -> float:
        """L: 300 mm/day for precipitation (its logarithm in log1p space), else the 0.1 % to 99.9 % range of the truth."""
        if is_precipitation(f.variable):
            return float(f.of(np.array(spatial.PRECIPITATION_RANGE)))
        return self.ranges[f.label].quantile(0.999) - self.ranges[f.label].quantile(0.001)

    def _empty(self, f: Field, bins: tuple[Bins, Bins]) -> ModelScores:
        low, high = self.ranges[f.label].minimum, self.ranges[f.label].maximum
        margin = 0.02 * (high - low) or 1.0
        edges = np.linspace(low if low == 0 else low - margin, high + margin, DENSITY_BINS + 1)
        return ModelScores(PairStatistic(bins[0]), PairStatistic(bins[1]), MapStatistic(self.matched.grid.shape), HistogramStatistic(edges))

    def gather(self) -> None:
        """Stream every sample once."""
        total = len(self.matched.times) * len(self.matched.variables)
        for scored in counted(self.matched.samples(), "evaluate", total, "field"):
            self.distribution.update(scored)
            for f in self.fields:
                if f.variable == scored.variable:
                    self._update(f, scored)

    def _update(self, f: Field, scored: Scored) -> None:
        truth, sample = f.of(scored.truth), str(scored.time)
        periodic, span = self.matched.grid.periodic, self.data_range(f)
        for model, values in scored.models.items():
            field_values, scores = f.of(values), self.scores[f.label, model]
            scores.domain.update(sample, field_values, truth, self.weights)
            if scores.bands.bins.names:
                scores.bands.update(sample, field_values, truth, self.weights)
            scores.maps.update(field_values, truth)
            scores.density.update(field_values, truth)
            if self.matched.has_truth:
                scores.ssim.update(sample, spatial.ssim(field_values, truth, span, self.weights, periodic) if span > 0 else np.nan)
        if f.space == "physical":
            for model, row in self._conservation(scored):
                self.scores[f.label, model].conservation.update(sample, row)
        self.spectra.update(f, scored)
        self.seams.update(f, scored)
        self.structure.update(f, scored)

    def _conservation(self, scored: Scored) -> Iterator[tuple[str, Array]]:
        given = self.matched.input_field(scored.index, scored.variable)
        if given is None:
            return
        factor = self.matched.refinement
        weights = area_weights(self.matched.native_grid.coarsen(factor))
        for model, native in scored.native.items():
            yield model, conservation_row(block_mean(native, self.matched.native_grid.lat_weights, factor), given, weights)


def conservation_row(means: Array, given: Array, weights: Array) -> Array:
    """[mean |rho|, mean |x|, mean rho^2, 99 % |rho|, share of |rho| > max(1 % of x, 0.1), mean rho, cells] of rho = means - x, by area."""
    residual = np.abs(means - given)
    valid = np.isfinite(residual)
    if not valid.any():
        return np.full(7, np.nan)
    order = np.argsort(residual[valid])
    share = np.cumsum(weights[valid][order])
    p99 = residual[valid][order][np.searchsorted(share, 0.99 * share[-1])]
    beyond = np.where(valid, (residual > np.maximum(0.01 * np.abs(given), 0.1)).astype(np.float64), np.nan)
    means_of = (weighted_mean(x, weights) for x in (residual, np.where(valid, np.abs(given), np.nan), residual**2, beyond, means - given))
    absolute, size, square, fraction, shift = means_of
    return np.array([absolute, size, square, p99, fraction, shift, valid.sum()])


class SpectrumScores:
    """Mean spectra of the truth, the model and the baselines: zonal by band, radial by box."""

    def __init__(self, matched: Matched, bands: list[tuple[float, float]], boxes: dict[str, tuple[float, float, float, float]]) -> None:
        self.matched, self.bands = matched, bands
        self.boxes = {name: box for name, box in boxes.items() if _holds(matched.spectra_grid, box) and _holds(matched.grid, box)}
        self.zonal: dict[tuple[str, str, str], SeriesStatistic] = {}  # (label, model, band)
        self.radial: dict[tuple[str, str, str], SeriesStatistic] = {}  # (label, model, box)
        self.k: dict[str, Array] = {}  # cycles/km by box, of the native grid

    def update(self, f: Field, scored: Scored) -> None:
        self._add(f, TRUTH, scored.truth, self.matched.grid, str(scored.time))
        for model, native in scored.native.items():
            field_values = scored.models[model] if self.matched.has_truth else native
            self._add(f, model, field_values, self.matched.spectra_grid, str(scored.time))

    def _add(self, f: Field, model: str, values: Array, grid: Grid, sample: str) -> None:
        values = f.of(values)
        for band in self.bands:
            axis = spectra.zonal_axis(grid, *band)
            if axis is not None:
                power = spectra.zonal_spectrum(values, axis, grid.periodic)
                self.zonal.setdefault((f.label, model, band_name(*band)), SeriesStatistic()).update(sample, power)
        for name, box in self.boxes.items():
            rows, columns = grid.window(box)
            inside = values[np.ix_(*grid.cells(rows, columns))]
            if np.isfinite(inside).all():
                k, energy = spectra.radial_spectrum(inside, *spectra.box_spacing_km(grid.crop(rows, columns)))
                if model != TRUTH or self.matched.has_truth:
                    self.k[name] = k
                self.radial.setdefault((f.label, model, name), SeriesStatistic()).update(sample, energy)


def _inside(grid: Grid, band: tuple[float, float]) -> tuple[float, float]:
    """The part of a latitude band that the grid covers: a band is named by what was scored of it."""
    return max(band[0], float(grid.lat_edges[0])), min(band[1], float(grid.lat_edges[-1]))


def _holds(grid: Grid, box: tuple[float, float, float, float]) -> bool:
    """Whether the whole box lies in the grid and has at least 8 x 8 cells."""
    return grid.holds(box) and min(grid.crop(*grid.window(box)).shape) >= 8
