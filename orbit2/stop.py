"""`orbit2 stop`: ends a run of the workflow for good, saved where it can be saved. Never removes anything that was made."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from orbit2 import jobs, lock, owner
from orbit2.errors import OrbitError
from orbit2.files import write_text
from orbit2.signals import STOPPED

SAVING = ("train", "finetune", "downscale")  # rules whose jobs look for the file themselves, save and end
LOOK, SAY = 2.0, 30.0  # seconds between two looks, and between two lines
LAST = 40.0  # seconds that jobs have to be gone once they are cancelled: KillWait and a little
GO_ON = "the command that started it goes on from what was saved"


def heed(folder: Path = Path()) -> None:
    """In Snakemake's own process, from now on: when the run is stopped it starts nothing more, and its processes here are told."""
    file = (folder / STOPPED).absolute()

    def watch() -> None:
        while not file.exists():
            time.sleep(LOOK)
        with suppress(OSError):
            print(f"orbit2 stop: nothing more is started; {GO_ON}", file=sys.stderr, flush=True)
        os.kill(os.getpid(), signal.SIGTERM)  # Snakemake then waits for what runs
        tell(lock.processes({lock.identity()}))

    threading.Thread(target=watch, name="stop", daemon=True).start()


def tell(processes: Iterable[psutil.Process]) -> None:
    """SIGTERM to those that are an `orbit2` verb: they save, or end tidily. Shells, srun and torchrun end with them."""
    for process in processes:
        with suppress(psutil.Error):
            words = process.cmdline()
            name = Path(words[0]).name if words else ""
            if name.startswith("python") and (words[1:3] == ["-m", "orbit2"] or Path(words[1]).name == "orbit2"):
                process.terminate()


def stop(folder: Path, minutes: float = 10.0, say: Callable[[str], object] = print) -> str:
    """Stop the run of the workflow at work in (or above) `folder`; returns what was done.

    Jobs that wait are cancelled; those that save do so and end, and have `minutes` for it; what is left then is cancelled or killed.
    Raises OrbitError when no run was ever there, and for what could not be stopped from here.
    """
    folder = _workflow(folder)
    run = owner.read(folder / lock.RECORD)
    began, told, said = time.monotonic(), set[int](), -SAY
    with suppress(OrbitError):  # of another machine, whose processes only it can see: it finds the file
        lock.remember(folder, run)
    if not lock.left(folder) and not _alive(run):
        return "nothing of a run is at work here"
    write_text(folder / STOPPED, time.strftime("asked for at %Y-%m-%d %H:%M:%S UTC\n", time.gmtime()))
    stopped, cancelled = dict[str, str](), set[str]()
    while (there := lock.left(folder)) or _alive(owner.read(folder / lock.RECORD)):
        now = time.monotonic()
        stopped |= {job.number: f"{job.rule} (job {job.number})" for job in there.jobs}
        ending = [job.number for job in there.jobs if job.number not in cancelled and (job.waiting or not job.rule.startswith(SAVING))]
        jobs.cancel(ending)
        cancelled |= set(ending)
        tell(process for process in there.processes if process.pid not in told)
        told |= {process.pid for process in there.processes}
        if now - began > 60 * minutes:
            _force(there)
        if now - began > 60 * minutes + LAST:
            raise OrbitError("not everything could be stopped from here", where=folder, hint="see squeue; kill what is left",
                             got=str(there) or f"Snakemake, {owner.described(run)}")  # fmt: skip
        if now - said > SAY:
            said = now
            say(f"stopping: {there or 'Snakemake, which ends when it next looks at its queue: within three minutes'}")
        time.sleep(LOOK)
    (folder / lock.LEFT).unlink(missing_ok=True)
    return f"stopped{': ' if stopped else ''}{', '.join(stopped.values())}; {GO_ON}"


def _workflow(folder: Path) -> Path:
    """The working directory of a workflow that `folder` is, or lies in."""
    for place in (folder.absolute(), *folder.absolute().parents):
        if (place / ".snakemake").is_dir():
            return place
    raise OrbitError("no workflow has run here", where=folder, hint="give the folder that snakemake was started in")


def _alive(run: dict[str, object]) -> bool:
    """Whether a recorded Snakemake may be alive."""
    return bool(run) and owner.silence_needed(run) > 0


def _force(there: lock.Left) -> None:
    jobs.cancel(job.number for job in there.jobs)
    for process in there.processes:
        with suppress(psutil.Error):
            process.kill()
