"""Who runs the workflow in a working directory, and what a run that was killed left at work there. Never unlocks a live run."""

from __future__ import annotations

import atexit
import math
import os
import socket
import time
from collections.abc import Callable, Collection, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from orbit2 import jobs, owner
from orbit2.errors import OrbitError
from orbit2.files import read_json, write_json
from orbit2.signals import STOPPED

LOCKS, RECORD, VARIABLE = Path(".snakemake/locks"), Path(".snakemake/orbit2/run.json"), "ORBIT2_RUN"
UNLOCK = "once nothing of it runs or waits in a queue any more: snakemake --unlock"
LEFT = Path(".snakemake/orbit2/left.json")  # what finds the jobs of runs that ended before these did
RUNS = "is running the workflow in this folder"
STOPPING = 240.0  # seconds that a run which was stopped may take to end: Snakemake looks at its queue every three minutes
LOOK, SAY = 2.0, 60.0  # seconds between two looks at what a dead run left, and between two lines about it
LOCAL = "local"  # the executor whose jobs are processes of the run's own machine

_held = ExitStack()  # this process's run, until it ends


class Left(NamedTuple):
    """What is at work for a folder: processes of this machine, jobs in a queue."""

    processes: list[psutil.Process]
    jobs: list[jobs.Job]

    def __str__(self) -> str:
        told = [f"process {', '.join(str(process.pid) for process in self.processes)}"] if self.processes else []
        told += [f"job {', '.join(f'{job.number} ({job.rule}, {job.state.lower()})' for job in self.jobs)}"] if self.jobs else []
        return "; ".join(told)

    def __bool__(self) -> bool:
        return bool(self.processes or self.jobs)


def identity(pid: int | None = None) -> str:
    """This process (or another of this machine), such that no other one is taken for it: host:pid:start. Its jobs carry it in their
    environment (`ORBIT2_RUN`)."""
    return f"{socket.gethostname()}:{pid or os.getpid()}:{psutil.Process(pid).create_time():.2f}"


def announce() -> None:
    """Give this process's identity to all that it starts, its jobs among them."""
    os.environ[VARIABLE] = identity()


def locked(folder: Path = Path()) -> bool:
    """Whether Snakemake's lock lies in `folder`."""
    return any((folder / LOCKS).glob("*"))


def begin(executor: str, say: Callable[[str], object], folder: Path = Path()) -> bool:
    """Make `folder` this run's until the process ends. What a run that was killed has left at work (processes of this machine, jobs in
    a queue) is waited for, nothing is started beside it; then its lock goes. Returns whether there was any: files have changed meanwhile.

    Raises OrbitError while another run is at work, and where nobody can know whether it is.
    """
    dead, was_locked = owner.read(folder / RECORD), locked(folder)
    remember(folder, dead)  # before its record goes
    patience = STOPPING if (folder / STOPPED).exists() else 0.0
    _held.enter_context(owner.hold(folder / RECORD, RUNS, patience=patience, say=say, about={"executor": executor}))
    atexit.register(leave, folder)
    began, said, found = time.monotonic(), -math.inf, False
    while there := left(folder):
        found = True
        if time.monotonic() - said > SAY:
            said = time.monotonic()
            since = f", since {said - began:.0f} s" if said - began > SAY else ""
            say(f"a run that was killed has left at work: {there}. Waiting until it has ended{since}; `orbit2 stop` ends it soon")
        time.sleep(LOOK)
    for file in (LEFT, STOPPED):
        (folder / file).unlink(missing_ok=True)
    if was_locked and dead:
        _unlock(folder)
        say(f"removed the lock of a run that was killed ({owner.described(dead)}); nothing of it runs any more")
    return found or (was_locked and bool(dead))


def leave(folder: Path = Path()) -> None:
    """At the end of this process: the folder is nobody's, but what it leaves at work is written down."""
    with suppress(OSError):
        there: Left | None = None
        with suppress(OrbitError):  # a queue that does not answer: Snakemake has seen all of its jobs end, or cancelled them
            remember(folder, owner.read(folder / RECORD))
            there = left(folder)
        if not there:
            (folder / LEFT).unlink(missing_ok=True)
    _held.close()


def release(folder: Path = Path(), say: Callable[[str], object] = print) -> str:
    """Remove the lock of a run that was killed, when nothing of it is at work; returns what was done, "" where there is no lock.

    Raises OrbitError when something of it is, or when that cannot be known from here.
    """
    if not locked(folder):
        return ""
    dead = owner.read(folder / RECORD)
    if not dead and not (folder / LEFT).is_file():
        raise OrbitError("the folder is locked, and nothing says by whom", where=folder / LOCKS, hint=UNLOCK)
    owner.outlive(folder / RECORD, patience=0, say=say)
    remember(folder, dead)
    if there := left(folder):
        raise OrbitError("another run is at work in this folder", where=folder / LOCKS, got=str(there),
                         hint="wait for it, or stop it (`orbit2 stop`); a live run must not be unlocked")  # fmt: skip
    _unlock(folder)
    (folder / RECORD).unlink(missing_ok=True)
    (folder / LEFT).unlink(missing_ok=True)
    return f"removed the lock of a run that was killed ({owner.described(dead)}); nothing of it runs any more"


def _unlock(folder: Path) -> None:
    for path in (folder / LOCKS).glob("*"):
        path.unlink()


def remember(folder: Path, dead: Mapping[str, Any]) -> None:
    """Keep what finds the jobs of a dead run, whatever becomes of its record.

    Raises OrbitError for a run of another machine whose jobs are processes there: nobody here can see them.
    """
    if not dead.get("run"):
        return
    here, executor = dead.get("machine") == owner.machine(), dead.get("executor", LOCAL)
    if not here and executor == LOCAL:
        raise OrbitError("the folder was left by a run of another machine, whose jobs cannot be seen from here", where=folder / RECORD,
                         got=owner.described(dead), hint=f"start it there, or {UNLOCK}, and delete this file")  # fmt: skip
    known = _left_file(folder)
    write_json(folder / LEFT, {"runs": sorted({*known["runs"], dead["run"]}), "queue": known["queue"] or executor != LOCAL})


def _left_file(folder: Path) -> dict[str, Any]:
    try:
        return {"runs": [], "queue": False, **read_json(folder / LEFT)} if (folder / LEFT).is_file() else {"runs": [], "queue": False}
    except OrbitError:  # damaged: the queue may know
        return {"runs": [], "queue": True}


def left(folder: Path = Path()) -> Left:
    """What is at work of runs that ended. Raises OrbitError where there is a queue that cannot be asked."""
    known = _left_file(folder)
    queued = jobs.submitted(folder) if known["queue"] else []
    if queued is None:
        raise OrbitError("a run that was killed may have jobs in a queue, which does not answer", where=folder / LEFT,
                         hint=f"see that squeue works here; or {UNLOCK}, and delete this file")  # fmt: skip
    return Left(processes({*known["runs"]}), queued)


def processes(runs: Collection[str]) -> list[psutil.Process]:
    """Processes of this machine that such runs started, as they carry it in their environment; never a run's own."""
    found = []
    for process in psutil.process_iter() if runs else ():
        try:
            theirs = process.environ().get(VARIABLE) in runs and process.status() != psutil.STATUS_ZOMBIE
            if theirs and f"{socket.gethostname()}:{process.pid}:{process.create_time():.2f}" not in runs:
                found.append(process)
        except psutil.Error:
            continue
    return found
