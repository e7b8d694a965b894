"""Skill on the demo's test frames for the same core time: Reslim, ViT, U-Net and plain convolutions in the same trainer.

    make demo                                     # builds the pairs first
    .venv/bin/python benchmarks/skill_models.py   # 4 kinds x 3 seeds x 5 minutes of one core: half an hour on 2 cores

Each kind is trained as `config/runs/demo*.yaml` says, for as many steps as `--minutes` of core time allow (measured beforehand, so that the
learning rate falls to zero at the end; the first steps of compiled kernels and the scoring are not counted), and then learns its site
memory, which all of them have alike. Prints RMSE / bicubic RMSE
per variable, mean of the seeds, and exits 1 unless Reslim's mean of the five is the lowest. Writes benchmarks/results/skill_models.json.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

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
from demo import ROOT, train_and_score

from orbit2.config import slices
from orbit2.config.load import load, validate
from orbit2.config.schema import ModelConfig, RunConfig
from orbit2.files import write_json
from orbit2.parallel.launch import Ranks
from orbit2.provenance import code_version
from orbit2.train.build import Setup, prepare
from orbit2.train.taken import optimise
from orbit2.train.validation import validate_model

DATASET = "era5_week"
KINDS = ("reslim", "vit", "unet", "conv")
VALIDATIONS = 8
WARM, TIMED = 2, 5  # steps


def run_of(kind: str) -> RunConfig:
    return load(ROOT / "config" / "runs" / ("demo.yaml" if kind == "reslim" else f"demo_{kind}.yaml"))


def section_of(kind: str, steps: int, seed: int) -> dict[str, Any]:
    """The slice of the kind's model, with the steps that fit."""
    section = slices.whole(run_of(kind), "model", kind)
    every = max(1, -(-steps // VALIDATIONS))
    section["model"]["train"].update(steps=steps, seed=seed, threads=1, validate_every=every)
    return section


def cost(kind: str, store: Path) -> tuple[float, float, int]:
    """Core seconds of a step and of a validation, and the number of parameters."""
    section = section_of(kind, 100, 0)
    config = validate(ModelConfig, section["model"], kind)
    prepare(config.train, torch.device("cuda" if torch.cuda.is_available() else "cpu"))
    here = Ranks(0, 1, torch.device("cpu"))
    setup = Setup(section, config, {DATASET: store / "pairs.zarr"}, {DATASET: store / "statistics.json"}, None, here)
    taken = []
    for step in range(WARM + TIMED):
        began = time.process_time()
        optimise(setup, setup.steps[step][0].to(here.device), step)
        taken.append(time.process_time() - began)
    began = time.process_time()
    validate_model(setup.model, setup.validation, setup.dtype, setup.mesh)
    return float(np.median(taken[WARM:])), time.process_time() - began, sum(p.numel() for p in setup.model.parameters())


def contend(kind: str, seed: int, steps: int, store: Path, folder: Path) -> dict[str, Any]:
    """Train one model and score it on the test frames."""
    period = run_of(kind).datasets[DATASET].split.test.model_dump()
    found = train_and_score(section_of(kind, steps, seed), folder / f"{kind}-{seed}", store, DATASET, period)
    return {"kind": kind, "seed": seed, "core_seconds": found["core_seconds"], "ratio": found["ratio"]}


def report(runs: list[dict[str, Any]], facts: dict[str, dict[str, Any]]) -> dict[str, float]:
    """Print the table; the mean of all variables per kind."""
    names = list(runs[0]["ratio"])
    table = {kind: np.array([[r["ratio"][v] for v in names] for r in runs if r["kind"] == kind]) for kind in KINDS}
    print(f"\n{'RMSE / bicubic RMSE, test frames':<34}" + "".join(f"{kind:>16}" for kind in KINDS))
    for i, name in enumerate(names):
        print(f"{name:<34}" + "".join(f"{table[kind][:, i].mean():>16.4f}" for kind in KINDS))
    means = {kind: values.mean(1) for kind, values in table.items()}
    print(f"{'mean (spread of seeds)':<34}" + "".join(f"{means[k].mean():>8.4f} ({means[k].std():.4f})" for k in KINDS))
    for label, key, form in (("parameters", "parameters", ",d"), ("steps", "steps", ",d"), ("core s a step", "step_seconds", ".3f")):
        print(f"{label:<34}" + "".join(f"{facts[kind][key]:>16{form}}" for kind in KINDS))
    spent = {kind: np.mean([r["core_seconds"] for r in runs if r["kind"] == kind]) for kind in KINDS}
    print(f"{'core s of training':<34}" + "".join(f"{spent[kind]:>16.0f}" for kind in KINDS))
    return {kind: float(values.mean()) for kind, values in means.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=5.0, help="core time of each training")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--store", type=Path, help="folder of pairs.zarr and statistics.json; default the demo's")
    parser.add_argument("--quick", action="store_true", help="one seed, a quarter of a minute, nothing written; for a look")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "skill_models.json")
    arguments = parser.parse_args()
    seeds, budget = (1, 15.0) if arguments.quick else (arguments.seeds, 60 * arguments.minutes)
    torch.set_num_threads(1)
    store = arguments.store or ROOT / slices.dataset_folder(run_of("reslim"), DATASET)
    facts: dict[str, dict[str, Any]] = {}
    for kind in KINDS:
        step, validation, parameters = cost(kind, store)
        steps = max(2, int((budget - VALIDATIONS * validation) / step))
        facts[kind] = {"parameters": parameters, "steps": steps, "step_seconds": step, "validation_seconds": validation}
        print(f"{kind}: {parameters:,} parameters, {step:.3f} core s a step, {steps} steps in {budget:.0f} s", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        with ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
            waiting = [
                pool.submit(contend, kind, seed, facts[kind]["steps"], store, Path(folder)) for seed in range(seeds) for kind in KINDS
            ]
            runs = [future.result() for future in waiting]
    means = report(runs, facts)
    ahead = min(means, key=lambda kind: means[kind]) == "reslim"
    print(f"claim (Reslim ahead for the same core time): {'holds' if ahead else 'DOES NOT HOLD'}")
    if not arguments.quick:
        write_json(
            arguments.out,
            {
                "minutes": arguments.minutes, "facts": facts, "runs": runs, "means": means, "holds": ahead, "code_version": code_version(),
                "processor": torch.backends.cpu.get_cpu_capability(),
            },
        )  # fmt: skip
    return int(not ahead)


if __name__ == "__main__":
    sys.exit(main())
