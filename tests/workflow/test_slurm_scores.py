"""Months of scores on a real SLURM: those of a task as one job that shares a node, and all that wait as one array; the same tables."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from tests.data import miniature
from tests.data.miniature import SECRETS, WIDE
from tests.data.servers import slurm
from tests.workflow import slurm_demo
from tests.workflow.conftest import ROOT, Project
from tests.workflow.test_slurm_demo import rule_of

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "never")]
RUN, TASKS, MONTHS = ("--configfile", "run.yaml"), ("one", "two"), ("202003", "202004", "202005")
TABLES = [f"results/scores/{stage}/metrics.parquet" for stage in ("evaluate", "diagnose")]


def small(run: dict[str, Any]) -> dict[str, Any]:
    """Two tasks of 33 days in three months, by a model of two steps."""
    days = run["datasets"]["era5_pairs"]
    split = {**days["split"], "test": {"start": "2020-03-30", "end": "2020-05-01"}}
    days = {**days, "frequency": "daily", "split": split, "samples_per_part": 40, "samples_per_shard": 8,
            "coarse_grid": f"global_1.0@{WIDE}", "fine_grid": f"global_0.5@{WIDE}"}  # fmt: skip
    train = {"steps": 2, "batch_size": 2, "workers": 0, "threads": 1, "warmup_steps": 1, "validate_every": 2}
    conv = {"kind": "conv", "width": 4, "layers": 1, "refinement": 2}
    return {"label": "scores", "sources": run["sources"], "datasets": {"days": days},
            "models": {"tiny": {"datasets": ["days"], "architecture": conv, "train": train}},
            "downscale": {task: {"model": "tiny", "dataset": "days"} for task in TASKS},
            "evaluate": {"baselines": ["bilinear"], "spectra_bands": [], "spectra_boxes": {}, "bootstrap": 0}}  # fmt: skip


@pytest.fixture(scope="module")
def predicted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Predictions, and tables made from them by this machine alone in a copy."""
    folder = tmp_path_factory.mktemp("predicted") / "project"
    project = Project(folder)
    with pytest.MonkeyPatch.context() as patch, miniature.Providers() as providers:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setenv("ORBIT2_CACHE", str(folder / "cache"))
        (folder / "run.yaml").write_text(yaml.safe_dump(small(providers.run())), encoding="utf-8")
        project("downscale", *RUN, timeout=1200)
        yield folder


@pytest.fixture(scope="module")
def tables(predicted: Path) -> list[pd.DataFrame]:
    alone, _ = scored(predicted, "alone", "local")
    return [pd.read_parquet(alone.folder / table) for table in TABLES]


def scored(predicted: Path, name: str, profile: str, **more: Any) -> tuple[Project, list[Mapping[str, str]]]:
    """A copy of the run with its scores made, and SLURM's jobs for them."""
    folder = predicted.parent / name
    shutil.copytree(predicted, folder)
    project = Project.__new__(Project)
    project.folder = folder
    if profile == "local":
        project("evaluate", "diagnose", *RUN, timeout=1200)
        return project, []
    with slurm.Slurm(cpus=slurm_demo.CPUS, min_job_age=3600) as cluster, cluster.environment():
        slurm_demo.prepare(folder, cluster.partition, **more)
        project("evaluate", "diagnose", *RUN, profile=profile, timeout=1500)
        return project, cluster.tasks()


def same(project: Project, tables: list[pd.DataFrame]) -> None:
    for name, expected in zip(TABLES, tables, strict=True):
        found = pd.read_parquet(project.folder / name)
        pd.testing.assert_frame_equal(found.drop(columns="code_version"), expected.drop(columns="code_version"), check_exact=True)


def at_once(project: Project, task: str) -> int:
    """How many months of a task were in work when its second one began: no more than this machine has cores, whatever a node claims."""
    begun, ended = [], []
    for month in MONTHS:
        log = (project.folder / f"results/scores/logs/evaluate_{task}_{month}.log").read_text()
        (stamp,) = re.findall(r"^=== try 1, (.*) UTC", log, flags=re.MULTILINE)
        begun.append(datetime.fromisoformat(f"{stamp}+00:00").timestamp())
        ended.append((project.folder / f"results/scores/evaluate/{task}/parts/{month}.json").stat().st_mtime)
    second = sorted(begun)[1]
    return sum(one <= second < other for one, other in zip(begun, ended, strict=True))


def test_the_months_of_a_task_are_one_job_of_one_node(predicted: Path, tables: list[pd.DataFrame]) -> None:
    """The groups of profiles/frontier: a job for each task's months, one for the fits, one for the tables of each stage."""
    frontier = yaml.safe_load((ROOT / "profiles/frontier/config.yaml").read_text(encoding="utf-8"))
    groups = {name: frontier[name] for name in ("groups", "group-components")}
    project, tasks = scored(predicted, "grouped", "slurm", cores=slurm_demo.CPUS, **groups)
    same(project, tables)
    assert {task["JobState"] for task in tasks} == {"COMPLETED"} and {task["NumNodes"] for task in tasks} == {"1"}
    assert len(tasks) == len(TASKS) + 3, tasks  # a report would join the tables
    assert all(at_once(project, task) >= min(2, os.cpu_count() or 1) for task in TASKS)


def test_the_months_that_wait_are_one_array(predicted: Path, tables: list[pd.DataFrame]) -> None:
    """As profiles/slurm stands."""
    project, tasks = scored(predicted, "arrayed", "slurm")
    same(project, tables)
    assert {task["JobState"] for task in tasks} == {"COMPLETED"}
    months = [task for task in tasks if rule_of(task).startswith("evaluate_part")]
    assert len({task["ArrayJobId"] for task in months}) == 1
    assert sorted(int(task["ArrayTaskId"]) for task in months) == list(range(1, 1 + len(TASKS) * len(MONTHS)))
