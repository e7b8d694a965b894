"""The demo from end to end with a few training steps: all stages, all tasks, twice. Minutes, so marked slow."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

FEW = ["models.reslim.train.steps=10", "models.reslim.train.validate_every=5", "models.conus.train.steps=5",
       "models.conus.train.validate_every=5", "models.members.train.steps=4", "models.members.train.validate_every=2"]


def overrides(*more: str) -> tuple[str, str]:
    return "--config", "set=[" + ",".join(f'"{item}"' for item in (*FEW, *more)) + "]"


@pytest.mark.slow
def test_the_demo_with_few_steps(project: Any) -> None:
    project("all", *overrides(), timeout=1800)
    run = project.folder / "results/demo"
    assert (run / "report/index.html").stat().st_size < 10e6
    scores = pd.read_parquet(run / "evaluate/metrics.parquet")
    assert set(scores["task"]) == {"test", "test_members", "quarter_degree", "conus"}
    assert {"rmse", "mae", "bias", "pearson_r", "r2_cod", "ssim"} <= set(scores["metric"])
    # a second run has nothing to do, under every trigger that Snakemake knows
    assert project.planned("all", *overrides()) == {}
    again = project.planned("all", *overrides("evaluate.bootstrap=5"))
    assert {rule for rule in again if rule != "all"} == {
        "evaluate_task", "evaluate_merge", "diagnose_task", "diagnose_merge", "report_page"}
    project("--report", "results/demo/snakemake.html", "all", *overrides())
    assert (run / "snakemake.html").stat().st_size > (run / "report/index.html").stat().st_size
