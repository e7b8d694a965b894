"""What feeding training costs: a sample in core time, the choice of a step, and how long steps of real models wait for their data.

    .venv/bin/python benchmarks/loader.py [--quick]

Builds pair stores of smooth random fields: the training shape (23 x 180 x 360 -> 3 x 720 x 1440, four statics) and the demo's. "host" is
the other way to do it: floats unpacked and normalised where they are read. Core times of one thread are the best of several turns, so
that other work on the machine does not count; "device" here is this machine's core. Then the demo's model and the 9.5 M one take steps
through real loaders: the wait is the share of a step's time in which there is no batch yet (`data_seconds` of metrics.jsonl). Exits 1
when a sample costs 20 ms of core time or more (reading and device together), choosing a step of 512 out of 341,640 samples a millisecond,
or a model waits for 3 % of its time with one loading worker. Writes benchmarks/results/loader.json.
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
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from demo import ROOT, first_model
from scipy.ndimage import zoom

from orbit2.config.load import load, validate
from orbit2.config.schema import ModelConfig
from orbit2.data.dataset import CPU, Pairs
from orbit2.data.order import Order
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.data.steps import Steps
from orbit2.data.transforms import Normaliser
from orbit2.files import write_json
from orbit2.grid import Grid, named
from orbit2.parallel.launch import Ranks
from orbit2.provenance import code_version
from orbit2.train.build import Setup, prepare
from orbit2.train.taken import optimise
from orbit2.variables import VARIABLES, is_precipitation

SAMPLES = 8
OUTPUTS = ("2m_temperature_min", "2m_temperature_max", "total_precipitation_24hr")
INPUTS = (*OUTPUTS, *[name for name, facts in VARIABLES.items() if facts.kind != "static" and name not in OUTPUTS])[:23]
STATICS = ("land_sea_mask", "orography", "latitude", "landcover")
BATCH = 8
CORE, CHOICE, WAIT = 20e-3, 1e-3, 0.03  # seconds of a sample, seconds, share of a step


def smooth(names: Sequence[str], grid: Grid, random: np.random.Generator) -> np.ndarray:
    """Fields [V, H, W] inside the variables' ranges."""
    fields = []
    for name in names:
        low, high = (0.0, 30.0) if is_precipitation(name) else VARIABLES[name].valid
        edges = tuple(-(-edge // 10) for edge in grid.shape)
        noise = zoom(random.random(edges), 10, order=1)[: grid.shape[0], : grid.shape[1]]
        fields.append(low + (high - low) * (0.4 + 0.2 * noise))
    return np.stack(fields).astype(np.float32)


def store_of(path: Path, inputs: Sequence[str], outputs: Sequence[str], statics: Sequence[str], grids: tuple[str, str]) -> PairStore:
    sides, random = [], np.random.default_rng(0)
    for name, names in zip(grids, (inputs, outputs), strict=True):
        sides.append(SideSpec(named(name), tuple(names), tuple(statics), smooth(statics, named(name), random)))
    times = np.datetime64("2020-01-01", "s") + np.arange(SAMPLES) * np.timedelta64(24, "h")
    initialise(path, *sides, times, shard=4)
    for start in range(0, SAMPLES, 4):
        write_part(path, start, *(np.stack([smooth(side.variables, side.grid, random) for _ in range(4)]) for side in sides))
    finalise(path)
    return PairStore(path)


def core_seconds(act: Callable[[int], object], turns: int) -> float:
    """The best of several turns after a first one that does not count."""
    spent = []
    for turn in range(turns + 1):
        began = time.process_time()
        act(turn)
        spent.append(time.process_time() - began)
    return min(spent[1:])


def on_the_host(pairs: Pairs, batch: int, turn: int) -> list[torch.Tensor]:
    """A batch of floats, statics with every one."""
    store, made = pairs.store, []
    for side, names in (("coarse", pairs.inputs), ("fine", pairs.outputs)):
        fields = np.stack([store.read(side, (batch * turn + k) % SAMPLES) for k in range(batch)])  # type: ignore[arg-type]
        made.append(pairs.normaliser.normalise_(torch.from_numpy(fields), names))
    coarse = pairs.normaliser.normalise(torch.from_numpy(store.static_values("coarse")), pairs.statics).expand(batch, -1, -1, -1)
    statics = pairs.normaliser.normalise(pairs.ground.static_fine, pairs.statics)
    return [torch.cat([made[0], coarse], 1), made[1], statics]


def samples(store: PairStore, turns: int) -> dict[str, dict[str, float]]:
    """Core seconds of a sample: way -> {loader, device, sum}."""
    normaliser = Normaliser({name: (float(np.mean(VARIABLES[name].valid)), 1.0) for name in (*INPUTS, *STATICS)}, 0.25)
    pairs = Pairs(store, ("2020-01-01", "2020-01-08"), normaliser, OUTPUTS)
    found: dict[str, dict[str, float]] = {}

    def add(way: str, loader: float, device: float) -> None:
        found[way] = {"loader": loader, "device": device, "sum": loader + device}

    reading = core_seconds(lambda n: [store.read_packed(side, n % SAMPLES) for side in ("coarse", "fine")], 2 * turns)
    add("reading alone", reading, 0.0)
    for batch in (1, BATCH):
        add(f"host, batch {batch}", core_seconds(lambda n, b=batch: on_the_host(pairs, b, n), turns) / batch, 0.0)  # type: ignore[misc]
        for augment in (False, True):
            steps = Steps([pairs], batch, 0, augment)
            loader = core_seconds(steps.__getitem__, turns) / batch
            device = core_seconds(lambda n, parts=[steps[n][0] for n in range(2)]: parts[n % 2].to(CPU), turns) / batch  # type: ignore[misc]
            add(f"device, batch {batch}{', augmented' if augment else ''}", loader, device)
    return found


def wait(section: dict[str, Any], store: PairStore, folder: Path, workers: int, steps: int, warm: int) -> dict[str, float]:
    """Means over `steps` steps after `warm` ones: seconds of waiting and of the step, of which to unpack, and the share of waiting."""
    facts: dict[str, Any] = {}
    for side in ("coarse", "fine"):
        facts[side] = {name: {"mean": float(np.mean(VARIABLES[name].valid)), "std": 10.0, "log1p_mean": 1.0, "log1p_std": 1.0}
                       for name in store.variables(side)}  # type: ignore[arg-type]
    facts["static"] = {"fine": {name: {"mean": 0.0, "std": 1.0} for name in store.statics("fine")}}
    write_json(folder / "statistics.json", facts)
    config = validate(ModelConfig, section["model"], "model")
    prepare(config.train, CPU)
    (name,) = config.datasets
    setup = Setup(section, config, {name: store.path}, {name: folder / "statistics.json"}, None, Ranks(0, 1, CPU))
    loader = torch.utils.data.DataLoader(setup.steps, batch_size=None, sampler=range(steps + warm), num_workers=workers)
    waits, whole, unpacking = [], [], []
    before = time.monotonic()
    for step, parts in enumerate(loader):
        ready = time.monotonic()
        optimise(setup, parts, step)
        done = time.monotonic()
        waits.append(ready - before)
        whole.append(done - ready)
        for part in parts:  # once more, for the table alone
            part.to(CPU)
        before = time.monotonic()
        unpacking.append(before - done)
    data, step_seconds, unpack = (float(np.mean(values[warm:])) for values in (waits, whole, unpacking))
    return {"batch": config.train.batch_size, "steps": steps, "data_seconds": data, "step_seconds": step_seconds, "unpack_seconds": unpack,
            "waiting": data / (data + step_seconds)}  # fmt: skip


def models(folder: Path, large: PairStore, steps: tuple[int, int]) -> dict[str, dict[str, float]]:
    """The demo's model with no worker and with one, the large one, whose step takes a minute of a core, with one."""
    run = load(ROOT / "config" / "runs" / "demo.yaml")
    demo, week = first_model(run), run.datasets["era5_week"]
    small = store_of(folder / "demo.zarr", week.inputs, week.outputs, week.statics, (str(week.coarse_grid), str(week.fine_grid)))
    paper = first_model(run)
    paper["architecture"] = paper["model"]["architecture"] = yaml.safe_load((ROOT / "config/models/reslim_9m.yaml").read_text())
    paper["model"]["train"] |= {"batch_size": 1, "shift_probability": 0.5}
    found = {}
    for name, section, store, count, tried in (("demo", demo, small, steps[0], (0, 1)), ("9.5 M", paper, large, steps[1], (1,))):
        period = {"start": "2020-01-01", "end": "2020-01-08"}
        section["datasets"]["era5_week"]["split"] = dict.fromkeys(("train", "validation", "test"), period)
        section["model"]["train"] |= {"threads": 1}
        for workers in tried:
            found[f"{name}, {workers or 'no'} worker"] = wait(section, store, folder, workers, count, warm=2 if name == "demo" else 1)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="few turns and steps, judges nothing, writes nothing")
    quick = parser.parse_args().quick
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        large = store_of(folder / "pairs.zarr", INPUTS, OUTPUTS, STATICS, ("global_1.0", "global_0.25"))
        costs = samples(large, 2 if quick else 8)
        order = Order([341_640], 512, 0)
        choice = core_seconds(order.choose, 50)
        print(f"\n{'a sample (ms of core time)':34} {'loader':>8} {'device':>8} {'sum':>8} {'x host':>8}")
        for way, cost in costs.items():
            host = costs[f"host, batch {BATCH if f'batch {BATCH}' in way else 1}"]["sum"]
            cost["of host"] = cost["sum"] / host
            print(f"{way:34} {1e3 * cost['loader']:8.2f} {1e3 * cost['device']:8.2f} {1e3 * cost['sum']:8.2f} {cost['of host']:8.2f}")
        print(f"choosing a step of 512 out of 341,640: {1e3 * choice:.3f} ms", flush=True)
        waits = models(folder, large, (3, 1) if quick else (20, 2))
    print(f"\n{'a step (seconds)':34} {'waiting':>8} {'step':>8} {'unpack':>8} {'share':>8}")
    for model, row in waits.items():
        print(f"{model:34} {row['data_seconds']:8.4f} {row['step_seconds']:8.3f} {row['unpack_seconds']:8.4f} {row['waiting']:8.2%}")
    dearest = max(cost["sum"] for way, cost in costs.items() if way.startswith("device"))
    longest = max(row["waiting"] for model, row in waits.items() if "1 worker" in model)
    holds = dearest < CORE and choice < CHOICE and longest < WAIT
    print(f"\ndearest sample {1e3 * dearest:.1f} ms (< 20), choice {1e3 * choice:.3f} ms (< 1), wait {longest:.2%} (< 3 %): {holds}")
    if quick:
        return 0
    write_json(ROOT / "benchmarks" / "results" / "loader.json", {"samples": costs, "choice": choice, "steps": waits, "holds": holds,
                                                                 "code_version": code_version()})  # fmt: skip
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
