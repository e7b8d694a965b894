"""What writing predictions takes, by itself: windows of 0.0625 degree fields at hand, mixed and written as `orbit2 downscale` does.

    .venv/bin/python benchmarks/writer.py [--turns 3] [--quick]

Fields of 2880 x 5760 x 3 (temperature, rain, wind: large waves and what is rough at 10 cells) in tiles of 90 x 90 cells with a halo of 8,
refined 4 times, to memory (tmpfs, where there is one) and to this disk: kept exactly, rounded and not compressed; by this process alone
and by as many as there are cores. MB/s are of float32. Then, in memory and rounded, reading, a device and writers in one row: the device
is a wait, half, once and twice as long as writing takes (as a GPU's computing is a wait for the host); "of the slower" is the rate of the
whole beside that of the slower of device and writers alone. Times are the clock's, so leave the machine alone; ways take turns. Exits 1
unless `rounded` is smaller than `exact` and no slower, several processes are faster than one, and the whole keeps 85 % of the slower.
Writes benchmarks/results/writer.json.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ[_name] = "1"

import argparse
import logging
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from downscale_throughput import write_input
from globe_900m import HALO, OUTPUTS, TILE, published_model
from scipy.ndimage import gaussian_filter, zoom

from orbit2.downscale import Reading, Settings, load_model
from orbit2.downscale.blending import Blender
from orbit2.downscale.items import Item
from orbit2.downscale.job import Job, layout_of
from orbit2.downscale.stage import dataset_job
from orbit2.downscale.store import PredictionStore, begin
from orbit2.downscale.work import work
from orbit2.downscale.writers import Writers, depth
from orbit2.files import write_json
from orbit2.provenance import code_version

ROOT = Path(__file__).resolve().parents[1]
MEMORY = Path("/dev/shm")
KEPT = ("exact", "rounded", "plain")
TIMES = 4  # of a way in one turn
BESIDE, ASKED = (0.5, 1.0, 2.0), 0.85
SLOWER = 0.95  # a clock is no finer
EDGE = 4 * (TILE + 2 * HALO)  # fine cells of the largest window


def fields(noise: np.random.Generator) -> np.ndarray[Any, np.dtype[np.float32]]:
    """A window [1, 3, EDGE, EDGE]: temperature (K), rain (mm/day, half of it dry) and wind (m/s)."""
    def rough(size: float) -> Any:
        large = zoom(gaussian_filter(noise.standard_normal((20, 20)), 2), EDGE / 20, order=3)[:EDGE, :EDGE]
        return size * (8 * large + 0.3 * gaussian_filter(noise.standard_normal((EDGE, EDGE)), 1.5))
    made = np.stack([285 + rough(5), np.maximum(rough(4), 0), rough(4)]).astype(np.float32)
    return made[None]


def written(job: Job, window: Any, hands: int, device: float | None = None) -> tuple[float, int]:
    """(seconds, bytes on disk) of all of a job's items; `device`: beside reading, and a wait of so many seconds for each."""
    def shape(item: Item) -> tuple[int, int]:
        rows, columns = (job.layout.factor * (part.stop - part.start) for part in job.layout.tiling.kept(item.tile))
        return rows, columns

    begin(job.path, job.layout, {})
    store = PredictionStore(job.path, job.layout)
    blender = Blender(store, job.downscaler.grain)
    inner = set(blender.inner(range(len(job.layout.items))))
    with Writers(hands, store, blender) as writers, job.samples.prefetching(range(len(job.layout.times))):
        def write(item: Item, made: Any) -> None:
            blender.keep(item, made, 0.0)
            blender.assemble((i for i in blender.sources(item.index) if i in inner), writers.mix)

        def compute(item: Item, _: Any) -> Any:
            time.sleep(device or 0.0)
            return window[..., : shape(item)[0], : shape(item)[1]]

        began = time.perf_counter()
        work(list(job.layout.items), (lambda item: None) if device is None else job.read, compute, write, label="writer",
             fields_of=job.fields_of, stop=False, writers=max(hands, 1), depth=depth(hands, job.layout))  # type: ignore[arg-type]
        took = time.perf_counter() - began
    assert not blender.unfinished(inner)
    size = sum(file.stat().st_size for name in OUTPUTS for file in (job.path / name / "c").rglob("*") if file.is_file())
    shutil.rmtree(job.path)
    shutil.rmtree(store.journal.folder)
    return took, size


def ways(cores: int) -> Iterator[tuple[str, int]]:
    for stored in KEPT:
        for hands in (0, cores):
            yield stored, hands


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--turns", type=int, default=3, help="of each way, each four fields")
    parser.add_argument("--quick", action="store_true", help="fields of 1 degree, one turn; for a look")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "writer.json")
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    degrees, turns = (1.0, 1) if arguments.quick else (0.25, arguments.turns)
    cores, noise = len(os.sched_getaffinity(0)), np.random.default_rng(0)
    window, rows = fields(noise), list[dict[str, Any]]()
    places: dict[str, Path | None] = {"disk": None, **({"memory": MEMORY} if MEMORY.is_dir() else {})}
    print(f"{'where':8s} {'kept':8s} {'processes':>9s} {'MB/s':>7s} {'s a field':>9s} {'MB a field':>10s}")
    for where, parent in places.items():
        with tempfile.TemporaryDirectory(dir=parent) as temporary:
            folder = Path(temporary)
            model, source = published_model(folder / "model"), folder / "in.zarr"
            write_input(source, degrees, 0, TIMES, noise)
            with xr.open_dataset(source, engine="zarr", chunks=None, cache=False, consolidated=False) as dataset:
                cut = Settings(tile=TILE, halo=HALO)
                job = dataset_job(load_model(model), dataset, [source], folder / "out.zarr", None, cut, Reading())
                megabytes = 4e-6 * len(OUTPUTS) * np.prod(job.layout.grid.shape) * TIMES
                took: dict[tuple[str, int], list[float]] = {way: [] for way in ways(cores)}
                sizes = {}
                for _ in range(turns):
                    for stored, hands in took:
                        settings = replace(cut, stored=stored)  # type: ignore[arg-type]
                        layout = layout_of(job.downscaler, job.grid, job.layout.times, settings, ())
                        seconds, sizes[stored] = written(replace(job, layout=layout), window, hands)
                        took[stored, hands].append(seconds)
                if parent is not None or len(places) == 1:
                    job = replace(job, layout=layout_of(job.downscaler, job.grid, job.layout.times, replace(cut, stored="rounded"), ()))
                    left = max(cores - 1, 1)  # one core reads
                    own = float(np.median([written(job, window, left)[0] for _ in range(turns)]))
                    beside = {times: [written(job, window, left, times * own / len(job.layout.items))[0] for _ in range(turns)]
                              for times in BESIDE}  # fmt: skip
        for (stored, hands), each in took.items():
            second = float(np.median(each))
            row = {"where": where, "stored": stored, "processes": max(hands, 1), "seconds": second / TIMES,
                   "megabytes": megabytes / TIMES, "megabytes_per_second": megabytes / second,
                   "megabytes_stored": sizes[stored] / 1e6 / TIMES}  # fmt: skip
            rows.append(row)
            print(f"{where:8s} {stored:8s} {row['processes']:9d} {row['megabytes_per_second']:7.0f} {row['seconds']:9.2f} "
                  f"{row['megabytes_stored']:10.0f}", flush=True)
    wrong, shares = [], dict[str, float]()
    for times, each in beside.items():
        whole = float(np.median(each))
        shares[f"{times:g}"] = share = max(times, 1.0) * own / whole
        print(f"a device that takes {times:g} times as long as writing: {whole / TIMES:.2f} s a field, {share:.0%} of the slower")
        if share < ASKED:
            wrong.append(f"beside a device of {times:g} times: {share:.0%} of the slower")
    rate = {(row["where"], row["stored"], row["processes"]): row["megabytes_per_second"] for row in rows}
    size = {row["stored"]: row["megabytes_stored"] for row in rows}
    for (where, stored, hands), found in rate.items():
        if stored == "rounded" and found < SLOWER * rate[where, "exact", hands]:
            wrong.append(f"{where}, {hands} process(es): rounded is slower")
        if hands > 1 and found <= rate[where, stored, 1]:
            wrong.append(f"{where}, {stored}: {hands} processes are not faster than one")
    wrong += [] if size["rounded"] < size["exact"] else ["rounded is not smaller"]
    print("claims: " + ("hold" if not wrong else "DO NOT HOLD: " + "; ".join(wrong)))
    if not arguments.quick:
        write_json(arguments.out, {"code_version": code_version(), "cores": cores, "turns": turns, "tile": TILE, "halo": HALO,
                                   "factor": 4, "rows": rows, "of_the_slower": shares, "holds": not wrong})  # fmt: skip
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
