"""What all ranks of a stage took of their machines, as a line of a benchmark table in Snakemake's columns: it sees only their launcher."""

from __future__ import annotations

import os
import resource
import time
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import psutil

from orbit2.files import write_text
from orbit2.parallel.reduce import sums_and_maxima
from orbit2.timing import host_bytes

VARIABLE = "ORBIT2_BENCHMARK"  # names the table; workflow/scripts/logged.sh sets it
MEGABYTE = 2**20
# Snakemake's, in seconds and MB: over all ranks, but the time; `largest_rank` is the most memory (resident) that one of them had.
COLUMNS = ("s", "h:m:s", "max_rss", "max_vms", "max_uss", "max_pss", "io_in", "io_out", "mean_load", "cpu_time", "ranks", "largest_rank")


def tell(rank: int, world: int) -> None:
    """Add a line for this try, where a table is asked for; all ranks together. The first rank's time counts, from its start on."""
    if not (place := os.environ.get(VARIABLE)):
        return
    me, spent = psutil.Process(), [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(used.ru_utime + used.ru_stime for used in spent)
    read = written = 0.0
    with suppress(psutil.Error, AttributeError):  # not on every system
        counters = me.io_counters()
        read, written = float(counters.read_bytes), float(counters.write_bytes)
    sums, most = sums_and_maxima([float(host_bytes()), cpu, read, written])
    if rank:
        return
    seconds = time.time() - me.create_time()
    memory, cpu, read, written = sums[0] / MEGABYTE, sums[1], sums[2] / MEGABYTE, sums[3] / MEGABYTE
    values = (seconds, str(timedelta(seconds=int(seconds))), memory, "NA", "NA", "NA", read, written, 100 * cpu / seconds, cpu, world,
              most[0] / MEGABYTE)  # fmt: skip
    line = "\t".join(f"{value:.2f}" if isinstance(value, float) else str(value) for value in values)
    with suppress(OSError):  # no reason to end a training
        path = Path(place)
        before = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
        head = "\t".join(COLUMNS)
        write_text(path, "\n".join([head, *(before[1:] if before[:1] == [head] else []), line]) + "\n")
