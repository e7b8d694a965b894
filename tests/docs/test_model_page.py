"""docs/model.md against the benchmark that it quotes."""

from __future__ import annotations

import json
import re

import pytest

from tests.docs.blocks import ROOT


def test_the_effect_of_precision_shown_is_that_measured() -> None:
    rows = json.loads((ROOT / "benchmarks/results/precision.json").read_text(encoding="utf-8"))["rows"]
    section = (ROOT / "docs/model.md").read_text(encoding="utf-8").split("## Precision of predictions")[1].split("\n## ")[0]
    shown = re.findall(r"^\| [^|]*\) \| (.+?) \| (.+?) % \| (.+?) \| (.+?) \|$", section, flags=re.MULTILINE)
    assert len(shown) == len(rows) == 5
    for cells, row in zip(shown, rows, strict=True):
        measured = (row["rmse_fp32"], 100 * row["change"], row["rms_difference"], row["largest_difference"])
        for cell, value in zip(cells, measured, strict=True):
            half = 0.51 * 10.0 ** -len(cell.partition(".")[2])  # of the last place shown
            assert float(cell) == pytest.approx(value, abs=half), row["variable"]
