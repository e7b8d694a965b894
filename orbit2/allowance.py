"""What this process may use of its machine: what its rule was given (`--memory-mb`, `--threads`), else what is there. Never more."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import psutil

MEMORY, THREADS = "ORBIT2_MEMORY_MB", "ORBIT2_THREADS"  # in the environment, so that worker processes know them too
CGROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")
# Controllers in OWN_GROUPS, where each is mounted, and the files that limit memory: version 2 has no name of its own.
CONTROLLERS = {"": (".", ("memory.max", "memory.high")), "memory": ("memory", ("memory.limit_in_bytes",))}


def allow(memory_mb: int | None = None, threads: int | None = None) -> None:
    """Keep to this much from now on; None leaves what was said before."""
    if memory_mb:
        os.environ[MEMORY] = str(memory_mb)
    if threads:
        os.environ[THREADS] = str(threads)
        os.environ["OMP_NUM_THREADS"] = str(threads)  # of libraries that are not loaded yet


def memory_bytes() -> int:
    """Bytes that may be used: never more than is free, nor than the container (cgroup) or the rule allows."""
    memory = psutil.virtual_memory()
    return int(min(memory.available, memory_limit() or memory.total))


def memory_limit() -> int | None:
    """Bytes that this process was given; None where nothing says so.

    What SLURM says of its job counts only where neither container nor rule does: the job may be that of a whole workflow, or of another
    step.
    """
    total = psutil.virtual_memory().total
    limits = [limit for limit in (*_of_groups(), _megabytes(MEMORY)) if 0 < limit < total]  # version 1 writes "none" as a huge number
    if not limits and not _megabytes(MEMORY) and (job := _megabytes("SLURM_MEM_PER_NODE")):
        limits = [job]
    return min(limits, default=None)


def memory_left() -> int:
    """Bytes that this process may take besides what it holds."""
    free, limit = psutil.virtual_memory().available, memory_limit()
    return int(free if limit is None else max(0, min(free, limit - held())))


def held() -> int:
    """Bytes of memory that this process has (resident set size)."""
    return int(psutil.Process().memory_info().rss)


def _of_groups() -> list[int]:
    """The limits of this process's control group and of all groups around it: the least one ends it.

    In a container the group's path may be that of the host, of which only the top is seen.
    """
    paths = {"": "/", "memory": "/"}
    with suppress(OSError):
        for line in OWN_GROUPS.read_text().splitlines():
            _, names, path = line.split(":", 2)
            paths |= {name: path for name in names.split(",") if name in paths}
    found = []
    for name, (mount, files) in CONTROLLERS.items():
        parts = [part for part in paths[name].split("/") if part]
        depth = 0 if ".." in parts else len(parts)
        for folder in (CGROUPS.joinpath(mount, *parts[:end]) for end in range(depth + 1)):
            for file in files:
                with suppress(OSError, ValueError):  # no such group here, or "max"
                    found.append(int((folder / file).read_text()))
    return found


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
