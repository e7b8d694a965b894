"""`orbit2 downscale` of 0.25 degree fields to 0.0625 degree with the published 9.5M Reslim: fields per hour and where the time goes.

    .venv/bin/python benchmarks/downscale_throughput.py [--fields 12] [--threads 1] [--quick]

Zarr files of ERA5-like fields (720 x 1440, 23 variables, from a formula) are made two times at a time, downscaled as a user's file is
(2880 x 5760, 3 variables; tiles of 90 x 90 cells with a halo of 8, random weights), and deleted with their result: nothing is ever all
stored. In the same turns some of the same tiles are computed alone, from inputs in memory and with results dropped: the pure compute
rate. Reading and writing go on in threads beside the compute thread, so two things can cost rate: the compute thread waits for them,
or they take core time that it could have used. Exits 1 unless both keep 90 %: the share of the clock in which the compute thread did
not wait, and pure core time over all core time (medians over turns; core times, so that other work on the machine does not count).
Writes benchmarks/results/downscale_throughput.json.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ[_name] = "1"
os.environ["OMP_WAIT_POLICY"] = "PASSIVE"

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from globe_900m import HALO, INPUTS, OUTPUTS, TILE, formula, published_model, spread

from orbit2.downscale import Reading, Settings, downscale_file, load_model
from orbit2.downscale.stage import dataset_job
from orbit2.files import write_json
from orbit2.grid import global_grid
from orbit2.model.replayed import replay_model
from orbit2.provenance import code_version
from orbit2.variables import variable

ROOT = Path(__file__).resolve().parents[1]
PER_TURN = 2  # fields
ALONE = 16  # tiles computed alone in a turn
TARGET = 0.9


def write_input(path: Path, degrees: float, start: int, count: int, noise: np.random.Generator) -> None:
    """Some hours of 23 variables on the global grid, as rough as weather: compressed to about half, as ERA5's are."""
    grid = global_grid(degrees)
    rough = noise.standard_normal(grid.shape, dtype=np.float32)
    data = {}
    for i, name in enumerate(INPUTS):
        fields = [formula(grid.lat, grid.lon + 3 * (start + k), name) + 0.02 * spread(name) * np.roll(rough, 97 * i + k)
                  for k in range(count)]  # fmt: skip
        low, high = variable(name).valid
        values = np.clip(np.stack(fields), low, high).astype(np.float32)
        data[name] = (("time", "lat", "lon"), values, {"units": variable(name).units})
    times = np.datetime64("2026-01-01T00", "ns") + np.arange(start, start + count) * np.timedelta64(3600, "s")
    dataset = xr.Dataset(data, coords={"time": times, "lat": grid.lat, "lon": grid.lon})
    dataset.to_zarr(path, zarr_format=3, consolidated=False, encoding={name: {"chunks": (1, *grid.shape)} for name in INPUTS})


def turn(
    model: Path, folder: Path, degrees: float, start: int, count: int, noise: np.random.Generator, precision: str = "fp32",
    settings: Settings | None = None, cuda_graphs: bool = False,
) -> dict[str, Any]:  # fmt: skip
    """Downscale `count` fields as the command does, and some of their tiles alone."""
    source, out = folder / f"in_{start}.zarr", folder / f"out_{start}.zarr"
    write_input(source, degrees, start, count, noise)
    settings = settings or Settings(tile=TILE, halo=HALO)
    with xr.open_dataset(source, engine="zarr", chunks=None, cache=False, consolidated=False) as dataset:
        loaded = load_model(model, precision=precision)
        if cuda_graphs:
            replay_model(loaded.model, loaded.device, loaded.dtype)
        job = dataset_job(loaded, dataset, [source], folder / "unused.zarr", None, settings, Reading())
        chosen = [job.layout.items[i] for i in np.linspace(0, len(job.layout.items) - 1, min(ALONE, len(job.layout.items))).astype(int)]
        held = [(item, job.read(item)) for item in chosen]
        job.compute(*held[0])[0].array()
        core, wall = time.process_time(), time.perf_counter()
        for made in [job.compute(item, fields)[0] for item, fields in held]:
            made.array()
        alone = (time.process_time() - core, time.perf_counter() - wall)
        items = len(job.layout.items)
        del held, job
    core, wall = time.process_time(), time.perf_counter()
    spent = downscale_file(input=source, model=model, out=out, settings=settings, precision=precision, cuda_graphs=cuda_graphs)
    core, wall = time.process_time() - core, time.perf_counter() - wall
    stored = sum(file.stat().st_size for name in OUTPUTS for file in (out / name / "c").rglob("*") if file.is_file())
    for path in (source, out):
        shutil.rmtree(path)
    per_field = items / count / len(chosen)
    return {
        "fields": count, "core_seconds": core, "clock_seconds": wall, "read": spent.read, "compute": spent.compute, "write": spent.write,
        "waiting": spent.waiting, "working_share": 1 - spent.waiting / spent.wall, "alone_core_seconds": alone[0] * per_field * count,
        "alone_clock_seconds": alone[1] * per_field * count, "of_pure_core": alone[0] * per_field * count / core,
        "of_pure_clock": alone[1] * per_field * count / wall, "megabytes_stored": stored / 1e6,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--fields", type=int, default=12, help="fields to measure (even)")
    parser.add_argument("--threads", type=int, default=1, help="of the compute thread's matrix products")
    parser.add_argument("--quick", action="store_true", help="one field of 1 degree; for a look")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "downscale_throughput.json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    degrees, fields = (1.0, 1) if arguments.quick else (0.25, arguments.fields)
    noise, turns = np.random.default_rng(0), []
    with tempfile.TemporaryDirectory() as temporary:
        model = published_model(Path(temporary) / "model")
        for start in range(0, fields, PER_TURN):
            turns.append(turn(model, Path(temporary), degrees, start, min(PER_TURN, fields - start), noise))
            last = turns[-1]
            print(f"{start + last['fields']:3d} of {fields} fields: {last['core_seconds'] / last['fields']:6.1f} core s a field, pure / "
                  f"all core time {last['of_pure_core']:.3f}, compute thread at work {last['working_share']:.3f} of the clock", flush=True)
    total = {key: sum(row[key] for row in turns) for key in turns[0]}
    pure, working = (float(np.median([row[key] for row in turns])) for key in ("of_pure_core", "working_share"))
    core = total["core_seconds"] / fields
    print(f"\n{fields} fields of {180 / degrees:g} x {360 / degrees:g} x {len(INPUTS)}, refined 4 times, x {len(OUTPUTS)}; "
          f"{arguments.threads} compute thread(s)")  # fmt: skip
    for key in ("read", "compute", "write", "waiting"):
        print(f"  {key:8s} {total[key] / fields:8.2f} s a field ({total[key] / total['clock_seconds']:6.1%} of the clock"
              f"{'' if key in ('compute', 'waiting') else ', beside compute'})")  # fmt: skip
    rate = {"core": 3600 / core, "two_cores": 7200 / core, "clock": 3600 * fields / total["clock_seconds"]}
    print(f"  {rate['core']:.1f} fields an hour and core by core time ({rate['two_cores']:.1f} on two); "
          f"by the clock of this run {rate['clock']:.1f}")  # fmt: skip
    stored = total["megabytes_stored"] / fields
    print(f"  a year: {365 * core / 3600:.0f} core hours daily, {8760 * core / 3600:.0f} hourly; {365 * stored / 1e3:.0f} GB and "
          f"{8760 * stored / 1e6:.1f} TB stored (a field {stored:.0f} MB of {16 * 12 * 64800 / degrees**2 / 1e6:.0f})")  # fmt: skip
    holds = min(pure, working) >= TARGET
    print(f"claim ({TARGET:.0%} of the pure compute rate: core time {pure:.3f}, compute thread at work {working:.3f}): "
          f"{'holds' if holds else 'DOES NOT HOLD'}")  # fmt: skip
    if not arguments.quick:
        write_json(arguments.out, {
            "code_version": code_version(), "fields": fields, "threads": arguments.threads, "tile": TILE, "halo": HALO, "turns": turns,
            "of_pure_core": pure, "working_share": working, "fields_per_hour": rate, "core_seconds_per_field": core,
            "year_core_hours": {"daily": 365 * core / 3600, "hourly": 8760 * core / 3600}, "megabytes_stored_per_field": stored,
            "holds": holds,
        })  # fmt: skip
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
