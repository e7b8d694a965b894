"""The workflow under fire: a real Snakemake is killed or stopped, and the same command waits for what it left and goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml

from orbit2 import lock
from orbit2.config import slices
from orbit2.config.load import from_mapping
from tests.data.small_chain import RUN, state
from tests.workflow.conftest import SNAKEMAKE, Project

PATIENCE = 120.0
TARGET = f"{slices.dataset_folder(from_mapping(RUN), 'week')}/statistics.json"
COMMAND = ["--configfile", "chain.yaml", "--", TARGET]


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the run makes when nothing comes between."""
    project = Project(tmp_path_factory.mktemp("undisturbed"))
    (project.folder / "chain.yaml").write_text(yaml.safe_dump(RUN), encoding="utf-8")
    project(*COMMAND)
    return state(project.folder / TARGET.rpartition("/")[0])


def science(made: dict[str, Any]) -> dict[str, bytes]:
    return {name: content for name, content in made.items() if "logs/" not in name and "benchmarks/" not in name}


def orbit2(folder: Path, verb: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "orbit2", verb], cwd=folder, capture_output=True, text=True, timeout=PATIENCE,
                          env={**os.environ, "PYTHONPATH": str(Path(lock.__file__).parents[1])})  # fmt: skip


def jobs(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    """What a Snakemake has started, once a job of its is at work."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        assert process.poll() is None, "it ended before its job could be seen"
        children = psutil.Process(process.pid).children(recursive=True)
        if any("regrid" in word for child in children for word in words(child)):
            return children
        time.sleep(0.02)
    raise AssertionError("no job was seen")


def words(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:  # it has ended
        return []


@contextmanager
def started(project: Project, *command: str, said: Path | None = None) -> Iterator[subprocess.Popen[bytes]]:
    """A Snakemake of its own, which goes on while the test looks at it; what it says goes into a file."""
    environment = {**os.environ, "PYTHONPATH": str(Path(lock.__file__).parents[1]), "HOME": str(project.folder),
                   "XDG_CACHE_HOME": str(project.folder / ".cache")}  # fmt: skip
    with (said or Path(os.devnull)).open("wb") as file, \
         subprocess.Popen([*SNAKEMAKE, "--profile", "profiles/local", *command], cwd=project.folder, env=environment, stdout=file,
                          stderr=file, start_new_session=True) as process:  # fmt: skip
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.parametrize("end", ["KILL", "HUP", "stop"])
def test_a_run_that_ended_any_way_goes_on_with_the_same_command(tmp_path: Path, undisturbed: dict[str, Any], end: str) -> None:
    """kill -9 of Snakemake alone, its terminal gone, `orbit2 stop`. Of the first two a job lives on: the same command waits for it."""
    project = Project(tmp_path)
    (project.folder / "chain.yaml").write_text(yaml.safe_dump(RUN), encoding="utf-8")
    with started(project, *COMMAND) as process:
        orphans = jobs(process)
        if end == "stop":
            done = orbit2(project.folder, "stop")
            assert done.returncode == 0 and "stopped; the command that started it goes on" in done.stdout, done.stderr
            assert process.wait(PATIENCE) != 0 and not any(orphan.is_running() for orphan in orphans)
        else:
            for orphan in orphans:
                with suppress(psutil.NoSuchProcess):  # what a shell had started to look something up is gone
                    orphan.suspend()
            assert any(orphan.is_running() for orphan in orphans)
            process.send_signal(signal.Signals[f"SIG{end}"])
            assert process.wait(PATIENCE) == -signal.Signals[f"SIG{end}"]
    if end != "stop":
        assert lock.locked(project.folder)
        refused = orbit2(project.folder, "unlock")
        assert refused.returncode == 2 and lock.locked(project.folder)
        assert refused.stderr.startswith("error: ") and "another run is at work in this folder" in refused.stderr
        assert any(str(orphan.pid) in refused.stderr for orphan in orphans)
        with started(project, *COMMAND, said=tmp_path / "said") as again:
            until = time.monotonic() + PATIENCE
            while "has left at work: process" not in (tmp_path / "said").read_text():
                assert time.monotonic() < until and again.poll() is None
                time.sleep(0.1)
            second = project(*COMMAND, check=False)
            assert second.returncode == 2 and f"is running the workflow in this folder; got 'process {again.pid} " in second.stderr
            for orphan in orphans:
                with suppress(psutil.NoSuchProcess):  # it went with another one
                    orphan.resume()
            assert again.wait(PATIENCE) == 0
        assert "removed the lock of a run that was killed" in (tmp_path / "said").read_text()
    assert lock.locked(project.folder) is False
    project(*COMMAND)
    made = state(project.folder / TARGET.rpartition("/")[0])
    assert science(made) == science(undisturbed)
    assert "statistics.json" in made and any(name.startswith("pairs.zarr/fine/fields/c/") for name in made)


@pytest.mark.slow
def test_deleted_provider_files_are_fetched_again_while_they_are_needed(tmp_path: Path) -> None:
    """Not before, and not once the store is finished."""
    target = f"{slices.dataset_folder(from_mapping(RUN), 'week')}/finalised.json"
    project = Project(tmp_path)
    (project.folder / "chain.yaml").write_text(yaml.safe_dump(RUN), encoding="utf-8")
    command = ["--configfile", "chain.yaml", "--", target]
    project(*command)
    data = (project.folder / target).parent
    raw = sorted(project.folder.glob("resources/*/v1/*.nc"))
    kept = {path: path.read_bytes() for path in (*raw, *project.folder.glob("resources/*/requests/*.done.json"))}
    assert raw
    for path in raw:
        path.unlink()
    assert project.planned(*command) == {}
    (data / "finalised.json").unlink()
    max(data.glob("parts/[0-9]*.json")).unlink()
    said = project.text(*command)
    assert f"{raw[0].relative_to(project.folder)}" in said and "is gone or cut short: what week needs of it is fetched again" in said
    assert all(path.read_bytes() == content for path, content in kept.items())
    assert (data / "finalised.json").is_file() and project.planned(*command) == {}
