"""How long the batch system (SLURM) leaves this job, as it says itself. Never starts, changes or ends one."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import time
from collections.abc import Mapping

PATIENCE = 20.0  # seconds for squeue: a busy controller is no reason to wait with the work
FAR = 300 * 86400.0  # seconds; SLURM gives a job without limit an end a year from now

log = logging.getLogger(__name__)


def time_left(environment: Mapping[str, str] = os.environ) -> tuple[float, str] | None:
    """(seconds until this job ends, who says so); None outside a job, in one without limit, and where nobody knows.

    From SLURM_JOB_END_TIME where SLURM sets it, else one call of squeue. An end that has passed says that the limit was changed since.
    """
    job, end = job_id(environment), environment.get("SLURM_JOB_END_TIME", "")
    if not job:
        return None
    if end.isdecimal() and (left := int(end) - time.time()) > 0:
        return (left, "SLURM_JOB_END_TIME") if left < FAR else None
    try:
        command = ["squeue", "--noheader", "--jobs", job, "--format=%L"]
        said = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError) as error:
        log.debug("job %s: its end is not known (%s)", job, error)
        return None
    found = seconds(said.splitlines()[0]) if said else None
    if found is None:
        log.debug("job %s: squeue says %r of its time left", job, said)
    return None if found is None or found >= FAR else (found, "squeue")


def job_id(environment: Mapping[str, str] = os.environ) -> str:
    """This job's number; of an array's task its place in the array, as one task's own number also means the whole array. Else empty."""
    array, task = environment.get("SLURM_ARRAY_JOB_ID", ""), environment.get("SLURM_ARRAY_TASK_ID", "")
    return f"{array}_{task}" if array and task else environment.get("SLURM_JOB_ID", "")


def job_nodes(environment: Mapping[str, str] = os.environ) -> int | None:
    """Nodes of the SLURM job that this process is in; None outside of one."""
    count = environment.get("SLURM_JOB_NUM_NODES", "")
    return int(count) if count.isdigit() else None


def seconds(text: str) -> float | None:
    """SLURM's [days-][hours:]minutes:seconds; None for anything else (UNLIMITED, NOT_SET, INVALID)."""
    found = re.fullmatch(r"(?:(?:(\d+)-)?(\d+):)?(\d+):(\d+)", text.strip())
    if found is None:
        return None
    days, hours, minutes, rest = (int(part or 0) for part in found.groups())
    return float(((days * 24 + hours) * 60 + minutes) * 60 + rest)
