"""Provider files deleted after retrieve: said where something is still to be built from them, with the command that has them."""

from __future__ import annotations

import json
import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from orbit2.config import slices
from orbit2.config.load import from_mapping
from tests.data.small_chain import RUN, call
from tests.workflow.conftest import Project

PARTIAL = deepcopy(RUN)
PARTIAL["datasets"]["week"]["samples_per_part"] = 4


@pytest.fixture(scope="module")
def begun(tmp_path_factory: pytest.TempPathFactory) -> tuple[Project, Path]:
    """A store of which one part of several is built, and the folder of its dataset."""
    project = Project(tmp_path_factory.mktemp("begun"))
    (project.folder / "chain.yaml").write_text(yaml.safe_dump(PARTIAL), encoding="utf-8")
    data = slices.dataset_folder(from_mapping(PARTIAL), "week")
    project("--configfile", "chain.yaml", "--", f"{data}/parts/000.json")
    return project, project.folder / data


@pytest.mark.slow
def test_what_is_gone_is_said_with_what_fetches_it(begun: tuple[Project, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    project, data = begun
    run = ("--configfile", "chain.yaml")
    receipt = next(project.folder.glob("resources/sample/requests/*.done.json"))
    (record,) = json.loads(receipt.read_text())["held"]
    file = project.folder / "resources/sample/v1" / record["file"]
    statics = list(project.folder.glob("resources/static/v1/*.nc"))
    first, planned = (data / "parts/000.json").stat().st_mtime_ns, project.planned("regrid", *run)
    assert statics and planned == {"regrid_part": 1, "regrid_finalise": 1, "regrid": 1}
    for path in (file, *statics):
        path.unlink()
    assert project.planned("regrid", *run) == planned
    done = project("regrid", *run, check=False)
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr
    name = str(file.relative_to(project.folder))
    told = f"^{re.escape(name)} is gone or cut short: week still needs it, fetch it again: orbit2 (retrieve .*)$"
    said = re.search(told, done.stderr, re.MULTILINE)
    assert said and f"error: {name}: file does not match the manifest; `orbit2 retrieve sample --config" in done.stdout + done.stderr
    monkeypatch.chdir(project.folder)
    assert call(said[1].split()) == 0 and file.is_file()
    assert "gone or cut short" not in project.text("regrid", *run)
    assert (data / "finalised.json").is_file() and (data / "parts/000.json").stat().st_mtime_ns == first
    file.unlink()  # to save room: the store is finished
    assert project.planned("regrid", *run) == {} and "gone or cut short" not in project.text("-n", "statistics", *run)
    other = ("--config", "set=[datasets.week.min_valid_fraction=0.6]")  # another store, of which nothing is built yet
    assert "is gone or cut short: what week needs of it is fetched again" in project.text("regrid", *run, *other)
    assert file.is_file() and project.planned("regrid", *run, *other) == {}


def test_a_mistake_that_planning_finds_is_one_line(project: Any) -> None:
    """In a rule file (a period without samples), and in a function that Snakemake asks for a rule's input (a damaged receipt)."""
    (project.folder / "chain.yaml").write_text(yaml.safe_dump(PARTIAL), encoding="utf-8")
    beyond = ("--config", 'set=["datasets.week.split.test={start: 2027-01-01, end: 2027-01-02}"]')
    receipt = slices.receipts(from_mapping(PARTIAL), "week")["sample"]
    (project.folder / receipt).parent.mkdir(parents=True)
    (project.folder / receipt).write_text("{", encoding="utf-8")
    for more, said in ((beyond, "error: split.test: no samples in the test period"), ((), f"error: {receipt}: not valid JSON")):
        done = project("-n", "regrid", "--configfile", "chain.yaml", *more, check=False)
        assert done.returncode == 2 and said in done.stderr and "Traceback" not in done.stderr + done.stdout
