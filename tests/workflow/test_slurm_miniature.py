"""Data preparation of the four sources as parts over the two nodes of a real SLURM: the stores hold the formula, as made by one machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.data import miniature
from tests.data.miniature import SECRETS
from tests.data.servers import slurm
from tests.workflow import slurm_demo
from tests.workflow.conftest import Project
from tests.workflow.test_miniature import (  # the same checks, of what this module's `finished` made
    test_a_day_that_the_provider_does_not_have_is_a_recorded_gap,
    test_daily_stores_hold_the_formula,
    test_hourly_pairs_hold_the_trailing_day,
    test_no_secret_is_left_anywhere,
)
from tests.workflow.test_slurm_demo import rule_of

__all__ = ["test_a_day_that_the_provider_does_not_have_is_a_recorded_gap", "test_daily_stores_hold_the_formula",
           "test_hourly_pairs_hold_the_trailing_day", "test_no_secret_is_left_anywhere"]
AT_ONCE = 3  # four would have room on the nodes
pytestmark = [pytest.mark.slow, pytest.mark.slurm, pytest.mark.skipif(bool(slurm.missing()), reason=slurm.missing() or "never")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """The data of the miniature, made by jobs: (folder, what Snakemake printed, configuration, SLURM's jobs)."""
    folder = tmp_path_factory.mktemp("miniature")
    project = Project(folder)
    with pytest.MonkeyPatch.context() as patch, miniature.Providers() as providers, slurm.Slurm(cpus=4, min_job_age=3600) as started:
        for name, value in SECRETS.items():
            patch.setenv(name, value)
        patch.setenv("ORBIT2_CACHE", str(folder / "cache"))
        run = providers.run()
        (folder / "mini.yaml").write_text(yaml.safe_dump(run), encoding="utf-8")
        slurm_demo.prepare(folder, started.partition, resources={"parts": AT_ONCE})
        with started.environment():
            done = project("regrid", "--configfile", "mini.yaml", profile="slurm", timeout=2400)
            yield folder, done.stdout + done.stderr, run, started.tasks()


def test_parts_were_built_side_by_side_on_both_nodes(finished: Any) -> None:
    folder, _, _, tasks = finished
    parts = [task for task in tasks if rule_of(task) == "regrid_part"]
    planned = [path for path in folder.glob("results/data/*/parts/*.json") if path.stem.isdecimal()]
    assert len(parts) == len(planned) > 8 and {task["JobState"] for task in parts} == {"COMPLETED"}
    assert len({task["NodeList"] for task in parts}) == 2
    assert any(one["NodeList"] != other["NodeList"] and one["StartTime"] < other["EndTime"] and other["StartTime"] < one["EndTime"]
               for one in parts for other in parts)  # fmt: skip
    begun = [sum(other["SubmitTime"] <= one["SubmitTime"] < other["EndTime"] for other in parts) for one in parts]
    assert max(begun) == AT_ONCE
    assert not [task for task in tasks if rule_of(task) == "retrieve_source"]  # nodes need no internet
    for file in folder.glob("results/data/*/finalised.json"):
        assert json.loads(file.read_text())["parts"].keys() == {path.stem for path in planned if path.parts[-3] == file.parts[-2]}
