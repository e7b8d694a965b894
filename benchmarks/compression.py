"""Adaptive compression 1, 4, 8, 16 and 32 times (the paper's Table II b): speed of the 9.5M model, accuracy after equal training.

    make demo                                        # builds the pairs that the accuracy half trains on
    .venv/bin/python benchmarks/compression.py               # about an hour on 2 cores
    .venv/bin/python benchmarks/compression.py --only speed      # or accuracy: one half, which replaces that half of the results
    .venv/bin/python benchmarks/compression.py --quick           # a small grid and a few steps: only shows that it runs

Speed: 180 x 360 x 23 -> 720 x 1440 x 3, one sample, fp32, CPU time (of all threads, so that other work on the machine does not count),
inference and training step, every ratio once a turn; speed-ups are medians of what one turn gives. Accuracy: the demo's model on its
real data, 45 x 90 -> 180 x 360, the same steps and seeds for every ratio; PSNR on the test frames, the truth's own range as peak.
Exits 1 unless 8, 16 and 32 times are at least 3.3, 6.6 and 7.1 times as fast in both, and the mean PSNR over the variables is
nowhere more than 0.1 dB below that without compression. Writes benchmarks/results/compression.json, anew after every turn and seed.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from demo import ROOT, Test, first_dataset, first_model, train_and_score

from orbit2.config.load import load
from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.data.pairs import PairStore
from orbit2.files import read_json, write_json
from orbit2.grid import global_grid
from orbit2.model.geometry import Geometry
from orbit2.model.inspect import forward_flops
from orbit2.model.reslim import Reslim
from orbit2.provenance import code_version
from orbit2.train import losses
from orbit2.train.optimizer import build
from orbit2.variables import is_precipitation

RATIOS = (1, 4, 8, 16, 32)
TARGETS = {8: 3.3, 16: 6.6, 32: 7.1}  # the paper's speed-ups
PAPER = {1: 1.0, **TARGETS}
DECIBELS = 0.1
HALVES = ("speed", "accuracy")
STATICS = ("orography", "land_sea_mask", "slope")
INPUTS = (*(f"variable_{i}" for i in range(20)), *STATICS)
OUTPUTS = INPUTS[:3]


def compression_of(ratio: int) -> dict[str, Any]:
    return {"mode": "budget" if ratio > 1 else "off", "ratio": ratio}


def model_of(ratio: int, device: str = "cpu") -> Reslim:
    """The 9.5M model with random weights."""
    settings = yaml.safe_load((ROOT / "config" / "models" / "reslim_9m.yaml").read_text(encoding="utf-8"))
    settings["position"] = "table"  # the paper's: 9.5 million parameters, one grid
    settings["compression"] = compression_of(ratio)
    torch.manual_seed(0)
    with torch.device(device):
        return Reslim(ArchitectureConfig.model_validate(settings), INPUTS, OUTPUTS, STATICS)


def fields(height: int, width: int) -> torch.Tensor:
    """Smooth noise with a rough quarter: what a quadtree is for. [1, 23, H, W]"""
    generator = torch.Generator().manual_seed(1)
    small = torch.randn(1, len(INPUTS), height // 12, width // 12, generator=generator)
    smooth = torch.nn.functional.interpolate(small, size=(height, width), mode="bicubic")
    rough = torch.randn(1, len(INPUTS), height, width, generator=generator)
    rough[..., : height // 2, :] *= 0.05
    rough[..., width // 2 :] *= 0.05
    return smooth + 0.5 * rough


def clock(work: Any) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started


def speed(degrees: float, turns: int) -> Iterator[list[dict[str, Any]]]:
    """Per ratio: leaves, FLOPs, CPU seconds and speed-ups of inference and training step; again after every turn."""
    grid = global_grid(degrees)
    height, width = grid.shape
    coarse, statics = fields(height, width), torch.randn(1, len(STATICS), 4 * height, 4 * width)
    truth, weights = torch.randn(1, len(OUTPUTS), 4 * height, 4 * width), torch.ones(1, 1, 4 * height, 4 * width)
    geometry = Geometry.of(grid, 4)
    models = {ratio: model_of(ratio) for ratio in RATIOS}

    def infer(model: Reslim) -> None:
        model.eval()
        with torch.inference_mode():
            model(coarse, statics, geometry)

    def step(model: Reslim) -> None:
        """Forward, loss with the compression's own, backward, AdamW."""
        model.train()
        optimizer = build(model, TrainConfig())
        part = losses.terms(model(coarse, statics, geometry), truth, weights, True)
        loss, _, _ = losses.combine(part, part.packed(), torch.ones(len(OUTPUTS)), 0.02)
        own = model.auxiliary(coarse, INPUTS, truth, weights, True)
        if own is not None:
            loss = loss + 0.1 * own[0] / own[1]
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    facts = []
    for ratio, model in models.items():
        count = -(-height // 2) * -(-width // 2)
        if model.compression is not None:
            with torch.inference_mode():
                leaves = model.eval().leaves(coarse, INPUTS, geometry)
            assert leaves is not None
            count = int(leaves.cumulative_lengths()[-1])
        plain = model_of(ratio, "meta").eval().requires_grad_(False)
        facts.append({"ratio": ratio, "leaves": count, "gflop": forward_flops(plain, grid) / 1e9})
    for work in (infer, step):
        work(models[RATIOS[-1]])  # libraries awake
    taken: dict[str, list[list[float]]] = {"infer": [], "step": []}
    for _ in range(turns):
        for work in (infer, step):
            taken[work.__name__].append([clock(lambda w=work, m=model: w(m)) for model in models.values()])
        yield [
            fact | {"turns": len(taken["infer"])} | {f"{name}_{key}": float(np.median(value, 0)[i]) for name, times in taken.items()
            for key, value in (("seconds", np.array(times)), ("speedup", np.array(times)[:, :1] / np.array(times)))}
            for i, fact in enumerate(facts)
        ]  # fmt: skip


def contend(section: dict[str, Any], compression: dict[str, Any], seed: int, out: Path, demo: tuple[str, Path, Any]) -> dict[str, Any]:
    """Train the demo's model with this compression and score it."""
    section["architecture"]["compression"] |= compression
    section["model"]["train"]["seed"] = seed
    name, store, period = demo
    return train_and_score(section, out, store, name, period)


def accuracy(steps: int | None, seeds: int, jobs: int, ratios: tuple[int, ...], max_leaf: int) -> Iterator[list[dict[str, Any]]]:
    """Per ratio: RMSE and PSNR [dB] of every variable on the demo's test frames, mean of seeds; again after every seed."""
    config = load(ROOT / "config" / "config.yaml")
    demo, section = first_dataset(config), first_model(config)
    test = Test(PairStore(demo[1] / "pairs.zarr"), demo[2])
    if steps:
        section["model"]["train"]["steps"] = steps
    # rain is scored in ln(1 + mm/day)
    peaks = {v: float(np.ptp(test.truth[:, i])) for i, v in enumerate(test.names)}
    peaks = {v: float(np.log1p(peak)) if is_precipitation(v) else peak for v, peak in peaks.items()}
    runs: dict[int, list[dict[str, Any]]] = {ratio: [] for ratio in ratios}
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for_seed = [
            {
                ratio: pool.submit(
                    contend, section, {**compression_of(ratio), "max_leaf": max_leaf}, seed, Path(folder) / f"{ratio}-{seed}", demo
                )
                for ratio in (*ratios[:1], *ratios[:0:-1])  # without compression, then the hardest
            }
            for seed in range(seeds)
        ]
        for seed, started in enumerate(for_seed):
            for ratio, future in started.items():
                runs[ratio].append(future.result())
                row = row_of(ratio, runs[ratio][-1:], test, peaks)
                print(f"  seed {seed}, {ratio}x: {row['mean_psnr']:.3f} dB, {row['core_seconds']:.0f} core s", flush=True)
            yield [
                row_of(ratio, found, test, peaks) | {"steps": section["model"]["train"]["steps"], "max_leaf": max_leaf}
                for ratio, found in runs.items()
            ]


def row_of(ratio: int, runs: list[dict[str, Any]], test: Test, peaks: dict[str, float]) -> dict[str, Any]:
    ratios = {v: np.array([run["ratio"][v] for run in runs]) for v in test.names}
    decibels = {v: 20 * np.log10(peaks[v] / (values * test.bicubic[v])) for v, values in ratios.items()}
    each = np.mean(list(decibels.values()), 0)
    return {
        "ratio": ratio,
        "psnr": {v: float(values.mean()) for v, values in decibels.items()},
        "mean_psnr": float(each.mean()),
        "mean_psnr_of_seeds": each.tolist(),
        "rmse_over_bicubic": {v: float(values.mean()) for v, values in ratios.items()},
        "core_seconds": float(np.mean([run["core_seconds"] for run in runs])),
        "seeds": len(runs),
    }


def judge_speed(rows: list[dict[str, Any]]) -> list[str]:
    """Print the table; what does not hold."""
    failed = []
    print(f"{'ratio':>5}{'tokens':>8}{'GFLOP':>9}{'infer s':>10}{'x':>7}{'step s':>10}{'x':>7}{'target':>8}   (CPU time, one sample, "
          f"{rows[0]['turns']} turn(s))")  # fmt: skip
    for row in rows:
        target = TARGETS.get(row["ratio"])
        shown = f"{target:.1f}" if target else "-"
        print(f"{row['ratio']:>5}{row['leaves']:>8}{row['gflop']:>9.1f}{row['infer_seconds']:>10.2f}{row['infer_speedup']:>7.2f}"
              f"{row['step_seconds']:>10.2f}{row['step_speedup']:>7.2f}{shown:>8}", flush=True)  # fmt: skip
        if target and min(row["infer_speedup"], row["step_speedup"]) < target:
            failed.append(f"{row['ratio']}x is not {target} times as fast")
    return failed


def judge_accuracy(rows: list[dict[str, Any]]) -> list[str]:
    """Print the table; what does not hold."""
    failed = []
    print(f"{'ratio':>5}{'mean PSNR':>11}{'change':>9}   PSNR in dB (RMSE / bicubic), test frames, mean of {rows[0]['seeds']} seed(s)")
    for row in rows:
        change = row["mean_psnr"] - rows[0]["mean_psnr"]
        each = "  ".join(f"{v} {row['psnr'][v]:.2f} ({row['rmse_over_bicubic'][v]:.3f})" for v in row["psnr"])
        print(f"{row['ratio']:>5}{row['mean_psnr']:>11.3f}{change:>+9.3f}   {each}", flush=True)
        if change < -DECIBELS:
            failed.append(f"{row['ratio']}x loses {-change:.2f} dB")
    return failed


def keep(out: Path, name: str, rows: list[dict[str, Any]], failed: list[str]) -> None:
    """Replace one half of the results; the other stays as it was measured, with its own code version."""
    known = read_json(out) if out.exists() else {}
    half = {"rows": rows, "failed": failed, "code_version": code_version(), "processor": torch.backends.cpu.get_cpu_capability()}
    write_json(out, {"paper_speedup": PAPER, **{key: known[key] for key in HALVES if key in known}, name: half})


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="45 x 90 -> 180 x 360 and 20 training steps; judges and writes nothing")
    parser.add_argument("--turns", type=int, default=3, help="repeats of every timing")
    parser.add_argument("--steps", type=int, help="training steps, other than the demo's")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--max-leaf", type=int, default=16, help="of the accuracy half")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "compression.json")
    parser.add_argument("--only", choices=HALVES, help="one half; the other half of the results stays")
    arguments = parser.parse_args()
    quick, failed, wrong = arguments.quick, [], []
    if arguments.only != "accuracy":
        for rows in speed(4.0 if quick else 1.0, 1 if quick else arguments.turns):
            wrong = judge_speed(rows)
            if not quick:
                keep(arguments.out, "speed", rows, wrong)
        failed += wrong
    if arguments.only != "speed":
        ratios, seeds = ((1, 8), 1) if quick else (RATIOS, arguments.seeds)
        for rows in accuracy(20 if quick else arguments.steps, seeds, arguments.jobs, ratios, arguments.max_leaf):
            wrong = judge_accuracy(rows)
            if not quick:
                keep(arguments.out, "accuracy", rows, wrong)
        failed += wrong
    if quick:
        print("quick: nothing is judged or written")
        return 0
    print("; ".join(failed) or "all targets met")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
