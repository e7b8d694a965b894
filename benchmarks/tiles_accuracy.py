"""Training on tiles against training on whole samples: accuracy after equal training on the demo's data, predicted either way.

    make demo                                       # builds the pairs
    .venv/bin/python benchmarks/tiles_accuracy.py   # about half an hour of one core
    .venv/bin/python benchmarks/tiles_accuracy.py --quick   # a few steps: only shows that it runs

The demo's network, steps and seeds, 45 x 90 -> 180 x 360, trained on whole samples and as config/runs/demo_tiles.yaml does (four
tiles of every sample in a step, so the same cells count); PSNR on the test frames, the truth's own range as peak. Exits 1 when the
mean PSNR over the variables of the model trained on tiles, predicting whole or on tiles, is more than 0.1 dB below that of the model
trained and predicting whole. Writes benchmarks/results/tiles_accuracy.json (not with --quick).
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from demo import ROOT, Test, first_dataset, first_model, train_and_score

from orbit2.config.load import load
from orbit2.data.pairs import PairStore
from orbit2.downscale import load_model
from orbit2.files import write_json
from orbit2.provenance import code_version
from orbit2.variables import is_precipitation

DECIBELS = 0.1
WAYS = ("whole", "tiles")


def trained(section: dict[str, Any], folder: Path, store: Path, period: dict[str, str], name: str, cut: dict[str, Any]) -> dict[str, Any]:
    """One training: {way to predict: {variable: RMSE / bicubic RMSE}} on the test frames, and core seconds."""
    done = train_and_score(section, folder, store, name, period)
    test, model = Test(PairStore(store / "pairs.zarr"), period), load_model(folder / "model")
    pairs, statics = test.store, test.store.static_values("fine")
    frames = [
        model.predict(test.coarse[k].astype(np.float32), pairs.variables("coarse"), statics, pairs.grid("coarse"), pairs.times[i], **cut)
        for k, i in enumerate(test.indices)
    ]
    return {"whole": done["ratio"], "tiles": test.ratio(np.stack(frames).astype(np.float64)), "core_seconds": done["core_seconds"]}


def decibels(test: Test, ratio: dict[str, float]) -> dict[str, float]:
    """PSNR [dB] per variable; rain in ln(1 + mm/day)."""
    peak = {v: float(np.ptp(np.log1p(test.truth[:, i]) if is_precipitation(v) else test.truth[:, i])) for i, v in enumerate(test.names)}
    return {v: float(20 * np.log10(peak[v] / (ratio[v] * test.bicubic[v]))) for v in test.names}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="20 steps, one seed; judges nothing")
    parser.add_argument("--steps", type=int, help="training steps, other than the demo's")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1, help="trainings side by side, one thread each")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "tiles_accuracy.json")
    arguments = parser.parse_args()
    config = load(ROOT / "config" / "runs" / "demo_tiles.yaml")
    dataset, store, period = first_dataset(config)
    section, test = first_model(config), Test(PairStore(store / "pairs.zarr"), period)
    settings = section["model"]["train"]
    settings["steps"] = 20 if arguments.quick else arguments.steps or settings["steps"]
    seeds, tile, halo = 1 if arguments.quick else arguments.seeds, settings["tile"], settings["halo"]
    cut = {"tile": tuple(tile), "halo": halo, "blend": 0}
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(arguments.jobs, mp_context=get_context("spawn")) as pool:
        started = {}
        for seed in range(seeds):
            for way in WAYS:
                own = copy.deepcopy(section)
                own["model"]["train"] |= {"seed": seed, "tile": tile if way == "tiles" else 0}
                started[way, seed] = pool.submit(trained, own, Path(folder) / f"{way}-{seed}", store, period, dataset, cut)
        runs = {key: future.result() for key, future in started.items()}
    rows = []
    for way in WAYS:
        for predicted in WAYS:
            every = [decibels(test, runs[way, seed][predicted]) for seed in range(seeds)]
            rows.append({"trained": way, "predicted": predicted, "psnr": {v: float(np.mean([d[v] for d in every])) for v in test.names},
                         "mean_psnr": float(np.mean([list(d.values()) for d in every])),
                         "of_seed": [float(np.mean(list(d.values()))) for d in every],
                         "core_seconds": float(np.mean([runs[way, seed]["core_seconds"] for seed in range(seeds)]))})  # fmt: skip
    base = rows[0]["mean_psnr"]
    print(f"PSNR [dB] on the test frames, {settings['steps']} steps, {seeds} seed(s), tiles of {tile[0]} x {tile[1]} with a halo of {halo}")
    print(f"{'trained on':<12}{'predicted':<11}{'mean':>8}{'against whole':>15}   by seed, then by variable")
    for row in rows:
        values = "  ".join(f"{v:.2f}" for v in (*row["of_seed"], *row["psnr"].values()))
        print(f"{row['trained']:<12}{row['predicted']:<11}{row['mean_psnr']:>8.3f}{row['mean_psnr'] - base:>+15.3f}   {values}")
    if arguments.quick:
        return 0
    met = all(row["mean_psnr"] >= base - DECIBELS for row in rows if row["trained"] == "tiles")
    print(f"within {DECIBELS} dB: {'met' if met else 'NOT MET'}")
    write_json(arguments.out, {"steps": settings["steps"], "seeds": seeds, "tile": tile, "halo": halo, "rows": rows, "met": met,
                               "code_version": code_version()})  # fmt: skip
    return int(not met)


if __name__ == "__main__":
    sys.exit(main())
