"""The hottest, wettest, windiest year beside the others, and what changes from the first half of the years to the second. From kept days
alone; no year that is not whole."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from orbit2.diagnose.areas import Areas
from orbit2.diagnose.kept import TRUTH, KeptDays
from orbit2.diagnose.own_regions import daily
from orbit2.jit import compiled, finite
from orbit2.metrics.bootstrap import Score
from orbit2.metrics.compared import Compared
from orbit2.metrics.record import METRICS, Key, Record, own
from orbit2.metrics.statistics import Moments
from orbit2.metrics.table import TRUTH as OF_TRUTH
from orbit2.metrics.table import Table

Array = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
HIGHEST, OTHERS = "years:highest", "years:others"
LEAST_YEARS, LEAST_HALVES = 3, 10  # whole years: for an extreme one among them; for a change between halves of five
ROUNDING = 1e-5
MOST_MISSING = 15  # days of a whole year: ETCCDI's rule


def rows(table: Table, days: KeptDays, matched: Compared, draws: int) -> list[dict[str, str]]:
    """Per variable: RMSE in the year of the truth's highest mean over the domain and in the other years, of the model (with intervals) and
    all beside it; `change_halves` of truth, model and baselines, its RMSE and correlation over blocks. What cannot be told comes back."""
    year = np.array([int(stamp[:4]) for stamp in days.stamps])
    least = (360 if days.calendar == "360_day" else 365) - MOST_MISSING
    whole = [int(y) for y in np.unique(year) if (year == y).sum() >= least]
    has = f"{len(whole)} whole years"
    lacking = {
        f"scores of the hottest, wettest or windiest year: at least {LEAST_YEARS} whole years": len(whole) < LEAST_YEARS,
        f"change from the first half of the years to the second: at least {LEAST_HALVES} whole years": len(whole) < LEAST_HALVES,
    }
    domain = Areas((matched.region,), days.grid.area_km2[None].astype(np.float32))
    for name in days.variables if len(whole) >= LEAST_YEARS else ():
        models = [model for model in matched.models(name) if model in days.models_of(name)]
        moments = daily(days, name, models, domain)
        of_truth = {y: _mean(moments[matched.model], year == y) for y in whole}
        highest = max(of_truth, key=lambda y: of_truth[y])
        told = f"{highest}, the highest area mean of the truth of {len(whole)} whole years"
        for region, use in ((HIGHEST, year == highest), (OTHERS, np.isin(year, whole) & (year != highest))):
            what = f"area-weighted, pooled over the days of {told if region == HIGHEST else f'the years beside {told}'}"
            _errors(table, name, region, what, {model: _of(each, use) for model, each in moments.items()},
                    tuple(np.array(days.stamps)[use]), matched, draws)  # fmt: skip
        if len(whole) >= LEAST_HALVES:
            half = len(whole) // 2
            _change(table, name, models, days, year, whole[:half], whole[-half:], matched)
    return [{"diagnostic": what.partition(": ")[0], "needs": what.partition(": ")[2], "has": has,
             "status": "not computed: the record is too short"} for what, lacks in lacking.items() if lacks]  # fmt: skip


def _of(moments: Moments, use: Bools) -> Moments:
    """Of some days."""
    return Moments(*moments.stacked()[:, use])


def _mean(moments: Moments, use: Bools) -> float:
    """The truth's over those days and the domain."""
    pooled = _of(moments, use).pooled()
    return float(pooled.mean_o[0])


def _errors(
    table: Table, name: str, region: str, what: str, moments: dict[str, Moments], samples: tuple[str, ...], matched: Compared, draws: int
) -> None:  # fmt: skip
    record, model = Record(samples, moments), matched.model
    scores: dict[Key, Score] = own("rmse", model)
    found = record.only(model).intervals(scores, draws).get(("rmse", model, ""))
    for who, each in moments.items():
        pooled = each.pooled()
        table.add(who, name, "physical", region, "rmse", what, METRICS["rmse"](pooled)[0], n=int(pooled.n[0]),
                  ci=found.at(0) if found and who == model else None)  # fmt: skip


def _change(
    table: Table, name: str, models: list[str], days: KeptDays, year: npt.NDArray[np.int64], first: list[int], last: list[int],
    matched: Compared,
) -> None:  # fmt: skip
    """Of every block the mean of the `last` years less that of the `first`; a block counts where the truth has both."""
    before, after = np.isin(year, first), np.isin(year, last)
    everything = {who: _differences(days, name, who, before, after) for who in (TRUTH, *models)}
    truth = everything[TRUTH]
    known = np.logical_and.reduce([np.isfinite(field) for field in everything.values()])
    if not known.any():
        return
    weights = days.grid.area_km2[known] / days.grid.area_km2[known].sum()
    what = f"mean of {last[0]} to {last[-1]} less that of {first[0]} to {first[-1]}, area-weighted over blocks"
    for who, field in everything.items():
        table.add(OF_TRUTH if who == TRUTH else who, name, "physical", matched.region, "change_halves", what, float(field[known] @ weights),
                  n=int(known.sum()))  # fmt: skip
        if who == TRUTH:
            continue
        error = float(np.sqrt((field[known] - truth[known]) ** 2 @ weights))
        table.add(who, name, "physical", matched.region, "change_halves_rmse", f"RMSE over blocks of: {what}", error, n=int(known.sum()))
        r = _correlation(field[known], truth[known], weights)
        if np.isfinite(r):
            table.add(who, name, "physical", matched.region, "change_halves_pearson_r", f"correlation over blocks of: {what}", r,
                      n=int(known.sum()))  # fmt: skip


def _differences(days: KeptDays, name: str, who: str, before: Bools, after: Bools) -> Array:
    """[H, W]; NaN where either half has no day. Memory: a stretch of rows with all its days."""
    made = np.full(days.grid.shape, np.nan)
    for stretch in days.stretches():
        values = days.rows("means", name, who, stretch)
        made[stretch] = between(values.reshape(len(values), -1), before, after).reshape(made[stretch].shape)
    return made


@compiled("f4[:,::1], b1[::1], b1[::1]")
def between(values: npt.NDArray[np.floating], before: Bools, after: Bools) -> Array:
    """[C] means of values [T, C] over the days `after` less those over the days `before`, of what is known."""
    days, cells = values.shape
    sums, counts = np.zeros((2, cells)), np.zeros((2, cells))
    for t in range(days):
        for half in range(2):
            if after[t] if half else before[t]:
                for c in range(cells):
                    value = np.float64(values[t, c])
                    known = finite(value)
                    sums[half, c] += value if known else 0.0
                    counts[half, c] += 1.0 if known else 0.0
    made = np.full(cells, np.nan)
    for c in range(cells):
        if counts[0, c] > 0 and counts[1, c] > 0:
            made[c] = sums[1, c] / counts[1, c] - sums[0, c] / counts[0, c]
    return made


def _correlation(a: Array, b: Array, weights: Array) -> float:
    """NaN where one of them is the same everywhere, but for the rounding of days in single precision."""
    least = ROUNDING * max(float(np.abs(a).max()), float(np.abs(b).max()))
    a, b = a - a @ weights, b - b @ weights
    spreads = [float(np.sqrt(x**2 @ weights)) for x in (a, b)]
    return float((a * b) @ weights) / (spreads[0] * spreads[1]) if min(spreads) > least else float("nan")
