"""Who wins: a model beside everything it was scored with, read from a table of scores. Never computes a score, never hides a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from orbit2.baselines import BASELINES, METHODS
from orbit2.variables import is_precipitation, variable

DOMAINS = ("global", "domain")


@dataclass(frozen=True)
class Judged:
    """RMSE of a model and of what stands beside it for one variable in one space; `interval` is its 95 % interval where there is one."""

    variable: str
    space: str
    model: str
    value: float
    interval: tuple[float, float] | None
    baselines: dict[str, float]
    parent: tuple[str, float] | None

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
    def units(self) -> str:
        """Of the RMSE, as people write them: rain's in both spaces."""
        if not is_precipitation(self.variable):
            return variable(self.variable).units
        return "ln(1+mm/day)" if self.space == "log1p" else "mm/day"


def spaces(name: str) -> tuple[str, ...]:
    """The spaces that a variable is judged in: rain in mm and in ln(1 + mm)."""
    return ("physical", "log1p") if is_precipitation(name) else ("physical",)


def judge(scores: pd.DataFrame, names: Sequence[str] | None = None) -> list[Judged]:
    """Every variable and space of one task's rows that has a model beside a baseline, in the table's order (or that of `names`)."""
    rmse = scores[(scores["metric"] == "rmse") & (scores["season"] == "all") & scores["region"].isin(DOMAINS)]
    found = []
    for name in dict.fromkeys(rmse["variable"]) if names is None else names:
        for space in spaces(str(name)):
            rows = rmse[(rmse["variable"] == name) & (rmse["space"] == space) & np.isfinite(rmse["value"])]
            known = rows["model"].isin(BASELINES)
            baselines, models = rows[known], rows[~known]
            if baselines.empty or models.empty:
                continue
            own, others = models.iloc[0], models.iloc[1:]
            interval = (float(own["ci_low"]), float(own["ci_high"])) if np.isfinite(own["ci_low"]) else None
            parent = (str(others.iloc[0]["model"]), float(others.iloc[0]["value"])) if len(others) else None
            values = {str(m): float(v) for m, v in zip(baselines["model"], baselines["value"], strict=True)}
            found.append(Judged(str(name), space, str(own["model"]), float(own["value"]), interval, values, parent))
    return found


def wins(judged: Sequence[Judged], against: str = "best") -> dict[str, bool]:
    """Variable -> whether the model's RMSE is lower in EVERY space: than the `best` baseline, the best `interpolation`, or its `parent`."""
    found: dict[str, bool] = {}
    for one in judged:
        other = getattr(one, against)
        if other is not None:
            found[one.variable] = found.get(one.variable, True) and one.value < other[1]
    return found


def frames(scores: pd.DataFrame) -> str:
    """What the scores of a task rest on: `4 frames within 22 hours`, `365 frames within 364 days`."""
    counted = scores.loc[scores["metric"] == "n_samples", "value"]
    number = int(counted.iloc[0]) if len(counted) else None
    first, _, last = str(scores["date_range"].iloc[0]).partition("/")
    count = "the test frames" if number is None else f"{number:,} frame" + ("s" if number != 1 else "")
    try:
        hours = (np.datetime64(last, "m") - np.datetime64(first, "m")) / np.timedelta64(60, "m")
    except ValueError:
        return count
    if number == 1:
        return count
    return f"{count} within " + (f"{hours:.0f} hours" if hours < 48 else f"{hours / 24:,.0f} days")
