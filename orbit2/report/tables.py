"""Tables of the report: every number is the value of one row of a metrics table, or the quotient of two. Never scores fields."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from orbit2.baselines import BASELINES, FITTED, METHODS
from orbit2.errors import OrbitError
from orbit2.metrics.others import PREFIX
from orbit2.metrics.verdict import spaces
from orbit2.report.style import method_name, pretty_units
from orbit2.variables import is_precipitation, variable

_SUPERSCRIPT = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")


def number(value: float | None, digits: int = 3) -> str:
    """`digits` significant digits (`6.3 × 10⁻⁶` below 0.0001), a real minus sign, `n/a` for what is missing or not finite."""
    if value is None or not math.isfinite(value):
        return "n/a"
    if value == 0:
        return "0"
    if abs(value) < 1e-4:
        mantissa, _, exponent = f"{value:.{max(0, min(digits, 2) - 1)}e}".partition("e")
        return f"{mantissa} × 10".replace("-", "−") + str(int(exponent)).translate(_SUPERSCRIPT)
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    text = f"{value:,.{min(decimals, 6)}f}"
    return text.replace("-", "−")


def between(ends: tuple[float, float]) -> str:
    """An interval: `−0.32 to −0.21`."""
    return f"{number(ends[0])} to {number(ends[1])}"


def csv_text(frame: pd.DataFrame) -> str:
    """A frame as the report writes it: six significant digits, Unix line ends, no index."""
    return str(frame.to_csv(index=False, float_format="%.6g", lineterminator="\n"))


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, the number behind it, whether it is a quotient of two, a second line, emphasis."""

    text: str
    value: float | None = None
    derived: bool = False
    note: str = ""
    strong: bool = False
    good: bool | None = None  # coloured: better or worse than interpolation

    @staticmethod
    def of(value: float | None, digits: int = 3, *, strong: bool = False, note: str = "") -> Cell:
        known = value is not None and math.isfinite(value)
        return Cell(number(value, digits), value if known else None, strong=strong, note=note)


@dataclass(frozen=True)
class Table:
    """A captioned table. `text_columns` of the leading columns hold words (left-aligned row headings)."""

    name: str
    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = ()
    collapsed: str = ""

    def csv(self) -> str:
        """The table with unrounded numbers."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([repr(cell.value) if cell.value is not None else cell.text for cell in row] for row in self.rows)
        return buffer.getvalue()

    def write(self, folder: Path) -> None:
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        (folder / "tables" / f"{self.name}.csv").write_text(self.csv(), encoding="utf-8")


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
        self._values: dict[tuple[str, ...], float] = dict(zip(_keys(self.rows), self.rows["value"], strict=True))
        sure = self.rows[self.rows["ci_low"].notna() & self.rows["ci_high"].notna()]
        self._intervals = dict(zip(_keys(sure), zip(sure["ci_low"].astype(float), sure["ci_high"].astype(float), strict=True), strict=True))

    def value(self, model: str, name: str, metric: str, space: str = "physical", region: str | None = None) -> float | None:
        """The score, or None where the table has none."""
        found = self._values.get((model, name, space, region or self.domain, metric))
        return None if found is None or math.isnan(found) else float(found)

    def interval(
        self, model: str, name: str, metric: str, space: str = "physical", region: str | None = None
    ) -> tuple[float, float] | None:
        """The score's 95 % interval, None where it has none."""
        return self._intervals.get((model, name, space, region or self.domain, metric))

    @property
    def sure(self) -> bool:
        """Whether RMSEs have intervals."""
        return any(key[-1] == "rmse" for key in self._intervals)

    @property
    def domain(self) -> str:
        """`global`, or `domain` for a task that covers a box."""
        regions = set(self.rows["region"])
        return "global" if "global" in regions or "domain" not in regions else "domain"

    def text(self, column: str) -> str:
        """The one value of a descriptive column (`reference`, `date_range`). Raises OrbitError for an empty task."""
        if not len(self.rows):
            raise OrbitError("no scores for this task", where="evaluate/metrics.parquet", got=self.task, hint="run the evaluate stage")
        return str(self.rows[column].iloc[0])

    def baselines(self, model: str) -> list[str]:
        """Names of the interpolations and fitted baselines scored beside `model`, in the table's order."""
        return [str(name) for name in dict.fromkeys(self.rows["model"]) if name != model and name in BASELINES]

    def parent(self, model: str) -> str | None:
        """The model that `model` was fine-tuned from, where it was scored on the same cells."""
        others = (str(name) for name in dict.fromkeys(self.rows["model"])
                  if name != model and name not in BASELINES and not str(name).startswith(PREFIX))
        return next((name for name in others if not name.startswith("(")), None)

    def products(self) -> list[str]:
        """Other observational products scored like a prediction (`obs:<dataset>`): how well products agree, no baselines."""
        return [str(name) for name in dict.fromkeys(self.rows["model"]) if str(name).startswith(PREFIX)]

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
    columns = [rows[name].astype(str) for name in ("model", "variable", "space", "region", "metric")]
    return zip(*columns, strict=True)


def label(name: str) -> str:
    """A variable's name for people, without its bracketed definition."""
    return variable(name).long_name.split(" (")[0]


def units(name: str, space: str = "physical") -> str:
    """Units of a score of a variable; RMSE of ln(1+x) has none."""
    if is_precipitation(name):
        return "ln(1 + mm/day)" if space == "log1p" else "mm/day"
    return pretty_units(variable(name).units)


def heading(name: str, space: str) -> Cell:
    return Cell(label(name), note=units(name, space))


def rmse_table(scores: Scores, model: str, names: Sequence[str], name: str = "headline", caption: str = "") -> Table:
    """RMSE of the model beside the best interpolation, the best baseline of all and its parent, and its ratio to the last two."""
    parent, rows = scores.parent(model), []
    for key in names:
        for space in spaces(key):
            own, best = scores.value(model, key, "rmse", space), scores.best(model, key, "rmse", space)
            plain = scores.best(model, key, "rmse", space, among=METHODS)
            row = [heading(key, space), Cell.of(own, strong=True, note=sure(scores.interval(model, key, "rmse", space)))]
            row += [Cell.of(found[1], note=method_name(found[0])) if found else Cell("n/a") for found in (plain, best)]
            row.append(ratio(own, best[1] if best else None, gap(scores, model, key, space, best)))
            if parent is not None:
                before = scores.value(parent, key, "rmse", space)
                row += [Cell.of(before), ratio(own, before, gap(scores, model, key, space, (parent, before)))]
            rows.append(tuple(row))
    beside = (f"parent {parent}", "model / parent") if parent is not None else ()
    return Table(name, caption, ("Variable", model, "best interpolation", "best baseline", "model / best", *beside), tuple(rows))


def baseline_table(scores: Scores, model: str, names: Sequence[str], name: str) -> Table:
    """RMSE of everything that was scored: a row for the model, its parent, each baseline and each other product of observations, a column
    for each variable and space."""
    columns = [(key, space) for key in names for space in spaces(key)]
    parent = scores.parent(model)
    products = scores.products()
    methods = [model, *([parent] if parent else []), *scores.baselines(model), *products]
    notes = {**dict.fromkeys(FITTED, "fitted to training samples"), **dict.fromkeys(products, "other observations: how well they agree")}
    rows = [(Cell(method_name(m), note="fine-tuned from" if m == parent else notes.get(m, "")),
             *(Cell.of(scores.value(m, key, "rmse", space), strong=m == model, note=sure(scores.interval(m, key, "rmse", space)))
               for key, space in columns)) for m in methods]  # fmt: skip
    heads = tuple(f"{variable(key).short} ({units(key, space)})" for key, space in columns)
    return Table(f"baselines_{name}", "RMSE of the model and of each baseline; n/a: there is none for this variable or space.",
                 ("Method", *heads), tuple(rows), collapsed=f"RMSE of all {len(methods)} methods")  # fmt: skip


def ratio(own: float | None, other: float | None, note: str = "") -> Cell:
    if own is None or not other:
        return Cell("n/a")
    return Cell(f"{own / other:.3f}", own / other, derived=True, strong=True, good=own < other, note=note)


def grey(scores: Scores) -> str:
    """What the small numbers are, where there are any."""
    return " In grey 95 % intervals: of the model's RMSE, and of its difference to the other's on the same days." if scores.sure else ""


def sure(ends: tuple[float, float] | None) -> str:
    return between(ends) if ends is not None else ""


def gap(scores: Scores, model: str, name: str, space: str, other: tuple[str, float | None] | None) -> str:
    """The interval of the model's RMSE less the other's, and whether it leaves chance open."""
    ends = scores.interval(model, name, f"rmse_difference_vs_{other[0]}", space) if other is not None else None
    if ends is None:
        return ""
    return f"difference {between(ends)}" + ("" if ends[0] > 0 or ends[1] < 0 else ": may be chance")



TAILS = (("quantile_0.001", "0.1 %"), ("quantile_0.5", "median"), ("quantile_0.99", "99 %"), ("quantile_0.999", "99.9 %"))
SHARES = (("wet_share_0.1", "≥ 0.1 mm/day"), ("wet_share_1", "≥ 1 mm/day"))


def distribution_table(scores: Scores, model: str, names: Sequence[str]) -> Table | None:
    """Quantiles by area, and rain's wet share, of the model with the truth's under each; None where they were not computed."""
    rows = []
    wet = any(is_precipitation(key) for key in names)
    for key in names:
        row = [heading(key, "physical")]
        for metric, _ in (*TAILS, *(SHARES if wet else ())):
            own, truth = (scores.value(who, key, metric) for who in (model, "(truth)"))
            digits = 4 if metric.startswith("quantile") and not is_precipitation(key) else 3
            row.append(Cell.of(own, digits, strong=True, note=number(truth, digits)) if own is not None else Cell(""))
        rows.append(tuple(row))
    if not any(cell.value is not None for row in rows for cell in row):
        return None
    heads = [title for _, title in (*TAILS, *(SHARES if wet else ()))]
    return Table("distribution", f"Quantiles of {model} by area over all frames, and the wet share of the area; in grey the truth's.",
                 ("Variable", *heads), tuple(rows))  # fmt: skip


OTHER_METRICS = (
    ("mae", "MAE", 3),
    ("bias", "bias", 2),
    ("pearson_r", "r", 4),
    ("pearson_r2", "r²", 4),
    ("r2_cod", "R² (COD)", 4),
    ("ssim", "SSIM", 4),
    ("psnr_pooled", "PSNR, dB", 3),
)


def other_table(scores: Scores, model: str, names: Sequence[str], against: str) -> Table:
    """The model's further scores with those of one interpolation under each."""
    rows = []
    for key in names:
        for space in spaces(key):
            row = [heading(key, space)]
            for metric, _, digits in OTHER_METRICS:
                row.append(
                    Cell.of(scores.value(model, key, metric, space), digits, note=number(scores.value(against, key, metric, space), digits))
                )
            rows.append(tuple(row))
    return Table(
        "scores",
        f"Other scores of {model}; the small grey number under each is {method_name(against)} interpolation of the same inputs.",
        ("Variable", *(title for _, title, _ in OTHER_METRICS)),
        tuple(rows),
    )


def all_scores(scores: Scores, name: str) -> Table:
    """Every row of the table of scores for the whole domain."""
    rows = scores.rows[scores.rows["region"] == scores.domain]
    body = tuple(
        (
            Cell(_plain(row.variable)),
            Cell(str(row.space)),
            Cell(method_name(str(row.model))),
            Cell(str(row.metric)),
            Cell.of(float(str(row.value)), 4),
            Cell(f"{int(str(row.n)):,}"),
            Cell(str(row.method)),
        )
        for row in rows.itertuples()
    )
    return Table(
        f"all_scores_{name}",
        f"Every score of task {name} over the whole domain, with its definition (from metrics.parquet).",
        ("Variable", "space", "model", "metric", "value", "n", "definition"),
        body,
        collapsed=f"All {len(body)} scores of task {name}",
    )


def _plain(name: object) -> str:
    text = str(name)
    return text if text.startswith("(") else label(text)


def lower(text: str) -> str:
    return text[0].lower() + text[1:]
