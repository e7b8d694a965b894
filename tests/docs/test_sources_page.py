"""docs/sources.md against the code and the shipped runs: numbers on the page are the numbers of the program."""

from __future__ import annotations

import re
from pathlib import Path

from orbit2.config.load import load
from orbit2.data import packing
from orbit2.regrid import plan_parts

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/sources.md").read_text(encoding="utf-8")


def test_error_bounds_of_the_store_are_those_of_the_code() -> None:
    assert packing.table().strip() in PAGE


def test_sample_counts_are_those_of_the_runs() -> None:
    section = PAGE.split("## Table I")[1].split("\n## ")[0]
    rows = dict(re.findall(r"^\| `(\w+)` \|[^|]*\| ([\d,]+)", section, flags=re.MULTILINE))
    assert set(rows) == {"era5_pretrain", "prism_pretrain", "daymet_pretrain", "daymet_1km", "us_finetune", "imerg_global"}
    for run, count in rows.items():
        datasets = list(load(ROOT / f"config/runs/{run}.yaml").datasets.values())
        dataset = datasets[-1]  # the run's own dataset comes last
        assert sum(part.count for part in plan_parts(dataset)) == int(count.replace(",", "")), run
