"""A copy of the workflow in a folder of its own, and one way to call Snakemake there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orbit2.config import slices
from orbit2.config.load import load
from orbit2.retrieve.stage import run_config
from orbit2.sources.manifest import VERSION
from tests.data.looking import LOOKS, look

ROOT = Path(__file__).resolve().parents[2]
SNAKEMAKE = [sys.executable, "-m", "snakemake"]
STAGES = ("retrieve", "regrid", "statistics", "train", "finetune", "downscale", "evaluate", "diagnose", "report")
WHOLE = {"retrieve_source": 2, "regrid_init": 1, "regrid_part": 3, "regrid_finalise": 1, "statistics_dataset": 1, "train_model": 1,
         "finetune_model": 2, "downscale_task": 4, "evaluate_fit": 1, "evaluate_part": 4, "evaluate_task": 4, "evaluate_merge": 1,
         "diagnose_task": 4, "diagnose_merge": 1, "report_page": 1}


def retrieve(folder: Path, file: str) -> None:
    """The files that ship with orbit2, and the receipts of them, as `snakemake retrieve` leaves them; `file`: a configuration there."""
    config = load(folder / file)
    before = Path.cwd()
    os.chdir(folder)
    try:
        for source, receipt in slices.receipts(config, "era5_week").items():
            run_config(config=Path(file), source=source, receipt=Path(receipt), out=Path(config.sources.resources, source, VERSION))
    finally:
        os.chdir(before)


def work(planned: dict[str, int]) -> dict[str, int]:
    """Without the target rules, which do nothing themselves."""
    return {rule: count for rule, count in planned.items() if rule not in (*STAGES, "all")}


class Project:
    """A working copy: workflow/, config/ and profiles/ of the repository, results of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in ("workflow", "config", "profiles"):
            shutil.copytree(ROOT / name, folder / name)

    def __call__(self, *arguments: str, profile: str = "local", check: bool = True, timeout: int = 300) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(self.folder), "XDG_CACHE_HOME": str(self.folder / ".cache")}
        words = ["--profile", f"profiles/{profile}", *arguments]
        done = look(words, self.folder, environment, timeout) if LOOKS & set(arguments) else subprocess.run(
            [*SNAKEMAKE, *words], cwd=self.folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False)
        if check:
            assert done.returncode == 0, done.stdout + done.stderr
        return done

    def text(self, *arguments: str, profile: str = "local") -> str:
        """Everything that a successful call prints."""
        done = self(*arguments, profile=profile)
        return done.stdout + done.stderr

    def planned(self, *arguments: str, profile: str = "local") -> dict[str, int]:
        """Jobs that a dry run would start, by rule."""
        printed = self.text("-n", *arguments, profile=profile)
        if "Job stats:" not in printed:
            assert "Nothing to be done" in printed
            return {}
        table = printed.split("Job stats:")[1].split("total")[0]
        return {name: int(count) for name, count in re.findall(r"^(\w+) +(\d+)$", table, flags=re.MULTILINE)}


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


@pytest.fixture(scope="module")
def shared_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """For tests that only look."""
    return Project(tmp_path_factory.mktemp("project"))


