"""Maps, spectra and densities as CF NetCDF files. Never holds a number that a report prints: those are in the table."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.evaluate.accumulate import TRUTH, Accumulator
from orbit2.metrics import spectra
from orbit2.metrics.binning import band_name
from orbit2.metrics.netcdf import coordinates
from orbit2.variables import variable

Array = npt.NDArray[np.float64]


def maps(accumulator: Accumulator) -> xr.Dataset:
    """`<field>_bias`, `<field>_rmse` (model, lat, lon): mean error and RMSE over the samples per cell; NaN for a model not scored."""
    matched = accumulator.matched
    data: dict[str, xr.DataArray] = {}
    for f in accumulator.fields:
        stack = np.full((2, len(matched.all_models), *matched.grid.shape), np.nan, dtype=np.float32)
        for m, model in enumerate(matched.all_models):
            if (f.label, model) in accumulator.scores:
                stack[0, m], stack[1, m] = accumulator.scores[f.label, model].maps.finalise()
        for name, values in zip(("bias", "rmse"), stack, strict=True):
            data[f"{f.label}_{name}"] = xr.DataArray(values, dims=("model", "lat", "lon"), attrs={
                "units": f.units, "long_name": f"{'Mean error' if name == 'bias' else 'RMSE'} of {variable(f.variable).long_name}",
                "space": f.space, "reference": matched.reference})
    return xr.Dataset(data, coords={"model": list(matched.all_models), **coordinates(matched.grid)})


def spectra_dataset(accumulator: Accumulator) -> xr.Dataset:
    """`zonal_power` (model, field, band, wavenumber), `radial_power` and `radial_power_median` (model, field, box, k_bin) with
    `wavelength_km` (band, wavenumber) and `k` (box, k_bin); the model dimension begins with `truth` (the input where there is none)."""
    matched, store = accumulator.matched, accumulator.spectra
    models, labels = (TRUTH, *matched.all_models), [f.label for f in accumulator.fields]
    bands = [band_name(*band) for band in accumulator.bands]
    axes = [spectra.zonal_axis(matched.spectra_grid, *band) for band in accumulator.bands]
    size = matched.spectra_grid.shape[1] // 2
    zonal = np.full((len(models), len(labels), len(bands), size), np.nan)
    wavelength = np.full((len(bands), size), np.nan)
    for b, axis in enumerate(axes):
        if axis is not None:
            wavelength[b] = axis.wavelength_km
    for (label, model, band), statistic in store.zonal.items():
        mean = statistic.finalise()
        zonal[models.index(model), labels.index(label), bands.index(band), : len(mean)] = mean
    boxes = list(store.k)
    length = max((len(k) for k in store.k.values()), default=0)
    radial = np.full((2, len(models), len(labels), len(boxes), length), np.nan)
    k = np.full((len(boxes), length), np.nan)
    for b, box in enumerate(boxes):
        k[b, : len(store.k[box])] = store.k[box]
    for (label, model, box), statistic in store.radial.items():
        position = (models.index(model), labels.index(label), boxes.index(box))
        mean, median = statistic.finalise(), statistic.median()
        size_k = min(length, len(mean))
        radial[(0, *position)][:size_k], radial[(1, *position)][:size_k] = mean[:size_k], median[:size_k]
    step = 360.0 / float(matched.spectra_grid.lon_edges[-1] - matched.spectra_grid.lon_edges[0])
    dims = ("model", "field", "box", "k_bin")
    return xr.Dataset(
        {
            "zonal_power": (("model", "field", "band", "wavenumber"), zonal, _about(
                "Zonal power per wavenumber, area mean over the band's rows, mean over samples", "field units squared")),
            "wavelength_km": (("band", "wavenumber"), wavelength, _about("Wavelength at the band's mean circumference", "km")),
            "radial_power": (dims, radial[0], _about("Radial power spectral density, mean over samples", "field units squared km")),
            "radial_power_median": (dims, radial[1], _about("Median over samples of the same", "field units squared km")),
            "k": (("box", "k_bin"), k, _about("Wavenumber (cycles per km)", "km-1")),
            "units": (("field",), [f.units for f in accumulator.fields], {"long_name": "Units of the field"}),
        },
        coords={"model": list(models), "field": labels, "band": bands, "box": boxes,
                "wavenumber": ("wavenumber", np.arange(1, size + 1) * step, _about("Cycles around the latitude circle", "1"))},
    )


def _about(long_name: str, units: str) -> dict[str, str]:
    return {"long_name": long_name, "units": units}


def density(accumulator: Accumulator) -> xr.Dataset:
    """`<field>_count` and `<field>_log10_density` (model, truth_bin, prediction_bin), `<field>_edges` (edge): truth against prediction.

    Precipitation in ln(1 + mm/day) only. Values beyond the truth's range (plus 2 %) count in the outermost bins.
    """
    matched = accumulator.matched
    data: dict[str, xr.DataArray] = {}
    dims = ("model", "truth_bin", "prediction_bin")
    for f in accumulator.fields:
        if f.space == "physical" and any(g.variable == f.variable and g.space == "log1p" for g in accumulator.fields):
            continue
        edges = accumulator.scores[f.label, matched.model].density.edges
        counts = np.zeros((len(matched.all_models), len(edges) - 1, len(edges) - 1), dtype=np.int64)
        for m, model in enumerate(matched.all_models):
            if (f.label, model) in accumulator.scores:
                counts[m] = accumulator.scores[f.label, model].density.finalise()
        area = np.outer(np.diff(edges), np.diff(edges))
        total = counts.sum((1, 2), keepdims=True)
        with np.errstate(divide="ignore", invalid="ignore"):
            logs = np.where(counts > 0, np.log10(counts / total / area), np.nan).astype(np.float32)
        data[f"{f.label}_count"] = xr.DataArray(counts, dims=dims, attrs={"long_name": "Number of cells", "units": "1"})
        data[f"{f.label}_log10_density"] = xr.DataArray(logs, dims=dims, attrs={"long_name": "log10 of the joint probability density",
                                                                                "units": "1"})
        data[f"{f.label}_edges"] = xr.DataArray(edges, dims="edge", attrs={"units": f.units, "space": f.space,
                                                                           "long_name": variable(f.variable).long_name})
    return xr.Dataset(data, coords={"model": list(matched.all_models)})
