"""A run with an imported model, planned: nothing is trained; where the folder is not there the plan is shown, and nothing starts."""

from __future__ import annotations

import re

import pytest
import yaml

from tests.data.imported_models import folder, raw
from tests.workflow.conftest import Project, work

CHILD = {"models": {"mine": {"datasets": ["us"], "finetune_from": "theirs", "train": {"steps": 5}}},
         "downscale": {"mine": {"model": "mine", "dataset": "us"}}}  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Project:
    project = Project(tmp_path_factory.mktemp("imported"))
    folder(project.folder / "theirs")
    for name, content in (("run", raw("theirs")), ("child", raw("theirs", **CHILD)), ("absent", raw("published/us_9.5m_temperature"))):
        (project.folder / f"{name}.yaml").write_text(yaml.safe_dump(content), encoding="utf-8")
    return project


def jobs(printed: str) -> dict[str, int]:
    """Of a dry run, by rule."""
    table = printed.split("Job stats:")[1].split("total")[0]
    return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


def test_nothing_is_trained(here: Project) -> None:
    printed = here.text("-n", "-p", "all", "--configfile", "run.yaml")
    assert work(jobs(printed)) == {
        "retrieve_source": 2, "regrid_init": 1, "regrid_part": 4, "regrid_finalise": 1, "downscale_task": 1, "evaluate_fit": 1,
        "evaluate_part": 1, "evaluate_task": 1, "evaluate_merge": 1, "diagnose_task": 1, "diagnose_merge": 1, "report_page": 1}  # fmt: skip
    assert "--model theirs --store" in printed


def test_one_is_fine_tuned_from_it(here: Project) -> None:
    printed = here.text("-n", "-p", "downscale", "--configfile", "child.yaml")
    planned = jobs(printed)
    assert planned["finetune_model"] == 1 and planned["downscale_task"] == 2 and "train_model" not in planned
    assert "--parent theirs --out" in printed


def test_a_folder_that_is_not_there_is_planned_and_not_run(here: Project) -> None:
    printed = here.text("-n", "downscale", "--configfile", "absent.yaml")
    assert "downscale_task" in printed and printed.count("models.theirs: published/us_9.5m_temperature is not there yet") == 1
    done = here("downscale", "--configfile", "absent.yaml", check=False)
    told = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("error:")]
    assert done.returncode == 2 and len(told) == 1 and "orbit2 model import" in told[0]
    assert not (here.folder / "resources").exists()
