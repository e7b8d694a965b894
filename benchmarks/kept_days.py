"""24 years of daily rain at 0.25 degree on the globe: what its kept days cost to gather, to hold and to ask, measured on latitude bands.

    .venv/bin/python benchmarks/kept_days.py [--quick]   # 3 minutes of one core

Gathering: one day of 720 x 1440 cells with all models through the collector that keeps days. Then, for each of three bands of ten degrees
(5 x 180 blocks of 8 x 8 cells), parts of 288 months with days made on the fly (rain of known seasons on a third of all days), written as
the stage writes them, and asked as `orbit2 diagnose` asks them: two thresholds in the domain and the AR6 regions, eight regions of one's
own, and seasons (monsoon dates, seasonality, sections), first without, then with 1,000 draws for intervals. What goes with blocks and
models is extrapolated to the globe's 90 x 180 blocks and thirteen series; intervals go with regions and days. Memory is measured: it goes
with a stretch of rows, not with the globe.

Exits 1 unless asking takes less than 3 GB. Writes benchmarks/results/kept_days.json (not with --quick).
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import h5py
import numpy as np
import shapely

from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.config.thresholds import DEFAULT
from orbit2.diagnose import areas, own_regions, thresholds
from orbit2.diagnose.climate import analyse
from orbit2.diagnose.kept import TRUTH, Kept, read
from orbit2.files import write_json
from orbit2.grid import Grid, global_grid
from orbit2.metrics import parts
from orbit2.metrics.collector import Settings
from orbit2.metrics.matched import Scored
from orbit2.metrics.table import Table
from orbit2.provenance import code_version

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results" / "kept_days.json"
RAIN, GRID, STEP = "total_precipitation_24hr", global_grid(0.25), 8
BANDS = ((-40.0, -30.0), (0.0, 10.0), (40.0, 50.0))
HELD = ("reslim", "nearest", "conservative", "delta")  # of the models that are scored, whose parts are made here
ALL = 13  # series of rain with every baseline that ships: the truth, the model and eleven baselines; `nearest` is the input too
FIRST, LAST = "1998-01", "2021-12"
MOST_GB = 3.0


def highest_gb() -> float:
    """Most memory held since the last call (Linux)."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    Path("/proc/self/clear_refs").write_text("5")
    return int(told["VmHWM"].split()[0]) / 2**20


def matched(grid: Grid, models: tuple[str, ...]) -> Any:
    return SimpleNamespace(
        has_truth=True, step_hours=24.0, grid=grid, times=np.array(["1998-01-01"], dtype="datetime64[s]"), variables=(RAIN,), members=0,
        model=models[0], models=lambda name: models, baselines=lambda name: models[1:], all_models=models, observations=None,
        region="domain", land_fraction=np.ones(grid.shape),
    )  # fmt: skip


def gathering() -> dict[str, float]:
    """Core seconds of one day of all models, and what a month of it takes in memory."""
    models = ("reslim", "nearest", *(f"m{i}" for i in range(ALL - 3)))
    kept = Kept(matched(GRID, models), Settings(EvaluateConfig(), DiagnoseConfig()))
    generator = np.random.default_rng(0)
    truth = generator.gamma(0.3, 8.0, GRID.shape)
    fields = {model: truth + generator.normal(0, 1, GRID.shape) for model in models}
    for day in range(3):  # the first compiles
        began = time.process_time()
        kept.update(Scored(day, np.datetime64("1998-01-01") + day, RAIN, truth, fields, fields, day))
    spent = time.process_time() - began
    a_day = sum(array.nbytes for array in kept.state().values() if array.ndim == 3) / 3
    blocks = float(np.prod(kept.blocks.coarse.shape))
    return {"core_s_a_day": spent, "mb_a_month": a_day * 30 / 1e6, "blocks": blocks, "step": kept.blocks.step}


def write_parts(folder: Path, grid: Grid, years: int) -> float:
    """Parts of every month with what `Kept` would keep; core seconds."""
    generator, began = np.random.default_rng(1), time.process_time()
    shape, lat = grid.shape, np.radians(grid.lat)[:, None]
    about = {"about/calendar": np.array(b"standard"), "about/samples_a_day": np.array(1), "about/step": np.array(STEP),
             "about/lat_edges": grid.lat_edges, "about/lon_edges": grid.lon_edges, "about/land_fraction": np.ones(shape, dtype=np.float32),
             "about/land_fraction_of_cells": np.ones(shape, dtype=np.float32)}  # fmt: skip
    origin = np.datetime64("1850-01-01")
    for month in np.arange(np.datetime64(FIRST), np.datetime64(FIRST) + 12 * years):
        days = np.arange(month.astype("datetime64[D]"), (month + 1).astype("datetime64[D]"))
        season = 1 + 0.8 * np.sin(2 * np.pi * (month.astype(int) % 12) / 12) * np.sign(lat)
        base = np.maximum(generator.standard_normal((len(days), *shape), dtype=np.float32) - 0.4, 0) * (12 * season).astype(np.float32)
        state = {**about, f"{RAIN}/days": (days - origin).astype(np.int64), f"{RAIN}/samples": np.ones(len(days), dtype=np.int64),
                 f"{RAIN}/share": np.ones(base.shape, dtype=np.float32)}  # fmt: skip
        for i, model in enumerate((TRUTH, *HELD)):
            noise = generator.standard_normal(base.shape, dtype=np.float32) * (0.5 * i)
            state[f"{RAIN}/{model}/values"] = np.maximum(base + noise * (base > 0), 0)
            state[f"{RAIN}/{model}/means"] = state[f"{RAIN}/{model}/values"] * np.float32(0.8)
            if model != TRUTH:
                state[f"{RAIN}/{model}/squared"] = noise**2
        with h5py.File(folder / f"{str(month).replace('-', '')}.h5", "w") as file:
            for name, array in state.items():
                file.create_dataset(f"diagnose/kept/{name}", data=array, **parts.packing(array))
    return time.process_time() - began


def asked(folder: Path, grid: Grid, basins: Path, draws: int) -> dict[str, float]:
    """Core seconds of opening, thresholds, regions of one's own and seasons (monsoon dates, seasonality, sections); rows."""
    table, found = Table("test", "data", "standard", "truth", f"{FIRST}/{LAST}", code_version()), {}
    began = time.process_time()
    days = read(folder)
    found["open"] = time.process_time() - began
    task = matched(grid, HELD)
    own = areas.own(days, {"basins": str(basins)}).some()
    given = areas.given(days, "domain") + own
    began = time.process_time()
    thresholds.rows(table, days, given, {"heavy": DEFAULT["heavy_rain_20mm"], "dry": DEFAULT["dry_spell_10d"]}, task, draws)
    found["thresholds"] = time.process_time() - began
    began = time.process_time()
    own_regions.rows(table, days, own, task, draws)
    found["own_regions"] = time.process_time() - began
    began = time.process_time()
    analyse(days, task, Settings(EvaluateConfig(bootstrap=draws), DiagnoseConfig()), table)
    return {**found, "seasons": time.process_time() - began, "regions": len(given.names), "rows": len(table.rows)}


def band(south: float, north: float, years: int) -> dict[str, Any]:
    rows, columns = GRID.window((south, north, 0.0, 360.0))
    cells = GRID.crop(rows, columns)
    grid = cells.blocks(STEP, STEP)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        boxes = [shapely.box(west, south + 1, west + 17, north - 1) for west in np.arange(5, 360, 45)]
        features = [{"type": "Feature", "properties": {"name": f"b{i}"}, "geometry": shapely.geometry.mapping(box)}
                    for i, box in enumerate(boxes)]  # fmt: skip
        (folder / "basins.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))
        made = write_parts(folder, grid, years)
        size = sum(path.stat().st_size for path in folder.glob("*.h5"))
        highest_gb()
        plain = asked(folder, cells, folder / "basins.geojson", 0)
        peak = highest_gb()
        sure = asked(folder, cells, folder / "basins.geojson", 1000)
        return {"band": [south, north], "blocks": int(np.prod(grid.shape)), "days": len(read(folder).numbers), "made_core_s": made,
                "gb_of_parts": size / 1e9, "plain": plain, "with_intervals": sure, "peak_gb": peak,
                "peak_gb_with_intervals": highest_gb()}  # fmt: skip


def alone(i: int, measured: Path | None) -> dict[str, Any]:
    """A band in a process of its own, so that its memory is its own."""
    if measured is not None:
        text = (measured / f"{i}.json").read_text()
    else:
        text = subprocess.run([sys.executable, __file__, "--band", str(i)], check=True, capture_output=True, text=True).stdout
    found: dict[str, Any] = json.loads(text)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="one band of two years")
    parser.add_argument("--band", type=int, help="only this one of 24 years, as JSON")
    parser.add_argument("--measured", type=Path, help="folder with what `--band I` printed, as I.json: the rest is done with that")
    given = parser.parse_args()
    quick, years = given.quick, 2 if given.quick else 24
    if given.band is not None:
        print(json.dumps(band(*BANDS[given.band], years)))
        return 0
    kept = gathering()
    found = [band(*BANDS[0], years)] if quick else [alone(i, given.measured) for i in range(len(BANDS))]
    series, blocks = len(HELD) + 1, sum(one["blocks"] for one in found)
    scale = kept["blocks"] / blocks * ALL / series
    plain = {key: sum(one["plain"][key] for one in found) for key in ("thresholds", "own_regions", "seasons")}
    more = {key: sum(one["with_intervals"][key] for one in found) - plain[key] for key in plain}
    regions = sum(one["with_intervals"]["regions"] for one in found)
    whole = {
        "gather_core_hours": kept["core_s_a_day"] * found[0]["days"] / 3600,
        "gb_of_parts": sum(one["gb_of_parts"] for one in found) * scale,
        "thresholds_core_s": plain["thresholds"] * scale + more["thresholds"] * 59 / regions,
        "own_regions_core_s": plain["own_regions"] * scale + more["own_regions"] / len(found),
        "seasons_core_s": plain["seasons"] * scale + more["seasons"],
    }
    peak = max(max(one["peak_gb"], one["peak_gb_with_intervals"]) for one in found)
    print(f"one day, {ALL} series of {GRID.shape[0]} x {GRID.shape[1]} cells: {kept['core_s_a_day']:.3f} core s, "
          f"{kept['mb_a_month']:.0f} MB a month in memory, blocks of {kept['step']} x {kept['step']} cells")  # fmt: skip
    for one in found:
        print(f"{one['band']}: {one['blocks']} blocks, {one['days']} days, {one['gb_of_parts']:.2f} GB; "
              f"asked {one['plain']}; with intervals {one['with_intervals']}; "
              f"at most {one['peak_gb']:.2f} and {one['peak_gb_with_intervals']:.2f} GB")  # fmt: skip
    print("the globe:", ", ".join(f"{key} {value:.3g}" for key, value in whole.items()))
    if not quick:
        write_json(RESULTS, {"years": years, "kept": kept, "bands": found, "extrapolated_to_the_globe": whole, "most_gb": peak,
                             "code_version": code_version()})  # fmt: skip
    return 0 if peak < MOST_GB else 1


if __name__ == "__main__":
    sys.exit(main())
