"""What bfloat16 costs a prediction: the demo's models on their four test frames in float32 and in bfloat16, against the truth.

    make demo                                  # builds the pairs and the model first
    .venv/bin/python benchmarks/precision.py   # seconds

RMSE per variable in both (area-weighted, physical units), RMS and largest difference of the two; then what the report's headline and its
page of members rest on, of 16 members of one seed: fair CRPS (rain in ln(1 + mm/day)), spread over error, and of rain in mm the wet area
and the 99.9 % quantile, of members and of the deterministic model. Exits 1 where bfloat16 changes an RMSE by more than 0.1 %, or any of
the others by more than 0.5 %. Writes benchmarks/results/precision.json, from which docs/model.md quotes.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch
from demo import ROOT, Test, first_dataset

from orbit2.config import slices
from orbit2.config.load import load
from orbit2.data.pairs import PairStore
from orbit2.downscale import load_model
from orbit2.downscale.members import Ensemble
from orbit2.files import write_json
from orbit2.model.precision import fast_bf16
from orbit2.provenance import code_version
from orbit2.train.losses.ensemble import fair_crps
from orbit2.variables import is_precipitation, variable

SHARE, HEADLINE, MEMBERS, WET = 0.001, 0.005, 16, 1.0  # changes; mm/day


def predicted(folder: Path, precision: str, test: Test) -> np.ndarray:
    """[frame, variable, H, W] in physical units, variables in the truth's order."""
    model, pairs, statics = load_model(folder, "cpu", precision), test.store, test.store.static_values("fine")
    frames = np.stack([
        model.predict(test.coarse[k].astype(np.float32), pairs.variables("coarse"), statics, pairs.grid("coarse"), pairs.times[i])
        for k, i in enumerate(test.indices)
    ]).astype(np.float64)  # fmt: skip
    return frames[:, [model.outputs.index(name) for name in test.names]]


def rows_of(test: Test, full: np.ndarray, half: np.ndarray) -> list[dict[str, Any]]:
    """One row per variable."""

    def rms(difference: np.ndarray) -> float:
        return float(np.sqrt((test.weights * difference**2).mean() / test.weights.mean()))

    rows = []
    for i, name in enumerate(test.names):
        apart, exact, rough = half[:, i] - full[:, i], rms(full[:, i] - test.truth[:, i]), rms(half[:, i] - test.truth[:, i])
        rows.append({"variable": name, "units": variable(name).units, "rmse_fp32": exact, "rmse_bf16": rough, "change": rough / exact - 1,
                     "rms_difference": rms(apart), "largest_difference": float(np.abs(apart).max())})  # fmt: skip
    return rows


def drawn(folder: Path, precision: str, test: Test) -> np.ndarray:
    """Members [M, frame, variable, H, W], as `predicted`."""
    model, pairs, statics = load_model(folder, "cpu", precision), test.store, test.store.static_values("fine")
    grid, ensemble = pairs.grid("coarse"), Ensemble(model, MEMBERS, 0)
    frames = np.stack([
        ensemble.frame(test.coarse[k].astype(np.float32), pairs.variables("coarse"), statics, grid, pairs.times[i], model.tiling(grid))
        for k, i in enumerate(test.indices)
    ], 1).astype(np.float64)  # fmt: skip
    return frames[:, :, [model.outputs.index(name) for name in test.names]]


def headline(test: Test, single: np.ndarray, members: np.ndarray) -> dict[str, float]:
    """Scores of one prediction [frame, variable, H, W] and of members, by name."""

    def mean(values: np.ndarray) -> float:
        return float((test.weights * values).mean() / test.weights.mean())

    found = {f"RMSE / bicubic, {name}": ratio for name, ratio in test.ratio(single).items()}
    for i, name in enumerate(test.names):
        fields, truth = members[:, :, i], test.truth[:, i]
        if is_precipitation(name):
            for label, amounts in (("", single[:, i]), (" of members", fields)):
                found[f"wet area{label}"] = mean((amounts > WET).astype(float))
                found[f"99.9 % of rain{label}"] = float(np.quantile(amounts, 0.999))
            fields, truth = np.log1p(fields), np.log1p(truth)
        found[f"CRPS, {name}"] = mean(fair_crps(torch.from_numpy(fields), torch.from_numpy(truth)).numpy())
        spread = (1 + 1 / MEMBERS) * mean(fields.var(0, ddof=1))
        found[f"spread / error, {name}"] = float(np.sqrt(spread / mean((fields.mean(0) - truth) ** 2)))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", type=Path, help="model folder; default the demo's")
    parser.add_argument("--members", type=Path, help="folder of the model with noise; default the demo's")
    parser.add_argument("--store", type=Path, help="folder of pairs.zarr; default the demo's")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "precision.json")
    arguments = parser.parse_args()
    run = load(ROOT / "config" / "runs" / "demo.yaml")
    _, folder, period = first_dataset(run)
    test = Test(PairStore((arguments.store or folder) / "pairs.zarr"), period)
    model = arguments.model or ROOT / slices.model_folder(run, next(iter(run.models))) / "model"
    members = arguments.members or ROOT / slices.model_folder(run, "members") / "model"
    rows = rows_of(test, predicted(model, "fp32", test), predicted(model, "bf16", test))
    print(f"{'RMSE on the test frames':<34}{'fp32':>10}{'bf16':>10}{'change':>10}{'rms apart':>11}{'largest':>10}")
    for row in rows:
        print(f"{row['variable'] + ' [' + row['units'] + ']':<34}{row['rmse_fp32']:>10.4g}{row['rmse_bf16']:>10.4g}{row['change']:>+10.4%}"
              f"{row['rms_difference']:>11.3g}{row['largest_difference']:>10.3g}")  # fmt: skip
    worst = max(abs(row["change"]) for row in rows)
    pages = [headline(test, predicted(model, kind, test), drawn(members, kind, test)) for kind in ("fp32", "bf16")]
    changes = {name: pages[1][name] / value - 1 for name, value in pages[0].items()}
    for name, change in changes.items():
        print(f"{name:<48}{pages[0][name]:>10.4f}{pages[1][name]:>10.4f}{change:>+10.4%}")
    most = max(map(abs, changes.values()))
    holds = worst <= SHARE and most <= HEADLINE
    print(f"claim (no RMSE changes by more than {SHARE:.1%}, nothing of the headline by more than {HEADLINE:.1%}; furthest {worst:.4%} and "
          f"{most:.4%}): {'holds' if holds else 'DOES NOT HOLD'}")  # fmt: skip
    about = load_model(model, "cpu").about
    write_json(arguments.out, {
        "model": f"{about.get('name')}-{about.get('hash')}", "frames": len(test.indices), "rows": rows, "furthest": worst, "holds": holds,
        "headline": {"fp32": pages[0], "bf16": pages[1], "furthest": most},
        "fast_bf16": fast_bf16(torch.device("cpu")), "processor": torch.backends.cpu.get_cpu_capability(), "code_version": code_version(),
    })  # fmt: skip
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
