"""Can it be used here, for this? A model's rows beside what people have today, by region and use. Never scores, never guesses."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orbit2.metrics.table import TRUTH
from orbit2.metrics.verdict import spaces
from orbit2.report.style import method_name
from orbit2.report.tables.cells import LEVELS
from orbit2.report.tables.scores import Scores
from orbit2.report.tables.traced import Row

Level = Literal["yes", "care", "no"]
WORDS = LEVELS
DIFFERENCE = "rmse_difference_vs_best_baseline"
MARKED = "rmse_marked_vs_best_baseline"
MEAN, TIMING, DAY = "mean", "timing", "day"
BIAS = "threshold_days_bias_"  # and the label of a threshold


@dataclass(frozen=True)
class Column:
    """One use of one variable: `use` as configured, `name` of the event or threshold inside it, the units of its error."""

    use: str
    variable: str
    name: str = ""
    units: str = ""


@dataclass(frozen=True)
class Judgement:
    """Whether a use stands in a region: `error` (signed, in the column's units) beside its `tolerance`; `own` score of the model beside
    the best of what is there today, `today` (name, score); `sure`: whether that lead is beyond chance, None without an interval;
    `observed` (name, score): the same score of another product of observations; `row`: of the model's score."""

    region: str
    column: Column
    error: float
    tolerance: float | None
    own: float | None
    today: tuple[str, float] | None
    better: bool
    sure: bool | None
    observed: tuple[str, float] | None = None
    row: Row | None = None

    @property
    def within(self) -> bool:
        return self.tolerance is not None and abs(self.error) <= self.tolerance

    @property
    def level(self) -> Level:
        """`yes`: within tolerance, and better than all that is there today beyond chance. `care`: one of the two, or not sure. `no`:
        neither."""
        if self.within and self.better and self.sure:
            return "yes"
        return "care" if self.within or self.better else "no"

    @property
    def why(self) -> str:
        """In words, for the level."""
        size = ("its average error is within the tolerance" if self.within else "no tolerance is given for its average error"
                if self.tolerance is None else "its average error is beyond the tolerance")  # fmt: skip
        if self.today is None:
            return f"{size}; nothing that is available today was scored beside it"
        today = method_name(self.today[0])
        if not self.better:
            return f"{size}, {'but' if self.within else 'and'} {today}, available today, is as close to the truth or closer"
        chance = {True: "beyond chance", False: "which may be chance", None: "but the record is too short to rule out chance"}[self.sure]
        return f"{size}, {'and' if self.within else 'though'} it is closer to the truth than {today}, the best of today, {chance}"


def mean(scores: Scores, model: str, variable: str, region: str, units: str, tolerance: Mapping[str, float]) -> Judgement | None:
    """Of the mean and the day to day: bias within tolerance, RMSE below every baseline's in every space. None where it was not scored."""
    error, own = (scores.value(model, variable, metric, region=region) for metric in ("bias", "rmse"))
    if error is None or own is None:
        return None
    better, surely = [], []
    for space in spaces(variable):
        best, value = scores.best(model, variable, "rmse", space, region), scores.value(model, variable, "rmse", space, region)
        better.append(best is not None and value is not None and value < best[1])
        surely.append(_surely(scores, model, variable, space, region, best))
    return Judgement(
        region, Column(MEAN, variable, units=units), error, tolerance.get(units), own,
        scores.best(model, variable, "rmse", "physical", region), all(better), None if None in surely else all(surely),
        _observed(scores, variable, "rmse", region), scores.row(model, variable, "rmse", region=region),
    )


def _observed(scores: Scores, variable: str, metric: str, region: str) -> tuple[str, float] | None:
    """The score of the first other product of observations that has one."""
    found = ((product, scores.value(product, variable, metric, region=region)) for product in scores.products())
    return next(((product, value) for product, value in found if value is not None), None)


def dates(scores: Scores, model: str, variable: str, region: str, event: str, tolerance: Mapping[str, float]) -> Judgement | None:
    """Of the onset or withdrawal of rainy seasons: mean error of the dates within tolerance, mean absolute error below every baseline's;
    surely where the intervals of both do not meet. Of two seasons a year the wetter one. None where there are no dates."""
    for which in ("", "first_"):
        name = f"monsoon_{which}{event}"
        error, own = (scores.value(model, variable, f"{name}_{what}", region=region) for what in ("bias", "mae"))
        if error is None or own is None:
            continue
        best = scores.best(model, variable, f"{name}_mae", "physical", region)
        mine, theirs = (scores.interval(who, variable, f"{name}_mae", region=region) if who else None for who in (model, best and best[0]))
        return Judgement(
            region, Column(TIMING, variable, event, DAY), error, tolerance.get(DAY), own, best, best is not None and own < best[1],
            None if mine is None or theirs is None else mine[1] < theirs[0], _observed(scores, variable, f"{name}_mae", region),
            scores.row(model, variable, f"{name}_mae", region=region),
        )  # fmt: skip
    return None


@dataclass(frozen=True)
class Counted:
    """A threshold that rows tell of: its label, use, variable and meaning (`at least 20 mm`)."""

    label: str
    use: str
    variable: str
    told: str


def thresholds(scores: Scores) -> list[Counted]:
    """Those that diagnose counted, from the rows' own words (`method`: what is counted; the threshold; its use; ...)."""
    rows = scores.rows[scores.rows["metric"].str.startswith(BIAS)]
    found = []
    for metric, variable, method in dict.fromkeys(zip(rows["metric"], rows["variable"], rows["method"], strict=True)):
        words = str(method).split("; ")
        if len(words) > 2:
            found.append(Counted(str(metric).removeprefix(BIAS), words[2], str(variable), words[1]))
    return list(dict.fromkeys(found))


def days(scores: Scores, model: str, counted: Counted, region: str, tolerance: Mapping[str, float]) -> Judgement | None:
    """Of days beyond a threshold: days a year too many within tolerance, and at most half of the truth's; critical success index above
    every baseline's, surely by the interval of the difference. None where neither has such a day."""
    name = counted.variable
    error, truth = (scores.value(who, name, f"threshold_{what}_{counted.label}", region=region)
                    for who, what in ((model, "days_bias"), (TRUTH, "days")))  # fmt: skip
    metric = f"threshold_csi_{counted.label}"
    own = scores.value(model, name, metric, region=region)
    if error is None or truth is None or own is None:
        return None
    others = [(value, other) for other in scores.baselines(model)
              if (value := scores.value(other, name, metric, region=region)) is not None]  # fmt: skip
    ends = scores.interval(model, name, f"threshold_csi_difference_vs_best_baseline_{counted.label}", region=region)
    limit = tolerance.get(DAY)
    return Judgement(
        region, Column(counted.use, name, counted.told, DAY), error, None if limit is None else min(limit, truth / 2), own,
        (max(others)[1], max(others)[0]) if others else None, bool(others) and own > max(others)[0],
        None if ends is None else ends[0] > 0, _observed(scores, name, metric, region), scores.row(model, name, metric, region=region),
    )  # fmt: skip


def _surely(scores: Scores, model: str, variable: str, space: str, region: str, best: tuple[str, float] | None) -> bool | None:
    """Whether the model's lead stands: its mark where regions were marked together (false discovery rate), else its interval."""
    marked = scores.value(model, variable, MARKED, space, region)
    if marked is not None:
        return bool(marked)
    metrics = [DIFFERENCE, *([f"rmse_difference_vs_{best[0]}"] if best else [])]
    ends = next((found for m in metrics if (found := scores.interval(model, variable, m, space, region)) is not None), None)
    return None if ends is None else ends[1] < 0


def counted(found: Iterable[Judgement]) -> dict[Level, int]:
    """How many of each level."""
    levels = [one.level for one in found]
    return {"yes": levels.count("yes"), "care": levels.count("care"), "no": levels.count("no")}


def columns_of(found: Sequence[Judgement]) -> list[Column]:
    """Columns in the order of their first judgement."""
    return list(dict.fromkeys(one.column for one in found))
