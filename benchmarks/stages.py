"""Core seconds of statistics, fitted baselines, parts of scores and their merges, by the value: what `orbit2 plan` tells their hours from.

    .venv/bin/python benchmarks/stages.py [--quick]

Pairs and predictions of 720 x 1440 cells and two variables, daily, beside every baseline that ships (each a process of its own with one
thread, so that starting counts). Parts (a month of a task, for evaluate and diagnose at once) of four samples and of two, with structure
(SSIM, FSS, SAL, spectra) of each and of the first alone, tell what a sample more takes, what its structure takes, and a job whatever its
samples; merges of three parts and of one tell what a part more takes. Core time (user and system), so that other work on the machine counts
only in so far as it slows a core. Judges nothing: it measures.
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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from orbit2.config.schema import EvaluateConfig
from orbit2.files import write_json
from orbit2.provenance import code_version
from tests.data import scored

RESULTS = ROOT / "benchmarks" / "results" / "stages.json"
DAYS = ("2026-01-28", "2026-01-29", "2026-01-30", "2026-01-31", "2026-02-01", "2026-02-02", "2026-03-01")  # scored: three parts


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


def fitted(samples: int, **words: str) -> dict[str, Any]:
    """The baselines' fits to `samples` of a store and to half of them: what a sample takes, and a job whatever its samples."""
    took = [float(core_seconds(sys.executable, "-c", TWICE.format(**words | {"config": words[key]}))[1].split("took")[1])
            for key in ("half", "config")]  # fmt: skip
    return {"samples": [samples // 2, samples], "core_seconds": took, "a_sample": (took[1] - took[0]) / (samples - samples // 2)}


def scores(folder: Path, quick: bool) -> dict[str, Any]:
    """Core seconds of a sample, of its structure, of a part more and of a job, and what a sample is."""
    degrees, days = (10.0, DAYS) if quick else (1.0, DAYS)
    learnt = 12
    first = np.datetime64(days[0])
    times = np.concatenate([first - np.arange(learnt + 1, 1, -1) * np.timedelta64(1, "D"), np.array(days, dtype="datetime64[D]")])
    store = scored.make_store(folder / "pairs.zarr", degrees=degrees, samples=len(times), times=times.astype("datetime64[s]"))
    cells = int(np.prod(store.grid("fine").shape))
    both = len(scored.VARIABLES) * (cells + cells // scored.FACTOR**2)
    baselines = [name for name in EvaluateConfig().baselines if name != "parent"]
    test = slice(learnt, len(times))
    data, half = (scored.write_dataset(folder / f"{name}.json", store, slice(0, count), test)
                  for name, count in (("dataset", learnt), ("half", learnt // 2)))  # fmt: skip
    words = {"config": str(data), "store": str(store.path), "out": str(folder / "statistics.json")}
    statistics = twice(learnt, package="statistics", function="run", **words)
    words["out"] = str(folder / "fits.nc")
    fit = fitted(learnt, package="evaluate", function="fit", half=str(half), **words)
    began = stage("evaluate", "fit", "--config", data, "--store", store.path, "--out", folder / "fits.nc")
    fit["a_job"] = began - learnt * fit["a_sample"]
    for name, last in (("whole", len(times)), ("alone", learnt + sum(day[:7] == days[0][:7] for day in days))):
        scored.make_prediction(folder / f"{name}.zarr", store, at=slice(learnt, last))
    return {"statistics": {**statistics, "values": both}, "fit": {**fit, "values": both},
            **parts(folder, store.path, baselines, len(scored.VARIABLES) * cells), "models": 1 + len(baselines)}  # fmt: skip


def parts(folder: Path, store: Path, baselines: list[str], values: int) -> dict[str, Any]:
    """Of parts: job + samples x plain + (samples with structure) x structure, from three of them. Of merges: those of both stages."""
    def slices(name: str, days: Sequence[str], every: int = 1) -> dict[str, Path]:
        found = {}
        for kind in ("part", "evaluate", "diagnose"):
            found[kind] = scored.write_slice(folder / f"{name}_{kind}.json", kind, baselines=baselines)
            content = json.loads(found[kind].read_text())
            content["period"] = {"start": f"{days[0]}T00:00", "end": f"{days[-1]}T00:00"}
            if "evaluate" in content:
                content["evaluate"]["every"] = every
            write_json(found[kind], content)
        return found

    def given(config: Path, name: str) -> tuple[object, ...]:
        prediction = folder / ("alone.zarr" if name == "alone" else "whole.zarr")
        return ("--config", config, "--prediction", prediction, "--store", store, "--fits", folder / "fits.nc")

    def part(name: str, config: Path, month: str) -> float:
        (folder / name).mkdir(exist_ok=True)
        return stage("evaluate", "part", *given(config, name), "--part", month, "--out", folder / name / f"{month}.h5")

    months = {day[:7].replace("-", ""): [each for each in DAYS if each[:7] == day[:7]] for day in DAYS}
    first, *rest = months
    whole, alone = slices("whole", DAYS), slices("alone", months[first])
    rare = slices("rare", DAYS, every=1000)
    took = [part("whole", whole["part"], first), part("whole", whole["part"], rest[0]), part("rare", rare["part"], first)]
    for month in rest[1:]:
        part("whole", whole["part"], month)
    part("alone", alone["part"], first)
    many, few = len(months[first]), len(months[rest[0]])
    structure = (took[0] - took[2]) / (many - 1)
    plain = (took[0] - took[1]) / (many - few) - structure
    told = {"samples": [many, few, many], "with structure": [many, few, 1], "core_seconds": took, "a_sample": plain,
            "structure": structure, "a_job": took[1] - few * (plain + structure), "values": values}  # fmt: skip
    merges = {}
    for name, found in (("whole", whole), ("alone", alone)):
        merges[name] = sum(stage(kind, *given(found[kind], name), "--parts", folder / name, "--out", folder / f"{name}_{kind}")
                           for kind in ("evaluate", "diagnose"))  # fmt: skip
    each = (merges["whole"] - merges["alone"]) / (len(months) - 1)
    size = {month: (folder / "whole" / f"{month}.h5").stat().st_size for month in months}
    return {"part": told, "merge": {"parts": [len(months), 1], "core_seconds": list(merges.values()), "a_part": each,
                                    "a_task": merges["alone"] - each, "bytes": size, "values": values}}  # fmt: skip


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
