"""Write the table of docs/interruptions.md from docs/interruptions.json, which `make interruptions` fills (tests/slurm)."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent
TABLE, PAGE = DOCS / "interruptions.json", DOCS / "interruptions.md"
BEGIN, END = "<!-- table -->", "<!-- end of table -->"
COLUMNS = ("what was done", "to", "what happened", "jobs", "starts", "until it went on, s", "done again", "bits")


def line(cells: Iterable[object]) -> str:
    return "| " + " | ".join(map(str, cells)) + " |\n"


def cells(row: dict[str, Any]) -> list[object]:
    seconds = "-" if row["seconds"] is None else f"{row['seconds']:.0f}"
    again = "-" if row["again"] is None else row["again"]
    equal = "equal" if row["equal"] else "DIFFERENT"
    return [row["what"], row["job"], row["happened"], row["jobs"], row["starts"], seconds, again, equal]


def page(rows: list[dict[str, Any]]) -> str:
    """The page with the table of these rows."""
    text = PAGE.read_text(encoding="utf-8")
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    table = [line(COLUMNS), "|---" * len(COLUMNS) + "|\n", *(line(cells(row)) for row in rows)]
    return before + BEGIN + "\n\n" + "".join(table) + "\n" + END + after


if __name__ == "__main__":
    PAGE.write_text(page(json.loads(TABLE.read_text(encoding="utf-8"))), encoding="utf-8")
