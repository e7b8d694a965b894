"""`orbit2 unlock`: the lock of a killed workflow goes, that of a live one stays."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from orbit2 import lock
from orbit2.errors import OrbitError


def locked_by(folder: Path, who: str, executor: str = "local") -> None:
    (folder / lock.LOCKS).mkdir(parents=True)
    (folder / lock.LOCKS / "0.output.lock").write_text("results\n")
    (folder / lock.RECORD).parent.mkdir(parents=True)
    (folder / lock.RECORD).write_text(f"{who} {executor}\n")


def dead() -> str:
    child = subprocess.Popen([sys.executable, "-c", "pass"])
    who = f"{lock.identity().split(':')[0]}:{child.pid}:{psutil.Process(child.pid).create_time():.2f}"
    child.wait()
    return who


def test_no_lock(tmp_path: Path) -> None:
    assert lock.release(tmp_path) == "" and not lock.locked(tmp_path)


def test_a_dead_runs_lock_is_removed(tmp_path: Path) -> None:
    locked_by(tmp_path, dead())
    assert "removed the lock" in lock.release(tmp_path)
    assert not lock.locked(tmp_path)


def test_a_live_run_keeps_its_lock(tmp_path: Path) -> None:
    locked_by(tmp_path, lock.identity())
    with pytest.raises(OrbitError, match="a live run must not be unlocked"):
        lock.release(tmp_path)
    assert lock.locked(tmp_path)


def test_an_orphan_of_a_dead_run_keeps_it_locked(tmp_path: Path) -> None:
    who = dead()
    locked_by(tmp_path, who)
    orphan = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={**os.environ, lock.VARIABLE: who})
    try:
        with pytest.raises(OrbitError, match=f"another run is at work in this folder.*{orphan.pid}"):
            lock.release(tmp_path)
    finally:
        orphan.communicate(b"\n")
    assert "removed" in lock.release(tmp_path)


@pytest.mark.parametrize(("who", "executor"), [("elsewhere:1:2.0", "local"), (None, "slurm")])
def test_what_cannot_be_known_is_left_alone(tmp_path: Path, who: str | None, executor: str) -> None:
    locked_by(tmp_path, who or dead(), executor)
    with pytest.raises(OrbitError, match="snakemake --unlock"):
        lock.release(tmp_path)
    (tmp_path / lock.RECORD).unlink()
    with pytest.raises(OrbitError, match="nothing says by whom"):
        lock.release(tmp_path)
    assert lock.locked(tmp_path)
