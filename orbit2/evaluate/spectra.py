"""Power spectra of the truth, the model and the baselines: zonal by latitude band, radial by box. Never fills a missing cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.evaluate.scores import bands_of
from orbit2.grid import Grid
from orbit2.metrics import spectra
from orbit2.metrics.binning import band_name
from orbit2.metrics.collector import Collector, Settings, Training, add_all, flat
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Matched, Scored
from orbit2.metrics.statistics import MeanStatistic, SeriesStatistic, State
from orbit2.metrics.table import Table

Array = npt.NDArray[np.float64]
TRUTH = "truth"
LEAST_BINS = 10  # a spectrum of fewer is too coarse to say where it leaves the truth's: no effective resolution


class Spectra(Collector):
    """Sums of zonal spectra, and radial spectra by sample (their median is wanted), by (field, model, band or box)."""

    name, stage = "spectra", "evaluate"

    def __init__(self, matched: Matched, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.bands = bands_of(matched.grid, settings.evaluate.spectra_bands)
        self.boxes = {name: box for name, box in settings.evaluate.spectra_boxes.items()
                      if _holds(matched.spectra_grid, box) and _holds(matched.grid, box)}  # fmt: skip
        self.zonal: dict[tuple[str, ...], MeanStatistic] = {}
        self.radial: dict[tuple[str, ...], SeriesStatistic] = {}

    def update(self, scored: Scored) -> None:
        for f in self.fields:
            if f.variable == scored.variable:
                truth, models = scored.of(f)
                self._add(f, TRUTH, truth, self.matched.grid, scored.sample)
                for model, native in scored.native.items():
                    values = models[model] if self.matched.has_truth else f.of(native)
                    self._add(f, model, values, self.matched.spectra_grid, scored.sample)

    def _add(self, f: Field, model: str, values: Array, grid: Grid, sample: str) -> None:
        for band in self.bands:
            axis = spectra.zonal_axis(grid, *band)
            if axis is not None:
                power = spectra.zonal_spectrum(values, axis, grid.periodic)
                self.zonal.setdefault((f.label, model, band_name(*band)), MeanStatistic()).update(power)
        for name, box in self.boxes.items():
            rows, columns = grid.window(box)
            inside = values[np.ix_(*grid.cells(rows, columns))]
            if np.isfinite(inside).all():
                _, energy = spectra.radial_spectrum(inside, *spectra.box_spacing_km(grid.crop(rows, columns)))
                self.radial.setdefault((f.label, model, name), SeriesStatistic()).update(sample, energy)

    def state(self) -> State:
        return {**flat(self.zonal, "zonal"), **flat(self.radial, "radial")}

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        add_all(self.zonal, state, lambda _: MeanStatistic(), "zonal")
        add_all(self.radial, state, lambda _: SeriesStatistic(), "radial")

    def wavenumbers(self) -> dict[str, Array]:
        """k (cycles/km) of each box that has a spectrum, of the models' grid."""
        seen = {box for _, model, box in self.radial if model != TRUTH or self.matched.has_truth}
        return {box: _wavenumbers(self.matched.spectra_grid, self.boxes[box]) for box in self.boxes if box in seen}

    def rows(self, table: Table, protocol: str) -> None:
        if protocol != "standard" or not self.matched.has_truth:
            return
        for f in self.fields:
            for band in self.bands:
                axis, name = spectra.zonal_axis(self.matched.grid, *band), band_name(*band)
                truth = self.zonal.get((f.label, TRUTH, name))
                for model in self.matched.models(f.variable) if axis is not None and truth is not None else ():
                    found = self.zonal[f.label, model, name]
                    assert axis is not None and truth is not None
                    _pair(table, f, model, name, "zonal", axis.wavelength_km, found.finalise(), truth.finalise(), found.samples)
            for box, k in self.wavenumbers().items():
                series = self.radial.get((f.label, TRUTH, box))
                for model in self.matched.models(f.variable) if series is not None else ():
                    assert series is not None
                    mean = self.radial[f.label, model, box].finalise()
                    _pair(table, f, model, box, "radial", 1 / k, mean, series.finalise(), len(series.rows))

    def datasets(self) -> Mapping[str, xr.Dataset]:
        """`zonal_power` (model, field, band, wavenumber), `radial_power` and `radial_power_median` (model, field, box, k_bin) with
        `wavelength_km` (band, wavenumber) and `k` (box, k_bin); the model dimension begins with `truth` (the input where there is none)."""
        matched, found = self.matched, self.wavenumbers()
        models, labels = (TRUTH, *matched.all_models), [f.label for f in self.fields]
        bands = [band_name(*band) for band in self.bands]
        axes = [spectra.zonal_axis(matched.spectra_grid, *band) for band in self.bands]
        size = matched.spectra_grid.shape[1] // 2
        zonal = np.full((len(models), len(labels), len(bands), size), np.nan)
        wavelength = np.full((len(bands), size), np.nan)
        for b, axis in enumerate(axes):
            if axis is not None:
                wavelength[b] = axis.wavelength_km
        for (label, model, band), statistic in self.zonal.items():
            mean = statistic.finalise()
            zonal[models.index(model), labels.index(label), bands.index(band), : len(mean)] = mean
        boxes = list(found)
        length = max((len(k) for k in found.values()), default=0)
        radial = np.full((2, len(models), len(labels), len(boxes), length), np.nan)
        k = np.full((len(boxes), length), np.nan)
        for b, box in enumerate(boxes):
            k[b, : len(found[box])] = found[box]
        for (label, model, box), series in self.radial.items():
            if box not in found:
                continue
            position = (models.index(model), labels.index(label), boxes.index(box))
            mean, median = series.finalise(), series.median()
            size_k = min(length, len(mean))
            radial[(0, *position)][:size_k], radial[(1, *position)][:size_k] = mean[:size_k], median[:size_k]
        step = 360.0 / float(matched.spectra_grid.lon_edges[-1] - matched.spectra_grid.lon_edges[0])
        dims = ("model", "field", "box", "k_bin")
        made = xr.Dataset(
            {
                "zonal_power": (("model", "field", "band", "wavenumber"), zonal, _about(
                    "Zonal power per wavenumber, area mean over the band's rows, mean over samples", "field units squared")),
                "wavelength_km": (("band", "wavenumber"), wavelength, _about("Wavelength at the band's mean circumference", "km")),
                "radial_power": (dims, radial[0], _about("Radial power spectral density, mean over samples", "field units squared km")),
                "radial_power_median": (dims, radial[1], _about("Median over samples of the same", "field units squared km")),
                "k": (("box", "k_bin"), k, _about("Wavenumber (cycles per km)", "km-1")),
                "units": (("field",), [f.units for f in self.fields], {"long_name": "Units of the field"}),
            },
            coords={"model": list(models), "field": labels, "band": bands, "box": boxes,
                    "wavenumber": ("wavenumber", np.arange(1, size + 1) * step, _about("Cycles around the latitude circle", "1"))},
        )
        return {"spectra.nc": made}


def _pair(
    table: Table, f: Field, model: str, region: str, kind: str, wavelength: Array, mean: Array, truth: Array, n: int,
) -> None:  # fmt: skip
    if not n or not (np.isfinite(mean) & np.isfinite(truth)).any():
        return  # no complete row in the band: no spectrum
    if len(mean) >= LEAST_BINS:
        table.add(model, f.variable, f.space, region, "effective_resolution_km",
                  f"{kind} spectrum, mean over samples: longest wavelength at which P_p/P_o leaves [0.5, 2], else the shortest",
                  spectra.effective_resolution(wavelength, mean, truth), n=n)
    table.add(model, f.variable, f.space, region, "lsd_db", f"log-spectral distance of the {kind} spectrum, mean over samples",
              spectra.log_spectral_distance(mean, truth), n=n)


def _about(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}


def _wavenumbers(grid: Grid, box: tuple[float, float, float, float]) -> Array:
    crop = grid.crop(*grid.window(box))
    k, _ = spectra.radial_spectrum(np.zeros(crop.shape), *spectra.box_spacing_km(crop))
    return k


def _holds(grid: Grid, box: tuple[float, float, float, float]) -> bool:
    """Whether the whole box lies in the grid and has at least 8 x 8 cells."""
    return grid.holds(box) and min(grid.crop(*grid.window(box)).shape) >= 8
