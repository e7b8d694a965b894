"""Small jobs share nodes: what a group's job runs, on a stand-in and on a real SLURM. What is submitted is in test_submitted.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.data.servers.standin_slurm import StandIns
from tests.workflow.conftest import ROOT, SNAKEMAKE, Project

RUN: dict[str, Any] = {
    "label": "grouped",
    "datasets": {"era5_week": {"include": "config/datasets/era5_week.yaml", "samples_per_part": 1, "samples_per_shard": 1}},
    "models": {"tiny": {
        "datasets": ["era5_week"], "architecture": {"kind": "conv", "width": 4, "layers": 1, "refinement": 4},
        "train": {"steps": 2, "batch_size": 2, "workers": 0, "validate_every": 2, "warmup_steps": 1, "precipitation_threshold": 0}}},
    "downscale": {name: {"model": "tiny", "dataset": "era5_week"} for name in ("one", "two")},
}


def started(folder: Path) -> Project:
    project = Project(folder)
    (project.folder / "run.yaml").write_text(yaml.safe_dump(RUN), encoding="utf-8")
    return project


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """As if the store of the run's dataset were begun and nothing of it built yet."""
    project = started(tmp_path_factory.mktemp("begun") / "project")
    summary = project("--summary", "regrid", "--configfile", "run.yaml").stdout
    shutil.copytree(project.folder / ".snakemake/orbit2", project.folder, dirs_exist_ok=True)  # what a real run would be told
    for line in summary.splitlines()[1:]:
        path = project.folder / line.split("\t")[0]
        if path.name != "finalised.json" and not re.fullmatch(r"\d+\.json", path.name):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("{}")
    store = next(project.folder.glob("results/data/*")) / "pairs.zarr"
    store.mkdir()
    (store / "zarr.json").touch()
    return project


def test_a_submitted_job_knows_its_group(begun: Project, tmp_path: Path) -> None:
    """The plugin does not tell it (its issue 469): each part had a step of its own, one after the other."""
    step = StandIns(tmp_path / "slurm", {"srun": "exit 1"})
    (folder,) = (begun.folder / "results/data").iterdir()
    jobs = [f"regrid_part:data={folder.name},part={part:03d}" for part in range(3)]
    command = [*SNAKEMAKE, "--configfile", "run.yaml", "--target-jobs", *jobs, "--allowed-rules", "regrid_part", "--cores", "all",
               "--force", "--nolock", "--no-hooks", "--latency-wait", "1", "--executor", "slurm-jobstep", "--jobs", "1",
               "--mode", "remote"]  # fmt: skip
    groups = json.dumps([{"regrid_part": "regrid_{data}"}, {"regrid_{data}": 56}])
    path = f"{step.folder / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PATH": path, "ORBIT2_GROUPS": groups}
    subprocess.run(command, cwd=begun.folder, env=environment, capture_output=True, check=False, timeout=120)
    assert [len(re.findall("regrid_part:data", " ".join(call))) for call in step.calls("srun")] == [3]
