"""Snakemake for calls that only look (dry runs, graphs), forked from a process that has imported it: the imports are most of their time."""

from __future__ import annotations

import atexit
import multiprocessing
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

LOOKS = {"-n", "--dag", "--rulegraph", "--summary", "--touch", "--lint"}
IMPORTED = ["snakemake.cli", "snakemake.linting.snakefiles", "orbit2.lock", "orbit2.config.slices", "orbit2.config.begun",
            "orbit2.config.load", "orbit2.config.migrate", "orbit2.sources.manifest", "orbit2.config.comparisons", "orbit2.metrics.months",
            "orbit2.regrid.parts", "orbit2.nodehours", "orbit2.queues", "orbit2.sources.receipts", "orbit2.stop", "smart_open", "pint",
            "docutils.core", "netCDF4", "dask.array", "yte", "requests", "jinja2", "pygments", "dpath", "snakemake.report",
            "snakemake.profiles", "snakemake_executor_plugin_slurm"]  # the second half: what Snakemake or xarray load when they are used


def _snakemake(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], printed: Sequence[str]) -> None:
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    for number, path in enumerate(printed, 1):
        os.dup2(os.open(path, os.O_WRONLY), number)
    sys.argv = ["snakemake", *arguments]
    from snakemake.cli import main

    try:
        main()  # exits
    finally:
        atexit._run_exitfuncs()  # a forked process does not by itself: the table of node-hours is printed there


def look(arguments: Sequence[str], folder: Path, environment: Mapping[str, str], timeout: float) -> subprocess.CompletedProcess[str]:
    """What `snakemake *arguments` in `folder` printed, and its exit code. Raises TimeoutExpired as subprocess.run does."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(IMPORTED)
    with tempfile.TemporaryDirectory() as place:
        printed = [str(Path(place) / name) for name in ("out", "err")]
        for path in printed:
            Path(path).touch()
        process = context.Process(target=_snakemake, args=(arguments, folder, dict(environment), printed))
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            raise subprocess.TimeoutExpired(list(arguments), timeout)
        out, err = (Path(path).read_text(encoding="utf-8") for path in printed)
        return subprocess.CompletedProcess(list(arguments), process.exitcode, out, err)
