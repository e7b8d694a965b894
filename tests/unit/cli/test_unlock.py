"""A folder's run: a live one is left alone, what a dead one left at work is waited for, stopped or named, its lock goes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from orbit2 import lock, owner
from orbit2 import stop as stopping
from orbit2.errors import OrbitError
from orbit2.files import write_json
from orbit2.signals import STOPPED, StopRequest
from tests.data.small_downscaling import exit_code, forked

RULE = "rule_train_model_wildcards_tiny-1234"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for where, name, seconds in ((owner, "BEAT", 0.1), (owner, "SILENCE", 0.6), (owner, "POLL", 0.02), (lock, "LOOK", 0.05),
                                 (stopping, "LOOK", 0.05), (stopping, "LAST", 0.3)):  # fmt: skip
        monkeypatch.setattr(where, name, seconds)


def wait_for(event: Callable[[], object]) -> None:
    """Until `event` is true; a minute at the most, however busy the machine is."""
    until = time.monotonic() + 60
    while not event():
        assert time.monotonic() < until, "it does not come"
        time.sleep(0.01)


def says(file: Path, words: str) -> bool:
    """Whether `file`, of another process, holds `words` by now."""
    return file.exists() and words in file.read_text()


def after(event: Callable[[], object], act: Callable[[], object]) -> None:
    """`act` once `event` is true, beside what this thread does; after a minute in any case, so that nobody waits for ever."""

    def run() -> None:
        try:
            wait_for(event)
        finally:
            act()

    threading.Thread(target=run, daemon=True).start()


@contextmanager
def running(folder: Path, executor: str = lock.LOCAL) -> Iterator[int]:
    """Another process whose run `folder` is, with Snakemake's lock; it is killed at the end and leaves that behind."""

    def run() -> None:
        lock.announce()
        lock.begin(executor, print, folder)
        (folder / lock.LOCKS).mkdir(parents=True)
        (folder / lock.LOCKS / "0.output.lock").write_text("results\n")
        stopping.heed(folder)
        signal.pause()

    pid = forked(run)
    wait_for(lambda: lock.locked(folder))
    try:
        yield pid
    finally:
        with suppress(ChildProcessError):  # the test has seen its end
            os.waitpid(pid, os.WNOHANG)
            os.kill(pid, signal.SIGKILL)
            exit_code(pid)


def killed(folder: Path, executor: str = lock.LOCAL) -> str:
    """A run that was killed; its identity."""
    with running(folder, executor):
        return str(owner.read(folder / lock.RECORD)["run"])


def going_on(folder: Path, told: Path) -> int:
    """A new run that goes on, or is refused, and writes what it says into `told`. It exits 10: files may have changed, 0: they have not."""

    def run() -> None:
        lock.announce()
        with told.open("w") as file:
            changed = lock.begin(lock.LOCAL, lambda line: print(line, file=file, flush=True), folder)
        lock.leave(folder)
        os._exit(10 if changed else 0)

    return forked(run)


def begun(folder: Path) -> tuple[int, list[str]]:
    """Exit code of a new run, and what it says."""
    told = folder / "told"
    code = exit_code(going_on(folder, told))
    return code, told.read_text().splitlines()


def queue(folder: Path, monkeypatch: pytest.MonkeyPatch, *jobs: str) -> Path:
    """Stand-ins of squeue and scancel; the jobs lie in a file, one a line, until scancel names them."""
    listed, tools = folder / "queue", folder / "bin"
    listed.write_text("".join(f"{job}\n" for job in jobs))
    tools.mkdir()
    (tools / "squeue").write_text(f"#!/bin/sh\ncat {listed}\n")
    (tools / "scancel").write_text(f'#!/bin/sh\nfor job; do sed -i "/^$job|/d" {listed}; echo "$job" >> {folder}/cancelled; done\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    return listed


def test_no_lock(tmp_path: Path) -> None:
    assert lock.release(tmp_path) == "" and not lock.locked(tmp_path)
    assert begun(tmp_path) == (0, []) and not (tmp_path / lock.RECORD).exists() and not (tmp_path / lock.LEFT).exists()


def test_a_dead_runs_lock_is_removed(tmp_path: Path) -> None:
    killed(tmp_path)
    assert "removed the lock" in lock.release(tmp_path) and not lock.locked(tmp_path)
    killed(tmp_path / "again")
    code, said = begun(tmp_path / "again")
    assert code == 10 and said[-1].startswith("removed the lock of a run that was killed (process ")
    assert not lock.locked(tmp_path / "again") and begun(tmp_path / "again") == (0, [])


def test_a_live_run_keeps_its_lock(tmp_path: Path) -> None:
    with running(tmp_path) as pid:
        with pytest.raises(OrbitError, match=f"another process is running the workflow in this folder; got 'process {pid} "):
            lock.release(tmp_path)
        assert begun(tmp_path)[0] == 1
        assert lock.locked(tmp_path)


def test_what_a_dead_run_left_at_work_is_waited_for(tmp_path: Path) -> None:
    """Also by a run that is killed while it waits: the next one knows."""
    who = killed(tmp_path)
    orphan = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, env={**os.environ, lock.VARIABLE: who})
    try:
        with pytest.raises(OrbitError, match=f"another run is at work in this folder.*{orphan.pid}"):
            lock.release(tmp_path)
        waiting = going_on(tmp_path, tmp_path / "first")
        wait_for(lambda: says(tmp_path / "first", "Waiting until"))
        os.kill(waiting, signal.SIGKILL)
        assert exit_code(waiting) == -signal.SIGKILL and lock.locked(tmp_path)
        after(lambda: says(tmp_path / "told", "Waiting until"), lambda: orphan.communicate(b"\n"))
        code, said = begun(tmp_path)
        assert code == 10 and any(f"has left at work: process {orphan.pid}. Waiting until it has ended" in line for line in said)
    finally:
        orphan.kill()
        orphan.wait()
    assert not lock.locked(tmp_path)


def test_jobs_of_a_dead_run_are_found_in_the_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By their folder and comment, whoever submitted them; other folders' and those that ended do not count."""
    folder = tmp_path / "work"
    killed(folder, "slurm")
    (tmp_path / "link").symlink_to(folder)
    here, other = f"{RULE}|{tmp_path / 'link'}", f"{RULE}|{tmp_path}"
    listed = queue(tmp_path, monkeypatch, f"17|RUNNING|{here}", f"18|COMPLETED|{here}", f"19|RUNNING|{other}", f"20|RUNNING||{folder}")
    with pytest.raises(OrbitError, match=r"got 'job 17 \(train_model, running\)'"):
        lock.release(folder)
    after(lambda: says(folder / "told", "Waiting until"), lambda: listed.write_text(""))
    code, said = begun(folder)
    assert code == 10 and any("has left at work: job 17 (train_model, running). Waiting" in line for line in said)
    assert not lock.locked(folder)


def test_what_cannot_be_known_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    killed(tmp_path / "queued", "slurm")
    monkeypatch.setenv("PATH", str(tmp_path))  # no squeue
    with pytest.raises(OrbitError, match=r"a queue, which does not answer.*snakemake --unlock"):
        lock.release(tmp_path / "queued")
    killed(tmp_path / "elsewhere")
    record = owner.read(tmp_path / "elsewhere" / lock.RECORD)
    write_json(tmp_path / "elsewhere" / lock.RECORD, {**record, "machine": "another"})
    with pytest.raises(OrbitError, match=r"left by a run of another machine.*snakemake --unlock"):
        lock.release(tmp_path / "elsewhere")
    for name in (lock.RECORD, lock.LEFT):
        (tmp_path / "elsewhere" / name).unlink(missing_ok=True)
    with pytest.raises(OrbitError, match="nothing says by whom"):
        lock.release(tmp_path / "elsewhere")
    assert lock.locked(tmp_path / "queued") and lock.locked(tmp_path / "elsewhere")


def test_stop_ends_a_run_and_what_waits_in_its_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs that wait or cannot save are cancelled, those that save are given their time; Snakemake hears of it from the file."""
    folder = tmp_path / "work"
    folder.mkdir()
    listed = queue(tmp_path, monkeypatch)
    with running(folder, "slurm") as pid:
        at_work = ("17|RUNNING|train_model", "18|PENDING|train_model", "19|RUNNING|regrid_part", "20|RUNNING|downscale_block")
        listed.write_text("".join(f"{job.replace('G|', 'G|rule_')}_wildcards_x|{folder}\n" for job in at_work))
        after(lambda: says(tmp_path / "cancelled", "19"), lambda: listed.write_text(""))  # they have saved
        (folder / "results").mkdir()
        said = stopping.stop(folder / "results", say=lambda _: None)
        assert exit_code(pid) == -signal.SIGTERM
        assert (tmp_path / "cancelled").read_text().split() == ["18", "19"]
        assert all(f"(job {number})" in said for number in (17, 18, 19, 20)) and "goes on from what was saved" in said
        assert (folder / STOPPED).exists()
    assert stopping.stop(folder) == "nothing of a run is at work here"


def test_stop_cancels_what_does_not_end_in_its_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "work"
    killed(folder, "slurm")
    queue(tmp_path, monkeypatch, f"17|RUNNING|{RULE}|{folder}")
    assert "train_model (job 17)" in stopping.stop(folder, 0.002, say=lambda _: None)
    assert (tmp_path / "cancelled").read_text().split() == ["17"]
    with pytest.raises(OrbitError, match="no workflow has run here"):
        stopping.stop(tmp_path / "bin")


def test_jobs_hear_of_a_stop_and_other_commands_do_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(lock.VARIABLE, "host:1:2.0")
    monkeypatch.setattr("orbit2.signals.LOOK", 0.05)
    with StopRequest() as job:
        assert not job
        STOPPED.parent.mkdir(parents=True)
        STOPPED.touch()
        wait_for(lambda: job)
        assert job.reason == "orbit2 stop"
    monkeypatch.delenv(lock.VARIABLE)
    with StopRequest() as by_hand:
        time.sleep(0.1)  # twice LOOK
        assert not by_hand
