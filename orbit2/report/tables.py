"""Tables of the report: every number is the value of one row of a metrics table, or the quotient of two. Never scores fields."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from orbit2.baselines import BASELINES
from orbit2.errors import OrbitError
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
    """Look-up in a long table of scores for one task and one protocol."""

    frame: pd.DataFrame
    task: str
    protocol: str = "standard"
    rows: pd.DataFrame = field(init=False)

    def __post_init__(self) -> None:
        frame = self.frame
        self.rows = frame[(frame["task"] == self.task) & (frame["protocol"] == self.protocol) & (frame["season"] == "all")]
        self._values: dict[tuple[str, ...], float] = dict(zip(_keys(self.rows), self.rows["value"], strict=True))

    def value(self, model: str, name: str, metric: str, space: str = "physical", region: str | None = None) -> float | None:
        """The score, or None where the table has none."""
        found = self._values.get((model, name, space, region or self.domain, metric))
        return None if found is None or math.isnan(found) else float(found)

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
        others = (str(name) for name in dict.fromkeys(self.rows["model"]) if name != model and name not in BASELINES)
        return next((name for name in others if not name.startswith("(")), None)

    def best(self, model: str, name: str, metric: str, space: str, region: str | None = None) -> tuple[str, float] | None:
        """The interpolation with the lowest `metric` (an error) for a variable, and its value."""
        found = [(value, other) for other in self.baselines(model) if (value := self.value(other, name, metric, space, region)) is not None]
        if not found:
            return None
        value, other = min(found)
        return other, value


def _keys(rows: pd.DataFrame) -> Iterable[tuple[str, ...]]:
    columns = [rows[name].astype(str) for name in ("model", "variable", "space", "region", "metric")]
    return zip(*columns, strict=True)


def spaces(name: str) -> tuple[str, ...]:
    """In which spaces a variable is scored, the leading one first."""
    return ("log1p", "physical") if is_precipitation(name) else ("physical",)


def label(name: str) -> str:
    """A variable's name for people, without its bracketed definition."""
    return variable(name).long_name.split(" (")[0]


def units(name: str, space: str = "physical") -> str:
    """Units of a score of a variable; RMSE of ln(1+x) has none."""
    return "ln(1 + mm/day)" if space == "log1p" else pretty_units(variable(name).units)


def _heading(name: str, space: str) -> Cell:
    return Cell(label(name), note=units(name, space))


def rmse_table(scores: Scores, model: str, names: Sequence[str], name: str = "headline", caption: str = "") -> Table:
    """RMSE of the model and of every plain interpolation, and their ratio."""
    plain = [b for b in scores.baselines(model) if not b.endswith("_log1p")]
    rows = []
    for key in names:
        for space in spaces(key):
            own = scores.value(model, key, "rmse", space)
            best = scores.best(model, key, "rmse", space)
            row = [_heading(key, space), Cell.of(own, strong=True)]
            row += [Cell.of(scores.value(other, key, "rmse", space)) for other in plain]
            row.append(Cell.of(best[1], note=method_name(best[0])) if best else Cell("n/a"))
            row.append(_ratio(own, best[1] if best else None))
            rows.append(tuple(row))
    return Table(
        name,
        caption,
        ("Variable", model, *(method_name(b) for b in plain), "best interpolation", "model / best"),
        tuple(rows),
    )


def _ratio(own: float | None, other: float | None) -> Cell:
    if own is None or not other:
        return Cell("n/a")
    return Cell(f"{own / other:.3f}", own / other, derived=True, strong=True, good=own < other)


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
            row = [_heading(key, space)]
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


def reading(scores: Scores, model: str, names: Sequence[str], samples: int) -> str:
    """One plain sentence or two about the headline, built from its numbers."""
    gains: list[tuple[float, str, float, float, str, str]] = []
    for key in names:
        space = spaces(key)[0]
        own, best = scores.value(model, key, "rmse", space), scores.best(model, key, "rmse", space)
        if own is not None and best is not None and best[1] > 0:
            gains.append((1 - own / best[1], key, own, best[1], best[0], space))
    if not gains:
        return "No interpolation was scored beside the model, so nothing can be said about its skill."
    better = [g for g in gains if g[0] > 0]
    gains.sort(reverse=True)
    frames = f"{samples} test frame" + ("s" if samples != 1 else "")
    if len(better) == len(gains):
        verdict = f"On {frames}, {model} has a lower RMSE than every interpolation for " + {1: "its one variable", 2: "both variables"}.get(
            len(gains), f"all {_count(len(gains))} variables"
        )
    elif better:
        worse = ", ".join(lower(label(g[1])) for g in gains if g[0] <= 0)
        share = f"{_count(len(better))} of {_count(len(gains))}"
        verdict = f"On {frames}, {model} has a lower RMSE than every interpolation for {share} variables (not for {worse})"
    else:
        verdict = f"On {frames}, {model} does not beat the best interpolation for any variable"
    most, least = gains[0], gains[-1]
    detail = f"the largest gain is {_gain(most)}" if len(gains) > 1 else f"the gain is {_gain(most)}"
    if len(gains) > 1:
        detail += f", the smallest {_gain(least)}"
    return f"{verdict}; {detail}."


def _gain(entry: tuple[float, str, float, float, str, str]) -> str:
    gain, key, own, other, method, space = entry
    return (
        f"{_percent(gain)} for {lower(label(key))} ({number(own)} against {number(other)} {units(key, space)} with {method_name(method)})"
    )


def _percent(gain: float) -> str:
    return f"{100 * gain:.1f} %".replace("-", "−")


def lower(text: str) -> str:
    return text[0].lower() + text[1:]


def _count(value: int) -> str:
    words = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
    return words[value] if value < len(words) else str(value)


@dataclass(frozen=True)
class Tile:
    """One large number of the summary: the change of RMSE against the best interpolation."""

    title: str
    value: str
    note: str
    good: bool


def tiles(scores: Scores, model: str, names: Sequence[str]) -> list[Tile]:
    """Per variable: RMSE of the model relative to the best interpolation, as a percentage."""
    found = []
    for key in names:
        space = spaces(key)[0]
        own, best = scores.value(model, key, "rmse", space), scores.best(model, key, "rmse", space)
        if own is None or best is None or best[1] <= 0:
            continue
        change = 100 * (own / best[1] - 1)
        found.append(
            Tile(
                label(key),
                f"{change:+.1f} %".replace("-", "−"),
                f"RMSE {number(own)} against {number(best[1])} {units(key, space)} ({method_name(best[0])})",
                change < 0,
            )
        )
    return found
