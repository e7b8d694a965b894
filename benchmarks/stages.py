"""Core seconds of statistics, fitted baselines, scores and diagnostics, by the value: what `orbit2 plan` tells their hours from.

    .venv/bin/python benchmarks/stages.py [--quick]

Pairs and predictions of 288 x 576 cells and two variables, beside seven baselines, six samples and three: what a sample more takes, and a
job whatever its samples. Each stage is a process of its own with one thread, so that starting counts, and its core time (user and system)
is measured, so that other work on the machine counts only in so far as it slows a core. Judges nothing: it measures.
"""

from __future__ import annotations

# ruff: noqa: E402  (the repository's tests are no package that is installed)
import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from orbit2.files import write_json
from orbit2.provenance import code_version
from tests.data import scored

RESULTS = ROOT / "benchmarks" / "results" / "stages.json"


def core_seconds(*command: str) -> tuple[float, str]:
    """Of a process with one thread; and what it said."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "ORBIT2_THREADS": "1", "PYTHONPATH": str(ROOT)})  # fmt: skip
    if told.returncode:
        sys.exit(f"{' '.join(command)}\n{told.stdout}{told.stderr}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, told.stdout


def stage(*words: object) -> float:
    return core_seconds(sys.executable, "-m", "orbit2", *map(str, words))[0]


TWICE = """
import time
from pathlib import Path
from orbit2.{package} import {function} as run
given = dict(config=Path({config!r}), store=Path({store!r}), out=Path({out!r}))
run(**given)
before = time.process_time()
run(**given)
print("took", time.process_time() - before)
"""


def twice(samples: int, **words: str) -> dict[str, Any]:
    """A stage that takes milliseconds a sample: the second of two runs in one process, and the process without them."""
    whole, told = core_seconds(sys.executable, "-c", TWICE.format(**words))
    took = float(told.split("took")[1])
    return {"samples": [samples], "core_seconds": [took], "a_sample": took / samples, "a_job": whole - 2 * took}


def scores(folder: Path, quick: bool) -> dict[str, Any]:
    """Core seconds of a sample and of a job, and what a sample is."""
    samples, degrees = (4, 10.0) if quick else (6, 2.5)
    store = scored.make_store(folder / "pairs.zarr", degrees=degrees, samples=2 * samples)
    cells = int(np.prod(store.grid("fine").shape))
    both = len(scored.VARIABLES) * (cells + cells // scored.FACTOR**2)
    baselines = ["nearest", "bilinear", "bicubic", "conservative", "delta", "lapse_rate", "regression"]
    data = scored.write_dataset(folder / "dataset.json", store, slice(0, samples), slice(samples, 2 * samples))
    words = {"config": str(data), "store": str(store.path)}
    statistics = twice(samples, package="statistics", function="run", out=str(folder / "statistics.json"), **words)
    fit = twice(samples, package="evaluate", function="fit", out=str(folder / "fits.nc"), **words)
    found = {"statistics": {**statistics, "values": both}, "fit": {**fit, "values": both}}
    for name in ("evaluate", "diagnose"):
        took = []
        for count in (samples, samples // 2):
            prediction = folder / f"prediction_{count}.zarr"
            if not prediction.exists():
                scored.make_prediction(prediction, store, samples=count)
            config = scored.write_slice(folder / f"{name}_{count}.json", name, baselines=baselines)
            period = {"start": str(store.times[0])[:16], "end": str(store.times[count - 1])[:16]}
            write_json(config, {**json.loads(config.read_text()), "period": period})
            took.append(stage(name, "--config", config, "--prediction", prediction, "--store", store.path, "--fits", folder / "fits.nc",
                              "--out", folder / f"{name}_{count}"))  # fmt: skip
        each = (took[0] - took[1]) / (samples - samples // 2)
        found[name] = {"samples": [samples, samples // 2], "core_seconds": took, "a_sample": each,
                       "a_job": max(took[1] - each * (samples // 2), 0.0), "values": len(scored.VARIABLES) * cells}  # fmt: skip
    return {**found, "models": 1 + len(baselines)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a coarse grid: shows that it runs, writes nothing")
    quick = parser.parse_args().quick
    with tempfile.TemporaryDirectory() as folder:
        found = scores(Path(folder), quick)
    print(yaml.safe_dump(found, sort_keys=False))
    if not quick:
        write_json(RESULTS, {"scores": found, "code_version": code_version()})


if __name__ == "__main__":
    main()
