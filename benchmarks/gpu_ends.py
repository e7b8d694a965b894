"""One device end to end: `orbit2 train` and `orbit2 downscale` beside their own network with its data at hand.

    python benchmarks/gpu_ends.py [--quick] [--device cuda] [--out-dir benchmarks/results] [--minutes 4]

Training: steps of the published 9.5M Reslim, batch 8, of a pair store of the training shape (23 x 180 x 360 -> 3 x 720 x 1440), through
real loaders of 0, 4 and 8 workers; then the same steps on two batches that are there already: the network's own rate. The share of it
that the loaders keep is the case's `of_own` (asked: 0.92 with at most 8 workers). Downscaling: fields of 0.25 degree to 0.0625 degree as
`orbit2 downscale` makes them (tiles of 90 with a halo of 8, mixed, Zarr out; eight times at a time, replayed and rounded, and one at a
time, kept exactly), what 16 more of them take, in memory where that holds them, beside the same tiles computed alone and the same writers
with windows at hand: `of_own` of the slower of the two (asked: 0.85); reading alone is told too. Times are the clock's; exits 1 where the
best share is below what is asked (a CPU is never judged). A case that fails says why; cases that would start after --minutes are left out
and named. Writes <out-dir>/ends_<device>.json, anew after every case.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
import yaml
from demo import ROOT, first_model
from downscale_throughput import ALONE, write_input
from globe_900m import HALO, TILE, published_model
from loader import INPUTS, OUTPUTS, STATICS, store_of
from writer import MEMORY, written
from writer import fields as fields_of

from orbit2.config.load import load, validate
from orbit2.config.schema import ModelConfig
from orbit2.data.pairs import SIDES, PairStore
from orbit2.downscale import Reading, Settings, load_model
from orbit2.downscale.job import compute_block
from orbit2.downscale.samples import FileSamples
from orbit2.downscale.stage import dataset_job
from orbit2.downscale.store import begin
from orbit2.downscale.stored import Stored
from orbit2.downscale.writers import fitting
from orbit2.files import write_json
from orbit2.model.replayed import replay_model
from orbit2.parallel.launch import Ranks
from orbit2.provenance import code_version
from orbit2.train.build import Setup, prepare
from orbit2.train.taken import Taken, read, take
from orbit2.train.trainer import reads_every
from orbit2.variables import VARIABLES

ASKED = {"train": 0.92, "downscale": 0.85}
WORKERS = (8, 4, 0)
NEEDED = 8 * 2**30  # bytes of inputs, windows and predictions
Row = dict[str, Any]


def setup_of(store: PairStore, folder: Path, device: torch.device, quick: bool) -> Setup:
    """The 9.5M model (the demo's, for a look) about to train on `store`, whose one dataset is called like the demo's."""
    section = first_model(load(ROOT / "config" / "runs" / "demo.yaml"))
    if not quick:
        section["architecture"] = section["model"]["architecture"] = yaml.safe_load((ROOT / "config/models/reslim_9m.yaml").read_text())
    section["model"]["train"] |= {"batch_size": 2 if quick else 8, "compile": "auto", "site_memory": False}
    period = {"start": "2020-01-01", "end": "2020-01-08"}
    section["datasets"]["era5_week"]["split"] = dict.fromkeys(("train", "validation", "test"), period)
    middle = {side: {name: {"mean": float(np.mean(VARIABLES[name].valid)), "std": 10.0, "log1p_mean": 1.0, "log1p_std": 1.0}
                     for name in store.variables(side)} for side in SIDES}  # fmt: skip
    statics = {"fine": {name: {"mean": 0.0, "std": 1.0} for name in store.statics("fine")}}
    write_json(folder / "statistics.json", {**middle, "static": statics})
    config = validate(ModelConfig, section["model"], "model")
    prepare(config.train, device)
    (name,) = config.datasets
    return Setup(section, config, {name: store.path}, {name: folder / "statistics.json"}, None, Ranks(0, 1, device))


def clock(setup: Setup, batches: Sequence[Any] | torch.utils.data.DataLoader[Any], warm: int, count: int) -> float:
    """Seconds of a step, over `count` steps after `warm` ones, read as the trainer reads them."""
    began, device, taken = 0.0, setup.here.device, list[Taken]()
    for step, parts in enumerate(batches):
        if step == warm:
            wait(device)
            began = time.perf_counter()
        taken.append(take(setup, parts, step))
        if (step + 1) % reads_every(device) == 0:
            read(taken)
            taken.clear()
    wait(device)
    return (time.perf_counter() - began) / count


def wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def training(store: PairStore, folder: Path, device: torch.device, workers: int, quick: bool) -> Row:
    """Samples a second through loaders of so many workers, and of two batches that are held."""
    warm, count = (1, 2) if quick else (8, 40)
    setup = setup_of(store, folder, device, quick)
    pin = device.type == "cuda"
    held = [[part.pin_memory() if pin else part for part in setup.steps[step]] for step in range(2)]
    own = clock(setup, [held[step % 2] for step in range(warm + count)], warm, count)
    loader = torch.utils.data.DataLoader(setup.steps, batch_size=None, sampler=range(warm + count), num_workers=workers, pin_memory=pin)
    ends = clock(setup, loader, warm, count)
    batch = setup.config.batch_size
    return {"batch": batch, "samples_per_second": batch / ends, "own_samples_per_second": batch / own, "of_own": own / ends}


def downscaling(source: Path, folder: Path, device: torch.device, quick: bool, block: int, stored: Stored) -> Row:
    """Fields an hour as the command makes them once it runs, of their tiles computed alone, of their windows written alone, and of their
    inputs read alone; all in the same place."""
    few, many = (1, 2) if quick else (8, 24)
    settings = Settings(tile=TILE, halo=HALO, time_block=min(block, few), batch=min(block, few), stored=stored)
    loaded = load_model(published_model(folder / "model"), device, "fp32" if quick else "auto")
    if device.type == "cuda" and block > 1:
        replay_model(loaded.model, loaded.device, loaded.dtype)
    with xr.open_dataset(source, engine="zarr", chunks=None, cache=False, consolidated=False) as dataset:
        job = dataset_job(loaded, repeated(dataset, few), [source], folder / "few.zarr", None, settings, Reading())
        items = len(job.layout.items)
        chosen = [job.layout.items[i] for i in np.linspace(0, items - 1, min(ALONE, items)).astype(int)]
        held = [(item, job.read(item)) for item in chosen]
        for _ in range(2):  # kernels and graphs are made in the first
            began = time.perf_counter()
            for made in [job.compute(item, fields)[0] for item, fields in held]:
                made.array()
            network = (time.perf_counter() - began) * items / len(chosen) / few
        del held
        again = replace(job, samples=FileSamples(job.samples._inputs, settings.time_block))  # type: ignore[attr-defined]
        began = time.perf_counter()
        for item in job.layout.items:
            again.read(item)
        reading = (time.perf_counter() - began) / few
        one = dataset_job(loaded, repeated(dataset, 1), [source], folder / "one.zarr", None, replace(settings, time_block=1), Reading())
        writing, _ = written(one, fields_of(np.random.default_rng(0)), fitting(0, device.type == "cuda", one.layout))
        took = []
        for count, this in ((few, job), (many, None)):
            this = this or dataset_job(loaded, repeated(dataset, count), [source], folder / "many.zarr", None, settings, Reading())
            begin(this.path, this.layout, this.about, this.original, replace="anything", methods=this.methods)
            took.append(compute_block(this, Ranks(0, 1, device)).wall)
            shutil.rmtree(this.path)
    each = {"clock": (took[1] - took[0]) / (many - few), "network": network, "writer": writing, "reader": reading}
    slower = max(network, writing)
    rates = {f"{name}_fields_per_hour": 3600 / seconds for name, seconds in each.items()}
    how = {"stored": stored, "time_block": settings.time_block, "fields": [few, many], "wall_seconds": took}
    return {**rates, **how, "of_own": slower / each["clock"],
            "limit": max(("network", "writer", "reader"), key=each.__getitem__)}  # fmt: skip


def repeated(dataset: xr.Dataset, count: int) -> xr.Dataset:
    """The first times of a lazy Dataset over and over, an hour apart."""
    first = dataset["time"].values[0]
    return dataset.isel(time=np.arange(count) % dataset.sizes["time"]).assign_coords(time=first + np.arange(count) * np.timedelta64(1, "h"))


def run(cases: dict[str, Callable[[], Row]], minutes: float, keep: Callable[[list[Row], list[str]], None]) -> list[Row]:
    """Every case in its order; `keep` is given what is known after each of them, and which are left out."""
    rows: list[Row] = []
    left_out: list[str] = []
    began = time.monotonic()
    for name, case in cases.items():
        if time.monotonic() - began > 60 * minutes:
            left_out.append(name)
            continue
        row: Row = {"case": name}
        try:
            row |= case()
            print(f"{name:20s} {row['of_own']:6.1%} of its own rate", flush=True)
        except Exception as error:  # one case that fails must not lose the others' results
            row["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
            print(f"{name:20s} {row['error']}", flush=True)
        rows.append(row)
        keep(rows, left_out)
    keep(rows, left_out)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small store and network, few steps: does it run, not how fast")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out-dir", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--minutes", type=float, default=4.0, help="start no case later than this")
    options = parser.parse_args()
    device, quick = torch.device(options.device), options.quick
    if device.type == "cpu" and not quick:
        print("no GPU: only --quick runs on a CPU")
        return 2
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu"
    label = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") + ("_quick" if quick else "")
    about = {"code_version": code_version(), "device": name, "cores": len(os.sched_getaffinity(0)), "torch": torch.__version__,
             "quick": quick}  # fmt: skip
    options.out_dir.mkdir(parents=True, exist_ok=True)

    def keep(rows: list[Row], left_out: list[str]) -> None:
        write_json(options.out_dir / f"ends_{label}.json", {**about, "asked": ASKED, "rows": rows, "left_out": left_out})

    roomy = MEMORY.is_dir() and shutil.disk_usage(MEMORY).free > NEEDED
    about["place"] = "memory" if roomy else "disk"
    with tempfile.TemporaryDirectory() as temporary, tempfile.TemporaryDirectory(dir=MEMORY if roomy else None) as fast:
        folder, near = Path(temporary), Path(fast)
        inputs, grids = (OUTPUTS, ("global_4.0", "global_1.0")) if quick else (INPUTS, ("global_1.0", "global_0.25"))

        @cache
        def store() -> PairStore:
            return store_of(folder / "pairs.zarr", inputs, OUTPUTS, STATICS, grids)

        @cache
        def source() -> Path:
            write_input(near / "in.zarr", 1.0 if quick else 0.25, 0, 1 if quick else 8, np.random.default_rng(0))
            return near / "in.zarr"

        def downscale(block: int, stored: Stored) -> Row:
            return downscaling(source(), near, device, quick, block, stored)

        def train(workers: int) -> Row:
            return training(store(), folder, device, workers, quick)

        first, *others = WORKERS[-1:] if quick else WORKERS
        cases: dict[str, Callable[[], Row]] = {
            "downscale, rounded": partial(downscale, 8, "rounded"), f"train, {first} workers": partial(train, first),
            "downscale, exact": partial(downscale, 1, "exact"), **{f"train, {count} workers": partial(train, count) for count in others},
        }  # fmt: skip
        rows = run(cases, options.minutes, keep)
    if device.type == "cpu":
        return 0
    best = {kind: max((row["of_own"] for row in rows if row["case"].startswith(kind) and "of_own" in row), default=0.0) for kind in ASKED}
    for kind, share in best.items():
        verdict = "holds" if share >= ASKED[kind] else "DOES NOT HOLD"
        print(f"{kind}: {share:.1%} of the network's own rate (asked {ASKED[kind]:.0%}): {verdict}")
    return 0 if all(share >= ASKED[kind] for kind, share in best.items()) else 1


if __name__ == "__main__":
    sys.exit(main())
