"""Skill on the demo's test frames: Reslim (mean of seeds) against bicubic and against a plain residual conv net.

    make demo                                   # builds the pairs first
    .venv/bin/python benchmarks/skill_demo.py   # trains 3 x Reslim, two at a time, and the conv net: about 15 minutes on 2 cores

Prints RMSE / bicubic RMSE per variable (precipitation in ln(1 + mm/day), the better of bicubic of mm and of its logarithm)
and exits 1 when the floors are not met. Writes benchmarks/results/skill_demo.json.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demo import ROOT, Test, first_dataset, first_model, train_and_score

from orbit2.config.load import load
from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.data.dataset import Pairs, Steps
from orbit2.data.pairs import PairStore
from orbit2.data.transforms import Normaliser
from orbit2.files import read_json, write_json
from orbit2.model.build import build as build_model
from orbit2.provenance import code_version
from orbit2.train import losses
from orbit2.train.optimizer import build, learning_rate, set_learning_rate
from orbit2.train.precision import autocast_dtype

FLOOR = {
    "2m_temperature": 0.78,
    "10m_u_component_of_wind": 0.90,
    "10m_v_component_of_wind": 0.885,
    "mean_sea_level_pressure": 0.83,
    "precipitation_rate": 0.95,
}


def train_reslim(section: dict[str, Any], folder: Path, store: Path, seed: int, period: dict[str, str], name: str) -> dict[str, Any]:
    section["model"]["train"]["seed"] = seed
    found = train_and_score(section, folder / f"reslim-{seed}", store, name, period)
    return {"seed": seed, **found, "steps": section["model"]["train"]["steps"]}


def train_conv(section: dict[str, Any], store: Path, test: Test, steps: int, augment: bool) -> dict[str, Any]:
    config = TrainConfig.model_validate({**section["model"]["train"], "steps": steps, "seed": 0})
    split = next(iter(section["datasets"].values()))["split"]
    normaliser = Normaliser.from_statistics(read_json(store / "statistics.json"), config.precipitation_threshold)
    outputs = test.names
    pairs = Pairs(test.store, (split["train"]["start"], split["train"]["end"]), normaliser, outputs)
    torch.manual_seed(0)
    shape = ArchitectureConfig(kind="conv", refinement=pairs.factor)
    model = build_model(shape, (*pairs.inputs, *pairs.statics), outputs, pairs.statics)
    with torch.no_grad():
        every = pairs.batch([int(i) for i in pairs.indices])
        model.output_scale.copy_((every.fine - model(every.coarse, every.statics, every.geometry, every.variables)).std((0, 2, 3)))
    optimizer, source, dtype = (
        build(model, config),
        Steps([pairs], config.batch_size, 0, augment),
        autocast_dtype(config.precision, torch.device("cpu")),
    )
    began = time.perf_counter()
    for step in range(steps):
        batch = source[step]
        set_learning_rate(optimizer, learning_rate(step, config))
        with torch.autocast("cpu", dtype, enabled=dtype is not None):
            prediction = model(batch.coarse, batch.statics, batch.geometry, batch.variables)
        part = losses.terms(prediction, batch.fine, batch.weights, True, "mse", model.output_scale)
        loss, _, _ = losses.combine(part, part.packed(), torch.ones(len(outputs)), 0.0)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
    seconds = time.perf_counter() - began
    held = Pairs(test.store, (split["test"]["start"], split["test"]["end"]), normaliser, outputs).batch([int(i) for i in test.indices])
    with torch.no_grad():
        physical = normaliser.denormalise(model(held.coarse, held.statics, held.geometry, held.variables), outputs)
    return {
        "steps": steps,
        "augmented": augment,
        "seconds": seconds,
        "parameters": sum(p.numel() for p in model.parameters()),
        "ratio": test.ratio(physical.double().numpy()),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", type=Path, default=ROOT / "config" / "config.yaml")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="seeds trained side by side, one thread each")
    parser.add_argument("--steps", type=int, help="steps of Reslim, other than the configured number")
    parser.add_argument("--conv-steps", type=int, default=200)
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "skill_demo.json")
    arguments = parser.parse_args()
    config = load(arguments.config)
    name, store, period = first_dataset(config)
    section = first_model(config)
    if arguments.steps:
        section["model"]["train"]["steps"] = arguments.steps
    test = Test(PairStore(store / "pairs.zarr"), period)
    conv = [train_conv(section, store, test, arguments.conv_steps, augment) for augment in (False, True)]
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
            started = [pool.submit(train_reslim, section, Path(folder), store, seed, period, name) for seed in range(arguments.seeds)]
            runs = [future.result() for future in started]
    mean = {v: float(np.mean([r["ratio"][v] for r in runs])) for v in test.names}
    floor = {v: min(FLOOR.get(v, 1.0), *(c["ratio"][v] for c in conv)) for v in test.names}
    print(f"{'RMSE / bicubic RMSE, test frames':<34}{'Reslim':>9}{'spread':>8}{'conv':>8}{'conv+aug':>10}{'floor':>8}   bicubic RMSE")
    for v in test.names:
        spread = float(np.std([r["ratio"][v] for r in runs]))
        met = "met" if mean[v] <= floor[v] else "NOT MET"
        print(
            f"{v:<34}{mean[v]:>9.4f}{spread:>8.4f}{conv[0]['ratio'][v]:>8.3f}{conv[1]['ratio'][v]:>10.3f}"
            f"{floor[v]:>8.3f}   {test.bicubic[v]:.4g}  {met}"
        )
    print(
        f"{'mean':<34}{np.mean(list(mean.values())):>9.4f}   training {np.mean([r['seconds'] for r in runs]):.0f} s a seed, "
        f"conv {conv[0]['seconds']:.0f} s"
    )
    write_json(
        arguments.out,
        {
            "reslim": runs,
            "reslim_mean": mean,
            "conv": conv,
            "floor": floor,
            "bicubic_rmse": test.bicubic,
            "code_version": code_version(),
            "threads": torch.get_num_threads(),
            "processor": torch.backends.cpu.get_cpu_capability(),
        },
    )
    return int(any(mean[v] > floor[v] for v in test.names))


if __name__ == "__main__":
    sys.exit(main())
