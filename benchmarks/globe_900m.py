"""A globe of 5400 x 10800 cells and 23 variables downscaled to 21600 x 43200 (0.9 km) in pieces, by one process of at most 3 GB.

    .venv/bin/python benchmarks/globe_900m.py [--bands 3] [--quick]

The published 9.5M Reslim (random weights: only cost is measured), tiles of 90 x 90 cells, a halo of 8, neighbours mixed over 4. The
input exists nowhere: dask computes each window from a formula when it is read. Whole latitude bands of tiles of the globe are read,
computed, mixed, compressed and written to a temporary store that is deleted; the time of all bands is extrapolated from the core time of
these (one core). Memory: the peak of a process that does as many bands of a domain with an eighth of the cells (2700 x 2700) beside that
of the globe. Each measurement is a process of its own, whose private memory Linux caps at 3 GB (RLIMIT_DATA). Exits 1 unless every peak
is below 3 GB and the globe's within 10 % of the eighth's. Writes benchmarks/results/globe_900m.json.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ[_name] = "1"

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import dask
import dask.array as da
import numpy as np
import torch
import xarray as xr
import yaml
from alone import alone

from orbit2.config.network import ArchitectureConfig
from orbit2.data.transforms import Normaliser
from orbit2.downscale import Reading, Settings, load_model
from orbit2.downscale.job import compute_block
from orbit2.downscale.stage import dataset_job
from orbit2.downscale.store import begin
from orbit2.files import write_json
from orbit2.grid import Grid, uniform
from orbit2.model import folder
from orbit2.model.build import build
from orbit2.parallel import launch
from orbit2.provenance import code_version
from orbit2.variables import variable

ROOT = Path(__file__).resolve().parents[1]
LEVELS = (200, 500, 850)
INPUTS = (
    "2m_temperature", "2m_temperature_max", "2m_temperature_min", "2m_temperature_max_1hr", "2m_temperature_min_1hr",
    "10m_u_component_of_wind", "10m_v_component_of_wind", "mean_sea_level_pressure", "precipitation_rate", "total_precipitation_24hr",
    "volumetric_soil_water_layer_1",
    *(f"{name}_{level}" for level in LEVELS
      for name in ("temperature", "u_component_of_wind", "v_component_of_wind", "specific_humidity")),
)  # fmt: skip
OUTPUTS = ("2m_temperature_max", "2m_temperature_min", "total_precipitation_24hr")
STATICS = ("orography", "land_sea_mask")
TILE, HALO = 90, 8
LIMIT_GB = 3.0
GLOBE = (5400, 10800)


def published_model(out: Path) -> Path:
    """config/models/reslim_9m.yaml with random weights, as a model folder."""
    architecture = ArchitectureConfig.model_validate(yaml.safe_load((ROOT / "config/models/reslim_9m.yaml").read_text(encoding="utf-8")))
    torch.manual_seed(0)
    model = build(architecture, (*INPUTS, *STATICS), OUTPUTS, STATICS)
    moments = {name: (centre(name), spread(name)) for name in (*INPUTS, *OUTPUTS, *STATICS)}
    folder.save(out, model, Normaliser(moments, 0.1), {"name": "random_9m", "hash": "random"})
    return out


def centre(name: str) -> float:
    """A usual value of a variable, inside its range."""
    low, high = variable(name).valid
    return 1.0 if "precipitation" in name else 280.0 if "temperature" in name else (low + high) / 2


def spread(name: str) -> float:
    low, high = variable(name).valid
    return 0.5 if "precipitation" in name else min(10.0, (high - low) / 8)


def formula(lat: np.ndarray, lon: np.ndarray, name: str) -> np.ndarray:
    """A field with structure at every scale down to the grid's, different for every variable [h, w]."""
    shift = INPUTS.index(name)
    y, x = np.radians(lat)[:, None], np.radians(lon)[None]
    waves = np.sin(3 * x + shift) * np.cos(2 * y) + 0.5 * np.sin(41 * x + 37 * y) + 0.25 * np.sin(1500 * x - shift) * np.cos(1700 * y)
    return (centre(name) + spread(name) * waves / 2).astype(np.float32)


def lazy_globe(grid: Grid) -> xr.Dataset:
    """All input variables of one time; a chunk is computed when a window of it is read."""
    rows, columns = (da.core.normalize_chunks(360, (cells,))[0] for cells in grid.shape)
    data = {}
    for name in INPUTS:
        lat = da.from_array(grid.lat, chunks=(rows,))[:, None]
        lon = da.from_array(grid.lon, chunks=(columns,))[None]
        field = da.map_blocks(lambda y, x, name=name: formula(y[:, 0], x[0], name), lat, lon, dtype=np.float32)
        data[name] = (("time", "lat", "lon"), field[None], {"units": variable(name).units})
    coords = {"time": np.array(["2026-01-01"], dtype="datetime64[ns]"), "lat": grid.lat, "lon": grid.lon}
    return xr.Dataset(data, coords=coords)


def measure(model: Path, place: Path, box: tuple[float, float, float, float], shape: tuple[int, int], items: int, told: Any) -> None:
    """Do `items` tiles (those of a band near the equator first) of a domain and say what it took."""
    resource.setrlimit(resource.RLIMIT_DATA, (int(LIMIT_GB * 2**30),) * 2)
    torch.set_num_threads(1)
    dask.config.set(scheduler="synchronous")
    grid = uniform(*box, *shape)
    downscaler = load_model(model, "cpu")
    job = dataset_job(downscaler, lazy_globe(grid), [Path("formula")], place, None, Settings(tile=TILE, halo=HALO), Reading())
    begin(job.path, job.layout, job.about)
    down, along = job.layout.tiling.counts
    whole = len(job.layout.items)
    blocks = whole // items  # contiguous blocks of whole bands
    core, wall = time.process_time(), time.perf_counter()
    spent = compute_block(job, launch.Ranks(0, 1, torch.device("cpu")), blocks // 2, blocks)
    core, wall = time.process_time() - core, time.perf_counter() - wall
    shards = [file.stat().st_size for name in OUTPUTS for file in (place / name / "c").rglob("*") if file.is_file()]
    stored = sum(shards) / max(len(shards) / len(OUTPUTS), 1)  # of the first and last band only windows are there
    peak = next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    told.put({
        "coarse_cells": list(shape), "fine_cells": list(job.layout.grid.shape), "tiles": [down, along], "items": spent.items, "of": whole,
        "bands": spent.items / along, "core_seconds": core, "clock_seconds": wall, "peak_gb": peak / 2**20,
        "megabytes_stored_per_item": stored / 1e6,
        "read_share": spent.read / wall, "compute_share": spent.compute / wall, "write_share": spent.write / wall,
        "waiting_share": spent.waiting / wall,
    })  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bands", type=int, default=3, help="latitude bands of the globe to measure (of 60)")
    parser.add_argument("--quick", action="store_true", help="a tenth of a band each; for a look")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "globe_900m.json")
    arguments = parser.parse_args()
    rows, columns = GLOBE
    with tempfile.TemporaryDirectory() as temporary:
        model = published_model(Path(temporary) / "model")
        few, band = (12, 12) if arguments.quick else (columns // 4 // TILE * arguments.bands, columns // TILE * arguments.bands)
        eighth = alone(measure, model, Path(temporary) / "eighth.zarr", (-45, 45, 0, 90), (rows // 2, columns // 4), few)
        globe = alone(measure, model, Path(temporary) / "globe.zarr", (-90, 90, 0, 360), GLOBE, band)
    hours = globe["core_seconds"] / globe["items"] * globe["of"] / 3600
    flat = globe["peak_gb"] / eighth["peak_gb"]
    print(f"{'':10s} {'coarse':>14s} {'fine':>14s} {'tiles done':>16s} {'core s/tile':>12s} {'peak GB':>8s}   "
          "read compute write waiting (of the clock)")  # fmt: skip
    for name, row in (("eighth", eighth), ("globe", globe)):
        print(f"{name:10s} {'x'.join(map(str, row['coarse_cells'])):>14s} {'x'.join(map(str, row['fine_cells'])):>14s} "
              f"{row['items']:7d} of {row['of']:5d} {row['core_seconds'] / row['items']:12.2f} {row['peak_gb']:8.2f}   "
              f"{row['read_share']:.3f} {row['compute_share']:7.3f} {row['write_share']:5.3f} {row['waiting_share']:7.3f}")  # fmt: skip
    stored = globe["megabytes_stored_per_item"] * globe["of"] / 1e3
    print(f"\nthe whole globe: {hours:.2f} core hours for one time, {stored:.1f} GB stored "
          f"(extrapolated from {globe['bands']:.2g} bands of {rows // TILE})")  # fmt: skip
    holds = max(eighth["peak_gb"], globe["peak_gb"]) < LIMIT_GB and flat < 1.1
    print(f"claim (below {LIMIT_GB:g} GB; eight times the domain within 10 %: {flat:.3f}): {'holds' if holds else 'DOES NOT HOLD'}")
    if not arguments.quick:
        write_json(arguments.out, {"code_version": code_version(), "tile": TILE, "halo": HALO, "limit_gb": LIMIT_GB, "eighth": eighth,
                                   "globe": globe, "globe_core_hours": hours, "globe_gigabytes_stored": stored, "memory_ratio": flat,
                                   "holds": holds})  # fmt: skip
    else:
        print(json.dumps({"globe_core_hours": hours, "memory_ratio": flat}))
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
