"""The table of docs/performance.md is that of benchmarks/results/h200.json; its log line is one that training writes, its threads are
those that benchmarks/threads.py found."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from orbit2.model import threads
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


ONE, TWO, DONE = "one thread", "all, asleep", "as it is done"
SMALL, LARGE = ("training", "6 x 10 cells, batch 8"), ("training", "45 x 90 cells, batch 2")
PASS, SMALL_PASS, PASSES = ("prediction", "45 x 90 cells"), ("prediction", "6 x 10 cells"), ("prediction", "24 x 40 cells, batch 8")
THREADS = {
    "45 x 90 cells, {} ms a step with one thread, {} with two that sleep, {} as it is done": [(*LARGE, way) for way in (ONE, TWO, DONE)],
    "6 x 10 cells, {} ms with one thread, as it is done, {} with two that sleep": [(*SMALL, DONE), (*SMALL, TWO)],
    "a pass over 45 x 90 cells takes {} ms with one thread and {} with two, as it is done": [(*PASS, ONE), (*PASS, DONE)],
    "over 6 x 10 cells {} with one, as it is done, and {} with two": [(*SMALL_PASS, DONE), (*SMALL_PASS, TWO)],
    "eight windows of 24 x 40 cells together {} with one, as it is done, and {} with two": [(*PASSES, DONE), (*PASSES, TWO)],
}


def test_the_page_has_the_measured_threads() -> None:
    """When this fails: run benchmarks/threads.py, and put its numbers into the page, benchmarks/README.md and orbit2/model/threads.py."""
    rows = json.loads((ROOT / "benchmarks/results/threads.json").read_text(encoding="utf-8"))["rows"]

    def ms(side: str, case: str, way: str, beside: str = "alone") -> str:
        (row,) = [row for row in rows if (row["side"], row["case"], row["beside"]) == (side, case, beside)]
        value = 1e3 * row["seconds"][row["way"] if way == DONE else way]
        return f"{value:.0f}" if value >= 10 else f"{value:.1f}"

    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    for said, cases in THREADS.items():
        assert said.format(*(ms(*case) for case in cases)) in text
    busy = [ms(*case, "beside a busy process") for case in ((*SMALL, TWO), (*LARGE, DONE))]
    assert "(6 x 10 cells: {} ms; 45 x 90: {})".format(*busy) in text
    each = f"{threads.EACH / 1e9:g} GFLOP"
    assert f"one for every {each} of a step" in text and f"one for every {each} of one window's pass" in text


@pytest.mark.slow
def test_floors_and_traffic_are_those_of_today() -> None:
    """When this fails: `python docs/performance.py`."""
    made, text = script("docs/performance.py"), PAGE.read_text(encoding="utf-8")
    assert made.page(text, made.rows(record())) == text
