"""Threads of a training step on a processor: how many, how they wait for each other, and what others on the machine do to them.

    .venv/bin/python benchmarks/threads.py          # two minutes of all cores
    .venv/bin/python benchmarks/threads.py --quick  # shows that it runs, judges nothing

The demo's network takes whole steps (forward, loss, backward, clipping, AdamW) on random fields of three sizes, each way in a process of
its own, since OpenMP reads how to wait when it is loaded: one thread; all cores, threads that wait asleep; all cores, threads that look
for each other 1000 turns before they sleep, as `orbit2 train` sets it. Then the same beside a process that keeps one core busy. The plan's
time of a step (orbit2/plan) stands beside the one that `orbit2 train` would take. Claims: the number of threads that training chooses
(orbit2/model/threads.py) is never more than 1.3 times slower than the best way alone, and nowhere slower than threads asleep, alone or
beside the busy process, by more than 1.25 times; plan is within 30 %. Ratios of medians; exits 1 where one fails.
Writes benchmarks/results/threads.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import torch

from orbit2.config.load import load
from orbit2.config.network import TrainConfig
from orbit2.files import write_json
from orbit2.grid import Grid, global_grid
from orbit2.model.build import Downscaling
from orbit2.model.build import build as build_model
from orbit2.model.geometry import Geometry
from orbit2.model.heap import keep_heap
from orbit2.model.inspect import build, forward_flops, vocabulary
from orbit2.model.precision import autocast_dtype
from orbit2.model.threads import worthwhile
from orbit2.parallel.mesh import Sizes
from orbit2.plan.machine import Machine
from orbit2.plan.rehearse import rehearse
from orbit2.plan.time import predict
from orbit2.provenance import code_version

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
CASES = {"6 x 10 cells, batch 8": (6, 10, 8), "12 x 20 cells, batch 4": (12, 20, 4), "45 x 90 cells, batch 2": (45, 90, 2)}
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WAYS = {"one thread": (1, {"OMP_WAIT_POLICY": "PASSIVE"}), "all, asleep": (CORES, {"OMP_WAIT_POLICY": "PASSIVE"}),
        "all, 1000 turns": (CORES, {"GOMP_SPINCOUNT": "1000"})}  # fmt: skip
ALONE, BUSY = "alone", "beside a busy process"
BEST, ASLEEP, PLAN = 1.3, 1.25, 0.3


def network(meta: bool) -> Downscaling:
    config = load(ROOT / "config" / "runs" / "demo.yaml")
    return build(config, "reslim") if meta else build_model(config.architecture_of("reslim"), *vocabulary(config, "reslim"))


def window(rows: int, columns: int) -> Grid:
    return global_grid(4.0).crop(slice(0, rows), slice(0, columns))


def steps(rows: int, columns: int, batch: int, count: int) -> list[float]:
    """Seconds of `count` steps, after some to warm up."""
    keep_heap()
    torch.manual_seed(0)
    model, grid = network(meta=False), window(rows, columns)
    factor = model.config.refinement
    coarse = torch.randn(batch, len(model.inputs), rows, columns)
    statics = torch.randn(batch, len(model.statics), rows * factor, columns * factor)
    truth, geometry = torch.randn(batch, len(model.outputs), rows * factor, columns * factor), Geometry.of(grid, factor, batch)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=True)
    dtype, taken = autocast_dtype("auto", CPU), []
    for _ in range(count + 5):
        began = time.perf_counter()
        with torch.autocast("cpu", dtype or torch.bfloat16, enabled=dtype is not None):
            made = model(coarse, statics, geometry)
        (made.float() - truth).square().mean().backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
        taken.append(time.perf_counter() - began)
    return taken[5:]


def apart(case: str, way: str, count: int) -> float:
    """Median seconds of a step, in a process that waits that `way`."""
    threads, waiting = WAYS[way]
    around = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, __file__, "--one", case, "--count", str(count)], check=True, capture_output=True, text=True,
                          env={**around, "OMP_NUM_THREADS": str(threads), **waiting})  # fmt: skip
    return float(statistics.median(json.loads(done.stdout)))


def chosen(case: str) -> tuple[int, str]:
    """The threads that training takes, and the way that is."""
    rows, columns, batch = CASES[case]
    threads = worthwhile(3 * batch * forward_flops(network(meta=True), window(rows, columns)), CORES)
    return threads, "one thread" if threads == 1 else "all, 1000 turns"


def planned(case: str) -> float:
    """Seconds of a step as the plan has it."""
    rows, columns, batch = CASES[case]
    dtype = autocast_dtype("auto", CPU)
    step = rehearse(network(meta=True), TrainConfig(batch_size=batch), Sizes(), window(rows, columns), batch, dtype=dtype)
    return predict(step, Machine("cpu"), samples=0, precision="fp32" if dtype is None else "bf16").total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--count", type=int, default=60, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(steps(*CASES[given.one], given.count)))
        return 0
    took: dict[str, dict[str, dict[str, float]]] = {case: {ALONE: {}, BUSY: {}} for case in CASES}
    for beside in (ALONE, BUSY):
        busy = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if beside == BUSY else None
        try:
            for case in CASES:
                for way in WAYS:
                    took[case][beside][way] = apart(case, way, 3 if given.quick else 60 if "45" not in case else 20)
        finally:
            if busy is not None:
                busy.kill()
                busy.wait()
    rows: list[dict[str, Any]] = []
    print(f"{CORES} cores; milliseconds of a step (median)\n{'':24}{'':24}" + "".join(f"{way:>18}" for way in WAYS) + f"{'plan':>10}")
    holds = True
    for case, found in took.items():
        (threads, way), plan = chosen(case), planned(case)
        for beside, times in found.items():
            best, asleep = times[way] / min(times.values()), times[way] / times["all, asleep"]
            ok = asleep <= ASLEEP and (beside == BUSY or (best <= BEST and abs(plan / times[way] - 1) <= PLAN))
            holds &= ok
            rows.append({"case": case, "beside": beside, "seconds": times, "threads": threads, "way": way, "planned": plan,
                         "times_the_best": best, "times_asleep": asleep, "holds": ok})  # fmt: skip
            print(f"{case:24}{beside:24}" + "".join(f"{1e3 * times[one]:>17.1f}{'*' if one == way else ' '}" for one in WAYS)
                  + f"{1e3 * plan:>10.1f}" + ("" if ok else "  DOES NOT HOLD"))  # fmt: skip
    print("* as orbit2 train does it")
    if not given.quick:
        write_json(ROOT / "benchmarks" / "results" / "threads.json",
                   {"code_version": code_version(), "cores": CORES, "rows": rows, "holds": holds})  # fmt: skip
    return 0 if holds or given.quick else 1


if __name__ == "__main__":
    sys.exit(main())
