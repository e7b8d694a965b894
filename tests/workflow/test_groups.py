"""Small jobs share nodes: what a group's job runs, on a stand-in and on a real SLURM. What is submitted is in test_submitted.py."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from tests.data.servers import slurm
from tests.data.servers.standin_slurm import StandIns
from tests.workflow.conftest import ROOT, SNAKEMAKE, Project

RUN: dict[str, Any] = {
    "label": "grouped",
    "datasets": {"era5_week": {"include": "config/datasets/era5_week.yaml", "samples_per_part": 3, "samples_per_shard": 1}},
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


QUICK = ("--configfile", "run.yaml", "--groups", "regrid_part=regrid_{data}", "--group-components", "regrid_{data}=4",
         "--set-resources", "regrid_part:mem_mb=1500", "--slurm-init-seconds-before-status-checks", "2",
         "--latency-wait", "10")  # fmt: skip


# Appended to a working copy's logged.sh: of 8 parts the last to begin, whichever that is, stands still until it is killed, before anything
# of it is built. The others have begun by then: none waits for it. Its second try is the ninth to begin.
HOLD = """
orbit2() {
    local number=1
    if [[ " $* " =~ " regrid part ".*" --part "([0-9]+) ]]; then
        until mkdir "begun/$number" 2> /dev/null; do number=$((number + 1)); done
        if [ "$number" -eq 8 ]; then
            echo "$BASHPID ${BASH_REMATCH[1]}" > held.new
            mv held.new held
            kill -STOP "$BASHPID"
        fi
    fi
    command orbit2 "$@"
}
"""


class Killer(threading.Thread):
    """Once 5 of the 8 parts are done, and so one of every group: kills the process of the one that is held."""

    def __init__(self, project: Project) -> None:
        super().__init__(daemon=True)
        self.folder, self.over = project.folder, threading.Event()
        self.victim = ""
        (self.folder / "begun").mkdir()
        with (self.folder / "workflow/scripts/logged.sh").open("a", encoding="utf-8") as script:
            script.write(HOLD)

    def run(self) -> None:
        held = self.folder / "held"
        while not self.over.wait(0.02) and not self.victim:
            done = {path.stem for path in self.folder.glob("results/data/*/parts/[0-9]*.json")}
            if len(done) >= 5 and held.exists():
                pid, part = held.read_text().split()
                process = psutil.Process(int(pid))
                if process.status() == psutil.STATUS_STOPPED:
                    process.kill()
                    self.victim = part


@pytest.mark.slow
@pytest.mark.slurm
@pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "never")
def test_groups_on_a_real_slurm_and_what_a_killed_part_costs(tmp_path: Path) -> None:
    """8 parts are two jobs, each of one step. A part is killed: its group is submitted again and builds what was not finished."""
    here, project = started(tmp_path / "here"), started(tmp_path / "there")
    here("regrid", "--configfile", "run.yaml", timeout=600)
    project("regrid", "--until", "regrid_init", "--configfile", "run.yaml", timeout=600)
    killer = Killer(project)
    killer.start()
    with slurm.Slurm() as cluster, cluster.environment():
        project("regrid", *QUICK, profile="slurm", timeout=600)
        killer.over.set()
        jobs = [task for task in cluster.tasks() if "regrid_part" in task.get("Comment", "")]
    assert killer.victim and len(jobs) == 3, (killer.victim, jobs)
    assert sorted(task["JobState"] for task in jobs) == ["COMPLETED", "COMPLETED", "FAILED"]
    (folder,) = (project.folder / "results/data").iterdir()
    said = {path.stem.removeprefix("regrid_"): path.read_text() for path in folder.glob("logs/regrid_[0-9]*.log")}
    again = {part for part, log in said.items() if "was complete before its receipt was lost" in log}
    tries = [(part, one) for part, log in said.items() for one in log.split("=== try ")[1:]]
    built = Counter(part for part, one in tries if "regrid: done" in one and "nothing to do" not in one)
    assert set(built) == {f"{part:03d}" for part in range(8)} and set(built.values()) == {1}  # none is built twice
    assert again and again <= set(built) - {killer.victim}
    (other,) = (here.folder / "results/data").iterdir()
    both = [json.loads((place / "finalised.json").read_text())["parts"] for place in (folder, other)]
    assert both[0] == both[1]
