"""`us_finetune` in small, from the four providers on local servers to the report: ERA5 with DAYMET's own averages, and ERA5 alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from orbit2.baselines import BASELINES
from orbit2.data.pairs import PairStore
from tests.data import miniature
from tests.data.miniature import RAIN, SECRETS
from tests.workflow.conftest import Project

pytestmark = pytest.mark.slow


def both(run: dict[str, Any]) -> dict[str, Any]:
    """The miniature's fine-tuning, and beside it the same from ERA5 alone."""
    pairs = run["datasets"]["us_pairs"]
    alone = {**pairs, "input_sources": {"era5": pairs["inputs"]}}
    run["datasets"] = {**{name: run["datasets"][name] for name in ("era5_pairs", "prism_pairs", "us_pairs")}, "us_alone": alone}
    run["models"]["us_era5"] = {**run["models"]["us"], "datasets": ["us_alone"]}
    run["downscale"] = {"us_7km": run["downscale"]["us_7km"], "us_7km_era5": {"model": "us_era5", "dataset": "us_alone"}}
    return {**run, "label": "two"}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("experiments")
    project = Project(folder)
    with pytest.MonkeyPatch.context() as patch, miniature.Providers() as providers:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setenv("ORBIT2_CACHE", str(folder / "cache"))
        (folder / "two.yaml").write_text(yaml.safe_dump(both(providers.run())), encoding="utf-8")
        project("all", "--configfile", "two.yaml", timeout=1500)
    return folder


def test_the_report_names_both_experiments(finished: Path) -> None:
    page = (finished / "results/two/report/index.html").read_text(encoding="utf-8")
    assert "Experiment: ERA5 + coarse DAYMET to DAYMET." in page and "Experiment: ERA5 to DAYMET." in page


def test_the_store_says_whether_a_coarse_copy_of_the_target_is_among_the_inputs(finished: Path) -> None:
    copies = {}
    for name in ("us_pairs", "us_alone"):
        (folder,) = (finished / "results/data").glob(f"{name}-????????")
        copies[name] = PairStore(folder / "pairs.zarr").attributes["coarse_copies_of_targets"]
    assert RAIN in copies["us_pairs"] and not copies["us_alone"]


def test_both_are_scored_beside_every_baseline_and_their_parent(finished: Path) -> None:
    scores = pd.read_parquet(finished / "results/two/evaluate/metrics.parquet")
    rmse = scores[(scores.metric == "rmse") & (scores.variable == RAIN) & (scores.space == "physical") & (scores.season == "all")]
    for task, model in (("us_7km", "us"), ("us_7km_era5", "us_era5")):
        found = set(rmse[rmse.task == task].model)
        assert {model, "foundation", "conservative", "delta", "regression", "quantile_mapping", "bcsd"} <= found
        products = {name for name in found if name.startswith("obs:")}
        assert products == {"obs:prism_pairs"} and found - products - {model, "foundation"} <= set(BASELINES)
        beside = scores[(scores.task == task) & (scores.metric == "rmse_beside_prism_pairs") & (scores.variable == RAIN)]
        assert len(beside) == 2 and (beside.n > 0).all()  # mm/day and ln(1 + mm/day)
