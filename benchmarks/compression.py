"""Adaptive compression 1, 4, 8, 16 and 32 times (the paper's Table II b): speed of the 9.5M model, accuracy after equal training.

    make demo                                        # builds the pairs that the accuracy half trains on
    .venv/bin/python benchmarks/compression.py       # about an hour on 2 cores
    .venv/bin/python benchmarks/compression.py --quick   # a small grid and a few steps: only shows that it runs

Speed: 180 x 360 x 23 -> 720 x 1440 x 3, one sample, fp32, CPU time (of all threads, so that other work on the machine does not count),
inference and training step, every ratio once a turn; speed-ups are medians of what one turn gives. Accuracy: the demo's model on its
real data, 45 x 90 -> 180 x 360, the same steps and seeds for every ratio; PSNR on the test frames, the truth's own range as peak.
Exits 1 unless 8, 16 and 32 times are at least 3.3, 6.6 and 7.1 times as fast in both, and the mean PSNR over the variables is
nowhere more than 0.1 dB below that without compression. Writes benchmarks/results/compression.json (not with --quick).
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from skill_demo import ROOT, Test, train_reslim

from orbit2.config import slices
from orbit2.config.load import load
from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.data.pairs import PairStore
from orbit2.files import write_json
from orbit2.grid import global_grid
from orbit2.model.geometry import Geometry
from orbit2.model.inspect import forward_flops
from orbit2.model.reslim import Reslim
from orbit2.provenance import code_version
from orbit2.train import losses
from orbit2.train.optimizer import build

RATIOS = (1, 4, 8, 16, 32)
TARGETS = {8: 3.3, 16: 6.6, 32: 7.1}  # the paper's speed-ups
PAPER = {1: 1.0, **TARGETS}
DECIBELS = 0.1
STATICS = ("orography", "land_sea_mask", "slope")
INPUTS = (*(f"variable_{i}" for i in range(20)), *STATICS)
OUTPUTS = INPUTS[:3]


def model_of(ratio: int, device: str = "cpu") -> Reslim:
    """The 9.5M model with random weights."""
    settings = yaml.safe_load((ROOT / "config" / "models" / "reslim_9m.yaml").read_text(encoding="utf-8"))
    settings["compression"] = {"mode": "budget" if ratio > 1 else "off", "ratio": ratio}
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


def speed(degrees: float, turns: int) -> list[dict[str, Any]]:
    """Per ratio: leaves, FLOPs, CPU seconds and speed-ups of inference and training step."""
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

    for work in (infer, step):
        work(models[RATIOS[-1]])  # libraries awake
    taken = {work.__name__: np.array([[clock(lambda w=work, m=model: w(m)) for model in models.values()] for _ in range(turns)])
             for work in (infer, step)}  # fmt: skip
    rows = []
    for i, (ratio, model) in enumerate(models.items()):
        plain = model_of(ratio, "meta").eval().requires_grad_(False)
        count = -(-height // 2) * -(-width // 2)
        if model.compression is not None:
            with torch.inference_mode():
                leaves = model.eval().leaves(coarse, INPUTS, geometry)
            assert leaves is not None
            count = int(leaves.cumulative_lengths()[-1])
        rows.append({"ratio": ratio, "leaves": count, "gflop": forward_flops(plain, grid) / 1e9} | {
            f"{name}_{key}": float(value) for name, times in taken.items()
            for key, value in (("seconds", np.median(times[:, i])), ("speedup", np.median(times[:, 0] / times[:, i])))
        })  # fmt: skip
    return rows


def accuracy(steps: int | None, seeds: int, jobs: int, ratios: tuple[int, ...], max_leaf: int) -> list[dict[str, Any]]:
    """Per ratio: RMSE and PSNR [dB] of every variable on the demo's test frames, mean of seeds."""
    config = load(ROOT / "config" / "config.yaml")
    name = next(iter(config.datasets))
    model = next(key for key, value in config.models.items() if value.finetune_from is None)
    store, period = ROOT / slices.dataset_folder(config, name), config.datasets[name].split.test.model_dump()
    section, test = slices.model(config, model), Test(PairStore(store / "pairs.zarr"), period)
    if steps:
        section["model"]["train"]["steps"] = steps
    started = {}
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        for ratio in ratios:
            own = copy.deepcopy(section)
            own["architecture"]["compression"] |= {"mode": "budget" if ratio > 1 else "off", "ratio": ratio, "max_leaf": max_leaf}
            for seed in range(seeds):
                place = Path(folder) / str(ratio)
                started[ratio, seed] = pool.submit(train_reslim, own, place, store, seed, period, name)
        runs = {key: future.result() for key, future in started.items()}
    peak = {v: float(np.ptp(test.truth[:, i])) for i, v in enumerate(test.names)}
    rows = []
    for ratio in ratios:
        ratios_of = {v: np.array([runs[ratio, s]["ratio"][v] for s in range(seeds)]) for v in test.names}
        # rain is scored in ln(1 + mm/day)
        peaks = {v: float(np.log1p(peak[v])) if "precipitation" in v else peak[v] for v in test.names}
        decibels = {v: float(np.mean(20 * np.log10(peaks[v] / (ratios_of[v] * test.bicubic[v])))) for v in test.names}
        rows.append({"ratio": ratio, "psnr": decibels, "mean_psnr": float(np.mean(list(decibels.values()))),
                     "rmse_over_bicubic": {v: float(values.mean()) for v, values in ratios_of.items()},
                     "seconds": float(np.mean([runs[ratio, s]["seconds"] for s in range(seeds)])),
                     "steps": runs[ratio, 0]["steps"], "seeds": seeds})  # fmt: skip
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="45 x 90 -> 180 x 360 and 20 training steps; judges nothing")
    parser.add_argument("--turns", type=int, default=3, help="repeats of every timing")
    parser.add_argument("--steps", type=int, help="training steps, other than the demo's")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=2, help="trainings side by side, one thread each")
    parser.add_argument("--max-leaf", type=int, default=16, help="of the accuracy half")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "compression.json")
    parser.add_argument("--only", choices=("speed", "accuracy"), help="one half; writes nothing, judges that half")
    arguments = parser.parse_args()
    quick = arguments.quick
    failed, fast, good = [], [], []
    if arguments.only != "accuracy":
        fast = speed(4.0 if quick else 1.0, 1 if quick else arguments.turns)
        print(f"{'ratio':>5}{'tokens':>8}{'GFLOP':>9}{'infer s':>10}{'x':>7}{'step s':>10}{'x':>7}{'target':>8}   (CPU time, one sample)")
        for row in fast:
            target = TARGETS.get(row["ratio"])
            shown = f"{target:.1f}" if target else "-"
            print(f"{row['ratio']:>5}{row['leaves']:>8}{row['gflop']:>9.1f}{row['infer_seconds']:>10.2f}{row['infer_speedup']:>7.2f}"
                  f"{row['step_seconds']:>10.2f}{row['step_speedup']:>7.2f}{shown:>8}", flush=True)  # fmt: skip
            if target and min(row["infer_speedup"], row["step_speedup"]) < target:
                failed.append(f"{row['ratio']}x is not {target} times as fast")
    if arguments.only != "speed":
        ratios = (1, 8) if quick else RATIOS
        good = accuracy(20 if quick else arguments.steps, 1 if quick else arguments.seeds, arguments.jobs, ratios, arguments.max_leaf)
        print(f"{'ratio':>5}{'mean PSNR':>11}{'change':>9}   PSNR in dB (RMSE / bicubic), test frames")
        for row in good:
            change = row["mean_psnr"] - good[0]["mean_psnr"]
            each = "  ".join(f"{v} {row['psnr'][v]:.2f} ({row['rmse_over_bicubic'][v]:.3f})" for v in row["psnr"])
            print(f"{row['ratio']:>5}{row['mean_psnr']:>11.3f}{change:>+9.3f}   {each}")
            if change < -DECIBELS:
                failed.append(f"{row['ratio']}x loses {-change:.2f} dB")
    if quick:
        print("quick: nothing is judged or written")
        return 0
    print("; ".join(failed) or "all targets met")
    if arguments.only is None:
        about = {"code_version": code_version(), "threads": torch.get_num_threads(), "processor": torch.backends.cpu.get_cpu_capability()}
        write_json(arguments.out, {"speed": fast, "accuracy": good, "paper_speedup": PAPER, "failed": failed, **about})
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
