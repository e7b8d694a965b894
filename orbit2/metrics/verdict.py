"""Who wins: a model beside everything it was scored with, read from a table of scores. Never computes a score, never hides a loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from orbit2.baselines import BASELINES, METHODS
from orbit2.metrics.others import PREFIX
from orbit2.times import apart, of_any
from orbit2.variables import is_precipitation, log_scored, variable

DOMAINS = ("global", "domain")
DIFFERENCE = "rmse_difference_vs_"
LEAST_DAYS = 60  # as orbit2.metrics.bootstrap has it, which takes seconds to import


@dataclass(frozen=True)
class Judged:
    """RMSE of a model and of what stands beside it for one variable in one space; `interval` is its 95 % interval where there is one,
    `differences` those of the model's RMSE less that of another, by the other's name."""

    variable: str
    space: str
    model: str
    value: float
    interval: tuple[float, float] | None
    baselines: dict[str, float]
    parent: tuple[str, float] | None
    differences: Mapping[str, tuple[float, float]] = field(default_factory=dict)

    @property
    def best(self) -> tuple[str, float]:
        """The baseline with the lowest RMSE, interpolation or fitted."""
        return min(self.baselines.items(), key=lambda item: item[1])

    @property
    def interpolation(self) -> tuple[str, float] | None:
        """The interpolation with the lowest RMSE."""
        found = {name: value for name, value in self.baselines.items() if name in METHODS}
        return min(found.items(), key=lambda item: item[1]) if found else None

    @property
    def won(self) -> bool:
        return self.value < self.best[1]

    @property
    def gap(self) -> tuple[float, float] | None:
        """95 % interval of the RMSE less that of the best baseline; None where the record is too short for one."""
        return self.differences.get(self.best[0])

    @property
    def units(self) -> str:
        """Of the RMSE, as people write them: rain's in both spaces."""
        if not is_precipitation(self.variable):
            return variable(self.variable).units
        return "ln(1+mm/day)" if self.space == "log1p" else "mm/day"


def spaces(name: str) -> tuple[str, ...]:
    """The spaces that a variable is judged in: rain in mm and in ln(1 + mm)."""
    return ("physical", "log1p") if log_scored(name) else ("physical",)


def judge(scores: pd.DataFrame, names: Sequence[str] | None = None) -> list[Judged]:
    """Every variable and space of one task's rows that has a model beside a baseline, in the table's order (or that of `names`)."""
    whole = scores[(scores["season"] == "all") & scores["region"].isin(DOMAINS) & (scores["protocol"] == "standard")]
    rmse = whole[whole["metric"] == "rmse"]
    beside = whole[whole["metric"].str.startswith(DIFFERENCE) & np.isfinite(whole["ci_low"])]
    found = []
    for name in dict.fromkeys(rmse["variable"]) if names is None else names:
        for space in spaces(str(name)):
            rows = rmse[(rmse["variable"] == name) & (rmse["space"] == space) & np.isfinite(rmse["value"])]
            rows = rows[~rows["model"].astype(str).str.startswith(PREFIX)]  # another product is no opponent
            known = rows["model"].isin(BASELINES)
            baselines, models = rows[known], rows[~known]
            if baselines.empty or models.empty:
                continue
            own, others = models.iloc[0], models.iloc[1:]
            interval = (float(own["ci_low"]), float(own["ci_high"])) if np.isfinite(own["ci_low"]) else None
            parent = (str(others.iloc[0]["model"]), float(others.iloc[0]["value"])) if len(others) else None
            values = {str(m): float(v) for m, v in zip(baselines["model"], baselines["value"], strict=True)}
            rows = beside[(beside["variable"] == name) & (beside["space"] == space) & (beside["model"] == own["model"])]
            differences = {str(metric).removeprefix(DIFFERENCE): (float(low), float(high))
                           for metric, low, high in zip(rows["metric"], rows["ci_low"], rows["ci_high"], strict=True)}  # fmt: skip
            found.append(Judged(str(name), space, str(own["model"]), float(own["value"]), interval, values, parent, differences))
    return found


def wins(judged: Sequence[Judged], against: str = "best") -> dict[str, bool]:
    """Variable -> whether the model's RMSE is lower in EVERY space: than the `best` baseline, the best `interpolation`, or its `parent`."""
    found: dict[str, bool] = {}
    for one in judged:
        other = getattr(one, against)
        if other is not None:
            found[one.variable] = found.get(one.variable, True) and one.value < other[1]
    return found


def beyond_chance(judged: Sequence[Judged], against: str = "best") -> dict[str, bool]:
    """Variable -> whether the 95 % interval of the model's RMSE less the other's lies below 0 in EVERY space; `against` as for `wins`.
    Only variables whose record is long enough for an interval."""
    found: dict[str, bool] = {}
    for one in judged:
        other = getattr(one, against)
        ends = one.differences.get(other[0]) if other is not None else None
        if ends is not None:
            found[one.variable] = found.get(one.variable, True) and ends[1] < 0
    return found


def basis(scores: pd.DataFrame) -> str:
    """What the scores of a task rest on, and whether that tells how sure they are: `4 frames within 22 hours, too short for a confidence
    interval`, `365 days`."""
    told = frames(scores)
    rows = scores[(scores["metric"] == "rmse") & scores["region"].isin(DOMAINS)]
    if rows["ci_low"].notna().any():
        return told
    hours = _hours(scores)
    short = hours is not None and hours < 24 * (LEAST_DAYS - 1)
    return f"{told}, too short for a confidence interval" if short else f"{told}, without a confidence interval"


def _hours(scores: pd.DataFrame) -> float | None:
    """From the first to the last frame; None where the table does not say."""
    first, _, last = str(scores["date_range"].iloc[0]).partition("/")
    try:
        return apart(of_any(first), of_any(last)) / 3600
    except ValueError:
        return None


def frames(scores: pd.DataFrame) -> str:
    """What the scores of a task rest on: `4 frames within 22 hours`, `365 days`."""
    counted = scores.loc[scores["metric"] == "n_samples", "value"]
    number = int(counted.iloc[0]) if len(counted) else None
    count = "the test frames" if number is None else f"{number:,} frame" + ("s" if number != 1 else "")
    hours = _hours(scores)
    if hours is None or number == 1:
        return count
    if hours == 24 * (number - 1 if number is not None else -1):
        return f"{number:,} days"
    return f"{count} within " + (f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:,.0f} days")
