"""Numbers inside sentences and beside cells that keep the rows they were read from, as a page writes them (`data-rows`).

Never looks a score up.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

from markupsafe import Markup, escape

OPEN, REST, CLOSE = "\ue000", "\ue001", "\ue002"  # of a private plane: no text has them
_MARKED = re.compile(f"{OPEN}([^{REST}]*){REST}([^{REST}]*){REST}([^{CLOSE}]*){CLOSE}")
HOW = {  # how a shown number follows from its rows
    "value": "the row's",
    "percent": "the row's, times 100",
    "ratio": "the first over the second",
    "change": "the first over the second, less 1, times 100",
    "gain": "1 less the first over the second, times 100",
    "rows": "how many rows there are",
    "positive": "how many of them are above 0",
    "higher": "of pairs of rows, in how many the first is higher",
    "lower": "of pairs of rows, in how many the first is lower",
    "both": "of pairs of rows, in how many both are above 0",
    "pairs": "how many pairs of rows there are",
    "span": "from the first to the last of the row's date_range: hours, from two days on days",
    "sum": "the sum of the rows, times 100",
    "weighted": "of pairs of rows, the mean of the second, weighted by the first, times 100",
    "products": "of pairs of rows, the sum of their products, times 100",
    "foreseen": "of rows whose names end in a number of members: its mean over that of the last row, weighted by the rows, times 100",
    "share": "1 over the row's, times 100",
    "outside": "2 over the row's plus 1, times 100",
    "inside": "the row's less 1 over the row's plus 1, times 100",
    "beside": "the sum of those cells of a table beside the page, times the last number; without a column, how many of its rows there are",
    "told": "words of that file of the run, as they stand there",
}


@dataclass(frozen=True)
class Row:
    """One row of a table of scores, and which of its columns (`value`, `ci_low`, `ci_high`)."""

    task: str
    model: str
    variable: str
    space: str
    region: str
    metric: str
    season: str = "all"
    column: str = "value"

    def key(self) -> list[str]:
        return [self.task, self.model, self.variable, self.space, self.region, self.metric, self.season, self.column]


@dataclass(frozen=True)
class Beside:
    """Rows of a file of the run, no table of scores, whose columns have the words of `where`; which `column` (empty: they are counted)."""

    file: str  # as seen from the run's folder: `report/tables/decision_maps.csv`
    where: tuple[tuple[str, str], ...] = ()
    column: str = ""
    times: float = 1.0

    def key(self) -> list[object]:
        return [self.file, dict(self.where), self.column, self.times]


def traced(shown: str, *rows: Row | Beside, how: str = "value") -> str:
    """`shown` for a sentence of the page, with the rows it comes from and `how` (HOW); `plain` takes them off again."""
    assert how in HOW
    keys = json.dumps([row.key() for row in rows], ensure_ascii=False, separators=(",", ":"))
    return f"{OPEN}{how}{REST}{keys}{REST}{shown}{CLOSE}"


def plain(text: str) -> str:
    """The sentence without what stands behind its numbers."""
    return _MARKED.sub(r"\3", text)


def marked(text: object) -> object:
    """For templates: a text with traced numbers as HTML, everything else as it is."""
    if not isinstance(text, str) or isinstance(text, Markup) or OPEN not in text:
        return text
    made, at = Markup(), 0
    for found in _MARKED.finditer(text):
        how, rows, shown = found.groups()
        made += escape(text[at : found.start()]) + Markup('<span data-how="{}" data-rows="{}">{}</span>').format(how, rows, shown)
        at = found.end()
    return made + escape(text[at:])
