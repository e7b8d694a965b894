"""Days above or below thresholds that matter, by region: how many, and how often on the right day. From kept days; never reads a
prediction.

Each cell's own days are asked (a mean over cells has fewer extremes), then added up by area. Forecast and observed events are 0 or 1, so
that all scores follow from Moments, and with them the intervals of a block bootstrap of days (Wilks 2011, Statistical Methods in the
Atmospheric Sciences, ch. 8).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from orbit2.config.thresholds import ThresholdConfig
from orbit2.diagnose.areas import Areas
from orbit2.diagnose.byarea import ByArea
from orbit2.diagnose.kept import INPUT, TRUTH, KeptDays
from orbit2.diagnose.own_regions import cells_of
from orbit2.jit import compiled
from orbit2.metrics.bootstrap import Interval, Score
from orbit2.metrics.compared import Compared
from orbit2.metrics.record import BEST, Key, Record
from orbit2.metrics.statistics import Moments
from orbit2.metrics.table import TRUTH as OF_TRUTH
from orbit2.metrics.table import Table

Array = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Values = npt.NDArray[np.floating]
LEAST_DAYS = 350  # of a record: days a year are not told from a season
YEARS = {"360_day": 360.0, "noleap": 365.0, "365_day": 365.0, "all_leap": 366.0, "366_day": 366.0}  # days of a year; else 365.25


def rows(
    table: Table, days: KeptDays, areas: Areas, thresholds: Mapping[str, ThresholdConfig], matched: Compared, draws: int
) -> list[dict[str, str]]:  # fmt: skip
    """Rows of every threshold in every area; gives back what could not be counted, with the reason."""
    notes = []
    year = YEARS.get(days.calendar, 365.25)
    counted = of_variables(days, thresholds, matched, areas) if len(days.numbers) >= LEAST_DAYS else {}
    for label, threshold in thresholds.items():
        names = [name for name in days.variables if threshold.applies(name)]
        short = len(days.numbers) < LEAST_DAYS
        if short or not names:
            has = f"{len(days.numbers)} whole days" if short else f"variables {', '.join(days.variables)}"
            needs = f"at least {LEAST_DAYS} whole days" if short else f"{threshold.statistic or 'daily'} {threshold.variable}"
            notes.append({"diagnostic": f"days of the threshold {label} ({threshold.use})", "needs": needs, "has": has,
                          "status": f"not computed: {'the record is too short' if short else 'no such variable'}"})  # fmt: skip
            continue
        for name in names:
            _rows(table, label, threshold, name, counted[name, label], areas.names, days, matched, draws, year)
    return notes


def of_variables(
    days: KeptDays, thresholds: Mapping[str, ThresholdConfig], matched: Compared, areas: Areas
) -> dict[tuple[str, str], dict[str, Moments]]:  # fmt: skip
    """By variable and threshold: what is counted of the input, the model and every baseline. The days of a variable are read once."""
    found: dict[tuple[str, str], dict[str, Moments]] = {}
    for name in days.variables:
        asked = {label: threshold for label, threshold in thresholds.items() if threshold.applies(name)}
        models = [model for model in (INPUT, *matched.models(name)) if model in days.models_of(name)]
        found |= {(name, label): one for label, one in (counted(days, name, models, asked, areas) if asked else {}).items()}
    return found


class Counts:
    """Areas [T, R] of the events of one threshold: the truth's, the models', and those that both have."""

    def __init__(self, shape: tuple[int, int], models: Sequence[str]) -> None:
        self.observed = np.zeros(shape)
        self.predicted, self.hits = ({model: np.zeros(shape) for model in models} for _ in range(2))


def counted(
    days: KeptDays, name: str, models: list[str], thresholds: Mapping[str, ThresholdConfig], areas: Areas
) -> dict[str, dict[str, Moments]]:  # fmt: skip
    """By threshold and model: moments [T, R] of events (1) and none (0), predicted and observed, by area. Memory: a stretch of rows with
    all its days."""
    shape = len(days.numbers), len(areas.names)
    n, w = np.zeros(shape), np.zeros(shape)
    counts = {label: Counts(shape, models) for label in thresholds}
    for stretch, used, weights in areas.rows(days):
        by_area = ByArea.of(weights)
        truth = cells_of(days, "values", name, TRUTH, stretch, used)
        valid, real = np.isfinite(truth), {}
        n += by_area.number(valid)
        w += by_area.size(valid)
        for label, threshold in thresholds.items():
            real[label] = events(truth, threshold, name, days.numbers)
            counts[label].observed += by_area.size(real[label])
        for model in models:
            values = cells_of(days, "values", name, model, stretch, used)
            for label, threshold in thresholds.items():
                found = asked(by_area, values, threshold, name, days.numbers, real[label], valid)
                for into, one in zip((counts[label].predicted, counts[label].hits), found, strict=True):
                    into[model] += one
    return {label: {model: of_events(n, w, one.predicted[model], one.observed, one.hits[model]) for model in models}
            for label, one in counts.items()}  # fmt: skip


def asked(
    by_area: ByArea, values: Values, threshold: ThresholdConfig, name: str, numbers: npt.NDArray[np.int64], real: Bool, valid: Bool
) -> tuple[Array, Array]:  # fmt: skip
    """Weights [T, R] of a model's events among `valid` cells, and of those of them that are `real`."""
    if threshold.days == 1:
        return by_area.events(values, threshold.value(name), threshold.above is not None, real, valid)
    found = events(values, threshold, name, numbers) & valid
    return by_area.size(found), by_area.size(found & real)


def events(values: Values, threshold: ThresholdConfig, name: str, numbers: npt.NDArray[np.int64]) -> Bool:
    """[T, C]: whether a day counts; a missing day does not, and ends a run, as days that are not there do."""
    limit = np.float64(threshold.value(name))  # no single precision: 308.15 K is not a value of it
    with np.errstate(invalid="ignore"):
        found = values >= limit if threshold.above is not None else values < limit
    return np.asarray(found) if threshold.days == 1 else in_runs(found, threshold.days, numbers)


def in_runs(found: Bool, least: int, numbers: npt.NDArray[np.int64]) -> Bool:
    """The days of `found` [T, C] that lie in runs of at least `least` days one after the other."""
    follows = np.diff(numbers, prepend=numbers[0] if len(numbers) else 0) == 1
    inside: Bool = _in_runs(np.ascontiguousarray(found), least, follows)
    return inside


@compiled("b1[:,::1], i8, b1[::1]")
def _in_runs(found: Bool, least: int, follows: Bool) -> Bool:
    """`follows` [T]: whether a day is the one after the day before it in the record."""
    days, cells = found.shape
    inside, length = np.zeros((days, cells), dtype=np.bool_), np.zeros((days, cells), dtype=np.int32)
    for t in range(days):
        for c in range(cells):
            before = length[t - 1, c] if t > 0 and follows[t] else 0
            length[t, c] = before + 1 if found[t, c] else 0
    for t in range(days - 1, -1, -1):
        for c in range(cells):
            after = t + 1 < days and follows[t + 1] and inside[t + 1, c]
            inside[t, c] = found[t, c] and (length[t, c] >= least or after)
    return inside


def of_events(n: Array, w: Array, predicted: Array, observed: Array, hits: Array) -> Moments:
    """Moments of fields of 0 and 1 from areas [T, R]: all, of predicted and observed events, of both at once."""
    one = np.divide(1.0, w, out=np.zeros_like(w), where=w > 0)
    p, o = predicted * one, observed * one
    wrong = predicted + observed - 2 * hits
    return Moments(n, w, p, o, predicted - w * p * p, observed - w * o * o, hits - w * p * o, wrong, wrong)


def _hits(m: Moments) -> Array:
    both: Array = m.po + m.w * m.mean_p * m.mean_o
    return both


def _over(part: Array, whole: Array) -> Array:
    ratio: Array = np.divide(part, whole, out=np.full(np.shape(whole), np.nan), where=whole > 0)
    return ratio


def _events(m: Moments) -> tuple[Array, Array]:
    """Areas of predicted and of observed events; 0 for what is only rounding."""
    tiny = 1e-9 * m.w
    return np.where(m.w * m.mean_p > tiny, m.w * m.mean_p, 0.0), np.where(m.w * m.mean_o > tiny, m.w * m.mean_o, 0.0)


def hit_rate(m: Moments) -> Array:
    """Share of observed events that were predicted; NaN without any."""
    return np.clip(_over(_hits(m), _events(m)[1]), 0.0, 1.0)


def false_alarm_ratio(m: Moments) -> Array:
    """Share of predicted events that did not happen; NaN without any."""
    return np.clip(1.0 - _over(_hits(m), _events(m)[0]), 0.0, 1.0)


def csi(m: Moments) -> Array:
    """Critical success index: hits over all events, predicted or observed; NaN without any."""
    predicted, observed = _events(m)
    return np.clip(_over(_hits(m), predicted + observed - _hits(m)), 0.0, 1.0)


def _rows(
    table: Table, label: str, threshold: ThresholdConfig, name: str, found: Mapping[str, Moments], regions: tuple[str, ...],
    days: KeptDays, matched: Compared, draws: int, year: float,
) -> None:  # fmt: skip
    model = matched.model
    where = "cells" if days.step == 1 else f"one cell in each block of {days.step} x {days.step}"
    about = f"{threshold.told}; {threshold.use}; {where}, weighted by area; days of {len(days.numbers) / year:.3g} years"
    rates: dict[str, tuple[str, Callable[[Moments], Array]]] = {
        "hit_rate": ("share of the truth's days that it has", hit_rate),
        "false_alarm_ratio": ("share of its days that the truth has not", false_alarm_ratio),
        "csi": ("days that both have over days that either has", csi),
    }
    counts: dict[str, tuple[str, Callable[[Moments], Array]]] = {
        "days": ("days a year", lambda m: year * m.mean_p),
        "days_bias": ("days a year less those of the truth", lambda m: year * (m.mean_p - m.mean_o)),
    }
    record = Record(tuple(days.stamps), found)
    others = [other for other in found if other != model]
    baselines = [other for other in matched.baselines(name) if other in found]
    all_scores = {**counts, **rates}
    scores: dict[Key, Score] = {(metric, model, ""): _score(of, model) for metric, (_, of) in all_scores.items()}
    scores["days", OF_TRUTH, ""] = lambda moments: year * moments[model].mean_o
    intervals = record.only(model).intervals(scores, draws)
    pooled = record.pooled()
    known = np.flatnonzero(pooled[model].n > 0)

    def add(who: str, metric: str, words: str, values: Array, ci: Key | None = None) -> None:
        for r in known[np.isfinite(values[known])]:
            interval = intervals.get(ci) if ci is not None else None
            table.add(who, name, "physical", regions[r], f"threshold_{metric}_{label}", f"{words}; {about}", values[r],
                      n=int(pooled[model].n[r]), ci=interval.at(int(r)) if interval is not None else None)  # fmt: skip

    add(OF_TRUTH, "days", "days a year", year * pooled[model].mean_o, ("days", OF_TRUTH, ""))
    for who in (model, *others):
        for metric, (words, of) in all_scores.items():
            add(who, metric, words, of(pooled[who]), (metric, model, "") if who == model else None)
    if baselines:
        _beside_best(record, model, baselines, draws, intervals, add)


def _beside_best(
    record: Record, model: str, baselines: list[str], draws: int, intervals: dict[Key, Interval], add: Callable[..., None]
) -> None:  # fmt: skip
    """The difference of CSI to the baseline with the highest in each region."""
    values = np.stack([csi(record.moments[other].pooled()) for other in baselines])
    best = [baselines[i] for i in np.where(np.isfinite(values), values, -1.0).argmax(axis=0)]
    beside = record.only(model).beside_best(best, of=record)
    key: Key = ("csi_difference", model, BEST)
    scores: dict[Key, Score] = {key: lambda moments: csi(moments[model]) - csi(moments[BEST])}
    intervals |= beside.intervals(scores, draws)
    add(model, "csi_difference_vs_best_baseline", "csi less that of the region's best baseline", scores[key](beside.pooled()), key)


def _score(of: Callable[[Moments], Array], model: str) -> Score:
    return lambda moments: of(moments[model])
