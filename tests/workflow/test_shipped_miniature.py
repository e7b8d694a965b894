"""What ships is walked: every file of config/runs, in small, from the providers on local servers (or the files that ship) to the report.
What is laid over a file is in tests/data/miniature.py (services, boxes, days, sizes, steps) or in DEMOS below, and nothing else."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml

from orbit2.config.load import CONFIG_ROOT, load
from orbit2.config.schema import RunConfig
from tests.data import miniature
from tests.data.miniature import RAIN, SECRETS
from tests.workflow.conftest import Project

CHAIN = ("foundation", "us_finetune", "imerg_global", "orbit2")  # each takes the stores and the models of those before it
ALONE = ("daymet_1km", "daymet_pretrain", "era5_18_outputs", "era5_pretrain", "prism_pretrain")
DEMOS = {"demo_conv": "conv", "demo_unet": "unet", "demo_vit": "vit"}  # run -> its model
ELSEWHERE = {"demo": "test_whole_run.py", "demo_climate": "test_climate_demo.py", "demo_tiles": "test_tiles_run.py",
             "own_data": "test_own_data.py",
             "published_global": "test_published_walk.py", "published_us": "test_published_walk.py"}  # fmt: skip
SET = {  # all that may differ from the shipped run, by the last words of its keys
    "label", "coarse_grid", "fine_grid", "split", "samples_per_part", "samples_per_shard", "embed_dim", "depth", "heads", "decoder_depth",
    "residual_width", "residual_blocks", "batch_size", "workers", "threads", "warmup_steps", "precision", "validate_every", "steps",
    "tile", "halo", "spectra_bands", "spectra_boxes", "zoom", "map_task", "relief", "source", "url", "cmr", "backoff_seconds",
    "timeout_seconds", "max_gaps", "start", "end", "gap_days", "train", "validation", "test", "conus",
}  # fmt: skip
EXPERIMENTS = {"us_7km": "Experiment: ERA5 + coarse DAYMET to DAYMET.", "global_7km": "Against IMERG"}


def differing(one: Any, other: Any, key: str = "") -> set[str]:
    """Keys whose values differ, those of mappings within."""
    if isinstance(one, dict) and isinstance(other, dict):
        return {found for k in one.keys() | other.keys() for found in differing(one.get(k), other.get(k), k)}
    return set() if one == other else {key}


def test_every_shipped_run_is_walked_by_a_test(root: Any) -> None:
    walked = {*CHAIN, *ALONE, *DEMOS, *ELSEWHERE}
    assert {path.stem for path in (CONFIG_ROOT / "runs").glob("*.yaml")} == walked
    for run, file in ELSEWHERE.items():
        text = (root / "tests/workflow" / file).read_text(encoding="utf-8")
        assert 'project("all"' in text and (run == "demo" or f"config/runs/{run}.yaml" in text)  # `demo` is the default


@pytest.mark.parametrize("name", [*CHAIN, *ALONE])
def test_nothing_but_what_is_stated_is_laid_over_the_shipped_run(tmp_path: Any, name: str) -> None:
    with miniature.Providers() as providers:
        (tmp_path / "mini.yaml").write_text(yaml.safe_dump(providers.shipped(name, "mini")), encoding="utf-8")
    small, whole = (load(path).model_dump(mode="json") for path in (tmp_path / "mini.yaml", CONFIG_ROOT / f"runs/{name}.yaml"))
    for part in ("datasets", "models", "downscale"):
        assert small[part].keys() == whole[part].keys()
    found = differing(small, whole)
    assert found - SET == set() and {"embed_dim", "coarse_grid", "steps"} <= found


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """name -> (folder, its configuration, what Snakemake printed): a shipped run, done; all in one folder: what two share is made once."""
    folder = tmp_path_factory.mktemp("shipped")
    project = Project(folder)
    with pytest.MonkeyPatch.context() as patch, miniature.Providers() as providers:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setenv("ORBIT2_CACHE", str(folder / "cache"))

        def walked(name: str) -> tuple[Any, RunConfig, str]:
            file = folder / f"{name}.yaml"
            file.write_text(yaml.safe_dump(providers.shipped(name, name)), encoding="utf-8")
            done = project("all", "--configfile", file.name, timeout=3000)
            assert project.planned("all", "--configfile", file.name) == {}  # all of it is there, and nothing of it is stale
            return folder, load(file), done.stdout + done.stderr

        yield walked


def judged(folder: Any, run: RunConfig) -> pd.DataFrame:
    """Scores of a finished run, after the checks that hold for every run: each task, each output, finite errors, baselines, pages."""
    results = folder / "results" / run.label
    scores = pd.read_parquet(results / "evaluate/metrics.parquet")
    error = scores[(scores.metric == "rmse") & (scores.season == "all") & (scores.space == "physical")]
    for label, task in run.downscale.items():
        mine = error[(error.task == label) & (error.model == task.model)]
        reference = run.datasets[task.observations or task.dataset]
        assert set(mine.variable) == set(run.models[task.model].outputs or reference.outputs), label
        assert np.isfinite(mine.value).all() and (mine.value > 0).all() and (mine.n > 0).all(), label
        assert {"nearest", "bilinear"} <= set(error[error.task == label].model), label
        assert (results / f"diagnose/{label}").is_dir()
    page = (results / "report/index.html").read_text(encoding="utf-8")
    assert run.label in page
    for label in run.downscale.keys() & EXPERIMENTS.keys():
        assert EXPERIMENTS[label] in page
    for name, section in run.models.items():
        (model,) = (folder / "results/models").glob(f"{name}-*/model")
        assert set(json.loads((model / "config.json").read_text())["datasets"]) == set(section.datasets)
    return scores


@pytest.mark.slow
def test_the_published_chain_goes_from_the_providers_to_the_report(walk: Any) -> None:
    for name in CHAIN:
        folder, run, printed = walk(name)
        scores = judged(folder, run)
        if name in ("imerg_global", "orbit2"):  # what was trained before is taken
            assert "train_model" not in printed and "finetune_model" not in printed and "evaluate_part" in printed
            own = scores[(scores.task == "global_7km") & (scores.metric == "rmse") & ~scores.model.str.startswith("obs:")]
            assert set(own.reference) == {"IMERG 0.1 deg (own grid)"} and set(own.variable) == {RAIN}


@pytest.mark.slow
@pytest.mark.parametrize("name", ALONE)
def test_a_pretraining_goes_from_its_providers_to_the_report(walk: Any, name: str) -> None:
    folder, run, _ = walk(name)
    scores = judged(folder, run)
    if name == "era5_18_outputs":
        assert scores.variable.nunique() >= 18


@pytest.mark.slow
@pytest.mark.parametrize("name", DEMOS)
def test_another_network_on_the_demos_data_goes_to_the_report(shared_project: Project, name: str) -> None:
    """In one folder: the data are those of the demo, whatever the network."""
    few = f"set=[models.{DEMOS[name]}.train.steps=4,models.{DEMOS[name]}.train.validate_every=2]"
    shared_project("all", "--configfile", f"config/runs/{name}.yaml", "--config", few, timeout=1800)
    judged(shared_project.folder, load(CONFIG_ROOT / f"runs/{name}.yaml"))
