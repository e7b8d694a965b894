"""When a job ends: what SLURM says of it, in its variables or by squeue, and when a run then stops by itself."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orbit2 import signals
from orbit2.scheduler import seconds, time_left
from orbit2.signals import StopRequest


def squeue(folder: Path, script: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A stand-in `squeue` on PATH that keeps its arguments in a file, one call a line."""
    (folder / "squeue").write_text(f'#!/bin/sh\necho "$@" >> {folder}/called\n{script}\n')
    (folder / "squeue").chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder / "called"


@pytest.mark.parametrize(
    ("said", "expected"),
    [("5:07", 307), ("1:00:00", 3600), ("2-03:04:05", 183845), ("0:00", 0), ("UNLIMITED", None), ("NOT_SET", None), ("", None)],
)
def test_slurm_times(said: str, expected: float | None) -> None:
    assert seconds(said) == expected


def test_the_variable_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    called = squeue(tmp_path, "echo 10:00", monkeypatch)
    found = time_left({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(int(time.time()) + 1000)})
    assert found is not None and found[1] == "SLURM_JOB_END_TIME" and found[0] == pytest.approx(1000, abs=2)
    assert time_left({"SLURM_JOB_END_TIME": "99999999999"}) is None  # no job
    assert time_left({"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(int(time.time()) + 365 * 86400)}) is None  # no limit
    assert not called.exists()


@pytest.mark.parametrize("end", [None, "1000000000"])  # an older SLURM; a limit that was extended since
def test_else_squeue_is_asked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, end: str | None) -> None:
    called = squeue(tmp_path, "echo '  1-00:00:30'", monkeypatch)
    assert time_left({"SLURM_JOB_ID": "7_3", **({} if end is None else {"SLURM_JOB_END_TIME": end})}) == (86430.0, "squeue")
    assert called.read_text() == "--noheader --jobs 7_3 --format=%L\n"


def test_of_an_array_only_the_own_task_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last task's own number is also that of the whole array: squeue would answer for all of them."""
    called = squeue(tmp_path, "echo 5:00", monkeypatch)
    time_left({"SLURM_JOB_ID": "7", "SLURM_ARRAY_JOB_ID": "7", "SLURM_ARRAY_TASK_ID": "3"})
    assert called.read_text() == "--noheader --jobs 7_3 --format=%L\n"


@pytest.mark.parametrize("script", ["exit 1", "echo UNLIMITED", "true", "echo 5"])
def test_without_an_answer_there_is_no_deadline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    squeue(tmp_path, script, monkeypatch)
    assert time_left({"SLURM_JOB_ID": "7"}) is None
    monkeypatch.setenv("PATH", "/nowhere")
    assert time_left({"SLURM_JOB_ID": "7"}) is None


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(signals.time, "monotonic", lambda: now[0])
    return now


def test_the_soonest_deadline_counts(clock: list[float]) -> None:
    stop = StopRequest()
    assert not stop and stop.deadline == ""
    stop.before(7200, "squeue")
    assert "(360 s before the job's end by squeue)" in stop.deadline
    stop.within(100, "train.wall_minutes")
    assert stop.deadline.endswith("(train.wall_minutes)")
    stop.within(0, "--wall-minutes")
    clock[0] += 5999
    assert not stop
    clock[0] += 1
    assert stop and stop.reason == "wall time"


def test_the_margin_covers_what_saving_takes(clock: list[float]) -> None:
    stop = StopRequest()
    stop.before(7200, "squeue")
    clock[0] = 1000 + 7200 - 361
    assert not stop
    stop.took("save", 100.0)
    stop.took("step", 5.0)
    assert not stop  # twice that is still less than the least margin
    stop.took("validation", 90.0)
    assert stop and stop.reason == "the job's time limit"


def test_a_short_job_is_not_all_margin(clock: list[float]) -> None:
    stop = StopRequest()
    stop.before(60, "SLURM_JOB_END_TIME")
    clock[0] += 53
    assert not stop  # a tenth of it is kept free
    stop.took("validation", 1000.0)
    assert stop
    clock[0] -= 24  # never more than half
    other = StopRequest()
    other.before(60, "SLURM_JOB_END_TIME")
    other.took("validation", 1000.0)
    clock[0] += 29
    assert not other
    clock[0] += 2
    assert other
