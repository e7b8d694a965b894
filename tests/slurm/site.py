"""A working copy whose jobs go to a SLURM of two virtual nodes, and the table of what was done to them."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil
import yaml

from orbit2.queues import working
from tests.data.servers.slurm import Slurm
from tests.workflow.conftest import ROOT
from tests.workflow.interrupted import Interrupted

TABLE = ROOT / "docs/interruptions.json"
WRITE = "ORBIT2_INTERRUPTIONS"  # in the environment: what the tests find is written into the table
MODEL, WHOLE, BLOCKS = "train", "results/two/downscale/week.json", "results/two/downscale/blocks.json"
QUICK = ("--slurm-init-seconds-before-status-checks", "2")  # else Snakemake looks every 40 s
STEPS = 200
MANY = {"mpi": "srun", "nodes": 2, "tasks": 2, "slurm_extra": "'--signal=USR1@20'"}  # the plugin takes no `tasks_per_node` of 1

TWO, ONE = "training, a rank on each of 2 nodes", "training, one process"
ABOUT: dict[str, Mapping[str, Any]] = {TWO: MANY, ONE: {}}


class Site(Interrupted):
    """profiles/slurm as a user edits it; training by `MANY` (a rank on each node) or by one process, in jobs of `minutes`.

    `requeue`: whether the profile lets SLURM queue a job again.
    """

    def __init__(self, folder: Path, cluster: Slurm, training: Mapping[str, Any], minutes: int = 30, requeue: bool = True,
                 **rule: Any) -> None:  # fmt: skip
        super().__init__(folder, STEPS)
        self.cluster, self.minutes = cluster, minutes
        path = folder / "profiles/slurm/config.yaml"
        settings = yaml.safe_load(path.read_text(encoding="utf-8"))
        settings["default-resources"] |= {"slurm_account": "tests", "slurm_partition": cluster.partition, "mem_mb": 3000}
        settings["latency-wait"] = 20
        if not requeue:
            settings["slurm-no-requeue"] = settings.pop("slurm-requeue")
        plain = {"mem_mb": 3000, "runtime": 10}
        settings["set-resources"] |= {
            "train_model": {"mem_mb": 3000, "runtime": minutes, **training, **rule}, "downscale_task": plain, "downscale_block": plain}
        settings["set-threads"] = dict.fromkeys(("train_model", "downscale_task", "downscale_block"), 1)
        path.write_text(yaml.safe_dump(settings), encoding="utf-8")

    def submit(self, target: str, *arguments: str) -> subprocess.Popen[bytes]:
        return self.start("slurm", *QUICK, *arguments, "--", target, environment=self.cluster.variables)

    def run(self, target: str, *arguments: str) -> int:
        return self.end(self.submit(target, *arguments))

    def jobs(self, rule: str = "train_model") -> list[Mapping[str, str]]:
        """What SLURM knows of a rule's jobs, in the order of their numbers."""
        found = [job for job in self.cluster.tasks() if job.get("WorkDir") == str(self.folder)
                 and job.get("Comment", "").startswith(f"rule_{rule}")]  # fmt: skip
        return sorted(found, key=lambda job: int(job["JobId"]))

    def job(self, rule: str = "train_model") -> Mapping[str, str]:
        """The one that runs."""
        running = [job for job in self.jobs(rule) if job["JobState"] == "RUNNING"]
        assert len(running) == 1, running
        return running[0]

    def ranks(self) -> list[psutil.Process]:
        """Of the training, the first one first."""
        return [one for one in self.processes("orbit2", "train") if one.name() != "srun"]

    def deadline(self) -> float:
        """When the training of the job that runs (the last one) means to stop by itself: seconds as of time.time()."""
        return datetime.fromisoformat(self.jobs()[-1]["StartTime"]).timestamp() + 60 * working(self.minutes)

    def slices(self) -> int:
        """How often a training stopped in time."""
        return self.log().count("=== stopped at ")


@dataclass
class Row:
    """What was done to a job, and what came of it. Seconds count from the interruption to the next step that is taken."""

    what: str
    job: str
    happened: str
    jobs: int
    starts: int
    seconds: float | None
    again: int | None  # steps or items that were computed a second time
    equal: bool

    def keep(self) -> None:
        """Into the table, where that is asked for: at the end of a test, when all of it has been found so."""
        if not os.environ.get(WRITE):
            return
        rows = {(row["what"], row["job"]): row for row in (json.loads(TABLE.read_text()) if TABLE.exists() else [])}
        rows[self.what, self.job] = asdict(self)
        TABLE.write_text(json.dumps(list(rows.values()), indent=1) + "\n", encoding="utf-8")


def struck(site: Site, strike: Callable[[], object]) -> Callable[[], tuple[float | None, int | None]]:
    """Do it once some steps are taken. Afterwards: seconds until training went on, and the steps that were taken again."""
    site.wait(lambda: site.step() > 14, "some steps are taken")
    before, tries, began = site.step(), len(site.resumed()), time.monotonic()
    strike()

    def measured() -> tuple[float | None, int | None]:
        site.wait(lambda: len(site.resumed()) > tries, "training goes on")
        return time.monotonic() - began, max(0, before - site.resumed()[tries])

    return measured


def begun(undisturbed: Site, folder: Path, cluster: Slurm, job: str, **settings: Any) -> Site:
    """The same training in a folder of its own, its data made already."""
    site = Site(folder, cluster, ABOUT[job], **settings)
    site.take(undisturbed, "data")
    return site


def counted(site: Site) -> tuple[int, int]:
    """(jobs, starts) that the training took."""
    jobs = site.jobs()
    return len(jobs), sum(1 + int(job["Restarts"]) for job in jobs)
