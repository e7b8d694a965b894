"""Writes the table of core hours of the scores into docs/diagnostics.md, from benchmarks/results/evaluate_speed.json.

    python docs/speed.py
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from orbit2.files import write_text

PAGE = Path(__file__).with_name("diagnostics.md")
RECORD = Path(__file__).resolve().parents[1] / "benchmarks" / "results" / "evaluate_speed.json"
STRUCTURE = ("ssim", "spectra", "fss", "sal", "harmonics", "paper", "overtime")  # steps that `evaluate.every` thins out
BEGIN, END = "<!-- docs/speed.py: begin -->", "<!-- docs/speed.py: end -->"
RECORDS = (("small", "0.25 degree", "a year", 365, 12), ("small", "0.25 degree", "40 years", 14_610, 480),
           ("large", "7 km", "a year", 365, 12))  # fmt: skip
NAMES = {"2m_temperature": "temperature", "precipitation_rate": "rain, in two spaces"}
LONGEST = 31  # days of a part


def seconds(steps: dict[str, float]) -> tuple[float, float]:
    """Core seconds of a day: (what every day needs, reading included; structure)."""
    structure = sum(spent for step, spent in steps.items() if step in STRUCTURE)
    return sum(steps.values()) - structure, structure


def table(record: dict[str, Any]) -> str:
    lines = ["| daily fields | variable | models | core s a day | structure, core s a time | core hours | with structure of every 10th day "
             "| parts | core minutes of the longest part |", "|---|---|---|---|---|---|---|---|---|"]  # fmt: skip
    for size, grid, span, days, parts in RECORDS:
        for variable, name in NAMES.items():
            each, structure = seconds(record[size]["steps"][variable])
            told = any(step in STRUCTURE for step in record[size]["steps"][variable])  # it is tabled at 0.25 degree alone
            both = (each * days + structure * -(-days // 10)) / 3600
            cells = [f"{span} at {grid}", name, str(record[size]["models"][variable]), f"{each:.2f}",
                     f"{structure:.1f}" if told else "not measured", f"{each * days / 3600:.2f}",
                     f"{both:.2f}" if told else "not measured", str(parts), f"{each * LONGEST / 60:.1f}"]  # fmt: skip
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page(text: str, record: dict[str, Any]) -> str:
    """The page with the table of a record between its marks. Raises ValueError for a page without them."""
    before, rest = text.split(f"{BEGIN}\n")
    return f"{before}{BEGIN}\n{table(record)}\n{END}{rest.split(END)[1]}"


def main() -> None:
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    write_text(PAGE, page(PAGE.read_text(encoding="utf-8"), record))


if __name__ == "__main__":
    main()
