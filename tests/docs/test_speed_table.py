"""The table of core hours in docs/diagnostics.md is that of benchmarks/results/evaluate_speed.json."""

from __future__ import annotations

import json

import pytest

from tests.data.scripts import ROOT, script


def test_the_page_has_the_measured_hours() -> None:
    """When this fails: `python docs/speed.py`."""
    made, text = script("docs/speed.py"), (ROOT / "docs/diagnostics.md").read_text(encoding="utf-8")
    record = json.loads((ROOT / "benchmarks/results/evaluate_speed.json").read_text(encoding="utf-8"))
    assert made.page(text, record) == text
    assert made.STRUCTURE == script("benchmarks/evaluate_speed.py").STRUCTURE


def test_hours_of_steps_that_are_known() -> None:
    """A day of 36 s is 3.65 hours a year; a structure of 360 s on every tenth day is 37 times of it."""
    made = script("docs/speed.py")
    one = {"steps": {name: {"moments": 30.0, "reading": 6.0, "ssim": 360.0} for name in made.NAMES}, "models": dict.fromkeys(made.NAMES, 3)}
    plain = {"steps": {name: {"moments": 36.0} for name in made.NAMES}, "models": dict.fromkeys(made.NAMES, 3)}
    row = made.table({"small": one, "large": plain}).splitlines()[2]
    assert row == "| a year at 0.25 degree | temperature | 3 | 36.00 | 360.0 | 3.65 | 7.35 | 12 | 18.6 |"
    assert made.table({"small": one, "large": plain}).splitlines()[-1].count("not measured") == 2
    with pytest.raises(ValueError, match="unpack"):
        made.page("no marks", {"small": one, "large": plain})
