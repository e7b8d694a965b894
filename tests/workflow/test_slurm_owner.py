"""A real SLURM, and a run whose Snakemake dies or is stopped: its jobs are found in the queue, and none is submitted twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from orbit2 import jobs, lock
from orbit2.config import slices
from orbit2.config.load import from_mapping
from tests.data.servers import slurm
from tests.data.small_chain import RUN
from tests.workflow.conftest import ROOT, SNAKEMAKE, Project

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "never")]
PATIENCE = 300.0
TARGET = f"{slices.dataset_folder(from_mapping(RUN), 'week')}/statistics.json"
COMMAND = ["--profile", "profiles/slurm", "--slurm-init-seconds-before-status-checks", "2", "--configfile", "chain.yaml", "--", TARGET]


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Slurm]:
    with slurm.Slurm() as started, started.environment():
        yield started


def until(happened: Callable[[], object], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < end, what
        time.sleep(0.2)


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[bytes]]]:
    """What the test has started; nothing of it outlives the test."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
            process.wait()


def started(project: Project, said: Path, *command: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(project.folder), "XDG_CACHE_HOME": str(project.folder / ".cache")}
    with said.open("wb") as file:
        return subprocess.Popen([*command], cwd=project.folder, env=environment, stdout=file, stderr=file, start_new_session=True)


def test_the_queue_is_asked_for_jobs_by_their_folder(cluster: slurm.Slurm, tmp_path: Path) -> None:
    def submit(*options: str) -> str:
        return cluster("sbatch", "--parsable", f"--chdir={tmp_path}", "--output=/dev/null", *options, "--wrap", "sleep 300").strip()

    running = submit("--comment=rule_train_model_wildcards_tiny-1")
    array = submit("--comment=rule_downscale_block_wildcards_x", "--array=1-2")
    waiting = submit("--comment=rule_regrid_part_wildcards_x", "--begin=now+1hour")
    submit("--comment=of somebody else's")
    submit("--comment=rule_train_model", "--chdir=/")
    try:
        until(lambda: jobs.lives(running), "the job has begun")
        found = {job.number: job for job in jobs.submitted(tmp_path) or ()}
        assert {number: job.rule for number, job in found.items()} == {
            running: "train_model", f"{array}_1": "downscale_block", f"{array}_2": "downscale_block", waiting: "regrid_part"}  # fmt: skip
        assert found[waiting].waiting and not found[running].waiting
        assert jobs.lives(waiting) is False and jobs.lives(str(int(waiting) + 100)) is False
        assert jobs.cancel(found) == ""
        until(lambda: not jobs.submitted(tmp_path), "all have ended")
        assert jobs.lives(running) is False
    finally:
        cluster("scancel", "--full", f"--user={os.getuid()}")


def test_after_a_kill_the_same_command_waits_for_the_job_that_lives_on(
    cluster: slurm.Slurm, tmp_path: Path, running: list[subprocess.Popen[bytes]]
) -> None:
    """kill -9 of Snakemake while its first job runs; then `orbit2 stop` of another such run, and the command once more."""
    project = Project(tmp_path)
    (project.folder / "chain.yaml").write_text(yaml.safe_dump(RUN), encoding="utf-8")

    def start(name: str, *command: str) -> subprocess.Popen[bytes]:
        running.append(started(project, tmp_path / name, *command))
        return running[-1]

    first = start("first", *SNAKEMAKE, *COMMAND)
    until(lambda: any(job.state == "RUNNING" for job in jobs.submitted(project.folder) or ()), (tmp_path / "first").read_text())
    (job, *_) = jobs.submitted(project.folder) or ()
    cluster("scontrol", "suspend", job.number)
    first.send_signal(signal.SIGKILL)
    assert first.wait() == -signal.SIGKILL and lock.locked(project.folder)
    second = start("second", *SNAKEMAKE, *COMMAND)
    until(lambda: f"job {job.number} ({job.rule}, suspended). Waiting until" in (tmp_path / "second").read_text(), "it finds the job")
    cluster("scontrol", "resume", job.number)
    until(lambda: any(other.number != job.number for other in jobs.submitted(project.folder) or ()), "it goes on to another job")
    said = (tmp_path / "second").read_text()
    assert "removed the lock of a run that was killed" in said and cluster.job(job.number)["JobState"] == "COMPLETED"
    stop = start("stop", sys.executable, "-m", "orbit2", "stop")
    assert stop.wait(PATIENCE) == 0, (tmp_path / "stop").read_text()
    assert second.wait(PATIENCE) != 0 and not jobs.submitted(project.folder)
    assert "the command that started it goes on" in (tmp_path / "stop").read_text()
    assert start("third", *SNAKEMAKE, *COMMAND).wait(2 * PATIENCE) == 0, (tmp_path / "third").read_text()
    assert (project.folder / TARGET).is_file() and not lock.locked(project.folder)
    here = [task.get("Comment", "") for task in cluster.tasks() if task["WorkDir"] == str(project.folder)]
    assert sum(comment.startswith(f"rule_{job.rule}") for comment in here) == 1  # nobody submitted it again
