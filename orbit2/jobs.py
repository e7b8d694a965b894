"""Jobs in the batch system (SLURM): whether one lives, which were submitted from a folder, and their end. Never submits one."""

from __future__ import annotations

import logging
import os
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from orbit2.scheduler import PATIENCE

ENDED = {"BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED", "REVOKED", "TIMEOUT"}
WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT", "CONFIGURING"}  # has not begun, or is to begin again
COMMENT = "rule_"  # with which Snakemake's SLURM plugin begins the comment of each of its jobs

log = logging.getLogger(__name__)


class Job(NamedTuple):
    """A job that waits or runs: its number (of an array's task: 17_3), its state in SLURM's words, and the rule that it is of."""

    number: str
    state: str
    rule: str

    @property
    def waiting(self) -> bool:
        return self.state in WAITING


def lives(number: str) -> bool | None:
    """Whether a job is at work: not while it waits, to begin again perhaps, nor once it has ended. None: nobody can be asked."""
    said = _said(["squeue", "--noheader", "--states=all", "--jobs", number, "--format=%T"])
    if said is None:
        return None
    return any(state and state not in ENDED | WAITING for state in said.split())


def submitted(folder: Path) -> list[Job] | None:
    """Snakemake's jobs of this user that were submitted from `folder` and have not ended; None: nobody can be asked."""
    user = str(os.getuid())
    said = _said(["squeue", "--noheader", "--array", f"--user={user}", "--format=%i|%T|%k|%Z"])
    if said is None:
        return None
    place, found = os.path.realpath(folder), []
    for line in said.splitlines():
        number, state, comment, where = [*line.split("|", 3), "", "", ""][:4]
        if comment.startswith(COMMENT) and os.path.realpath(where) == place and state not in ENDED:
            found.append(Job(number, state, comment.removeprefix(COMMENT).partition("_wildcards_")[0]))
    return found


def cancel(numbers: Iterable[str], signal: str = "") -> str:
    """scancel them, or send a signal to all that runs in them; returns what it complains of."""
    listed = list(numbers)
    if not listed:
        return ""
    how: Sequence[str] = ["--full", f"--signal={signal}"] if signal else []
    try:
        done = subprocess.run(["scancel", *how, *listed], capture_output=True, text=True, timeout=3 * PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        return str(error)
    return done.stderr.strip()


def _said(command: Sequence[str]) -> str | None:
    """What squeue answers; "" for a job that it has forgotten; None where it cannot be asked."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("%s: %s", command[0], error)
        return None
    if done.returncode == 0:
        return done.stdout
    return "" if "Invalid job id" in done.stderr else None
