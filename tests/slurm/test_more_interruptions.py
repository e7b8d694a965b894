"""More interruptions on a real SLURM: limits, stops, predictions.

`make interruptions` writes what is found here into docs/interruptions.md.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orbit2.signals import STOPPED
from tests.data.servers import slurm
from tests.slurm.conftest import Undisturbed
from tests.slurm.site import ABOUT, MODEL, TWO, WHOLE, Row, Site, begun, counted, struck
from tests.slurm.test_interruptions import node_killed
from tests.workflow.conftest import ROOT
from tests.workflow.interrupted import held

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "never"),
]


SLICES = 2  # at least


@pytest.mark.parametrize("job", ABOUT)
def test_time_limit(cluster: slurm.Slurm, undisturbed: Undisturbed, tmp_path: Path, job: str) -> None:
    """As many slices of one job as it needs, no retry spent, nothing done twice. A machine that would need fewer than SLICES is slowed
    down: after some steps the ranks stand still until they are to stop."""
    site = begun(undisturbed[job], tmp_path, cluster, job, minutes=2)
    process = site.submit(MODEL, "--retries", "0")
    for number in range(SLICES):
        before = site.step()
        site.wait(lambda before=before: site.step() > before + 4, f"slice {number} comes further")
        if site.slices() <= number:
            with held(site.ranks()):
                site.wait(lambda: time.time() > site.deadline() + 2, "its time is over")
        site.wait(lambda number=number: site.slices() > number, f"slice {number} ends")
    assert site.end(process) == 0, site.said
    jobs, starts = counted(site)
    assert jobs == 1 and starts > SLICES and len(site.resumed()) == site.slices() == starts - 1
    assert "Error in rule" not in site.said
    same = site.same_model(undisturbed[job])
    assert same
    Row("time limit (2 minutes)", job, "stops by itself, saves, queued again as the same job", jobs, starts, None, 0, same).keep()


def test_stopped_for_good(cluster: slurm.Slurm, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """`orbit2 stop` ends a run; the same command goes on."""
    site = begun(undisturbed[TWO], tmp_path, cluster, TWO)
    process = site.submit(MODEL)
    site.wait(lambda: site.step() > 14, "some steps are taken")
    with held(site.ranks()):  # which look for its file every ten seconds: on a fast machine all steps would be taken by then
        stop = subprocess.Popen([sys.executable, "-m", "orbit2", "stop", "."], cwd=site.folder, text=True, stdout=subprocess.PIPE,
                                stderr=subprocess.STDOUT, env={**cluster.variables, "PYTHONPATH": str(ROOT)})  # fmt: skip
        site.wait((site.folder / STOPPED).exists, "the stop is asked for")
        time.sleep(10)
    said, _ = stop.communicate()
    assert stop.returncode == 0, said
    assert site.end(process) != 0
    assert all(job["JobState"] in slurm.OVER for job in site.jobs())
    before = site.step()
    assert site.run(MODEL) == 0, site.said
    again = max(0, before - site.resumed()[-1])
    same, (jobs, starts) = site.same_model(undisturbed[TWO]), counted(site)
    assert same and again == 0 and jobs == 2
    Row("`orbit2 stop`", TWO, "saves and ends, Snakemake too; the same command goes on", jobs, starts, None, again, same).keep()


QUEUED: dict[str, tuple[str, bool, list[str], int]] = {  # what -> what happens, of the profile's own, jobs' states, starts
    "node killed whole, JobRequeue=0": ("SLURM queues it again: the profile's jobs ask for it", True, ["COMPLETED"], 2),
    "node killed whole, slurm-no-requeue": ("Snakemake submits another job", False, ["NODE_FAIL", "COMPLETED"], 2),
}


@pytest.mark.parametrize("what", QUEUED)
def test_node_killed_where_jobs_are_not_queued_again_unasked(undisturbed: Undisturbed, tmp_path: Path, what: str) -> None:
    """JobRequeue=0 is what a site gives jobs that do not say; with `slurm-requeue` they do."""
    happens, requeue, states, most = QUEUED[what]
    with slurm.Slurm(cpus=8, kill_wait=20, min_job_age=900, requeue=False) as strict:
        site = begun(undisturbed[TWO], tmp_path, strict, TWO, requeue=requeue)
        process = site.submit(MODEL)
        seconds, again = struck(site, lambda: node_killed(site))()
        assert site.end(process) == 0, site.said
        same, (jobs, starts) = site.same_model(undisturbed[TWO]), counted(site)
        found = [job["JobState"] for job in site.jobs()]
    assert same and found == states and starts == most and again is not None and again <= 10
    Row(what, TWO, happens, jobs, starts, seconds, again, same).keep()


@pytest.mark.parametrize("job", ABOUT)
def test_signal_before_anybody_listens(cluster: slurm.Slurm, undisturbed: Undisturbed, tmp_path: Path, job: str) -> None:
    site = begun(undisturbed[job], tmp_path, cluster, job)
    process = site.submit(MODEL)
    number = site.wait(lambda: [one["JobId"] for one in site.jobs() if one["JobState"] == "RUNNING"], "the job runs")[0]
    site.wait(lambda: site.processes("orbit2", "train"), "the command is started")
    cluster("scancel", "--signal=USR1", number)
    assert site.end(process) == 0, site.said
    same, (jobs, starts) = site.same_model(undisturbed[job]), counted(site)
    assert same
    Row("USR1 before anybody listens", job, "nothing is lost; it goes on, or begins again", jobs, starts, None, 0, same).keep()


def test_more_time_than_the_partition_gives(cluster: slurm.Slurm, undisturbed: Undisturbed, tmp_path: Path) -> None:
    """SLURM would keep such a job waiting for ever (PartitionTimeLimit)."""
    site = begun(undisturbed[TWO], tmp_path, cluster, TWO)
    cluster.limit(20)
    try:
        assert site.run(MODEL) != 0
        (line,) = [line for line in site.said.splitlines() if line.startswith("error: ")]
        assert not site.jobs() and cluster.partition in line and "20" in line and "30" in line, line
    finally:
        cluster.limit("INFINITE")
    assert site.run(MODEL) == 0, site.said
    same, (jobs, starts) = site.same_model(undisturbed[TWO]), counted(site)
    assert same
    Row("more time than the partition gives", TWO, "refused in one line before anything is submitted", jobs, starts, None, 0, same).keep()


@pytest.mark.skipif(bool(slurm.unlimited()), reason=slurm.unlimited() or "never")
def test_more_memory_than_was_asked_for(cluster: slurm.Slurm, undisturbed: Undisturbed, tmp_path: Path) -> None:
    site = begun(undisturbed[TWO], tmp_path, cluster, TWO, mem_mb=700)
    assert site.run(MODEL, "--retries", "0") != 0
    assert "mem_mb" in site.log() and "700" in site.log(), site.log()
    profile = site.folder / "profiles/slurm/config.yaml"
    profile.write_text(profile.read_text().replace("mem_mb: 700", "mem_mb: 3000"))
    assert site.run(MODEL, "--retries", "0") == 0, site.said
    same, (jobs, starts) = site.same_model(undisturbed[TWO]), counted(site)
    assert same
    Row("memory limit exceeded", TWO, "ends; the log says how much it had, and which resource to raise", jobs, starts, None, 0, same).keep()


PREDICTION = "prediction, one process"


def items(site: Site) -> int:
    """Items and windows of the prediction that are written."""
    files = (site.folder / "results/two/downscale").glob(".week.zarr.*.journal/*.jsonl")
    return sum(len(file.read_text().splitlines()) for file in files)


@pytest.mark.parametrize(("what", "strike", "jobs", "starts"), [
    ("node killed whole", node_killed, 1, 2), ("scancel", lambda site: site.cluster("scancel", site.job("downscale_task")["JobId"]), 2, 2)],
    ids=["node killed whole", "scancel"])  # fmt: skip
def test_predictions_go_on(
    cluster: slurm.Slurm, undisturbed: Undisturbed, tmp_path: Path, what: str, strike: Callable[[Site], object], jobs: int, starts: int
) -> None:
    whole = undisturbed[TWO]
    if not whole.chunks():
        assert whole.run(WHOLE) == 0, whole.said
    site = Site(tmp_path, cluster, ABOUT[TWO])
    site.take(whole, "data", "models")
    process = site.submit(WHOLE)
    site.wait(lambda: items(site) > 20, "some items are written")
    began, before = time.monotonic(), items(site)
    where = site.job("downscale_task")["NodeList"]
    site.cluster.nodes.sort(key=lambda node: node == where)  # the last one is struck
    strike(site)
    site.wait(lambda: items(site) > before, "it goes on")
    seconds = time.monotonic() - began
    assert site.end(process) == 0, site.said
    taken = site.jobs("downscale_task")
    same, found = site.same_prediction(whole), (len(taken), sum(1 + int(job["Restarts"]) for job in taken))
    happened = "SLURM queues it again" if jobs == 1 else "Snakemake submits it again"
    assert same and found == (jobs, starts)
    Row(what, PREDICTION, happened, *found, seconds if jobs == 1 else None, None, same).keep()

