"""Core seconds of the scores of one day and variable at 0.25 degree and at 7 km, beside what xskillscore, scores and chunked xarray take.

    .venv/bin/python benchmarks/evaluate_speed.py [--quick] [--only small|large]

Fields are made on the fly (a red spectrum on the globe): temperature and rain, an input, a truth four times finer and a prediction, as the
stages store them, with every baseline that ships, fitted to another day. One day is streamed through the collectors of both stages, as a
part of a task is; the day before it compiles and opens. Every step's core time is taken apart. Reading is told apart too: it belongs to
the files, not to the scores.

Judged: RMSE, MAE, bias, r, quantiles and regions with all baselines at most 0.4 s a day and variable at 0.25 degree and 6 s at 7 km, in
3 GB; the metrics that the libraries have too are the same to 1e-6 relative, and faster.
"""

from __future__ import annotations

# ruff: noqa: E402  (the repository's tests are no package that is installed)
import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from score_libraries import FACTOR, NEEDED, libraries, red, structures, weather

from orbit2.baselines import interpolate
from orbit2.baselines.interpolation import block_mean
from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.diagnose.collectors import COLLECTORS as DIAGNOSE
from orbit2.evaluate import fit
from orbit2.evaluate.collectors import COLLECTORS as EVALUATE
from orbit2.files import write_json
from orbit2.grid import global_grid
from orbit2.metrics import collector as collecting
from orbit2.metrics import matched as matching
from orbit2.metrics.collector import Settings, gather
from orbit2.metrics.fields import Field
from orbit2.metrics.matched import Matched, Scored
from orbit2.metrics.predictions import Frames
from orbit2.provenance import code_version
from orbit2.variables import is_precipitation
from tests.data import scored

RESULTS = ROOT / "benchmarks" / "results" / "evaluate_speed.json"
SAMPLES = 4  # two days are fitted to, two are scored
FITTED = 2
PASSES = 3  # over the same day; the quickest counts, as whatever else computes on a machine only slows it down
SIZES = {"small": 1.0, "large": 0.25}  # degrees of the input: the truth has 720 x 1440 and 2880 x 5760 cells
STRUCTURE = ("ssim", "spectra", "fss", "sal", "harmonics", "paper", "overtime")  # every n-th day only: `evaluate.every`
ASKED = ("moments", "distribution", "interpolations", "fitted baselines", "masks", "spaces", "scores", "regions",
         "own_tails")  # of the target; thresholds of each cell's own among its quantiles
MOST = {"small": 0.4, "large": 6.0}  # core seconds of a day and variable
MOST_GB = 3.0


def make(folder: Path, degrees: float) -> None:
    """A store of four days, fits to the first two and a prediction of the others."""
    coarse_grid = global_grid(degrees)
    fine_grid = coarse_grid.refine(FACTOR)
    times = np.datetime64("2026-01-30T00:00:00", "s") + np.arange(SAMPLES) * np.timedelta64(86400, "s")
    land = (red(fine_grid, 99) > 0.5).astype(np.float32)
    height = land * 800 * np.abs(red(fine_grid, 98))
    statics = np.stack([land, height]).astype(np.float32)
    low = block_mean(statics, fine_grid.lat_weights, FACTOR).astype(np.float32)
    specs = [SideSpec(grid, scored.VARIABLES, scored.STATICS, values) for grid, values in ((coarse_grid, low), (fine_grid, statics))]
    path = folder / "pairs.zarr"
    initialise(path, specs[0], specs[1], times, shard=1, attributes={"source": "sample"})
    frames: dict[str, list[npt.NDArray[np.float32]]] = {name: [] for name in scored.VARIABLES}
    for day in range(SAMPLES):
        fine = weather(fine_grid, day)
        coarse = block_mean(fine, fine_grid.lat_weights, FACTOR).astype(np.float32)
        write_part(path, day, coarse[None], fine[None])
        for position, name in enumerate(scored.VARIABLES if day >= FITTED else ()):
            lower = 0.0 if is_precipitation(name) else None
            made = interpolate(coarse[position], coarse_grid, FACTOR, "bicubic", lower=lower)
            frames[name].append(made + (0.3 * (fine[position] - made)).astype(np.float32))
    finalise(path)
    store = PairStore(path)
    bounds = {f"{axis}_bnds": ((axis, "bounds"), np.stack([edges[:-1], edges[1:]], -1))
              for axis, edges in (("lat", fine_grid.lat_edges), ("lon", fine_grid.lon_edges))}  # fmt: skip
    dims = ("time", "lat", "lon")
    axes = {"time": times[FITTED:].astype("datetime64[ns]"), "lat": fine_grid.lat, "lon": fine_grid.lon}
    data = xr.Dataset({**{name: (dims, np.stack(values)) for name, values in frames.items()}, **bounds}, coords=axes)
    data.attrs = {"finalised": True, "task": "test", "dataset": "era5_week", "split": "test", "input": "coarse", "model": "reslim",
                  "refinement": FACTOR}  # fmt: skip
    chunks = (1, min(720, fine_grid.shape[0]), min(1440, fine_grid.shape[1]))
    data.to_zarr(str(folder / "prediction.zarr"), zarr_format=3, consolidated=False,
                 encoding={name: {"chunks": chunks} for name in scored.VARIABLES})  # fmt: skip
    config = scored.write_dataset(folder / "dataset.json", store, slice(0, FITTED), slice(FITTED, SAMPLES))
    fit(config=config, store=path, out=folder / "fits.nc")


def cells(folder: Path) -> int:
    """Of the truth."""
    return int(np.prod(PairStore(folder / "pairs.zarr").grid("fine").shape))


class Clock:
    """Core seconds by step; `inside` takes a step's time out of the one that it is part of."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = defaultdict(float)
        self.peaks: dict[str, float] = defaultdict(float)
        self._open: list[str] = []
        self._since = time.process_time()

    def _turn(self) -> None:
        now = time.process_time()
        if self._open:
            self.spent[self._open[-1]] += now - self._since
            self.peaks[self._open[-1]] = max(self.peaks[self._open[-1]], highest_gb())
        self._since = now

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        self._turn()
        self._open.append(name)
        try:
            yield
        finally:
            self._turn()
            self._open.pop()

    def wrapped(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def timed(*given: Any, **words: Any) -> Any:
            with self.step(name):
                return function(*given, **words)

        return timed


def highest_gb() -> float:
    """Most memory held since the last call (Linux)."""
    told = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    Path("/proc/self/clear_refs").write_text("5")
    return int(told["VmHWM"].split()[0]) / 2**20


def streamed(folder: Path, structure: bool = False) -> dict[str, Any]:
    """The second scored day of both variables, step by step; with `structure` the costly scores alone, which have turns of their own."""
    paths = {"store": folder / "pairs.zarr", "prediction": folder / "prediction.zarr", "fits": folder / "fits.nc"}
    settings = Settings(EvaluateConfig(), DiagnoseConfig())
    config = {"task": "test", "downscale": {"model": "reslim", "dataset": "era5_week", "split": "test", "input": "coarse", "tile": 0}}
    clock = Clock()
    with patched(clock):
        matched = Matched(config, paths["prediction"], paths["store"], settings.evaluate.baselines, fits=paths["fits"])
        if structure:
            matched.streamed = matched.streamed[-1:]
        if matched.fitted is not None:
            matched.fitted.applied = clock.wrapped("fitted baselines", matched.fitted.applied)  # type: ignore[method-assign]
        kinds = [kind for kind in (*EVALUATE, *DIAGNOSE) if (kind.name in STRUCTURE) == structure]
        found: dict[str, list[dict[str, float]]] = defaultdict(list)

        def watched(samples: Iterator[Scored]) -> Iterator[Scored]:
            while True:
                clock.spent.clear()
                with clock.step("masks"):
                    given = next(samples, None)
                if given is None:
                    return
                yield given
                found[given.variable].append(dict(clock.spent))

        peaks: dict[str, float] = {}
        base = 0.0
        for _ in range(1 if structure else PASSES):
            collectors = [kind(matched, settings, matched.training) for kind in kinds]
            for collector in collectors:
                for verb in ("begin", "pair", "update"):
                    setattr(collector, verb, clock.wrapped(collector.name, getattr(collector, verb)))
            base = base or highest_gb()
            gather(matched, collectors, watched)
            peaks = peaks or dict(clock.peaks)  # of the first pass: a part is streamed once
            del collectors, collector
            matched.streamed = matched.streamed[-1:]  # the day before it opens what is read
    models = {name: len(matched.models(name)) for name in matched.variables}
    quickest = {name: min(passes[-PASSES:], key=asked_of) for name, passes in found.items()}
    return {"steps": quickest, "peaks": peaks, "models": models, "cells": int(np.prod(matched.grid.shape)),
            "peak_gb": max(peaks.values()), "peak_before_gb": base}


def asked_of(steps: Mapping[str, float]) -> float:
    """Core seconds of what the target is for."""
    return sum(steps.get(step, 0.0) for step in ASKED)


@contextmanager
def patched(clock: Clock) -> Iterator[None]:
    """What collectors share is told apart: reading, interpolations, ln(1 + x), moments."""
    places = ((Frames, "field", "reading"), (PairStore, "read", "reading"), (matching, "interpolate", "interpolations"),
              (Field, "of", "spaces"), (collecting, "moments_of", "moments"))
    kept = [getattr(place, name) for place, name, _ in places]
    for (place, name, step), function in zip(places, kept, strict=True):
        setattr(place, name, clock.wrapped(step, function))
    try:
        yield
    finally:
        for (place, name, _), function in zip(places, kept, strict=True):
            setattr(place, name, function)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a coarse grid: shows that it runs, judges and writes nothing")
    parser.add_argument("--step", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=list(SIZES))
    parser.add_argument("--keep", type=Path, help="a folder that the fields are kept in, and taken from where they are there")
    given = parser.parse_args()
    if given.step:
        folder = Path(given.step[1])
        if given.step[0] in ("stream", "structure"):
            apart, most = given.step[0] == "structure", matching.SINGLE
            matching.SINGLE = 0 if cells(folder) > most else most
            streamed(folder.parent / "warm", apart)  # compiles, for fields of the same precision
            matching.SINGLE = most
            print("found", json.dumps(streamed(folder, apart)))
        else:
            make(folder, float(given.step[0]))
        return
    for name in NEEDED:
        if importlib.util.find_spec(name) is None:
            sys.exit(f"error: {name} is not installed, which scores are measured beside; pip install '.[bench]'")
    record: dict[str, Any] = json.loads(RESULTS.read_text(encoding="utf-8")) if given.only else {}  # what was not asked for stays
    with tempfile.TemporaryDirectory() as temporary:
        for size, degrees in ({"quick": 4.0} if given.quick else SIZES).items():
            if given.only in (None, size):
                record[size] = {"code_version": code_version()} | measured((given.keep or Path(temporary)) / size, degrees)
                show(size, record[size])
    for part, compared in (("libraries", libraries), ("structure_libraries", structures)):
        record[part] = compared(4.0 if given.quick else 1.0)
    for name, row in (record["libraries"] | record["structure_libraries"]).items():
        print(f"{name:22s} {row['seconds']:.4f} s  " + " ".join(f"{key} {value:.9g}" for key, value in row.items() if key != "seconds"))
    if not given.quick:
        write_json(RESULTS, record)


def measured(folder: Path, degrees: float) -> dict[str, Any]:
    """A process makes the fields, another streams them: its memory is that of scoring."""
    for each, size in ((folder / "warm", 6.0), (folder / "whole", degrees)):
        if not (each / "fits.nc").exists():
            each.mkdir(parents=True)
            process(str(size), str(each))
    plain, structure = (json.loads(process(step, str(folder / "whole")).split("found", 1)[1]) for step in ("stream", "structure"))
    for name, steps in plain["steps"].items():
        steps.update({step: spent for step, spent in structure["steps"][name].items() if step in STRUCTURE})
    return plain | {"structure_peak_gb": structure["peak_gb"]}


def process(*step: str) -> str:
    done = subprocess.run([sys.executable, __file__, "--step", *step], capture_output=True, text=True,
                          env={**os.environ, "OMP_NUM_THREADS": "1"})  # fmt: skip
    if done.returncode:
        sys.exit(done.stdout + done.stderr)
    return done.stdout


def show(size: str, found: dict[str, Any]) -> None:
    print(size, found["models"], f"peak {found['peak_gb']:.2f} GB (before {found['peak_before_gb']:.2f})")
    for name, steps in found["steps"].items():
        for step, seconds in sorted(steps.items(), key=lambda item: -item[1]):
            print(f"  {name:24s} {step:18s} {seconds:.3f}")
        print({step: round(value, 2) for step, value in found["peaks"].items()})
        asked, plain = (sum(s for step, s in steps.items() if chosen(step)) for chosen in (
            lambda step: step in ASKED, lambda step: step not in (*STRUCTURE, "reading")))
        most = MOST.get(size, float("inf"))
        verdict = f"{'holds' if asked <= most else 'DOES NOT HOLD'}: at most {most:g}"
        print(f"  {name:24s} RMSE, MAE, bias, r, quantiles, regions, baselines: {asked:.3f} s ({verdict})")
        print(f"  {name:24s} all but structure and reading: {plain:.3f} s")


if __name__ == "__main__":
    main()
