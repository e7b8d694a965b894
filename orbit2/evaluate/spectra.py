"""Power spectra of the truth, the model and the baselines: zonal by latitude band, radial by box. Never fills a missing cell."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.evaluate.scores import bands_of
from orbit2.evaluate.turns import Turns
from orbit2.grid import AnyGrid, Grid
from orbit2.metrics import coherence, curves, resolution, spectra
from orbit2.metrics.binning import band_name
from orbit2.metrics.collector import Collector, Settings, Training, add_all, flat
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Scored
from orbit2.metrics.statistics import MeanStatistic, SeriesStatistic, State
from orbit2.metrics.table import Table

Array = npt.NDArray[np.float64]
TRUTH, MEMBER = "truth", "one member"
ZONAL, RADIAL = "zonal", "radial"
LEAST = 8  # cells of a box, along either side
Box = tuple[float, float, float, float]  # south, north, west, east
Waves = tuple[spectra.ZonalAxis | coherence.Rings, npt.NDArray[np.complex128]]


class Spectra(Collector):
    """Sums of zonal spectra, and radial spectra by sample (their median is wanted), by (field, model, band or box); beside them the sums
    that coherence with the truth comes from. A field is transformed once."""

    name, stage = "spectra", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        self.turns, self.members = Turns.of(matched, settings), bool(matched.members) and matched.has_truth
        parallels = isinstance(matched.grid, Grid)  # a row that is none has no zonal spectrum
        self.bands = bands_of(matched.grid, settings.evaluate.spectra_bands) if parallels else []
        self.boxes: dict[str, Box | None] = {name: box for name, box in settings.evaluate.spectra_boxes.items()
                                             if _holds(matched.spectra_grid, box) and _holds(matched.grid, box)}  # fmt: skip
        if not parallels and min(matched.grid.shape) >= LEAST:
            self.boxes[matched.region] = None  # all of it: its cells are nearly of one size
        self.zonal: dict[tuple[str, ...], MeanStatistic] = {}
        self.radial: dict[tuple[str, ...], SeriesStatistic] = {}
        self.each: dict[tuple[str, ...], SeriesStatistic] = {}  # zonal power by sample, in curves.Groups: intervals want it
        self.cross: dict[tuple[str, ...], MeanStatistic] = {}  # [4, K] of coherence.zonal_cross or Rings.cross
        self._grouped: dict[str, curves.Groups] = {}
        self._truth: dict[tuple[str, str], Waves] = {}  # of the field that `begin` was told of

    def begin(self, scored: Scored, f: Field, truth: Array) -> None:
        if self.turns.has(scored):
            self._truth = self._waves(truth, self.matched.grid)
            self._add(f, TRUTH, self._truth, scored.sample)

    def pair(self, scored: Scored, f: Field, model: str, prediction: Array, truth: Array) -> None:
        if not self.turns.has(scored):
            return
        if self.members and model == self.matched.model:  # a mean of members is smoother than what it is the mean of
            first = np.asarray(scored.members(self.matched)[0], dtype=np.float64)
            self._add(f, MEMBER, self._waves(f.of(first), self.matched.grid), scored.sample)
        own = self._waves(prediction if self.matched.has_truth else f.of(scored.native[model]), self.matched.spectra_grid)
        self._add(f, model, own, scored.sample)
        for place in own if self.matched.has_truth else ():
            if place in self._truth:
                self.cross.setdefault((f.label, model, *place), MeanStatistic()).update(_cross(own[place], self._truth[place]))

    def _waves(self, values: Array, grid: AnyGrid) -> dict[tuple[str, str], Waves]:
        """By band and box: the axis or rings, and the waves; a box with a missing cell has none."""
        found: dict[tuple[str, str], Waves] = {}
        for band in self.bands:
            axis = spectra.zonal_axis(grid, *band)
            if axis is not None:
                found[ZONAL, band_name(*band)] = axis, coherence.zonal_waves(values, axis, grid.periodic)
        for name, box in self.boxes.items():
            inside = values[np.ix_(*grid.cells(*_window(grid, box)))]
            if np.isfinite(inside).all():
                rings = _rings_of(grid, box)
                found[RADIAL, name] = rings, rings.waves(inside)
        return found

    def _add(self, f: Field, model: str, waves: dict[tuple[str, str], Waves], sample: str) -> None:
        for (_, place), (kind, found) in waves.items():
            if isinstance(kind, coherence.Rings):
                energy = 2 * np.pi * kind.k * kind.mean(np.abs(found) ** 2)
                self.radial.setdefault((f.label, model, place), SeriesStatistic()).update(sample, energy)
            else:
                known = np.isfinite(found[:, 0])
                power = np.full(found.shape[1], np.nan)
                if known.any():
                    power = np.average(np.abs(found[known]) ** 2, axis=0, weights=kind.row_weights[known])
                self.zonal.setdefault((f.label, model, place), MeanStatistic()).update(power)
                if self.matched.has_truth:
                    self.each.setdefault((f.label, model, place), SeriesStatistic()).update(sample, self._groups(place, kind).sums(power))

    def _groups(self, band: str, axis: spectra.ZonalAxis) -> curves.Groups:
        if band not in self._grouped:
            self._grouped[band] = curves.Groups.of(axis.wavelength_km)
        return self._grouped[band]

    def state(self) -> State:
        return {**flat(self.zonal, "zonal"), **flat(self.radial, "radial"), **flat(self.each, "each"), **flat(self.cross, "cross")}

    def merge(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        add_all(self.zonal, state, lambda _: MeanStatistic(), "zonal")
        add_all(self.radial, state, lambda _: SeriesStatistic(), "radial")
        add_all(self.each, state, lambda _: SeriesStatistic(), "each")
        add_all(self.cross, state, lambda _: MeanStatistic(), "cross")

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
                    means = found.finalise(), truth.finalise(), self._sums(f.label, model, ZONAL, name)
                    own, beside = (self.each.get((f.label, one, name)) for one in (model, TRUTH))
                    ends = curves.intervals(own, beside, self._groups(name, axis), self.settings.evaluate.bootstrap)
                    _pair(table, f, model, name, ZONAL, axis.wavelength_km, *means, found.samples, self.turns.method, ends)
            for box, k in self.wavenumbers().items():
                series = self.radial.get((f.label, TRUTH, box))
                for model in self.matched.models(f.variable) if series is not None else ():
                    assert series is not None
                    own, groups = self.radial[f.label, model, box], curves.Groups.of(1 / k)
                    means = own.finalise(), series.finalise(), self._sums(f.label, model, RADIAL, box)
                    ends = curves.intervals(own, series, groups, self.settings.evaluate.bootstrap, whole=True)
                    _pair(table, f, model, box, RADIAL, 1 / k, *means, len(series.rows), self.turns.method, ends)

    def _sums(self, *key: str) -> Array | None:
        """What coherence comes from; None where the two never had a complete row or box together."""
        return self.cross[key].finalise() if key in self.cross else None

    def datasets(self) -> Mapping[str, xr.Dataset]:
        """`zonal_power`, `zonal_coherence` (model, field, band, wavenumber), `radial_power`, `radial_power_median`, `radial_coherence`
        (model, field, box, k_bin),
        `wavelength_km` (band, wavenumber) and `k` (box, k_bin); the model dimension begins with `truth` (the input where there is none)
        and ends with `one member` of an ensemble, whose own name stands for the mean of its members."""
        matched, found = self.matched, self.wavenumbers()
        models = (TRUTH, *matched.all_models, *([MEMBER] if self.members else []))
        labels = [f.label for f in self.fields]
        bands = [band_name(*band) for band in self.bands]
        axes = [spectra.zonal_axis(matched.spectra_grid, *band) for band in self.bands]
        size = matched.spectra_grid.shape[1] // 2 if self.bands else 0
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
        together = np.full_like(zonal, np.nan), np.full_like(radial[0], np.nan)
        for (label, model, kind, place), statistic in self.cross.items():
            values, which = coherence.coherence(statistic.finalise()), bands if kind == ZONAL else boxes
            if place in which:
                together[kind == RADIAL][models.index(model), labels.index(label), which.index(place), : len(values)] = values
        whole = matched.spectra_grid
        step = 360.0 / float(whole.lon_edges[-1] - whole.lon_edges[0]) if isinstance(whole, Grid) else np.nan
        dims = ("model", "field", "box", "k_bin")
        made = xr.Dataset(
            {
                "zonal_power": (("model", "field", "band", "wavenumber"), zonal, _about(
                    "Zonal power per wavenumber, area mean over the band's rows, mean over samples", "field units squared")),
                "wavelength_km": (("band", "wavenumber"), wavelength, _about("Wavelength at the band's mean circumference", "km")),
                "radial_power": (dims, radial[0], _about("Radial power spectral density, mean over samples", "field units squared km")),
                "radial_power_median": (dims, radial[1], _about("Median over samples of the same", "field units squared km")),
                "zonal_coherence": (("model", "field", "band", "wavenumber"), together[0], _about(
                    "Squared coherence with the truth, over rows and samples", "1")),
                "radial_coherence": (dims, together[1], _about("Squared coherence with the truth, over the ring and samples", "1")),
                "k": (("box", "k_bin"), k, _about("Wavenumber (cycles per km)", "km-1")),
                "units": (("field",), [f.units for f in self.fields], {"long_name": "Units of the field"}),
            },
            coords={"model": list(models), "field": labels, "band": bands, "box": boxes,
                    "wavenumber": ("wavenumber", np.arange(1, size + 1) * step, _about("Cycles around the latitude circle", "1"))},
        )
        return {"spectra.nc": made}


def _pair(
    table: Table, f: Field, model: str, region: str, kind: str, wavelength: Array, mean: Array, truth: Array, sums: Array | None, n: int,
    turns: str, ends: Mapping[str, tuple[float, float]],
) -> None:  # fmt: skip
    if not n or not (np.isfinite(mean) & np.isfinite(truth)).any():
        return  # no complete row in the band: no spectrum
    about = f"{kind} spectrum, mean over samples{turns}"
    entries = [("effective_resolution_km", f"{about}: {resolution.METHOD}", resolution.effective_resolution(wavelength, mean, truth)),
               ("lsd_db", f"log-spectral distance of the {about}", spectra.log_spectral_distance(mean, truth))]
    if sums is not None:
        entries.append(("coherent_resolution_km", f"{about}: {resolution.COHERENCE_METHOD}", resolution.coherent_down_to(wavelength, sums)))
    for name, method, value in entries:
        if name == "lsd_db" or np.isfinite(value):  # the others are not resolvable in a small box or band: no row
            table.add(model, f.variable, f.space, region, name, method, value, n=n, ci=curves.ends(ends, name, value))


def _cross(own: Waves, truth: Waves) -> Array:
    kind = own[0]
    if isinstance(kind, coherence.Rings):
        return kind.cross(own[1], truth[1])
    return coherence.zonal_cross(own[1], truth[1], kind.row_weights)


@lru_cache(maxsize=64)
def _rings(shape: tuple[int, int], dx_km: float, dy_km: float) -> coherence.Rings:
    return coherence.Rings.of(shape, dx_km, dy_km)


def _about(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}


def _wavenumbers(grid: AnyGrid, box: Box | None) -> Array:
    return _rings_of(grid, box).k


@lru_cache(maxsize=64)
def _rings_of(grid: AnyGrid, box: Box | None) -> coherence.Rings:
    crop = grid.crop(*_window(grid, box))
    return _rings(crop.shape, *spectra.box_spacing_km(crop))


def _window(grid: AnyGrid, box: Box | None) -> tuple[slice, slice]:
    return (slice(0, grid.shape[0]), slice(0, grid.shape[1])) if box is None else grid.window(box)


def _holds(grid: AnyGrid, box: Box) -> bool:
    """Whether the whole box lies in the grid and has at least 8 x 8 cells."""
    return grid.holds(box) and min(grid.crop(*grid.window(box)).shape) >= LEAST
