"""Memory of members: 64 of 720 x 1440 cells and five variables take no more than 4; quantiles of them hold those of one time, once.

    .venv/bin/python benchmarks/members_memory.py [--quick]

A small Reslim with noise (random weights) downscales one time of 1 degree as a user's file, uncut: 4, 16 and 64 members are stored, each
count in a fresh process; then quantiles and a probability are kept of 64 instead, uncut and on tiles. Peak resident memory above what the
process held with the model loaded; core seconds and what a member costs beside the trunk. Exits 1 where 64 stored members take more than
1.05 times the memory of 4 (and 20 MB), or quantiles more than all members of one time uncut, or on tiles more than that, with what 4 take.
Writes benchmarks/results/members_memory.json.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "BLOSC_NTHREADS"):
    os.environ[_name] = "1"

import argparse
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import xarray as xr
from alone import alone

from orbit2.config.network import ArchitectureConfig
from orbit2.data.transforms import Normaliser
from orbit2.downscale import Settings, downscale_file, load_model
from orbit2.files import read_json, write_json
from orbit2.grid import global_grid
from orbit2.model import folder
from orbit2.model.reslim import Reslim
from orbit2.provenance import code_version
from orbit2.variables import variable

ROOT = Path(__file__).resolve().parents[1]
FIELDS = {"2m_temperature": (280.0, 15.0), "10m_u_component_of_wind": (0.0, 5.0), "10m_v_component_of_wind": (0.0, 5.0),
          "mean_sea_level_pressure": (101_000.0, 800.0), "precipitation_rate": (2.0, 1.0)}  # fmt: skip
STATICS = ("orography", "land_sea_mask")
ARCHITECTURE = {"embed_dim": 32, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 8, "residual_blocks": 1, "patch": 4,
                "conserve": True, "noise": {"channels": 2}}  # fmt: skip
TILE, QUANTILES, EVENTS = 45, (0.1, 0.5, 0.9), ("precipitation>5",)
CASES: dict[str, Settings] = {
    "4 members": Settings(members=4),
    "16 members": Settings(members=16),
    "64 members": Settings(members=64),
    "quantiles of 64": Settings(members=64, quantiles=QUANTILES, events=EVENTS),
    f"quantiles of 64, tiles of {TILE}": Settings(members=64, quantiles=QUANTILES, events=EVENTS, tile=TILE, halo=4),
}
ALLOWED, SLACK = 1.05, 20.0  # of the memory of 4 members; MB


def make_model(path: Path) -> Path:
    """Random weights everywhere, the last layers' too."""
    torch.manual_seed(0)
    model = Reslim(ArchitectureConfig.model_validate(ARCHITECTURE), (*FIELDS, *STATICS), tuple(FIELDS), STATICS)
    for parameter in (model.decoder.smooth.weight, model.residual.leave.weight):
        torch.nn.init.normal_(parameter, std=0.05)
    moments = {**FIELDS, "orography": (200.0, 800.0), "land_sea_mask": (0.3, 0.5)}
    moments["precipitation_rate"] = (0.7, 0.7)  # of ln(1 + mm/day)
    model.output_moments.copy_(torch.tensor([moments[name] for name in FIELDS]))
    folder.save(path, model, Normaliser(moments, 0.1), {"name": "random", "hash": "00000000"})
    return path


def make_input(path: Path, degrees: float) -> Path:
    grid = global_grid(degrees)
    lat, lon = np.radians(grid.lat)[:, None], np.radians(grid.lon)[None]
    data = {}
    for i, (name, (mean, spread)) in enumerate(FIELDS.items()):
        field = mean + spread * np.sin(7 * lon + i) * np.cos(5 * lat) + 0.3 * spread * np.sin(31 * lon) * np.sin(17 * lat)
        low, high = variable(name).valid
        data[name] = (("time", "lat", "lon"), np.clip(field, low, high).astype(np.float32)[None], {"units": variable(name).units})
    coords = {"time": np.array(["2026-01-01"], dtype="datetime64[ns]"), "lat": grid.lat, "lon": grid.lon}
    xr.Dataset(data, coords=coords).to_netcdf(path)
    return path


def megabytes(key: str) -> float:
    return int(next(line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(key))) / 1024


def measure(source: Path, model: Path, out: Path, settings: Settings, told: Any) -> None:
    torch.set_num_threads(1)
    load_model(model, "cpu")
    before, core = megabytes("VmRSS"), time.process_time()
    downscale_file(input=source, model=model, out=out, settings=settings, device="cpu")
    bytes_stored = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    told.put({"peak_mb": megabytes("VmHWM") - before, "core_seconds": time.process_time() - core, "stored_mb": bytes_stored / 1e6})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="4 degrees, judged by nothing, nothing written; for a look")
    parser.add_argument("--only", choices=("stored", "derived"),
                        help="members, or what is kept of them; the rest of the results stays")  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "members_memory.json")
    arguments = parser.parse_args()
    degrees = 4.0 if arguments.quick else 1.0
    rows, columns = (4 * cells for cells in global_grid(degrees).shape)
    kept = read_json(arguments.out).get("cases", {}) if arguments.only and arguments.out.is_file() else {}
    found: dict[str, dict[str, Any]] = dict(kept)
    print(f"{f'{rows} x {columns}, {len(FIELDS)} variables':<32}{'peak MB':>10}{'core s':>10}{'stored MB':>12}", flush=True)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        model, source = make_model(place / "model"), make_input(place / "in.nc", degrees)
        for number, (name, settings) in enumerate(CASES.items()):
            if not arguments.only or (arguments.only == "derived") == bool(settings.quantiles):
                found[name] = alone(measure, source, model, place / f"{number}.zarr", settings)
            if name in found:
                row = found[name]
                print(f"{name:<32}{row['peak_mb']:>10.0f}{row['core_seconds']:>10.1f}{row['stored_mb']:>12.1f}", flush=True)
    member = 4 * len(FIELDS) * rows * columns / 2**20
    few, some, many = (found[f"{count} members"] for count in (4, 16, 64))
    each = (many["core_seconds"] - few["core_seconds"]) / 60
    print(f"one member is {member:.0f} MB and costs {each:.2f} core s, writing included; all 64 are {64 * member:.0f} MB")
    level = ALLOWED * few["peak_mb"] + SLACK
    allowed = {name: level for name in CASES if name not in ("16 members", "quantiles of 64")}
    allowed |= {"4 members": few["peak_mb"], "16 members": some["peak_mb"], "quantiles of 64": few["peak_mb"] + 64 * member + SLACK}
    holds = all(row["peak_mb"] <= allowed[name] for name, row in found.items())
    ratio = many["peak_mb"] / few["peak_mb"]
    print(f"claim (64 stored members in {ALLOWED} times the memory of 4: {ratio:.3f}, of 16 {many['peak_mb'] / some['peak_mb']:.3f}; "
          f"quantiles uncut at most all members more, on tiles what 4 take): {'holds' if holds else 'DOES NOT HOLD'}")  # fmt: skip
    if not arguments.quick:
        write_json(arguments.out, {"cells": [rows, columns], "member_mb": member, "core_seconds_per_member": each, "cases": found,
                                   "memory_ratio": ratio, "holds": holds, "code_version": code_version()})  # fmt: skip
    return int(not holds and not arguments.quick)


if __name__ == "__main__":
    sys.exit(main())
