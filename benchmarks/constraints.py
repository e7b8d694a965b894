"""Constraint layers on the demo's data: no layer, `true`, additive, multiplicative and softmax, trained alike.

    make demo                                    # builds the pairs first
    .venv/bin/python benchmarks/constraints.py   # 5 layers x 400 steps of one core each: a quarter of an hour on 2 quiet cores

Each is the demo's model with another `conserve`, trained as the demo is for `--steps`, scored on the test frames: RMSE over
bicubic's (rain as ln(1 + mm), and in mm), the worst difference of a block's mean from its input, and the bias of rain. Judges one thing:
that every layer conserves to 1e-5 and a model without one does not. Writes benchmarks/results/constraints.json.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from demo import ROOT, Test, first_dataset, first_model, train_and_score

from orbit2.baselines.interpolation import block_mean, interpolate
from orbit2.config.load import load
from orbit2.data.pairs import PairStore
from orbit2.downscale import load_model
from orbit2.files import write_json
from orbit2.provenance import code_version
from orbit2.variables import is_precipitation

LAYERS: tuple[bool | str, ...] = (False, True, "additive", "multiplicative", "softmax")
EXACT = 1e-5  # of the larger of the input and 1 mm/day (rain), of the input's standard deviation (the rest)


def one(conserve: bool | str, seed: int, steps: int, store: Path, folder: Path) -> dict[str, Any]:
    """Train with one layer and score."""
    config = load(ROOT / "config/runs/demo.yaml")
    name, _, period = first_dataset(config)
    section = first_model(config)
    section["architecture"]["conserve"] = conserve
    section["model"]["architecture"]["conserve"] = conserve
    section["model"]["train"].update(steps=steps, seed=seed, validate_every=max(1, steps // 4))
    out = folder / f"{conserve}-{seed}"
    found = train_and_score(section, out, store, name, period)
    kept = {key: found[key] for key in ("core_seconds", "ratio")}
    return {"conserve": conserve, "seed": seed, **kept, **physics(out, store, period)}


def physics(out: Path, store: Path, period: dict[str, str]) -> dict[str, Any]:
    """Rain in mm (RMSE, bias, share of the truth's amount above 20 mm/day) and how well each variable conserves its input."""
    test = Test(PairStore(store / "pairs.zarr"), period)
    model, pairs = load_model(out / "model"), test.store
    statics, grid = pairs.static_values("fine"), pairs.grid("coarse")
    fine = np.stack([
        model.predict(test.coarse[k].astype(np.float32), pairs.variables("coarse"), statics, grid, pairs.times[i])
        for k, i in enumerate(test.indices)
    ]).astype(np.float64)  # fmt: skip
    back = block_mean(fine, pairs.grid("fine").lat_weights, pairs.refinement)
    weights, result = np.broadcast_to(test.weights, fine.shape[-2:]), {}
    for i, name in enumerate(test.names):
        given = test.coarse[:, pairs.variable_index("coarse", name)]
        size = np.maximum(given, 1.0) if is_precipitation(name) else given.std()
        result[name] = float((np.abs(back[:, i] - given) / size).max())
        if is_precipitation(name):
            wet = test.truth[:, i]
            plain = interpolate(given, grid, pairs.refinement, "conservative", lower=0.0)
            rmse, base = (float(np.sqrt(np.average((x - wet) ** 2, weights=np.broadcast_to(weights, wet.shape))))
                          for x in (fine[:, i], plain))  # fmt: skip
            heavy = [float((np.broadcast_to(weights, wet.shape) * x)[x > 20].sum()) for x in (fine[:, i], wet)]
            bias = float(np.average(fine[:, i] - wet, weights=np.broadcast_to(weights, wet.shape)))
            rain = {"rmse_mm": rmse, "rmse_mm_over_conservative": rmse / base, "bias_mm": bias, "heavy_share": heavy[0] / heavy[1]}
    return {"residual": result, "rain": rain}


def report(runs: list[dict[str, Any]]) -> bool:
    """Print the table; whether the claim holds."""
    names = list(runs[0]["ratio"])
    print(f"{'':<34}" + "".join(f"{r['conserve']!s:>16}" for r in runs))
    for name in names:
        label = f"{name} (ln)" if is_precipitation(name) else name
        print(f"{label:<34}" + "".join(f"{r['ratio'][name]:>16.4f}" for r in runs))
    print(f"{'mean':<34}" + "".join(f"{np.mean(list(r['ratio'].values())):>16.4f}" for r in runs))
    for key in runs[0]["rain"]:
        print(f"{key:<34}" + "".join(f"{r['rain'][key]:>16.4f}" for r in runs))
    print(f"{'worst residual':<34}" + "".join(f"{max(r['residual'].values()):>16.1e}" for r in runs))
    print(f"{'core s of training':<34}" + "".join(f"{r['core_seconds']:>16.0f}" for r in runs))
    return all((max(r["residual"].values()) <= EXACT) == bool(r["conserve"]) for r in runs)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=400)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--store", type=Path, help="folder of pairs.zarr and statistics.json; default the demo's")
    parser.add_argument("--quick", action="store_true", help="four steps, nothing written; for a look")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "constraints.json")
    arguments = parser.parse_args()
    steps = 4 if arguments.quick else arguments.steps
    store = arguments.store or first_dataset(load(ROOT / "config/runs/demo.yaml"))[1]
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        waiting = [pool.submit(one, conserve, arguments.seed, steps, store, Path(folder)) for conserve in LAYERS]
        runs = [future.result() for future in waiting]
    holds = report(runs)
    print(f"claim (exact to 1e-5 with a layer, and only then): {'holds' if holds else 'DOES NOT HOLD'}")
    if not arguments.quick:
        write_json(arguments.out, {"steps": steps, "seed": arguments.seed, "runs": runs, "holds": holds, "code_version": code_version()})
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
