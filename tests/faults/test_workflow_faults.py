"""The workflow under fire: a real Snakemake is killed, its lock stays, and the same command goes on once `orbit2 unlock` has removed it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import yaml

from orbit2 import lock
from orbit2.config import slices
from orbit2.config.load import from_mapping
from tests.data.small_chain import RUN, state
from tests.workflow.conftest import SNAKEMAKE, Project

PATIENCE = 120.0


def unlock(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "orbit2", "unlock"], cwd=folder, capture_output=True, text=True, timeout=PATIENCE,
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


@pytest.mark.slow
def test_a_killed_snakemake_leaves_a_lock_that_goes_with_its_last_job(tmp_path: Path) -> None:
    """kill -9 of Snakemake alone: its job lives on, and while it does nothing is unlocked. Then the same command ends in the same store."""
    run = from_mapping(RUN)
    target = f"{slices.dataset_folder(run, 'week')}/statistics.json"
    made = {}
    for name in ("undisturbed", "killed"):
        (tmp_path / name).mkdir()
        project = Project(tmp_path / name)
        (project.folder / "chain.yaml").write_text(yaml.safe_dump(RUN), encoding="utf-8")
        command = ["--configfile", "chain.yaml", "--", target]
        if name == "killed":
            environment = {**os.environ, "PYTHONPATH": str(Path(lock.__file__).parents[1]), "HOME": str(project.folder),
                           "XDG_CACHE_HOME": str(project.folder / ".cache")}  # fmt: skip
            with subprocess.Popen([*SNAKEMAKE, "--profile", "profiles/local", *command], cwd=project.folder, env=environment,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:  # fmt: skip
                orphans = jobs(process)
                for orphan in orphans:
                    orphan.suspend()
                process.send_signal(signal.SIGKILL)
            assert process.returncode == -signal.SIGKILL and lock.locked(project.folder)
            refused = unlock(project.folder)
            assert refused.returncode == 2 and lock.locked(project.folder)
            assert refused.stderr.startswith("error: ") and "another run is at work in this folder" in refused.stderr
            assert any(str(orphan.pid) in refused.stderr for orphan in orphans)
            locked_out = project(*command, check=False)
            assert locked_out.returncode != 0 and "Directory cannot be locked" in locked_out.stdout + locked_out.stderr
            for orphan in orphans:
                with suppress(psutil.NoSuchProcess):  # it went with another one
                    orphan.kill()
            psutil.wait_procs(orphans, timeout=PATIENCE)
            done = unlock(project.folder)
            assert done.returncode == 0 and f"removed the lock of a run that was killed (process {process.pid};" in done.stdout
            assert not lock.locked(project.folder)
        project(*command)
        assert not lock.locked(project.folder)
        made[name] = state(project.folder / target.rpartition("/")[0])
    logs = {name for name in made["killed"] if "logs/" in name or "benchmarks/" in name}
    assert {k: v for k, v in made["killed"].items() if k not in logs} == {k: v for k, v in made["undisturbed"].items() if k not in logs}
    assert "statistics.json" in made["killed"] and any(name.startswith("pairs.zarr/fine/fields/c/") for name in made["killed"])


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
