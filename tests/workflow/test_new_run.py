"""What `orbit2 new` writes for a small pair of products, planned by the workflow and walked from retrieve to the report without an edit."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from orbit2.config.load import load
from tests.data import own_archive
from tests.data.own_archive import call, walk
from tests.workflow.conftest import Project

WORDS = ("new", "my_run", "--coarse", "my_data/coarse/*.nc", "--fine", "my_data/fine/*.nc", "--statics", "my_data/orography.nc",
         "--accumulated", "24h", "--coarse-day", "0", "--fine-day", "0")  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    own_archive.write(tmp_path / "my_data")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    return tmp_path


@pytest.mark.slow
def test_the_workflow_plans_what_was_written(here: Path) -> None:
    project = Project(here)
    call(*WORDS, "--device", "h200", "--hours", "0.01")
    planned = project.planned("all", "--configfile", "my_run.yaml")
    assert planned["retrieve_source"] == 3 and planned["train_model"] == 1 and planned["report_page"] == 1


@pytest.mark.slow
def test_what_was_written_runs_from_retrieve_to_the_report(here: Path) -> None:
    call(*WORDS, "--hours", "0.02")
    done = walk(load(here / "my_run.yaml"))
    page = (done.home / "report/index.html").read_text(encoding="utf-8")
    scores = pd.read_parquet(done.home / "evaluate/metrics.parquet")
    assert "own coarse files" in page and {"reslim", "bilinear"} <= set(scores["model"])
    assert done.pairs.grid("fine").shape == (24, 32) and (done.model / "card.md").is_file()
