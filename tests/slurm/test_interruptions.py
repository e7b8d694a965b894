"""Every way in which a job of a real SLURM is interrupted: it goes on by itself, and ends in the same bits.

`make interruptions` writes what is found here into docs/interruptions.md.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.data.servers import slurm
from tests.slurm.conftest import Undisturbed
from tests.slurm.site import MODEL, TWO, Row, Site, begun, counted, struck
from tests.workflow.interrupted import held

pytestmark = [
    pytest.mark.slow,
    pytest.mark.slurm,
    pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "never"),
]


def scancel(site: Site) -> None:
    site.cluster("scancel", site.job()["JobId"])


def drain_then_down(site: Site) -> None:
    node = site.cluster.nodes[0]
    with held(site.ranks()):  # on a fast machine all steps would be taken by then
        site.cluster.drain(node)
        time.sleep(2)
        assert site.job()
        site.cluster.down(node)
    time.sleep(3)
    site.cluster.resume(node)


def node_killed(site: Site) -> None:
    node = site.cluster.nodes[-1]
    site.cluster.kill_node(node)
    site.wait(lambda: site.cluster.state(node).startswith("down"), "the node counts as lost", 90)
    site.cluster.start_node(node)


def daemon_killed(site: Site) -> None:
    node = site.cluster.nodes[-1]
    with held(site.ranks()):  # as above
        site.cluster.kill_daemon(node)
        site.wait(lambda: site.cluster.state(node).startswith("down"), "the node counts as lost", 90)
    site.cluster.start_node(node)


def rank_killed(site: Site) -> None:
    site.ranks()[1].kill()


def rank_stopped(site: Site) -> None:
    site.ranks()[1].suspend()


INTERRUPTED: list[tuple[str, str, Callable[[Site], None], str, int, int]] = [  # what, job, how, what happens, jobs, starts
    ("scancel", TWO, scancel, "saves; Snakemake submits it again", 2, 2),
    ("drain, then down", TWO, drain_then_down, "SLURM queues it again", 1, 2),
    ("slurmd killed", TWO, daemon_killed, "SLURM queues it again", 1, 2),
    ("node killed whole", TWO, node_killed, "SLURM queues it again", 1, 2),
    ("a rank killed (-9)", TWO, rank_killed, "all ranks end, the log names the one; Snakemake submits it again", 2, 2),
    ("a rank suspended for good", TWO, rank_stopped, "all ranks end, the log names the one; Snakemake submits it again", 2, 2),
]


@pytest.mark.parametrize(("what", "job", "strike", "happens", "jobs", "starts"), INTERRUPTED, ids=[row[0] for row in INTERRUPTED])
def test_goes_on_by_itself(
    cluster: slurm.Slurm, undisturbed: Undisturbed, tmp_path: Path, what: str, job: str, strike: Callable[[Site], None],
    happens: str, jobs: int, starts: int,
) -> None:  # fmt: skip
    site = begun(undisturbed[job], tmp_path, cluster, job)
    process = site.submit(MODEL)
    measured = struck(site, lambda: strike(site))
    seconds, again = measured()
    assert site.end(process) == 0, site.said
    same = site.same_model(undisturbed[job])
    assert same and counted(site) == (jobs, starts)
    assert again is not None and again <= 10  # no more than two checkpoints
    Row(what, job, happens, *counted(site), seconds, again, same).keep()


SNAKEMAKE_ENDS = {"kill -9 of Snakemake": signal.SIGKILL, "a dropped connection (HUP)": signal.SIGHUP}


@pytest.mark.parametrize("what", SNAKEMAKE_ENDS)
def test_the_same_command_goes_on(cluster: slurm.Slurm, undisturbed: Undisturbed, tmp_path: Path, what: str) -> None:
    """The job lives; the second Snakemake finds it at work (the ranks are held until it has), and submits none beside it."""
    site = begun(undisturbed[TWO], tmp_path, cluster, TWO)
    process = site.submit(MODEL)
    site.wait(lambda: site.step() > 14, "some steps are taken")
    number, ranks = site.job()["JobId"], site.ranks()
    with held(ranks):
        os.killpg(process.pid, SNAKEMAKE_ENDS[what])
        site.end(process)
        again = site.submit(MODEL)
        site.wait(lambda: "a run that was killed has left at work" in site.said, "the second one finds the job")
    assert site.end(again) == 0, site.said
    same, (jobs, starts) = site.same_model(undisturbed[TWO]), counted(site)
    assert same and (jobs, starts) == (1, 1) and site.jobs()[0]["JobId"] == number
    Row(what, TWO, "the job runs on; the same command finds it and waits for it", jobs, starts, None, 0, same).keep()
