"""The newcomer's run, `config/runs/own_data.yaml`, as it is shipped: its own files, from adoption to the report, in small."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from orbit2.config import slices
from orbit2.config.load import CONFIG_ROOT, load
from orbit2.data.pairs import PairStore
from orbit2.files import write_json
from tests.data import own_archive
from tests.data.own_archive import build, call
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
    """In this process: seconds instead of the minutes that as many interpreters need to start."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    own_archive.write(tmp_path / "my_data")
    run = load(CONFIG_ROOT / "runs/own_data.yaml", [*SMALL, "evaluate.spectra_bands=[]", "evaluate.spectra_boxes={}"])
    pairs = build(run)
    data, home, model = Path(slices.dataset_folder(run, "mine")), slices.run_folder(run), slices.model_folder(run, "reslim")
    store = ("--store", slices.store(run, "mine"))
    call("statistics", "-c", f"{data}/config.json", *store, "--out", f"{data}/statistics.json")
    write_json(Path(f"{model}/config.json"), slices.whole(run, "model", "reslim"))
    call("train", "-c", f"{model}/config.json", "--store", f"mine={store[1]}", "--statistics", f"mine={data}/statistics.json",
         "--out", f"{model}/model", "--checkpoints", f"{model}/checkpoints")  # fmt: skip
    assert "who made these files, and their licence" in Path(f"{model}/model/card.md").read_text(encoding="utf-8")
    for stage in ("downscale", "evaluate", "diagnose"):
        write_json(Path(f"{home}/config/{stage}_test.json"), slices.whole(run, stage, "test"))
    write_json(Path(f"{home}/config/report.json"), slices.whole(run, "report"))
    prediction = f"{home}/downscale/test.zarr"
    call("downscale", "-c", f"{home}/config/downscale_test.json", *store, "--model", f"{model}/model", "--out", prediction)
    call("evaluate", "fit", "-c", f"{data}/config.json", *store, "--out", str(slices.fits(run, "test")))
    scored = ("--prediction", prediction, *store, "--fits", str(slices.fits(run, "test")))
    call("evaluate", "-c", f"{home}/config/evaluate_test.json", *scored, "--out", f"{home}/evaluate/test")
    call("evaluate", "merge", f"{home}/evaluate/test/metrics.parquet", "--out", f"{home}/evaluate/metrics.parquet")
    call("diagnose", "-c", f"{home}/config/diagnose_test.json", *scored, "--out", f"{home}/diagnose/test")
    call("diagnose", "merge", f"{home}/diagnose/test/regions.parquet", "--out", f"{home}/diagnose/metrics.parquet")
    call("report", "-c", f"{home}/config/report.json", "--out", f"{home}/report")
    page = Path(f"{home}/report/index.html").read_text(encoding="utf-8")
    assert "who made these files, and their licence" in page and "own coarse files" in page
    scores = pd.read_parquet(f"{home}/evaluate/metrics.parquet")
    assert rmse(scores)["bilinear"] < 0.1 < rmse(scores)["nearest"] and pairs.grid("fine").shape == (24, 32)  # the fields are linear


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
