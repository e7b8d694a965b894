"""What predictions take beside their network, then and now: reading fields, looking for what is missing, handing them on, writing.

    .venv/bin/python benchmarks/reading.py [--turns 5] [--quick]

A time of 23 variables of 720 x 1440 from a Zarr file: as it was (float64, one thread, finite values copied to be looked at), as it is by
one thread, and by all. What is missing in a window of 23 x 106 x 106: every value asked, and by sums. A window of predictions (3 x 424 x
424) to a process that writes: through a pipe, and in memory that both see. Windows of a time mixed and written, rounded, in memory, by one
such process: by zarr's own codecs, and by zarrs. Then all windows of a file's times, cut for a device that takes as long for a time as
reading it does (a wait): the next time read when it is asked for, and beside. Times are the clock's, so leave the machine alone; ways take
turns, medians. Exits 1 unless one thread takes less than 0.75 of what it was, all less than one, sums a fifth, memory half, zarrs 0.85, and
reading beside less. Writes benchmarks/results/reading.json.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ[_name] = "1"

import argparse
import logging
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
import xarray as xr
from downscale_throughput import write_input
from globe_900m import HALO, TILE, published_model
from writer import MEMORY, written
from writer import fields as windows_of

from orbit2 import allowance
from orbit2.door.ingest import Inputs
from orbit2.downscale import Reading, Settings, load_model, writers
from orbit2.downscale.job import Job
from orbit2.downscale.samples import FileSamples
from orbit2.downscale.stage import dataset_job
from orbit2.downscale.store import PredictionStore, begin
from orbit2.downscale.work import work
from orbit2.downscale.writers import Writers
from orbit2.files import write_json
from orbit2.model.gaps import MissingFlags
from orbit2.provenance import code_version

ROOT = Path(__file__).resolve().parents[1]
TIMES = 6
MOST = {"one thread": 0.75, "by sums": 0.2, "in memory": 0.5, "by zarrs": 0.85}  # of what it was


def as_it_was(inputs: Inputs, index: int) -> None:
    """Every variable in float64, and a copy of what is finite."""
    fields = np.empty((len(inputs.arrays), *inputs.grid.shape), dtype=np.float32)
    for out, (name, array) in zip(fields, inputs.arrays.items(), strict=True):
        factor, offset = inputs.scales[name]
        values = np.empty(out.shape)
        values[...] = array.variable.isel(time=index).compute().to_numpy()[inputs.rows][:, inputs.columns]
        if not np.isnan(values).all():
            np.nanmin(values), np.nanmax(values)
        values = values * factor + offset
        finite = values[np.isfinite(values)]
        finite.min(), finite.max()
        out[:] = values


def with_threads(inputs: Inputs, index: int, threads: int) -> None:
    before = os.environ.get(allowance.THREADS)
    os.environ[allowance.THREADS] = str(threads)
    inputs.frame(index)
    if before is None:
        del os.environ[allowance.THREADS]
    else:
        os.environ[allowance.THREADS] = before


def asked(window: torch.Tensor) -> None:
    (~torch.isfinite(window)).any(3).any(2).any(0).tolist()


def handing(job: Job, shared: bool, count: int) -> Callable[[], None]:
    """`count` windows to two processes that do nothing with them."""
    fields = np.random.default_rng(0).random((1, job.layout.channels, 424, 424), dtype=np.float32)
    store = PredictionStore(job.path, job.layout)

    def act() -> None:
        with Writers(2, store, None) as hands, ThreadPoolExecutor(2) as threads:
            if not shared:
                hands._size = 0
            began = time.perf_counter()
            list(threads.map(lambda _: hands.write(job.layout.items[0], fields, 0.0), range(count)))
            took.append(time.perf_counter() - began)

    took: list[float] = []
    act.took = took  # type: ignore[attr-defined]
    return act


def writing(job: Job, window: Any, quick: bool) -> Callable[[], None]:
    """All items of a job by one process."""
    plain = writers._use_zarrs

    def act() -> None:
        writers._use_zarrs = plain if quick else lambda: None
        took.append(written(job, window, 1)[0])

    took: list[float] = []
    act.took = took  # type: ignore[attr-defined]
    return act


def cutting(job: Job, beside: bool, wait: float) -> float:
    """Seconds of all windows' reading, each followed by a device that takes `wait`."""
    inputs = job.samples._inputs  # type: ignore[attr-defined]
    fresh = replace(job, samples=FileSamples(inputs, 1))
    times = list(range(len(job.layout.times)))
    began = time.perf_counter()
    with fresh.samples.prefetching(times) if beside else nullcontext():
        work(list(job.layout.items), fresh.read, lambda item, _: time.sleep(wait), lambda item, _: None, label="reading",
             fields_of=job.fields_of, stop=False, depth=writers.DEEPEST)  # fmt: skip
    return time.perf_counter() - began


def timed(ways: dict[str, Callable[[], Any]], turns: int) -> dict[str, float]:
    """Seconds of each, in turns; what keeps times of its own is asked for them."""
    took: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(turns):
        for name, act in ways.items():
            began = time.perf_counter()
            act()
            own = getattr(act, "took", None)
            took[name].append(own[-1] if own else time.perf_counter() - began)
    return {name: median(each) for name, each in took.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="fields of 1 degree, one turn; for a look, judges nothing")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "reading.json")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    degrees, turns = (1.0, 1) if arguments.quick else (0.25, arguments.turns)
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as memory:
        folder = Path(temporary)
        source = folder / "in.zarr"
        write_input(source, degrees, 0, TIMES, np.random.default_rng(0))
        with xr.open_dataset(source, engine="zarr", chunks=None, cache=False, consolidated=False) as dataset:
            loaded, cut = load_model(published_model(folder / "model")), Settings(tile=TILE, halo=HALO, stored="rounded")
            one = dataset_job(loaded, dataset.isel(time=[0]), [source], Path(memory) / "out.zarr", None, cut, Reading())
            large = windows_of(np.random.default_rng(0))
            mixed = timed({"as it was": writing(one, large, False), "by zarrs": writing(one, large, True)}, turns)
            PredictionStore.write = lambda *_, **__: None  # type: ignore[method-assign]  # of the processes that are forked from now on
            cut = Settings(tile=TILE, halo=HALO, blend=0)
            job = dataset_job(loaded, dataset, [source], folder / "out.zarr", None, cut, Reading())
            begin(job.path, job.layout, {})
            inputs = job.samples._inputs  # type: ignore[attr-defined]
            window = torch.randn(1, len(inputs.names), 106, 106)
            found = {
                "a time's fields": timed({"as it was": lambda: as_it_was(inputs, 1), "one thread": lambda: with_threads(inputs, 1, 1),
                                          "all threads": lambda: with_threads(inputs, 1, cores)}, turns),
                "what is missing": timed({"as it was": lambda: asked(window), "by sums": lambda: MissingFlags.of(window)}, 40 * turns),
                "to a writer": timed({"as it was": handing(job, False, 60), "in memory": handing(job, True, 60)}, turns),
                "windows written": {name: seconds / len(one.layout.items) for name, seconds in mixed.items()},
            }  # fmt: skip
            wait = found["a time's fields"]["all threads"] / (len(job.layout.items) / TIMES)
            ways = {"as it was": lambda: cutting(job, False, wait), "beside": lambda: cutting(job, True, wait)}
            found["beside a device"] = timed(ways, turns)
    found["to a writer"] = {name: seconds / 60 for name, seconds in found["to a writer"].items()}
    found["beside a device"] = {name: seconds / TIMES for name, seconds in found["beside a device"].items()}
    wrong = []
    for what, took in found.items():
        for name, seconds in took.items():
            share = seconds / took["as it was"]
            print(f"{what:16s} {name:12s} {1e3 * seconds:9.3f} ms  {share:5.2f} of what it was")
            if name != "as it was" and share > MOST.get(name, 0.95):
                wrong.append(f"{what}, {name}: {share:.2f}")
    fields = found["a time's fields"]
    if cores > 1 and fields["all threads"] >= fields["one thread"]:
        wrong.append("several threads are no faster than one")
    if arguments.quick:
        return 0
    print("claims: " + ("hold" if not wrong else "DO NOT HOLD: " + "; ".join(wrong)))
    write_json(arguments.out, {"code_version": code_version(), "cores": cores, "turns": turns, "seconds": found, "holds": not wrong})
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
