"""What one training sample costs the loader, in core time, beside reading it from the store; and what choosing a step costs.

    .venv/bin/python benchmarks/loader.py [--quick]

Builds a PairStore of the training shape (23 x 180 x 360 -> 3 x 720 x 1440, four statics) from smooth random fields. Times are core times of
one thread, the best of several turns, so that other work on the machine does not count. Exits 1 when a sample in a batch of 8 costs more
than 8 times its reading, or choosing a step of 512 out of 341,640 samples costs a millisecond. Writes benchmarks/results/loader.json.
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
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.ndimage import zoom

from orbit2.data.dataset import Pairs
from orbit2.data.order import Order
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.data.steps import Steps
from orbit2.data.transforms import Normaliser
from orbit2.files import write_json
from orbit2.grid import Grid, named
from orbit2.provenance import code_version
from orbit2.variables import VARIABLES, is_precipitation

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = 8
OUTPUTS = ("2m_temperature_min", "2m_temperature_max", "total_precipitation_24hr")
INPUTS = (*OUTPUTS, *[name for name, facts in VARIABLES.items() if facts.kind != "static" and name not in OUTPUTS])[:23]
STATICS = ("land_sea_mask", "orography", "latitude", "landcover")
READINGS, CHOICE = 8.0, 1e-3  # of one sample; seconds


def smooth(names: tuple[str, ...], grid: Grid, random: np.random.Generator) -> np.ndarray:
    """Fields [V, H, W] inside the variables' ranges."""
    fields = []
    for name in names:
        low, high = (0.0, 30.0) if is_precipitation(name) else VARIABLES[name].valid
        noise = zoom(random.random((grid.shape[0] // 10, grid.shape[1] // 10)), 10, order=1)
        fields.append(low + (high - low) * (0.4 + 0.2 * noise))
    return np.stack(fields).astype(np.float32)


def store_of(folder: Path) -> PairStore:
    coarse, fine = named("global_1.0"), named("global_0.25")
    random = np.random.default_rng(0)
    sides = [SideSpec(grid, names, STATICS, smooth(STATICS, grid, random)) for grid, names in ((coarse, INPUTS), (fine, OUTPUTS))]
    times = np.datetime64("2020-01-01", "s") + np.arange(SAMPLES) * np.timedelta64(24, "h")
    initialise(folder / "pairs.zarr", *sides, times, shard=4)
    for start in range(0, SAMPLES, 4):
        parts = [np.stack([smooth(side.variables, side.grid, random) for _ in range(4)]) for side in sides]
        write_part(folder / "pairs.zarr", start, *parts)
    finalise(folder / "pairs.zarr")
    return PairStore(folder / "pairs.zarr")


def core_seconds(act: Callable[[int], object], turns: int) -> float:
    """The best of several turns after a first one that does not count."""
    spent = []
    for turn in range(turns + 1):
        began = time.process_time()
        act(turn)
        spent.append(time.process_time() - began)
    return min(spent[1:])


def measure(folder: Path, turns: int) -> dict[str, Any]:
    store = store_of(folder)
    normaliser = Normaliser({name: (float(np.mean(VARIABLES[name].valid)), 1.0) for name in (*INPUTS, *STATICS)}, 0.25)
    pairs = Pairs(store, ("2020-01-01", "2020-01-08"), normaliser, OUTPUTS)
    found: dict[str, Any] = {"reading": core_seconds(lambda n: [store.read(side, n % SAMPLES) for side in ("coarse", "fine")], 2 * turns)}
    for batch in (1, 8):
        for augment in (False, True):
            steps = Steps([pairs], batch, 0, augment)
            found[f"batch {batch}{', augmented' if augment else ''}"] = core_seconds(steps.__getitem__, turns) / batch
    order = Order([341_640], 512, 0)
    found["choosing a step of 512"] = core_seconds(order.choose, 50)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="two turns, judges nothing, writes nothing")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        found = measure(Path(folder), 2 if quick else 8)
    for name, seconds in found.items():
        print(f"{name:30} {1e3 * seconds:8.2f} ms")
    most = max(seconds for name, seconds in found.items() if name.startswith("batch 8"))
    held = {"times its reading": most / found["reading"], "holds": most <= READINGS * found["reading"] and
            found["choosing a step of 512"] < CHOICE}  # fmt: skip
    print(f"a sample costs {held['times its reading']:.1f} times its reading")
    if quick:
        return 0
    write_json(ROOT / "benchmarks" / "results" / "loader.json", {"seconds": found, **held, "code_version": code_version()})
    return 0 if held["holds"] else 1


if __name__ == "__main__":
    sys.exit(main())
