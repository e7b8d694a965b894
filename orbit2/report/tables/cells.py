"""Cells and tables of the report: a number, the words around it, CSV. Never looks a score up."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import pandas as pd
from markupsafe import Markup, escape

from orbit2.report.tables.traced import marked, plain

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
    columns = [_written(frame.iloc[:, i]) for i in range(frame.shape[1])]
    words = pd.concat(columns, axis=1) if columns else frame
    return str(words.to_csv(index=False, lineterminator="\n"))


def _written(column: pd.Series) -> pd.Series:
    """Numbers as words, NaN as none: pandas' own `float_format` takes five times as long."""
    if column.dtype.kind != "f":
        return column
    return pd.Series([None if value != value else f"{value:.6g}" for value in column.tolist()], column.index, object, column.name)


def lower(text: str) -> str:
    return text[0].lower() + text[1:]


@dataclass(frozen=True)
class Cell:
    """One cell: what is shown, the number behind it, whether it is a quotient of two, a second line, emphasis."""

    text: str
    value: float | None = None
    derived: bool = False
    note: str = ""
    strong: bool = False
    good: bool | None = None  # coloured: better or worse than interpolation
    level: str = ""  # of a judgement: yes, care or no

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
    regions: tuple[str, ...] = ()  # of each row, where rows are regions: the map of regions filters by them
    source: str = "scores"  # `records`: numbers of what the stages measured of themselves, not of the tables of scores

    def csv(self) -> str:
        """The table with unrounded numbers."""
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow(self.columns)
        writer.writerows([repr(cell.value) if cell.value is not None else plain(cell.text) for cell in row] for row in self.rows)
        return buffer.getvalue()

    @cached_property
    def body(self) -> Markup:
        """The rows as HTML: made once for a page that is written again until its pictures fit."""
        return Markup("\n").join(
            Markup("<tr{}>{}</tr>").format(Markup(' data-region="{}"').format(self.regions[i]) if self.regions else "",
                                         Markup("").join(_html(cell, k == 0) for k, cell in enumerate(row)))
            for i, row in enumerate(self.rows))  # fmt: skip

    def write(self, folder: Path) -> None:
        (folder / "tables").mkdir(parents=True, exist_ok=True)
        (folder / "tables" / f"{self.name}.csv").write_text(self.csv(), encoding="utf-8")


LEVELS: Mapping[str, str] = {"yes": "use", "care": "with care", "no": "not"}  # of a judgement, as people read it


def _html(cell: Cell, first: bool) -> Markup:
    """A row's heading, or a cell with the number behind it."""
    note = f"<small>{escape(marked(cell.note))}</small>" if cell.note else ""
    shown = escape(marked(cell.text))
    if first:
        return Markup(f'<th scope="row">{shown}{note}</th>')
    words = cell.value is None
    kinds = ("w" if words and cell.text != "n/a" else "", "wide" if words and len(plain(cell.text)) > 24 else "",
             "strong" if cell.strong else "", {True: "good", False: "bad", None: ""}[cell.good])  # fmt: skip
    behind = "" if words else f' data-{"quotient" if cell.derived else "value"}="{cell.value!r}"'
    level = f' <span class="lamp {cell.level}">{LEVELS[cell.level]}</span>' if cell.level else ""
    return Markup(f'<td class="{" ".join(filter(None, kinds))}"{behind}>{shown}{level}{note}</td>')
