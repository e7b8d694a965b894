"""Scores from moments of prediction and truth per sample: of the domain and of latitude bands. Never computes what moments do not hold."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.evaluate.beside import Beside
from orbit2.evaluate.ranges import data_range
from orbit2.grid import AnyGrid, Grid
from orbit2.metrics import deterministic, sampled, spatial
from orbit2.metrics.binning import Bins, band_bins, domain_bins, latitudes
from orbit2.metrics.collector import Keeping, Settings, Training
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field
from orbit2.metrics.kge import KGE_METHOD, kge
from orbit2.metrics.matched import Scored
from orbit2.metrics.record import Record
from orbit2.metrics.statistics import Moments, PairStatistic
from orbit2.metrics.table import ANY, Table
from orbit2.variables import never_negative

Array = npt.NDArray[np.float64]
DOMAIN, BANDS = "domain", "bands"


class Scores(Keeping):
    """One PairStatistic per field, model and set of bins, keyed by sample."""

    name, stage = "scores", "evaluate"

    def __init__(self, matched: Compared, settings: Settings, training: Training | None = None) -> None:
        super().__init__(matched, settings, training)
        bands = bands_of(matched.grid, settings.evaluate.spectra_bands) if matched.whole else []
        self.bins: dict[str, Bins] = {DOMAIN: domain_bins(matched.grid, matched.region)}
        if bands:
            self.bins[BANDS] = band_bins(matched.grid, bands)
        self.statistics: dict[tuple[str, ...], PairStatistic] = {
            (f.label, model, which): PairStatistic(bins)
            for f in self.fields for model in matched.models(f.variable) for which, bins in self.bins.items()}  # fmt: skip

        self.paired = self.bins if matched.has_truth else {}

    def put(self, scored: Scored, f: Field, model: str, which: str, row: Moments) -> None:
        self.statistics[f.label, model, which].put(scored.sample, row)

    def rows(self, table: Table, protocol: str) -> None:
        if protocol != "standard" or not self.matched.has_truth:
            return
        for f in self.fields:
            for which in self.bins:
                record = Record.of({m: self.statistics[f.label, m, which] for m in self.matched.models(f.variable)})
                self._record(table, f, which, record)
            for model in self.matched.models(f.variable):
                self._psnr(table, f, model)
        count = len(self.matched.times)
        table.add(ANY, ANY, "physical", self.matched.region, "n_samples", "times scored", count, n=count)

    def _record(self, table: Table, f: Field, which: str, record: Record) -> None:
        """Rows of one set of bins: everything's scores, then the model beside the rest; of the domain tests and seasons too."""
        model, baselines, draws = self.matched.model, self.matched.baselines(f.variable), self.settings.evaluate.bootstrap
        regions = self.bins[which].names
        whole = Beside(f, record, regions, model, baselines, draws)
        for name in whole.models:
            whole.scores_of(table, name)
            self._daily(table, f, name, which)
        whole.differences(table)
        whole.blocks(table)
        if which != DOMAIN:
            return
        whole.tests(table)
        for season, part in record.seasons().items():
            beside = Beside(f, part, regions, model, baselines, draws, season)
            for name in beside.models:
                beside.scores_of(table, name)
            beside.differences(table)

    def _daily(self, table: Table, f: Field, model: str, which: str) -> None:
        statistic = self.statistics[f.label, model, which]
        pooled, daily = statistic.finalise(), deterministic.rmse_mean_of_daily(statistic)
        cells = np.bincount(statistic.bins.index[statistic.bins.index >= 0], minlength=len(statistic.bins.names)) * len(self.matched.times)
        efficiency = kge(pooled)
        each, draws = statistic.daily(), self.settings.evaluate.bootstrap
        with np.errstate(invalid="ignore", divide="ignore"):
            found = sampled.of_means(statistic.samples(), np.sqrt(each.se / each.w), draws)
        for b, region in enumerate(statistic.bins.names):
            n = int(pooled.n[b])
            if not n:
                continue  # a band in which nothing was scored has no row
            method = "mean over samples of the area-weighted RMSE"
            table.add(model, f.variable, f.space, region, "rmse_mean_of_daily", method, daily[b], n=n, ci=sampled.ends(found, b))
            table.add(model, f.variable, f.space, region, "valid_fraction", "cells scored over all cells, by number", n / cells[b], n=n)
            if never_negative(f.variable) and np.isfinite(efficiency[b]):
                table.add(model, f.variable, f.space, region, "kge", KGE_METHOD, efficiency[b], n=n)

    def _psnr(self, table: Table, f: Field, model: str) -> None:
        span, statistic = data_range(f, self.training), self.statistics[f.label, model, DOMAIN]
        pooled = statistic.finalise()
        daily = spatial.psnr(statistic.daily(), span)[:, 0]
        found = sampled.of_means(statistic.samples(), daily, self.settings.evaluate.bootstrap)
        daily = daily[~np.isnan(daily)]  # a sample without a scored cell has none
        for name, method, value, ci in (
            ("psnr_pooled", spatial.PSNR_POOLED_METHOD, spatial.psnr(pooled, span)[0], None),
            ("psnr_daily_mean", spatial.PSNR_DAILY_METHOD, daily.mean() if len(daily) else float("nan"), sampled.ends(found)),
        ):
            if not np.isnan(value):
                ci = ci if np.isfinite(value) else None
                table.add(model, f.variable, f.space, self.matched.region, name, method.format(span), value, n=int(pooled.n[0]), ci=ci)


def bands_of(grid: AnyGrid, wanted: tuple[tuple[float, float], ...]) -> list[tuple[float, float]]:
    """The parts of the configured latitude bands that the grid covers: a band is named by what was scored of it."""
    latitude = latitudes(grid)
    if isinstance(grid, Grid):
        south, north = float(grid.lat_edges[0]), float(grid.lat_edges[-1])
    else:  # no row is a parallel: named to whole degrees
        south, north = float(np.floor(latitude.min())), float(np.ceil(latitude.max()))
    inside = [(max(band[0], south), min(band[1], north)) for band in wanted]
    return list(dict.fromkeys(band for band in inside if ((latitude >= band[0]) & (latitude < band[1])).any()))
