"""Scores of regions of the user's own, from kept days: of their blocks, and of their daily means. Never reads a prediction."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from orbit2.diagnose.areas import Areas
from orbit2.diagnose.byarea import ByArea
from orbit2.diagnose.kept import TRUTH, KeptDays
from orbit2.metrics.bootstrap import Score
from orbit2.metrics.compared import Compared
from orbit2.metrics.fields import Field, fields_of
from orbit2.metrics.record import BEST, METRICS, Key, Record, difference, own, skill
from orbit2.metrics.statistics import Moments
from orbit2.metrics.table import Table

Array = npt.NDArray[np.float64]
COARSE = 4  # blocks: a region of fewer is told that it is
OF_MEANS = {"rmse": "daily_mean_rmse", "pearson_r": "daily_mean_r"}


def rows(table: Table, days: KeptDays, areas: Areas, matched: Compared, draws: int) -> set[str]:
    """For every region and variable: bias, RMSE, MAE, correlation of blocks and of daily means, skill beside the best baseline there, and
    the difference of RMSE, of rain in ln(1 + x) too, with intervals where the record is long enough. Gives back the regions of which
    anything was scored."""
    scored: set[str] = set()
    if not areas.names:
        return scored
    for name in days.variables:
        models = [model for model in matched.models(name) if model in days.models_of(name)]
        moments = daily(days, name, models, areas)
        known = np.flatnonzero(moments[matched.model].n.sum(axis=0) > 0)
        if len(known):
            scored |= {areas.names[r] for r in known}
            _rows(table, name, _picked(moments, known), _named(days, areas, known), days, matched, draws)
            _of_cells(table, name, models, areas, known, days, matched, draws)
    return scored


def _of_cells(
    table: Table, name: str, models: list[str], areas: Areas, known: npt.NDArray[np.int64], days: KeptDays, matched: Compared, draws: int
) -> None:  # fmt: skip
    """Rows of what block means and their squared errors do not tell: MAE, and of rain the scores of ln(1 + x). They are of the cells' own
    values: of all cells where blocks are cells, else of the one in each block that is kept. Of an ensemble that one is a member's: no
    rows."""
    if days.step > 1 and matched.members:
        return
    where = "of cells" if days.step == 1 else f"of one cell in each block of {days.step} x {days.step}"
    regions = _named(days, areas, known)
    for f in fields_of([name]):
        moments = _picked(of_values(days, f, models, areas), known)
        model, baselines = matched.model, [other for other in matched.baselines(name) if other in moments]
        record = Record(tuple(days.stamps), moments)
        metrics = ("mae",) if f.space == "physical" else ("rmse", "mae", "bias", "pearson_r")
        best = record.best(baselines) if baselines and f.space != "physical" else []
        beside = record.only(model).beside_best(best, of=record) if best else record.only(model)
        scores: dict[Key, Score] = {}
        for metric in metrics:
            scores |= own(metric, model)
        told: dict[str, tuple[Key, str]] = {}
        if best:
            scores |= difference(model, BEST) | skill("rmse", model, BEST)
            told = {"rmse_skill_vs_best_baseline": (("rmse_skill", model, BEST), "1 - rmse/rmse of the region's best baseline"),
                    "rmse_difference_vs_best_baseline": (("rmse_difference", model, BEST), "rmse minus rmse of the region's best baseline")}
        intervals, both = beside.intervals(scores, draws), beside.pooled()
        for other in (model, *(key for key in moments if key != model)):
            pooled = record.moments[other].pooled()
            for metric in metrics:
                found = intervals.get((metric, model, "")) if other == model else None
                for r, (region, rough) in enumerate(regions):
                    if np.isfinite(value := METRICS[metric](pooled)[r]):
                        table.add(other, name, f.space, region, metric, f"area-weighted by the share in the polygon, {where}, pooled over "
                                  f"days{rough}", value, n=int(pooled.n[r]), ci=found.at(r) if found else None)  # fmt: skip
        for metric, (key, words) in told.items():
            values, found = scores[key](both), intervals.get(key)
            for r, (region, rough) in enumerate(regions):
                if np.isfinite(values[r]):
                    table.add(model, name, f.space, region, metric, f"{words} ({best[r]}), {where}{rough}", values[r],
                              n=int(both[model].n[r]), ci=found.at(r) if found else None)  # fmt: skip


def of_values(days: KeptDays, f: Field, models: list[str], areas: Areas) -> dict[str, Moments]:
    """Moments [T, R] of the kept cells of each day in each area, in the space of `f`. Where blocks are cells these are all cells (of an
    ensemble its mean). Memory: a stretch of rows with all its days."""
    shape = len(days.numbers), len(areas.names)
    sums = {model: np.zeros((7, *shape)) for model in models}  # p, o, pp, oo, po, se, ae
    n, w, centre = np.zeros(shape), np.zeros(shape), 0.0
    what = "means" if days.step == 1 else "values"
    for stretch, used, weights in areas.rows(days):
        truth = f.of(cells_of(days, what, f.variable, TRUTH, stretch, used).astype(np.float64))
        valid = np.isfinite(truth)
        if not centre and valid.any():
            centre = float(truth[valid].mean())
        truth = np.where(valid, truth - centre, 0.0)
        n += valid @ (weights > 0).T.astype(np.float64)
        w += valid @ weights.T
        for model in models:
            values = cells_of(days, what, f.variable, model, stretch, used).astype(np.float64)
            p = np.where(valid, f.of(values) - centre, 0.0)
            error = p - truth
            for k, value in enumerate((p, truth, p * p, truth * truth, p * truth, error * error, np.abs(error))):
                sums[model][k] += value @ weights.T
    return {model: _moments(n, w, centre, *each) for model, each in sums.items()}


def _moments(n: Array, w: Array, centre: float, p: Array, o: Array, pp: Array, oo: Array, po: Array, se: Array, ae: Array) -> Moments:
    """From sums of weighted values less `centre`."""
    one = np.divide(1.0, w, out=np.zeros_like(w), where=w > 0)
    return Moments(n, w, (centre + p * one) * (w > 0), (centre + o * one) * (w > 0), np.maximum(pp - p * p * one, 0.0),
                   np.maximum(oo - o * o * one, 0.0), po - p * o * one, se, ae)  # fmt: skip


def daily(days: KeptDays, name: str, models: list[str], areas: Areas) -> dict[str, Moments]:
    """Moments [T, R] of the blocks of each day in each area; absolute errors are not kept (0). Blocks count by the share of them that is
    known. Memory: a stretch of rows with all its days."""
    shape = len(days.numbers), len(areas.names)
    sums = {model: np.zeros((6, *shape)) for model in models}  # p, o, pp, oo, po, se
    squared = {model: np.zeros(shape) for model in models if days.apart}  # no squares of what is kept
    n, w = np.zeros(shape), np.zeros(shape)
    centre = 0.0
    for stretch, used, weights in areas.rows(days):
        share = cells_of(days, "share", name, TRUTH, stretch, used)
        truth = cells_of(days, "means", name, TRUTH, stretch, used)
        valid = np.isfinite(truth)
        share = np.where(valid, share, np.float32(0))
        if not centre and valid.any():
            centre = float(truth[valid].mean(dtype=np.float64))  # so that nothing cancels in squares of pascals
        by_area = ByArea.of(weights)
        for total, found in zip((n, w), by_area.shares(share), strict=True):
            total += found
        for model in models:
            sums[model] += by_area.products(cells_of(days, "means", name, model, stretch, used), truth, share, centre)
            if days.apart:
                errors = cells_of(days, "squared", name, model, stretch, used).astype(np.float64)
                squared[model] += (share * np.where(valid, errors, 0.0)) @ weights.T
    for model, each in squared.items():
        sums[model][5] = each
    return {model: _moments(n, w, centre, *(*each, np.zeros(shape))) for model, each in sums.items()}


def of_means(moments: Moments) -> Moments:
    """Each day's mean of the area as if it were one cell."""
    known = (moments.w > 0).astype(np.float64)
    zero = np.zeros_like(known)
    error = known * (moments.mean_p - moments.mean_o)
    return Moments(known, known, moments.mean_p, moments.mean_o, zero, zero, zero, error**2, np.abs(error))


def _rows(
    table: Table, name: str, moments: Mapping[str, Moments], regions: list[tuple[str, str]], days: KeptDays, matched: Compared, draws: int
) -> None:  # fmt: skip
    samples = tuple(days.stamps)
    model, baselines = matched.model, [other for other in matched.baselines(name) if other in moments]
    record = Record(samples, moments)
    means = Record(samples, {key: of_means(each) for key, each in moments.items()})
    best = record.best(baselines) if baselines else []
    beside = record.only(model).beside_best(best, of=record) if best else record.only(model)
    scores: dict[Key, Score] = {}
    for each in ("rmse", "bias", "pearson_r"):
        scores |= own(each, model)
    if best:
        scores |= difference(model, BEST) | skill("rmse", model, BEST)
    intervals = beside.intervals(scores, draws)
    of_daily = {metric: means.only(model).intervals(own(metric, model), draws) for metric in OF_MEANS}
    blocks = "pooled over days and cells" if days.step == 1 else f"pooled over days and blocks of {days.step} x {days.step} cells"
    for other in (model, *(key for key in moments if key != model)):
        pooled, daily_pooled = record.moments[other].pooled(), means.moments[other].pooled()
        for r, (region, rough) in enumerate(regions):
            n = int(pooled.n[r])
            common = (other, name, "physical", region)
            for metric in ("rmse", "bias", "pearson_r"):
                value = METRICS[metric](pooled)[r]
                about = {"rmse": "of cells, pooled over days", "bias": "of cells, pooled over days", "pearson_r": blocks}[metric]
                found = intervals.get((metric, model, "")) if other == model else None
                if np.isfinite(value):
                    table.add(*common, metric, f"area-weighted by the share in the polygon, {about}{rough}", value, n=n,
                              ci=found.at(r) if found else None)  # fmt: skip
            for metric, as_named in OF_MEANS.items():
                value = METRICS[metric](daily_pooled)[r]
                found = of_daily[metric].get((metric, model, "")) if other == model else None
                if np.isfinite(value):
                    table.add(*common, as_named, f"of the region's daily means{rough}", value, n=int(daily_pooled.n[r]),
                              ci=found.at(r) if found else None)  # fmt: skip
    if not best:
        return
    pooled_both = beside.pooled()
    for key, metric, words in (
        (("rmse_skill", model, BEST), "rmse_skill_vs_best_baseline", "1 - rmse/rmse of the region's best baseline"),
        (("rmse_difference", model, BEST), "rmse_difference_vs_best_baseline", "rmse minus rmse of the region's best baseline"),
    ):
        values, found = scores[key](pooled_both), intervals.get(key)
        for r, (region, rough) in enumerate(regions):
            if np.isfinite(values[r]):
                table.add(model, name, "physical", region, metric, f"{words} ({best[r]}){rough}", values[r],
                          n=int(pooled_both[model].n[r]), ci=found.at(r) if found else None)  # fmt: skip


def _named(days: KeptDays, areas: Areas, use: npt.NDArray[np.int64]) -> list[tuple[str, str]]:
    """(region, what its `method` adds where the blocks are large beside it)."""
    area = days.grid.area_km2
    made = []
    for r in use:
        blocks = float((areas.weights[r] / area).sum())
        rough = f"; the region is {blocks:.2g} blocks of {days.step} x {days.step} cells" if days.step > 1 and blocks < COARSE else ""
        made.append((areas.names[r], rough))
    return made


def _picked(moments: Mapping[str, Moments], use: npt.NDArray[np.int64]) -> dict[str, Moments]:
    return {model: Moments(*each.stacked()[..., use]) for model, each in moments.items()}


def cells_of(
    days: KeptDays, what: str, name: str, model: str, stretch: slice, used: npt.NDArray[np.bool_]
) -> npt.NDArray[np.float32]:  # fmt: skip
    """[T, those]: the blocks of a stretch of rows that are used (`KeptDays.rows`), in single precision as they are kept."""
    part = days.rows(what, name, model, stretch)
    return part.reshape(len(part), -1) if used.all() else part[:, used]
