"""The table of coverage in docs/diagnostics.md is that of benchmarks/results/interval_coverage.json."""

from __future__ import annotations

import json
from pathlib import Path

from orbit2.metrics.bootstrap import LEAST_DAYS
from orbit2.metrics.verdict import LEAST_DAYS as TOLD

ROOT = Path(__file__).resolve().parents[2]
COLUMNS = ("rmse", "bias", "pearson_r", "rmse_difference", "rmse_of_one_place", "rmse_difference_unwidened", "diebold_mariano_false")


def test_the_page_has_the_measured_numbers() -> None:
    measured = json.loads((ROOT / "benchmarks/results/interval_coverage.json").read_text(encoding="utf-8"))
    page = (ROOT / "docs/diagnostics.md").read_text(encoding="utf-8")
    assert measured["inside"] and measured["short_has_none"] and measured["least_days"] == LEAST_DAYS == TOLD
    cases = {(days, phi) for days in (LEAST_DAYS, 90, 365, 3650) for phi in (0.0, 0.3, 0.6, 0.9)}
    assert {(row["days"], row["phi"]) for row in measured["rows"]} == cases
    for row in measured["rows"]:
        cells = [str(row["days"]), f"{row['phi']:g}", *(f"{row[name]:.0f}" for name in COLUMNS)]
        assert f"| {' | '.join(cells)} |" in page, row
