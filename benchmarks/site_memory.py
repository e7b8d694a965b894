"""What the site memory is worth on the demo's test frames, seed by seed, beside every baseline that ships.

    make demo                                    # builds the pairs first
    .venv/bin/python benchmarks/site_memory.py   # 3 trainings of 5 to 7 core minutes each; one that was done (--keep) is taken

Each seed is `config/runs/demo.yaml`'s own model, trained as it says on one thread, its memory learned at the end of training from the
training block, its weights chosen on the validation block. The test frames are predicted with the memory and without it, by the same
network, and scored as `evaluate` scores: area-weighted RMSE over all frames, baselines fitted to the training block. Rain counts in
ln(1 + mm/day) and in mm/day.

Judged: with the memory every variable is below EVERY baseline on every seed, and the mean of the five RMSE over bicubic's (rain in
ln(1 + mm/day) over the better of its two bicubics) is at most 0.670, mean of the seeds. Writes benchmarks/results/site_memory.json.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import json
import sys
import tempfile
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from demo import ROOT

from orbit2.config import slices
from orbit2.config.load import load
from orbit2.config.schema import EvaluateConfig, RunConfig
from orbit2.downscale import load_model
from orbit2.downscale import run as downscale
from orbit2.evaluate import fit
from orbit2.files import write_json
from orbit2.metrics.matched import Matched
from orbit2.metrics.weighting import area_weights
from orbit2.provenance import code_version
from orbit2.train import run as train
from orbit2.variables import is_precipitation, variable

RESULTS = ROOT / "benchmarks" / "results" / "site_memory.json"
MODEL, TASK = "reslim", "test"
WITHOUT, WITH = "no memory", "with memory"
MOST = 0.670  # of the mean ratio
Rows = dict[str, dict[str, float]]  # variable (and space) -> who -> RMSE


def trained(run: RunConfig, seed: int, data: Path, home: Path) -> Path:
    """The model folder of one seed; a finished one is taken, an unfinished one goes on."""
    section = slices.whole(run, "model", MODEL)
    section["model"]["train"].update(seed=seed, threads=1)
    out = home / "model"
    if not (out / "config.json").exists():
        (name,) = run.models[MODEL].datasets
        write_json(home / "config.json", section)
        train(config=home / "config.json", stores={name: data / "pairs.zarr"}, statistics={name: data / "statistics.json"}, out=out,
              checkpoints=home / "checkpoints")  # fmt: skip
    return out


def scored(run: RunConfig, model: Path, data: Path, fits: Path, home: Path) -> Rows:
    """RMSE of the network without and with its memory and of every baseline, on the task's frames."""
    section = slices.whole(run, "downscale", TASK)
    write_json(home / "task.json", section)
    downscale(config=home / "task.json", model=model, store=data / "pairs.zarr", out=home / "test.zarr")
    matched = Matched(section, home / "test.zarr", data / "pairs.zarr", EvaluateConfig().baselines, fits=fits)
    plain = load_model(model)
    plain.site_memory = False
    pairs, weights = matched.store, area_weights(matched.grid)
    squares: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    network: dict[int, npt.NDArray[np.float32]] = {}
    for one in matched.samples():
        if one.index not in network:
            network = {one.index: plain.predict(pairs.read("coarse", one.index), pairs.variables("coarse"), pairs.static_values("fine"),
                                                pairs.grid("coarse"), one.time)}  # fmt: skip
        fields = {WITHOUT: network[one.index][plain.outputs.index(one.variable)].astype(np.float64)}
        fields |= {WITH if who == MODEL else who: field for who, field in one.models.items()}
        for who, field in fields.items():
            spaces = {one.variable: (field, one.truth)}
            if is_precipitation(one.variable):
                spaces[f"{one.variable}, ln(1 + x)"] = (np.log1p(field), np.log1p(one.truth))
            for name, (p, o) in spaces.items():
                squares[name][who].append(float((weights * (p - o) ** 2).sum() / weights.sum()))
    return {name: {who: float(np.sqrt(np.mean(each))) for who, each in found.items()} for name, found in squares.items()}


def ratio(rows: Rows, who: str) -> float:
    """Mean over the variables of RMSE over bicubic's; rain in ln(1 + x), over the better bicubic."""
    found = []
    for name, row in rows.items():
        if f"{name}, ln(1 + x)" not in rows:
            found.append(row[who] / min(value for key, value in row.items() if key.startswith("bicubic")))
    return float(np.mean(found))


def best(row: dict[str, float]) -> tuple[str, float]:
    """The best of the baselines."""
    return min(((who, value) for who, value in row.items() if who not in (WITHOUT, WITH)), key=lambda item: item[1])


def show(seeds: dict[str, dict[str, Any]]) -> bool:
    """Print the table; whether the claims hold."""
    lost = []
    for seed, found in seeds.items():
        print(f"\nseed {seed}: RMSE on the test frames{WITHOUT:>22}{WITH:>14}   best baseline")
        for name, row in found["rmse"].items():
            who, value = best(row)
            units = "" if name.endswith(")") else variable(name).units
            print(f"{name + ' ' + units:<46}{row[WITHOUT]:>10.4g}{row[WITH]:>14.4g}{value:>12.4g} {who}")
            lost += [f"{name}, seed {seed}"] if row[WITH] >= value else []
        print(f"{'mean of RMSE / bicubic':<46}{found['ratio'][WITHOUT]:>10.4f}{found['ratio'][WITH]:>14.4f}")
    means = {who: float(np.mean([found["ratio"][who] for found in seeds.values()])) for who in (WITHOUT, WITH)}
    print(f"\nmean of {len(seeds)} seeds: {means[WITHOUT]:.4f} without, {means[WITH]:.4f} with memory (at most {MOST:.3f}: "
          f"{'holds' if means[WITH] <= MOST else 'DOES NOT HOLD'})")  # fmt: skip
    print(f"below every baseline: {'holds' if not lost else 'DOES NOT HOLD for ' + '; '.join(lost)}")
    return means[WITH] <= MOST and not lost


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0,1,2")
    parser.add_argument("--store", type=Path, help="folder of pairs.zarr and statistics.json; default the demo's")
    parser.add_argument("--keep", type=Path, help="a folder that the models are kept in, and taken from where they are there")
    parser.add_argument("--quick", action="store_true", help="one seed, four steps, nothing written; for a look")
    given = parser.parse_args()
    few = [f"models.{MODEL}.train.steps=4", f"models.{MODEL}.train.validate_every=2"] if given.quick else []
    run = load(ROOT / "config" / "runs" / "demo.yaml", few)
    (name,) = run.models[MODEL].datasets
    data = given.store or ROOT / slices.dataset_folder(run, name)
    torch.set_num_threads(1)
    found: dict[str, dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as temporary:
        write_json(Path(temporary) / "dataset.json", slices.whole(run, "dataset", name))
        fit(config=Path(temporary) / "dataset.json", store=data / "pairs.zarr", out=Path(temporary) / "fits.nc")
        for seed in (0,) if given.quick else map(int, given.seeds.split(",")):
            home = (given.keep or Path(temporary)) / f"seed-{seed}"
            home.mkdir(parents=True, exist_ok=True)
            model = trained(run, seed, data, home)
            rows = scored(run, model, data, Path(temporary) / "fits.nc", home)
            about = json.loads((model / "config.json").read_text(encoding="utf-8"))["site_memory"][name]
            found[str(seed)] = {"rmse": rows, "ratio": {who: ratio(rows, who) for who in (WITHOUT, WITH)}, "weights": about["factors"]}
    holds = show(found)
    if not given.quick:
        write_json(RESULTS, {"seeds": found, "holds": holds, "code_version": code_version()})
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
