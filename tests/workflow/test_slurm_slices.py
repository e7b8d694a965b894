"""What a job's end means on a real SLURM: a slice goes on in the same job as often as it takes, a crash is tried three times, a user's
mistake once. What interrupts jobs otherwise is tests/slurm's."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.data.servers import slurm
from tests.workflow.conftest import ROOT, SNAKEMAKE
from tests.workflow.interrupted import Interrupted, pending
from tests.workflow.test_logged import COMMAND

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "never"),
]
STEPS, PAUSED = 60, (12, 24, 36)
SLICES = len(PAUSED)
FEWER = {"retries": 1}  # than slices
TARGET = "train"
ONE: dict[str, Any] = {}
MANY = {"mpi": "srun", "nodes": 2, "tasks": 2}  # a rank on each node


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Slurm]:
    with slurm.Slurm(cpus=8, requeue_delay=6, kill_wait=10) as started:
        yield started


class Site(Interrupted):
    """profiles/slurm as a user edits it."""

    def __init__(self, folder: Path, cluster: slurm.Slurm, training: Mapping[str, Any] = ONE, **settings: object) -> None:
        super().__init__(folder, STEPS)
        self.cluster = cluster
        path = folder / "profiles/slurm/config.yaml"
        profile = yaml.safe_load(path.read_text(encoding="utf-8")) | settings
        profile["default-resources"] |= {"mem_mb": 3000}
        profile["set-resources"]["train_model"] = {"mem_mb": 3000, "runtime": 60, **training}
        profile["set-threads"]["train_model"] = 1
        profile["latency-wait"] = 20
        path.write_text(yaml.safe_dump(profile), encoding="utf-8")

    def submit(self) -> subprocess.Popen[bytes]:
        quick = ("--slurm-init-seconds-before-status-checks", "2")  # else Snakemake looks every 40 s
        return self.start("slurm", *quick, "--", TARGET, environment=self.cluster.variables)

    def jobs(self) -> list[str]:
        """Numbers of the trainings that were submitted."""
        here = [job for job in self.cluster.tasks() if job["WorkDir"] == str(self.folder) and "rule_train_model" in job["Comment"]]
        return sorted(job["JobId"] for job in here)

    def slices(self) -> None:
        """What a time limit does: SIGUSR1 to the steps of the job, each time that PAUSED steps are taken."""
        for number, step in enumerate(PAUSED):
            with self.paused(step) as process:
                running = [job for job in self.jobs() if self.cluster.job(job)["JobState"] == "RUNNING"]
                self.cluster("scancel", "--signal=USR1", running[-1])
                self.wait(partial(pending, process, signal.SIGUSR1), "the signal has come")
            self.wait(lambda number=number: self.log().count("=== stopped at ") > number, f"slice {number} ends")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Interrupted:
    """What is trained on, made by this machine, and a training that nothing interrupts."""
    alone = Interrupted(tmp_path_factory.mktemp("alone"), STEPS)
    assert alone.end(alone.start("local", "--", TARGET)) == 0, alone.said
    return alone


@pytest.mark.parametrize("training", [ONE, MANY], ids=["one process", "a rank on each node"])
def test_a_run_gets_as_many_slices_as_it_needs(
    training: Mapping[str, Any], cluster: slurm.Slurm, prepared: Interrupted, tmp_path: Path
) -> None:
    """In one job, that goes back to the queue by itself; Snakemake waits, and no error is shown. The weights are those without a stop."""
    site = Site(tmp_path, cluster, training, **FEWER)
    site.take(prepared, "data")
    site.pause(*PAUSED)
    process = site.submit()
    site.slices()
    assert site.end(process) == 0, site.said
    (job,) = site.jobs()
    assert int(cluster.job(job)["Restarts"]) == SLICES and "Error in rule" not in site.said
    log = site.log()
    said = re.findall(rf"^=== stopped at \d+ of {STEPS} steps; SLURM job {job} goes back to the queue", log, flags=re.MULTILINE)
    assert len(said) == SLICES
    assert re.findall(r"^=== try \d+, .*, SLURM job \d+(.*)$", log, flags=re.MULTILINE) == [
        "", *(f", requeued {number} time(s)" for number in range(1, SLICES + 1))]
    head, *rows = (site.model / "logs/train.tsv").read_text().splitlines()
    told = [dict(zip(head.split("\t"), row.split("\t"), strict=True)) for row in rows]
    ranks = "2" if training else "1"
    assert len(told) == SLICES + 1 and all(row["ranks"] == ranks and float(row["max_rss"]) > 150 * int(ranks) for row in told)
    if training is ONE:
        assert site.same_model(prepared)


SNAKEFILE = """
include: "tries.smk"
rule all:
    input: expand("{name}.done", name=NAMES)
rule made:
    input: "{name}.txt"
    output: "{name}.done"
    log: "logs/{name}.log"
    shell: "logged {log} bash command.sh {input} {output}"
"""
ENDS = {"mistake": "mistake", "crash": "crash", "slices": f"slices {SLICES}"}  # with stand-ins for stages, see test_logged.py


@pytest.mark.parametrize("allowed", [True, False], ids=["requeueing allowed", "forbidden"])
def test_every_end_takes_the_jobs_that_it_should(allowed: bool, cluster: slurm.Slurm, tmp_path: Path) -> None:
    """A mistake one, a crash `retries` + 1, slices one, or, where a site forbids to requeue, one each, which are not counted."""
    shutil.copytree(ROOT / "workflow/scripts", tmp_path / "workflow/scripts")
    shutil.copy(ROOT / "workflow/tries.smk", tmp_path / "workflow/tries.smk")
    (tmp_path / "workflow/Snakefile").write_text(SNAKEFILE.replace("NAMES", repr(list(ENDS))))
    (tmp_path / "command.sh").write_text(COMMAND)
    for name, what in ENDS.items():
        (tmp_path / f"{name}.txt").write_text(what)
    options = ["--slurm-status-command", "squeue", "--slurm-no-account", "--slurm-init-seconds-before-status-checks", "2",
               "--slurm-requeue" if allowed else "--slurm-no-requeue", "--default-resources", "mem_mb=500", "runtime=10"]  # fmt: skip
    command = [*SNAKEMAKE, "--executor", "slurm", "--jobs", "9", "--retries", "1", "--keep-going", *options, "--", "all"]
    done = subprocess.run(command, cwd=tmp_path, env={**cluster.variables, "ORBIT2_RUN": "this-run"}, capture_output=True, text=True,
                          timeout=900, check=False)  # fmt: skip
    assert done.returncode == 1, done.stderr
    jobs = [job for job in cluster.tasks() if job["WorkDir"] == str(tmp_path)]
    taken = {name: sorted(int(job["Restarts"]) for job in jobs if job["Comment"].endswith(f"_{name}")) for name in ENDS}
    assert taken == {"mistake": [0], "crash": [0, 0], "slices": [SLICES] if allowed else [0] * (SLICES + 1)}, done.stderr
    logs = {name: (tmp_path / f"logs/{name}.log").read_text() for name in ENDS}
    assert {name: log.count("=== try ") for name, log in logs.items()} == {"mistake": 1, "crash": 2, "slices": SLICES + 1}
    assert logs["slices"].count("goes back to the queue" if allowed else "cannot be requeued (") == SLICES
    assert (tmp_path / "slices.done").exists()
