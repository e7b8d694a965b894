"""Who holds the working directory: the run of Snakemake that locked it, as far as can be told. Never removes a live run's lock."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import psutil

from orbit2.errors import OrbitError
from orbit2.files import write_text

LOCKS, RECORD, VARIABLE = Path(".snakemake/locks"), Path(".snakemake/orbit2/run"), "ORBIT2_RUN"
UNLOCK = "once nothing of it runs or waits in a queue any more: snakemake --unlock"


def identity() -> str:
    """This process, such that no other one is taken for it: host:pid:start. Its jobs carry it in their environment (`ORBIT2_RUN`)."""
    return f"{socket.gethostname()}:{os.getpid()}:{psutil.Process().create_time():.2f}"


def announce() -> None:
    """Give this process's identity to all that it starts, its jobs among them."""
    os.environ[VARIABLE] = identity()


def locked(folder: Path = Path()) -> bool:
    """Whether Snakemake's lock lies in `folder`."""
    return any((folder / LOCKS).glob("*"))


def record(executor: str, folder: Path = Path()) -> None:
    """Note who runs here, and where its jobs are (`local`, `slurm`, ...)."""
    write_text(folder / RECORD, f"{os.environ[VARIABLE]} {executor}\n")


def release(folder: Path = Path()) -> str:
    """Remove the lock of a run that was killed, when none of its processes lives; returns what was done, "" where there is no lock.

    Raises OrbitError when one of them lives, or when that cannot be known from here: another machine's run, jobs in a queue, no record.
    """
    if not locked(folder):
        return ""
    try:
        who, executor = (folder / RECORD).read_text(encoding="utf-8").split()
        host, pid, start = who.rsplit(":", 2)
    except (OSError, ValueError):
        raise OrbitError("the folder is locked, and nothing says by whom", where=folder / LOCKS, hint=UNLOCK) from None
    if host != socket.gethostname() or executor != "local":
        where = "on " + host if executor == "local" else f"on {host}, its jobs in a queue ({executor})"
        raise OrbitError(f"the folder is locked by a run {where}", where=folder / LOCKS, got=f"process {pid}", hint=UNLOCK)
    if alive := _alive(who, int(pid), float(start)):
        raise OrbitError("another run is at work in this folder", where=folder / LOCKS, got=f"process {', '.join(map(str, alive))}",
                         hint="wait for it, or stop it; a live run must not be unlocked")
    for path in (folder / LOCKS).glob("*"):
        path.unlink()
    return f"removed the lock of a run that was killed (process {pid}; nothing of it runs any more)"


def _alive(who: str, pid: int, start: float) -> list[int]:
    """Processes of a run: itself and those that carry it in their environment."""
    found = []
    for process in psutil.process_iter():
        try:
            itself = process.pid == pid and abs(process.create_time() - start) < 1
            if process.status() != psutil.STATUS_ZOMBIE and (itself or process.environ().get(VARIABLE) == who):
                found.append(process.pid)
        except psutil.Error:
            continue
    return found
