"""One SLURM of two virtual nodes for a file of tests, and trainings on it that nobody disturbs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import suppress

import pytest

from tests.data.servers import slurm
from tests.slurm.site import ABOUT, MODEL, Site


@pytest.fixture(scope="module")
def cluster() -> Iterator[slurm.Slurm]:
    with slurm.Slurm(cpus=8, kill_wait=20, min_job_age=900) as started:
        yield started


@pytest.fixture(autouse=True)
def usable(cluster: slurm.Slurm) -> Iterator[None]:
    """Nodes as they were, whatever a test did."""
    yield
    Site.kill_all()
    for job in cluster.tasks():
        if job["JobState"] not in slurm.OVER:
            for how in (["--full", "--signal=KILL"], []):
                with suppress(subprocess.CalledProcessError):  # it has not begun
                    cluster("scancel", *how, job["JobId"])
    for node in cluster.nodes:
        if not cluster("sinfo", "--noheader", f"--nodes={node}", "--format=%T").strip().startswith(("idle", "mixed", "alloc", "compl")):
            try:
                cluster.resume(node)
            except (RuntimeError, subprocess.SubprocessError):
                cluster.start_node(node)


class Undisturbed:
    """The same trainings, left alone: each made when it is first asked for, all on the same data."""

    def __init__(self, cluster: slurm.Slurm, factory: pytest.TempPathFactory) -> None:
        self._cluster, self._factory, self._done = cluster, factory, dict[str, Site]()

    def __getitem__(self, job: str) -> Site:
        if job not in self._done:
            site = Site(self._factory.mktemp("undisturbed"), self._cluster, ABOUT[job])
            if self._done:
                site.take(next(iter(self._done.values())), "data")
            else:
                assert site.end(site.start("local", "--", "statistics")) == 0, site.said
            assert site.run(MODEL) == 0, site.said
            assert [task["Restarts"] for task in site.jobs()] == ["0"]
            self._done[job] = site
        return self._done[job]


@pytest.fixture(scope="module")
def undisturbed(cluster: slurm.Slurm, tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    return Undisturbed(cluster, tmp_path_factory)
