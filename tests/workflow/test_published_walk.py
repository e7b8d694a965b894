"""An imported model in runs that are done, by Snakemake: on the oracle's weights, and what ships for published ones, from local servers."""

from __future__ import annotations

import html
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml

from orbit2.config.load import load
from orbit2.downscale import load_model
from tests.data import miniature
from tests.data import published_world as world
from tests.data.miniature import LEAST, MOST, RAIN
from tests.data.oracle import STATICS
from tests.data.published_world import OUT
from tests.workflow.conftest import Project

NOT_US = ("2m_temperature_max", "2m_temperature_min", "10m_u_component_of_wind", "10m_v_component_of_wind")


def words(page: Path) -> str:
    text = re.sub(r"<(script|style).*?</\1>", "", page.read_text(encoding="utf-8"), flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", text)))


@pytest.fixture(scope="module")
def walked(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, dict[str, Any]]:
    """A run with the oracle's network on a user's files, and one fine-tuned from it for a few steps; done."""
    project = Project(tmp_path_factory.mktemp("published"))
    folder = project.folder
    statics, days = world.model(folder), world.archive(folder)
    (folder / "run.yaml").write_text(yaml.safe_dump(world.run(**world.CHILD)), encoding="utf-8")
    project("all", "--configfile", "run.yaml", timeout=3000)
    return project, {"statics": statics, "days": days}


@pytest.mark.slow
def test_what_it_predicts_is_the_network_itself(walked: tuple[Project, dict[str, Any]]) -> None:
    project, given = walked
    days = given["days"].sel(time=slice(world.SPLIT["test"]["start"], world.SPLIT["test"]["end"]))
    right = world.expected(days, given["statics"])
    with xr.open_zarr(str(project.folder / "results/published_tiny/downscale/test.zarr"), consolidated=False) as found:
        made = np.stack([found[name].to_numpy() for name in OUT], 1)
        assert json.loads(found.attrs["trained_tiles"]) == {"div": 2, "overlap": 2} and "warnings" not in found.attrs
    assert made.shape == right.shape
    assert np.abs(made[:, 1:] - right[:, 1:]).max() < 0.05  # K: a store keeps inputs in 16 bits
    assert (np.abs(made[:, 0] - right[:, 0]) / (1 + right[:, 0])).max() < 3e-3


@pytest.mark.slow
def test_scores_know_its_tiles_and_stand_beside_baselines(walked: tuple[Project, dict[str, Any]]) -> None:
    project, _ = walked
    scores = pd.read_parquet(project.folder / "results/published_tiny/evaluate/metrics.parquet")
    mine = scores[scores.task == "test"]
    error = mine[(mine.metric == "rmse") & (mine.space == "physical") & (mine.season == "all")]
    assert {"published", "nearest", "bilinear", "bicubic", "conservative", "delta", "regression"} <= set(error.model)
    assert set(error[error.model == "published"].variable) == set(OUT) and (error.value >= 0).all()
    seams = mine[(mine.model == "published") & (mine.metric == "seam_ratio_meridians")]
    assert len(seams) == 4 and seams.method.str.contains("tiles of 14 x 28 coarse cells").all() and np.isfinite(seams.value).all()


@pytest.mark.slow
def test_the_page_says_whose_weights_they_are(walked: tuple[Project, dict[str, Any]]) -> None:
    project, _ = walked
    text = words(project.folder / "results/published_tiny/report/index.html")
    for told in ("nothing of them was trained in this run", "oracle_A_container.ckpt", "so is their licence", "Do the tiles show?",
                 "the years that they learned from are unknown here", "Model card: published"):  # fmt: skip
        assert told in text, told


@pytest.mark.slow
def test_another_folder_runs_again_and_the_same_does_not(walked: tuple[Project, dict[str, Any]]) -> None:
    project, _ = walked
    assert project.planned("all", "--configfile", "run.yaml") == {}
    shutil.copytree(project.folder / "model", project.folder / "copy")
    moved = ("--configfile", "run.yaml", "--config", "set=[models.published.imported=copy]")
    assert set(project.planned("downscale", *moved)) == set()
    content = json.loads((project.folder / "copy/config.json").read_text())
    (project.folder / "copy/config.json").write_text(json.dumps({**content, "trained_tiles": {"div": 1, "overlap": 0}}))
    assert {"downscale_task", "finetune_model"} <= set(project.planned("downscale", *moved))


@pytest.mark.slow
def test_a_model_was_fine_tuned_from_it(walked: tuple[Project, dict[str, Any]]) -> None:
    project, _ = walked
    (made,) = (project.folder / "results/models").glob("mine-*/model")
    about = json.loads((made / "config.json").read_text())
    assert about["steps"] == 4 and "kept:" in about["origin"] and about["architecture"]["kind"] == "orbit2"
    one, other = load_model(project.folder / "model").model.state_dict(), load_model(made).model.state_dict()
    moved = [name for name in one if name.startswith("blocks.") and not np.allclose(one[name], other[name], atol=0)]
    assert moved and all(np.abs(one[name] - other[name]).max() < 0.1 for name in moved)  # from there, a little
    scores = pd.read_parquet(project.folder / "results/published_tiny/evaluate/metrics.parquet")
    error = scores[(scores.task == "mine") & (scores.metric == "rmse") & (scores.season == "all")]
    assert {"mine", "published", "nearest"} <= set(error.model)  # its parent beside it


SHIPPED = {  # file -> (imported folder, inputs, outputs, grid of the statics in small, tiles)
    "config/runs/published_global.yaml": [("global_126m_precipitation", world.PUBLISHED_ORDER, [RAIN], "era5_nodes",
                                           {"do_tiling": True, "div": 2, "overlap": 2})],
    "config/runs/published_us.yaml": [
        ("us_126m_precipitation", [name for name in world.PUBLISHED_ORDER if name not in NOT_US], [RAIN], "us_120x240", {}),
        ("us_126m_temperature", [*STATICS, RAIN, LEAST, MOST], [LEAST], "us_120x240", {})],
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("file", SHIPPED)
def test_what_ships_for_published_weights_goes_from_the_providers_to_the_report(tmp_path: Path, file: str) -> None:
    """In small: services, boxes, days and shards as tests/data/miniature.py says, weights of the format at random."""
    project, label = Project(tmp_path), Path(file).stem
    with pytest.MonkeyPatch.context() as patch, miniature.Providers() as providers:
        for name, value in miniature.SECRETS.items():
            patch.setenv(name, value)
        patch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
        content = providers.shipped(label, label)
        content["sources"]["era5"]["sst_over_sea"] = True
        (tmp_path / "mini.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
        for name, inputs, outputs, key, tiles in SHIPPED[file]:
            world.small_published(tmp_path, name, inputs, outputs, content["datasets"][key]["coarse_grid"], tiles)
        project("all", "--configfile", "mini.yaml", timeout=3000)
        assert project.planned("all", "--configfile", "mini.yaml") == {}
    results = tmp_path / "results" / label
    scores = pd.read_parquet(results / "evaluate/metrics.parquet")
    error = scores[(scores.metric == "rmse") & (scores.season == "all") & (scores.space == "physical")]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)  # where the imported folder is seen from
        run = load(tmp_path / "mini.yaml")
    for task, section in run.downscale.items():
        imported = run.models[section.model].imported
        assert imported is not None and imported.there
        mine = error[(error.task == task) & (error.model == section.model)]
        assert set(mine.variable) == set(imported.facts.outputs) and np.isfinite(mine.value).all() and (mine.n > 0).all()
        assert {"nearest", "bilinear"} <= set(error[error.task == task].model)
        assert (results / f"diagnose/{task}/regions.parquet").is_file()
    if label == "published_global":
        assert set(error.reference) == {"IMERG 0.1 deg (own grid)"}
        seams = scores[(scores.model == "published") & scores.metric.str.startswith("seam_ratio")]
        assert set(seams.metric) == {"seam_ratio_meridians", "seam_ratio_parallels"}
    text = words(results / "report/index.html")
    assert "nothing of them was trained in this run" in text and "so is their licence" in text
    assert not list((tmp_path / "results").glob("models/*"))
