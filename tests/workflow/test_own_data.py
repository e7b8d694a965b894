"""The newcomer's run, `config/runs/own_data.yaml`, as it is shipped: its own files, from adoption to the report, in small."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from orbit2.config.load import CONFIG_ROOT, load
from orbit2.data.pairs import PairStore
from tests.data import own_archive
from tests.data.own_archive import walk
from tests.workflow.conftest import Project

SMALL = (
    "models.reslim.architecture={embed_dim: 16, depth: 1, heads: 2, decoder_depth: 1, residual_width: 4, residual_blocks: 1}",
    "models.reslim.train={steps: 6, batch_size: 2, validate_every: 3}", "evaluate.bootstrap=20", "datasets.mine.samples_per_shard=32",
)  # fmt: skip


def rmse(scores: pd.DataFrame) -> pd.Series:
    """Of temperature over the test block, by method."""
    rows = scores[(scores.metric == "rmse") & (scores.space == "physical") & (scores.season == "all") & (scores.region == "domain")]
    return rows[rows.variable == "2m_temperature"].set_index("model")["value"]


def test_the_run_is_planned_from_the_files_alone(tmp_path: Path) -> None:
    project = Project(tmp_path)
    own_archive.write(tmp_path / "my_data")
    planned = project.planned("all", "--configfile", "config/runs/own_data.yaml")
    assert planned["retrieve_source"] == 3 and planned["regrid_part"] == 5 and planned["evaluate_part"] == 1
    (tmp_path / "my_data/fine/daily_200105.nc").unlink()
    done = project("-n", "all", "--configfile", "config/runs/own_data.yaml", check=False)
    printed = done.stdout + done.stderr
    assert done.returncode != 0 and "error: split.test: the files do not hold the test block" in printed and "Traceback" not in printed


@pytest.mark.slow
def test_the_run_is_walked_stage_by_stage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    own_archive.write(tmp_path / "my_data")
    done = walk(load(CONFIG_ROOT / "runs/own_data.yaml", [*SMALL, "evaluate.spectra_bands=[]", "evaluate.spectra_boxes={}"]))
    assert "who made these files, and their licence" in (done.model / "card.md").read_text(encoding="utf-8")
    page = (done.home / "report/index.html").read_text(encoding="utf-8")
    assert "who made these files, and their licence" in page and "own coarse files" in page
    scores = pd.read_parquet(done.home / "evaluate/metrics.parquet")
    assert rmse(scores)["bilinear"] < 0.1 < rmse(scores)["nearest"] and done.pairs.grid("fine").shape == (24, 32)  # the fields are linear


@pytest.mark.slow
def test_the_run_is_walked_to_the_report(tmp_path: Path) -> None:
    project = Project(tmp_path)
    own_archive.write(tmp_path / "my_data")
    options = ("--configfile", "config/runs/own_data.yaml", "--config", f"set={list(SMALL)!r}")
    project("all", *options, timeout=900)
    (folder,) = (tmp_path / "results/data").glob("mine-????????")
    pairs = PairStore(folder / "pairs.zarr")
    assert pairs.grid("coarse").shape == (6, 8) and pairs.grid("fine").shape == (24, 32)
    scores = pd.read_parquet(tmp_path / "results/own_data/evaluate/metrics.parquet")
    assert rmse(scores)["bilinear"] < 0.1 < rmse(scores)["nearest"]  # the fields are linear
    page = (tmp_path / "results/own_data/report/index.html").read_text(encoding="utf-8")
    assert "who made these files, and their licence" in page and "the user" in page
    (card,) = (tmp_path / "results/models").glob("reslim-*/model/card.md")
    assert "who made these files, and their licence" in card.read_text(encoding="utf-8")
    assert project.planned("all", *options) == {}
