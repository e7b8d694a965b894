"""The table of docs/performance.md is that of benchmarks/results/h200.json; its log line is one that training writes."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from tests.data.scripts import ROOT, script

PAGE = ROOT / "docs/performance.md"


def record() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((ROOT / "benchmarks/results/h200.json").read_text(encoding="utf-8"))
    return found


def test_the_page_has_the_measured_times() -> None:
    """When this fails: `python docs/performance.py`."""
    lines = [[cell.strip() for cell in line.strip("| ").split("|")] for line in PAGE.read_text(encoding="utf-8").splitlines()
             if re.match(r"\| [^|]+\| (prediction|training) \|", line)]  # fmt: skip
    shown = {(network, side): (float(eager), best) for network, side, eager, best, *_ in lines}
    rows = record()["rows"]
    assert shown.keys() == {(row["network"], row["side"]) for row in rows} and len(shown) == 12
    for (network, side), (eager, best) in shown.items():
        own = [row for row in rows if (row["network"], row["side"]) == (network, side)]
        assert eager == next(row["ms_per_sample"] for row in own if row["way"] == "eager" and row["batch"] == 8)
        fastest = min(own, key=lambda row: float(row["ms_per_sample"]))
        assert best == f"{fastest['ms_per_sample']:.2f} ({fastest['way']}, batch {fastest['batch']})"


def test_the_line_of_the_page_is_one_that_training_writes() -> None:
    from orbit2.train.trainer import said

    line = said({"loss": 0.0412}, 31.2, 0.07, 0.0398)
    assert f"step 1200/20000  {line}" in PAGE.read_text(encoding="utf-8")
    assert said({"loss": 0.0412}, 31.2, 0.02, float("inf")) == "loss 0.0412  31.20 samples/s"


@pytest.mark.slow
def test_floors_and_traffic_are_those_of_today() -> None:
    """When this fails: `python docs/performance.py`."""
    made, text = script("docs/performance.py"), PAGE.read_text(encoding="utf-8")
    assert made.page(text, made.rows(record())) == text
