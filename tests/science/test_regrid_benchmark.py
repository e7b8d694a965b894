"""The regridding benchmark runs from end to end and both of its sides agree; its speed is not asserted here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "regrid_speed.py"


@pytest.mark.slow
def test_quick_run_prints_the_table_and_keeps_the_committed_result() -> None:
    committed = SCRIPT.parent / "results" / "regrid_speed.json"
    before = committed.read_bytes()
    made = subprocess.run([sys.executable, str(SCRIPT), "--quick"], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr
    assert "0.25 -> us_2.5" in made.stdout and "us_0.625: weights" in made.stdout
    assert committed.read_bytes() == before


def test_the_committed_result_holds_the_claim() -> None:
    """At least 60 fields of 721 and of 720 rows, on one thread, three times faster than CDO."""
    result = json.loads((SCRIPT.parent / "results" / "regrid_speed.json").read_text())
    assert result["fields"] >= 48 and result["threads"] == 1 and len(result["to 1 degree"]) == 2
    for case in result["to 1 degree"].values():
        assert case["ratio"] >= result["claim"] >= 3 and case["ratio, CPU"] >= result["claim"]
