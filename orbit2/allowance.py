"""What this process may use of its machine: what its rule was given (`--memory-mb`, `--threads`), else what is there. Never more."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

MEMORY, THREADS = "ORBIT2_MEMORY_MB", "ORBIT2_THREADS"  # in the environment, so that worker processes know them too
LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")


def allow(memory_mb: int | None = None, threads: int | None = None) -> None:
    """Keep to this much from now on; None leaves what was said before."""
    if memory_mb:
        os.environ[MEMORY] = str(memory_mb)
    if threads:
        os.environ[THREADS] = str(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # of libraries that are not loaded yet


def memory_bytes() -> int:
    """Bytes that may be used: never more than is free, nor than the container (cgroup) or the rule allows.

    What SLURM says of its job counts only where neither does: the job may be that of a whole workflow, or of another step.
    """
    memory = psutil.virtual_memory()
    limits: list[int] = []
    for file in LIMITS:
        with suppress(OSError, ValueError):  # no such controller, or "max"
            limits.append(int(Path(file).read_text()))
    limits = [limit for limit in (*limits, _megabytes(MEMORY)) if 0 < limit < memory.total]  # version 1 writes "none" as a huge number
    if not limits and not _megabytes(MEMORY) and (job := _megabytes("SLURM_MEM_PER_NODE")):
        limits = [job]
    return int(min([memory.available, *limits]))


def _megabytes(name: str) -> int:
    """Bytes that a variable of the environment allows; 0 where it says nothing."""
    text = os.environ.get(name, "")
    return int(text) * 2**20 if text.isdecimal() else 0


def threads() -> int:
    """Threads that may be used: what the rule was given, else the cores that this process may run on."""
    text = os.environ.get(THREADS, "")
    if text.isdecimal() and int(text) > 0:
        return int(text)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
