"""The demo with a few training steps through a real SLURM of two nodes, as `make slurm-demo` runs it: the numbers of a local run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pytest

from tests.data.servers import slurm
from tests.workflow import slurm_demo
from tests.workflow.conftest import WHOLE, Project
from tests.workflow.test_whole_run import overrides

pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "never")]
# bfloat16, where the CPU has it, rounds away more than is compared here
FLOAT32 = ("models.reslim.train.precision=fp32", "models.conus.train.precision=fp32")
ALONE, SHARED = overrides(*FLOAT32), overrides(*FLOAT32, slurm_demo.MESH)
HERE = ("retrieve_source",)  # rules that run where Snakemake itself runs


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Project, Project, list[Mapping[str, str]]]]:
    """The run through SLURM, the same on this machine alone, and SLURM's jobs."""
    cluster, local = Project(tmp_path_factory.mktemp("cluster")), Project(tmp_path_factory.mktemp("local"))
    local("all", *ALONE, timeout=1200)
    with slurm.Slurm(cpus=slurm_demo.CPUS, min_job_age=3600) as started, started.environment():
        slurm_demo.prepare(cluster.folder, started.partition)
        cluster("all", *SHARED, profile="slurm", timeout=1800)
        yield cluster, local, started.tasks()


def rule_of(task: Mapping[str, str]) -> str:
    """The plugin writes it into the job's comment."""
    return task["Comment"].removeprefix("rule_").partition("_wildcards_")[0]


def test_every_rule_ran_where_it_should(done: Any) -> None:
    """One job for each but the network's rules, none of them twice."""
    _, _, tasks = done
    assert {task["JobState"] for task in tasks} == {"COMPLETED"} and {task["Restarts"] for task in tasks} == {"0"}
    ran = [rule_of(task) for task in tasks]
    assert {rule: ran.count(rule) for rule in ran} == {rule: count for rule, count in WHOLE.items() if rule not in HERE}


def test_training_was_one_step_of_four_ranks_on_two_nodes(done: Any) -> None:
    cluster, _, tasks = done
    (training,) = [task for task in tasks if rule_of(task) == "train_model"]
    assert (training["NumNodes"], training["NumTasks"]) == ("2", "4")
    assert {task["NumNodes"] for task in tasks if rule_of(task) != "train_model"} == {"1"}
    (log,) = cluster.folder.glob("results/models/reslim-*/logs/train.log")
    assert "4 ranks" in log.read_text() or "ddp 2 x tp 2" in log.read_text()


def test_the_numbers_are_those_of_a_local_run(done: Any) -> None:
    cluster, local, _ = done
    runs = [project.folder / "results/demo" for project in (cluster, local)]
    for metric in ("rmse", "mae", "pearson_r"):
        assert slurm_demo.furthest(*runs, metric) < 1e-3, metric


def test_nothing_is_left_to_do(done: Any) -> None:
    """By neither profile: where a thing was made does not matter."""
    cluster, _, _ = done
    assert cluster.planned("all", *SHARED, profile="slurm") == {} == cluster.planned("all", *ALONE)
