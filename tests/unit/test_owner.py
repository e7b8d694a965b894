"""Who writes a product: real processes that hold, wait, refuse and take over, here and (as far as a file can tell) on other machines."""

from __future__ import annotations

import json
import logging
import math
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from orbit2 import owner
from orbit2.errors import OrbitError
from tests.data.small_downscaling import exit_code, forked

ELSEWHERE = "another boot of another machine"


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("BEAT", 0.1), ("GONE", 0.6), ("SILENCE", 1.2), ("POLL", 0.02), ("ASK", 0.2)):
        monkeypatch.setattr(owner, name, seconds)
    monkeypatch.setattr(owner, "PATIENCE", (0.4, 0.4))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


@contextmanager
def holding(path: Path) -> Iterator[int]:
    """Another process that holds `path`; its number."""

    def hold() -> None:
        with owner.hold(path, "writes here"):
            signal.pause()

    pid = forked(hold)
    until = time.monotonic() + 10
    while owner.read(path).get("pid") != pid:
        assert time.monotonic() < until
        time.sleep(0.01)
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signal.SIGKILL)
        exit_code(pid)


def left_by(path: Path, **about: object) -> None:
    """An owner file as somebody left it: of a dead process of this machine, if nothing else is said."""
    child = forked(lambda: None)
    gone = {"token": "t", "doing": "writes here", "pid": child, "start": psutil.Process(child).create_time(), "host": "node7",
            "machine": owner.machine(), "job": "", "since": "noon", **about}  # fmt: skip
    exit_code(child)
    path.write_text('{"beat": "0000000007", ' + json.dumps(gone)[1:])


def taken(path: Path) -> float:
    """Seconds until this process has it."""
    began = time.monotonic()
    with owner.hold(path, "writes here"):
        return time.monotonic() - began


def queue(folder: Path, monkeypatch: pytest.MonkeyPatch, says: str, code: int = 0) -> None:
    """A squeue that answers every question alike."""
    (folder / "bin").mkdir(exist_ok=True)
    (folder / "bin" / "squeue").write_text(f"#!/bin/sh\necho '{says}' >&{1 if code == 0 else 2}\nexit {code}\n")
    (folder / "bin" / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder / 'bin'}:{os.environ['PATH']}")


def test_it_lasts_as_long_as_it_is_held(tmp_path: Path) -> None:
    path = tmp_path / "new" / "owner.json"
    with owner.hold(path, "writes here"):
        first = owner.read(path)
        assert first["pid"] == os.getpid() and first["doing"] == "writes here"
        deadline = time.monotonic() + 30.0
        while int(owner.read(path)["beat"]) <= int(first["beat"]) + 1 and time.monotonic() < deadline:
            time.sleep(0.05)
        assert int(owner.read(path)["beat"]) > int(first["beat"]) + 1
    assert not list(path.parent.iterdir())


def test_a_live_owner_is_waited_for_and_then_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "orbit2")
    path = tmp_path / "owner.json"
    with holding(path) as pid:
        for suspended in (False, True):  # a process that is suspended goes on some time
            if suspended:
                os.kill(pid, signal.SIGSTOP)
            began = time.monotonic()
            with pytest.raises(OrbitError, match=f"another process writes here; got 'process {pid} on .*wait for it, or stop it"):
                taken(path)
            assert 0.4 < time.monotonic() - began < 5
        assert owner.read(path)["pid"] == pid and f"waits: process {pid} on" in caplog.text
        os.kill(pid, signal.SIGCONT)
        monkeypatch.setattr(owner, "PATIENCE", (20.0, 20.0))  # however late a busy machine kills it
        threading.Timer(0.2, os.kill, (pid, signal.SIGKILL)).start()
        assert taken(path) < 2
        assert f"takes over from process {pid} on" in caplog.text
    assert not list(tmp_path.iterdir())


def test_one_that_is_given_up_meanwhile_is_had(tmp_path: Path) -> None:
    path = tmp_path / "owner.json"
    held = owner.hold(path, "writes here")
    held.__enter__()
    threading.Timer(0.2, held.__exit__, (None, None, None)).start()
    assert 0.1 < taken(path) < 2


def test_a_dead_process_of_this_machine_is_replaced_at_once(tmp_path: Path) -> None:
    left_by(tmp_path / "owner.json")
    assert taken(tmp_path / "owner.json") < 0.3
    left_by(tmp_path / "owner.json", pid=os.getpid(), start=1.0)  # its number was given to another process: this one
    assert 0.6 < taken(tmp_path / "owner.json") < 2


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_what_cannot_be_read_counts_until_it_has_been_silent(tmp_path: Path, content: str) -> None:
    (tmp_path / "owner.json").write_text(content)
    assert 1.2 < taken(tmp_path / "owner.json") < 3


@pytest.mark.parametrize(("job", "mine", "says", "code", "seconds"), [
    ("", "", "", 0, 1.2),  # no scheduler: by its silence alone
    ("17", "", "COMPLETED", 0, 0.6),
    ("17", "", "PENDING", 0, 0.6),  # its next slice has yet to begin
    ("17", "", "slurm_load_jobs error: Invalid job id specified", 1, 0.6),  # forgotten
    ("17", "", "slurm_load_jobs error: Unable to contact slurm controller", 1, 1.2),
    ("17", "", "RUNNING", 0, math.inf),
    ("17", "", "COMPLETING", 0, math.inf),
    ("17", "17", "RUNNING", 0, 0.6),  # the slice before this one, on a node that died
])  # fmt: skip
def test_of_another_machine_the_scheduler_is_asked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, job: str, mine: str, says: str, code: int, seconds: float
) -> None:
    queue(tmp_path, monkeypatch, says, code)
    if mine:
        monkeypatch.setenv("SLURM_JOB_ID", mine)
    path = tmp_path / "owner.json"
    left_by(path, machine=ELSEWHERE, job=job)
    if seconds == math.inf:
        with pytest.raises(OrbitError, match=r"on node7, job 17, since noon.*\(scancel 17\)"):
            taken(path)
    else:
        assert seconds < taken(path) < seconds + 1


def test_a_heart_that_beats_lives_whatever_the_scheduler_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job's node was lost to its controller, not to itself."""
    queue(tmp_path, monkeypatch, "NODE_FAIL")
    monkeypatch.setattr(owner, "PATIENCE", (2.0, 2.0))
    path = tmp_path / "owner.json"
    left_by(path, machine=ELSEWHERE, job="17")
    over = threading.Event()

    def beat() -> None:
        with path.open("r+") as handle:
            for number in range(1000):
                handle.seek(len(owner.HEAD))
                handle.write(f"{number:010d}")
                handle.flush()
                if over.wait(0.1):
                    return

    threading.Thread(target=beat).start()
    try:
        with pytest.raises(OrbitError, match="another process writes here"):
            taken(path)
    finally:
        over.set()


def test_of_many_that_find_a_dead_owner_one_at_a_time_has_it(tmp_path: Path) -> None:
    """Each in turn adds a line while it holds, and no other one's comes between."""
    path, lines = tmp_path / "owner.json", tmp_path / "lines"
    left_by(path)

    def writes() -> None:
        with owner.hold(path, "writes here", patience=60), lines.open("a") as file:
            for word in ("begin", "end"):
                file.write(f"{os.getpid()} {word}\n")
                file.flush()
                time.sleep(0.05)

    pids = [forked(writes) for _ in range(8)]
    assert [exit_code(pid) for pid in pids] == [0] * 8
    said = [line.split() for line in lines.read_text().splitlines()]
    assert [word for _, word in said] == ["begin", "end"] * 8
    assert all(one == other for (one, _), (other, _) in zip(said[::2], said[1::2], strict=True)) and {int(n) for n, _ in said} == set(pids)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["lines"]


def test_an_owner_that_was_replaced_ends(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """It slept for long enough to be taken for dead, on what looks like another machine."""
    path, wrote = tmp_path / "owner.json", tmp_path / "wrote"

    def writes() -> None:
        owner.machine = lambda: ELSEWHERE  # type: ignore[assignment]
        with owner.hold(path, "writes here") as mine:
            while True:
                mine.sure()
                wrote.touch()
                time.sleep(0.001)

    pid = forked(writes)
    while not wrote.exists():
        time.sleep(0.01)
    os.kill(pid, signal.SIGSTOP)
    with owner.hold(path, "writes here", patience=10):
        wrote.unlink()
        os.kill(pid, signal.SIGCONT)
        assert exit_code(pid) == 1
        assert not wrote.exists() and owner.read(path)["pid"] == os.getpid()
    assert "another process has taken over what this one was writing; got 'process" in capfd.readouterr().err


def test_one_that_fails_because_it_was_replaced_says_that(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What it was writing when it fell asleep was tidied up by its successor: not a file that is missing, nor a disk that is full."""
    path, half = tmp_path / "owner.json", tmp_path / ".half.part"

    def writes() -> None:
        owner.machine = lambda: ELSEWHERE  # type: ignore[assignment]
        owner.BEAT = 60.0  # its thread sleeps on
        try:
            with owner.hold(path, "writes here"):
                half.touch()
                os.kill(os.getpid(), signal.SIGSTOP)
                half.rename(tmp_path / "whole")
        except OrbitError as error:
            print(error, file=sys.stderr, flush=True)

    pid = forked(writes)
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
    with owner.hold(path, "writes here", patience=10):
        half.unlink()
        os.kill(pid, signal.SIGCONT)
        assert exit_code(pid) == 0 and owner.read(path)["pid"] == os.getpid()
    assert "another process has taken over what this one was writing; got 'process" in capfd.readouterr().err


def test_rivals_are_waited_for_too(tmp_path: Path) -> None:
    mine, other = tmp_path / "a.json", tmp_path / "b.json"
    left_by(other)
    with owner.hold(mine, "writes here", rivals=lambda: [other]):
        pass  # its owner is dead
    with holding(other) as pid:
        with pytest.raises(OrbitError, match=f"another process writes here; got 'process {pid}"), \
             owner.hold(mine, "writes here", rivals=lambda: [other]):  # fmt: skip
            pass
        assert not mine.exists()


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OrbitError, match=f"{tmp_path}/file/owner.json: cannot be created"):
        taken(tmp_path / "file" / "owner.json")
