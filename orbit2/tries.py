"""How often Snakemake starts a job again, by what `logged` (workflow/scripts/logged.sh) left beside its log, and what a job's own Snakemake
passes on to the stage that it waits for. Imports nothing of Snakemake: workflow/tries.smk does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

import psutil

from orbit2.lock import VARIABLE
from orbit2.signals import STOPPED


class Tries:
    """What is known of the ends of jobs, by their logs. Failures count; a slice (exit 75) that came further does not."""

    def __init__(self) -> None:
        self._slices: dict[Path, set[int]] = {}  # log -> when each slice ended

    def allowed(self, retries: int, logs: Iterable[str | Path]) -> int:
        """How often a failed job with these logs may start again in all, where `retries` failures are allowed.

        Not at all after a user's mistake, while the run is being stopped, and where nothing is ever tried again.
        """
        if STOPPED.exists():
            return 0
        paths = [Path(log) for log in logs]
        if any(_left(log, "refused") is not None for log in paths):
            return 0
        for log in paths:
            if (ended := _left(log, "slice")) is not None:
                self._slices.setdefault(log, set()).add(ended)
        return retries and retries + sum(len(self._slices.get(log, ())) for log in paths)


def _left(log: Path, what: str) -> int | None:
    """When `logged` left this beside a log in this run of Snakemake (ns); None where it did not."""
    marker = log.with_name(f".{log.name}.{what}")
    try:
        return marker.stat().st_mtime_ns if marker.read_text(encoding="utf-8").split()[0] == os.environ.get(VARIABLE) else None
    except (OSError, IndexError):
        return None


def pass_on(number: int, _: FrameType | None = None) -> None:
    """Send a signal to the stages that run below this process.

    SLURM signals what it started itself: of a job of one process that is the job's own Snakemake, not the stage.
    """
    for process in psutil.Process().children(recursive=True):
        try:
            if any(Path(word).name == "orbit2" for word in process.cmdline()[:3]):  # python .../orbit2, python -m orbit2
                process.send_signal(number)
        except psutil.Error:
            continue


def in_main() -> None:
    """For the Snakemake that submits: a job that goes back to SLURM's queue keeps what it has said."""
    os.environ.setdefault("SBATCH_OPEN_MODE", "append")


def in_job() -> None:
    """For a job's own Snakemake: passes on SIGUSR1, and how often the job was requeued, which the plugin's second Snakemake is not told."""
    if "SLURM_RESTART_COUNT" in os.environ:
        os.environ["ORBIT2_RESTARTS"] = os.environ["SLURM_RESTART_COUNT"]
    signal.signal(signal.SIGUSR1, pass_on)
