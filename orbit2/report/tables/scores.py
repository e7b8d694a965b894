"""Look-up of scores in a long table, and what variables and their units are called. Never scores fields."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import pandas as pd

from orbit2.baselines import BASELINES
from orbit2.errors import OrbitError
from orbit2.metrics.fields import DRY
from orbit2.metrics.others import PREFIX
from orbit2.report.style import pretty_units
from orbit2.report.tables.cells import Cell, number
from orbit2.report.tables.traced import Row, traced
from orbit2.variables import is_precipitation, variable

DRIED = "dry"

@dataclass
class Scores:
    """Look-up in a long table of scores for one task, one protocol and one season (`all`: the whole record)."""

    frame: pd.DataFrame
    task: str
    protocol: str = "standard"
    season: str = "all"
    rows: pd.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        frame = self.frame
        self.rows = frame[(frame["task"] == self.task) & (frame["protocol"] == self.protocol) & (frame["season"] == self.season)]
        self._values: dict[tuple[str, ...], float] = dict(zip(_keys(self.rows), self.rows["value"].tolist(), strict=True))
        sure = self.rows[self.rows["ci_low"].notna() & self.rows["ci_high"].notna()]
        self._models = tuple(str(name) for name in self.rows["model"].unique())  # in the table's order; asked for thousands of times
        regions = set(self.rows["region"].unique())
        self._domain = "global" if "global" in regions or "domain" not in regions else "domain"
        ends = (sure[name].astype(float).tolist() for name in ("ci_low", "ci_high"))
        self._intervals = dict(zip(_keys(sure), zip(*ends, strict=True), strict=True))

    def value(self, model: str, name: str, metric: str, space: str = "physical", region: str | None = None) -> float | None:
        """The score, or None where the table has none."""
        found = self._values.get((model, name, space, region or self.domain, metric))
        return None if found is None or math.isnan(found) else float(found)

    def interval(
        self, model: str, name: str, metric: str, space: str = "physical", region: str | None = None
    ) -> tuple[float, float] | None:
        """The score's 95 % interval, None where it has none."""
        return self._intervals.get((model, name, space, region or self.domain, metric))

    def row(self, model: str, name: str, metric: str, space: str = "physical", region: str | None = None, column: str = "value") -> Row:
        """Where `value` and `interval` read it."""
        return Row(self.task, model, name, space, region or self.domain, metric, self.season, column)

    def told(self, model: str, name: str, metric: str, space: str = "physical", region: str | None = None, digits: int = 3) -> str:
        """The score for a sentence of the page, with its row."""
        return traced(number(self.value(model, name, metric, space, region), digits), self.row(model, name, metric, space, region))

    def ends(self, model: str, name: str, metric: str, space: str = "physical", region: str | None = None) -> str:
        """Its interval for a sentence, `−0.32 to −0.21`, with its row; empty where it has none."""
        found = self.interval(model, name, metric, space, region)
        if found is None:
            return ""
        shown = (traced(number(end), self.row(model, name, metric, space, region, column))
                 for end, column in zip(found, ("ci_low", "ci_high"), strict=True))  # fmt: skip
        return " to ".join(shown)

    @property
    def sure(self) -> bool:
        """Whether RMSEs have intervals."""
        return any(key[-1] == "rmse" for key in self._intervals)

    @property
    def domain(self) -> str:
        """`global`, or `domain` for a task that covers a box."""
        return self._domain

    def text(self, column: str) -> str:
        """The one value of a descriptive column (`reference`, `date_range`). Raises OrbitError for an empty task."""
        if not len(self.rows):
            raise OrbitError("no scores for this task", where="evaluate/metrics.parquet", got=self.task, hint="run the evaluate stage")
        return str(self.rows[column].iloc[0])

    def baselines(self, model: str) -> list[str]:
        """Names of the interpolations and fitted baselines scored beside `model`, in the table's order."""
        return [name for name in self._models if name != model and name in BASELINES]

    def parent(self, model: str) -> str | None:
        """The model that `model` was fine-tuned from, where it was scored on the same cells."""
        others = (name for name in self._models if name != model and name not in BASELINES and not name.startswith(PREFIX))
        return next((name for name in others if not name.startswith("(")), None)

    def products(self) -> list[str]:
        """Other observational products scored like a prediction (`obs:<dataset>`): how well products agree, no baselines."""
        return [name for name in self._models if name.startswith(PREFIX)]

    def best(
        self, model: str, name: str, metric: str, space: str, region: str | None = None, among: Sequence[str] = BASELINES
    ) -> tuple[str, float] | None:
        """The baseline with the lowest `metric` (an error) for a variable, and its value."""
        beside = [other for other in self.baselines(model) if other in among]
        found = [(value, other) for other in beside if (value := self.value(other, name, metric, space, region)) is not None]
        if not found:
            return None
        value, other = min(found)
        return other, value


def _keys(rows: pd.DataFrame) -> Iterable[tuple[str, ...]]:
    columns = [rows[name].astype(str).tolist() for name in ("model", "variable", "space", "region", "metric")]  # lists are fast
    return zip(*columns, strict=True)


def label(name: str) -> str:
    """A variable's name for people, without its bracketed definition."""
    return variable(name).long_name.split(" (")[0]


def units(name: str, space: str = "physical") -> str:
    """Units of a score of a variable; RMSE of ln(1+x) has none."""
    if is_precipitation(name):
        return "ln(1 + mm/day)" if space == "log1p" else "mm/day"
    return pretty_units(variable(name).units)


def amount(value: float | None, name: str, digits: int = 3, *, strong: bool = False, note: str = "") -> Cell:
    """A value of a variable: of rain below DRY `dry`, since neither a gauge nor the bins of a histogram tell it from none."""
    cell = Cell.of(value, digits, strong=strong, note=note)
    return dataclasses.replace(cell, text=DRIED) if dry(value, name) else cell


def dry(value: float | None, name: str) -> bool:
    """Whether it is an amount of rain that counts as none. Less than none is an error, and shown."""
    return value is not None and is_precipitation(name) and 0 <= value < DRY


def heading(name: str, space: str) -> Cell:
    return Cell(label(name), note=units(name, space))
