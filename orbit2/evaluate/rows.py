"""From finalised statistics to rows of the long table. Never computes a score that its statistics do not hold."""

from __future__ import annotations

import numpy as np
import pandas as pd

from orbit2.evaluate.accumulate import TRUTH, Accumulator, ModelScores
from orbit2.metrics import deterministic, spatial, spectra
from orbit2.metrics.binning import band_name
from orbit2.metrics.fields import Field
from orbit2.metrics.statistics import PairStatistic
from orbit2.metrics.table import ANY, Table
from orbit2.variables import is_precipitation

BOOTSTRAP_DAYS = 30
LEAST_BINS = 10  # a spectrum of fewer is too coarse to say where it leaves the truth's: no effective resolution


def rows(accumulator: Accumulator, protocol: str) -> pd.DataFrame:
    """All scores of a task in the given protocol."""
    table = accumulator.matched.table(protocol)
    for f in accumulator.fields:
        for model in accumulator.matched.models(f.variable):
            scores = accumulator.scores[f.label, model]
            if accumulator.matched.has_truth:
                _deterministic(table, accumulator, f, model, scores)
                _spatial(table, accumulator, f, model, scores)
            if f.space == "physical" and scores.conservation.rows:
                _conservation(table, accumulator, f, model, scores)
        if accumulator.matched.has_truth:
            _skill(table, accumulator, f)
            _spectral(table, accumulator, f)
        accumulator.seams.rows(table, f)
        accumulator.structure.rows(table, f)
    accumulator.distribution.rows(table)
    if accumulator.matched.has_truth:
        times = accumulator.matched.times
        table.add(ANY, ANY, "physical", accumulator.matched.region, "n_samples", "times scored", len(times), n=len(times))
    return table.frame()


def _block(accumulator: Accumulator) -> int:
    """Samples in a bootstrap block of 30 days."""
    times = accumulator.matched.times
    if len(times) < 2:
        return 1
    spacing = np.median(np.diff(times).astype("timedelta64[s]").astype(np.float64)) / 86400
    return max(1, round(BOOTSTRAP_DAYS / spacing))


def _deterministic(table: Table, accumulator: Accumulator, f: Field, model: str, scores: ModelScores) -> None:
    samples = len(accumulator.matched.times)
    statistic: PairStatistic
    for statistic in (scores.domain, scores.bands):
        if not statistic.rows:
            continue
        pooled, daily = statistic.finalise(), deterministic.rmse_mean_of_daily(statistic)
        intervals = deterministic.bootstrap(statistic, accumulator.settings.bootstrap, _block(accumulator))
        cells = np.bincount(statistic.bins.index[statistic.bins.index >= 0], minlength=len(statistic.bins.names)) * samples
        for b, region in enumerate(statistic.bins.names):
            n = int(pooled.n[b])
            if not n:
                continue  # a band in which nothing was scored has no row
            for metric in deterministic.METRICS:
                ci = (intervals[metric.name][0][b], intervals[metric.name][1][b]) if metric.name in intervals else None
                table.add(model, f.variable, f.space, region, metric.name, metric.method, metric.of(pooled)[b], n=n, ci=ci)
            method = "mean over samples of the area-weighted RMSE"
            table.add(model, f.variable, f.space, region, "rmse_mean_of_daily", method, daily[b], n=n)
            table.add(model, f.variable, f.space, region, "valid_fraction", "cells scored over all cells, by number", n / cells[b], n=n)


def _spatial(table: Table, accumulator: Accumulator, f: Field, model: str, scores: ModelScores) -> None:
    span, region = accumulator.data_range(f), accumulator.matched.region
    pooled = scores.domain.finalise()
    n = int(pooled.n[0])
    daily = spatial.psnr(scores.domain.daily(), span)[:, 0]
    daily = daily[~np.isnan(daily)]  # a sample without a scored cell has none
    for name, method, value in (
        ("ssim", spatial.SSIM_METHOD, float(scores.ssim.finalise())),
        ("psnr_pooled", spatial.PSNR_POOLED_METHOD, spatial.psnr(pooled, span)[0]),
        ("psnr_daily_mean", spatial.PSNR_DAILY_METHOD, daily.mean() if len(daily) else float("nan")),
    ):
        if not np.isnan(value):
            table.add(model, f.variable, f.space, region, name, method.format(span), value, n=n)


def _skill(table: Table, accumulator: Accumulator, f: Field) -> None:
    """1 - score/score of each baseline, of the best of them, and of the model it was fine-tuned from, for the model."""
    matched = accumulator.matched
    model, baselines = matched.model, matched.baselines(f.variable)
    for name in ("rmse", "mae"):
        metric = next(m for m in deterministic.METRICS if m.name == name)
        values = {m: float(metric.of(accumulator.scores[f.label, m].domain.finalise())[0]) for m in matched.models(f.variable)}
        n = int(accumulator.scores[f.label, model].domain.finalise().n[0])
        for other in (m for m in values if m != model):
            skill = 1 - values[model] / values[other] if values[other] > 0 else float("nan")
            table.add(model, f.variable, f.space, matched.region, f"{name}_skill_vs_{other}", f"1 - {name}/{name} of {other}", skill, n=n)
        if baselines:
            best = min(baselines, key=lambda m: values[m])
            skill = 1 - values[model] / values[best] if values[best] > 0 else float("nan")
            method = f"1 - {name}/{name} of {best}"
            table.add(model, f.variable, f.space, matched.region, f"{name}_skill_vs_best_baseline", method, skill, n=n)


def _conservation(table: Table, accumulator: Accumulator, f: Field, model: str, scores: ModelScores) -> None:
    absolute, size, square, p99, fraction, shift, _ = scores.conservation.finalise()
    n = int(np.nansum(scores.conservation.stacked()[:, 6]))
    if not n:
        return
    about = "rho = area-weighted block mean of the prediction minus its input"
    entries = [
        ("conservation_relative", f"mean |rho| / mean |x|; {about}", absolute / size if size > 0 else float("nan")),
        ("conservation_rmse", f"square root of the mean rho^2; {about}", np.sqrt(square)),
        ("conservation_p99", f"99 % quantile of |rho| by area, mean over samples; {about}", p99),
        ("conservation_bias", f"mean rho; {about}", shift),
    ]
    if is_precipitation(f.variable):
        entries.append(("conservation_exceedance", f"area share of cells with |rho| > max(1 %, 0.1 mm/day); {about}", fraction))
    for name, method, value in entries:
        table.add(model, f.variable, "physical", accumulator.matched.region, name, method, value, n=n)


def _spectral(table: Table, accumulator: Accumulator, f: Field) -> None:
    store, matched = accumulator.spectra, accumulator.matched
    for band in accumulator.bands:
        axis = spectra.zonal_axis(matched.grid, *band)
        name = band_name(*band)
        if axis is None:
            continue
        truth = store.zonal[f.label, TRUTH, name].finalise()
        for model in matched.models(f.variable):
            statistic = store.zonal[f.label, model, name]
            samples = int(np.isfinite(statistic.stacked()).any(axis=1).sum())
            _spectral_pair(table, f, model, name, "zonal", axis.wavelength_km, statistic.finalise(), truth, samples)
    for name, k in store.k.items():
        if (f.label, TRUTH, name) not in store.radial:
            continue
        truth_statistic = store.radial[f.label, TRUTH, name]
        for model in matched.models(f.variable):
            mean = store.radial[f.label, model, name].finalise()
            _spectral_pair(table, f, model, name, "radial", 1 / k, mean, truth_statistic.finalise(), len(truth_statistic.rows))


def _spectral_pair(
    table: Table, f: Field, model: str, region: str, kind: str, wavelength: spectra.Array, mean: spectra.Array, truth: spectra.Array,
    n: int,
) -> None:
    if not n or not (np.isfinite(mean) & np.isfinite(truth)).any():
        return  # no complete row in the band: no spectrum
    if len(mean) >= LEAST_BINS:
        table.add(model, f.variable, f.space, region, "effective_resolution_km",
                  f"{kind} spectrum, mean over samples: longest wavelength at which P_p/P_o leaves [0.5, 2], else the shortest",
                  spectra.effective_resolution(wavelength, mean, truth), n=n)
    table.add(model, f.variable, f.space, region, "lsd_db", f"log-spectral distance of the {kind} spectrum, mean over samples",
              spectra.log_spectral_distance(mean, truth), n=n)
