"""Writes docs/metrics.md from the register of metrics (orbit2/metrics/registry.py) and the table's columns.

    python docs/metrics.py
"""

from __future__ import annotations

from pathlib import Path

from orbit2.files import write_text
from orbit2.metrics.entries.entry import DIRECTIONS, Entry
from orbit2.metrics.registry import GROUPS
from orbit2.metrics.table import COLUMNS, KEY, MEANING, TYPES

PAGE = Path(__file__).with_name("metrics.md")
PARQUET = {"str": "string", "float64": "double", "int64": "int64"}
HEAD = """# Metrics

Written by `python docs/metrics.py` from `orbit2/metrics/registry.py`: every name that the tables of `evaluate`
and `diagnose` hold. What is compared, and why so, is in [Scores and diagnostics](diagnostics.md).

p is the prediction, o the truth, w the areas of the cells, a bar the weighted mean; sums run over the cells where the truth and
everything that is compared have a value. Units "field" are those of the variable, and 1 in ln(1 + mm/day). What stands in braces is
replaced in the table: `rmse_skill_vs_{baseline}` by `rmse_skill_vs_bicubic`, `quantile_{q}` by `quantile_0.99`.

## The table

`evaluate/<task>/metrics.parquet`, `diagnose/<task>/regions.parquet` and what they are merged to, `evaluate/metrics.parquet` and
`diagnose/metrics.parquet`, are one tidy table: one score a row, no index, no missing texts. No two rows agree in all of
KEY.

"""


def cell(text: str) -> str:
    """Text as it may stand in a table of Markdown."""
    return text.replace("|", "\\|") or "–"


def row(entry: Entry) -> str:
    """One line of a group's table."""
    where = "" if entry.stages == ("evaluate",) else " (diagnose)" if entry.stages == ("diagnose",) else " (evaluate, diagnose)"
    spaces = ", ".join(entry.spaces)
    better = DIRECTIONS[entry.direction].replace(" is better", "")
    cells = (f"`{entry.name}`{where}", cell(entry.formula), entry.units, better, spaces, cell(entry.source), cell(entry.trap))
    return f"| {' | '.join(cells)} |"


def page() -> str:
    """The whole page."""
    lines = [HEAD.replace("KEY", ", ".join(f"`{name}`" for name in KEY)), "| column | type | what it holds |\n|---|---|---|\n"]
    lines += [f"| `{name}` | {PARQUET[TYPES[name]]} | {cell(MEANING[name])} |\n" for name in COLUMNS]
    for title, group in GROUPS.items():
        lines.append(f"\n## {title}\n\n| metric | formula | units | better | space | source | trap |\n|---|---|---|---|---|---|---|\n")
        lines += [row(entry) + "\n" for entry in group]
    return "".join(lines)


if __name__ == "__main__":
    write_text(PAGE, page())
