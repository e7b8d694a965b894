"""Threads of a training step, and of a pass of a prediction, on a processor: how many, how they wait for each other, and what others on the
machine do to them.

    .venv/bin/python benchmarks/threads.py          # five minutes of all cores, of a busy machine up to fifteen
    .venv/bin/python benchmarks/threads.py --quick  # shows that it runs, judges nothing

The demo's network takes whole steps (the trainer's own: forward, loss, backward, clipping, AdamW, average), and whole passes as `orbit2
downscale` makes them, on fields of several sizes, each way in processes of its own, in turns, since OpenMP reads how to wait when it is
loaded: one thread; all cores, threads that wait asleep; for steps also all cores, threads that look for each other 1000 turns before they
sleep, as `orbit2 train` sets it. Then the same beside a process that keeps one core busy. The plan's time (orbit2/plan) stands beside the
one that `orbit2 train` or `orbit2 downscale` would take. Claims: the number of threads that these choose (orbit2/model/threads.py) is never
more than 1.3 times slower than the best way alone, and nowhere slower than threads asleep, alone or beside the busy process, by more than
1.25 times; plan is within 30 %. Predictions choose by one window, so that no batch changes the order of a sum: of several windows together
it may be up to 1.6 times slower than either. Ratios of medians, of turns beside which nobody else ran where Linux tells of enough; exits 1
where one fails. Writes benchmarks/results/threads.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from orbit2.config.load import load
from orbit2.config.network import TrainConfig
from orbit2.files import write_json
from orbit2.grid import Grid, global_grid
from orbit2.model.build import Downscaling
from orbit2.model.build import build as build_model
from orbit2.model.heap import keep_heap
from orbit2.model.inspect import build, forward_flops, vocabulary
from orbit2.model.precision import autocast_dtype
from orbit2.model.threads import worthwhile
from orbit2.notebook import NOTEBOOK
from orbit2.parallel.launch import Ranks
from orbit2.parallel.mesh import Mesh, Sizes
from orbit2.plan import here
from orbit2.plan.machine import Machine
from orbit2.plan.rehearse import Stage, prediction, rehearse, rehearse_prediction
from orbit2.plan.time import predict
from orbit2.provenance import code_version

ROOT = Path(__file__).resolve().parents[1]
CPU = torch.device("cpu")
TRAINING, PREDICTION = "training", "prediction"
STEPS = {"6 x 10 cells, batch 8": (6, 10, 8), "12 x 20 cells, batch 4": (12, 20, 4), "45 x 90 cells, batch 2": (45, 90, 2)}
PASSES = {"6 x 10 cells": (6, 10, 1), "12 x 20 cells": (12, 20, 1), "24 x 40 cells": (24, 40, 1), "36 x 72 cells": (36, 72, 1),
          "45 x 90 cells": (45, 90, 1), "6 x 10 cells, batch 8": (6, 10, 8), "12 x 20 cells, batch 4": (12, 20, 4),
          "24 x 40 cells, batch 8": (24, 40, 8)}  # fmt: skip
CASES = {(side, name): sizes for side, named in ((TRAINING, STEPS), (PREDICTION, PASSES)) for name, sizes in named.items()}
Case = tuple[str, str]
Turn = tuple[float, bool]  # seconds; whether nobody ran beside it but who should
CORES = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
WAYS = {"one thread": (1, {"OMP_WAIT_POLICY": "PASSIVE"}), "all, asleep": (CORES, {"OMP_WAIT_POLICY": "PASSIVE"}),
        "all, 1000 turns": (CORES, {"GOMP_SPINCOUNT": "1000"})}  # fmt: skip
OF = {TRAINING: tuple(WAYS), PREDICTION: ("one thread", "all, asleep")}  # orbit2 downscale has no other
ALONE, BUSY = "alone", "beside a busy process"
BEST, ASLEEP, BATCHED, PLAN = 1.3, 1.25, 1.6, 0.3
TURNS, SECONDS = 2, 0.5  # of each way; of a case in one


def network(meta: bool) -> Downscaling:
    config = load(ROOT / "config" / "runs" / "demo.yaml")
    return build(config, "reslim") if meta else build_model(config.architecture_of("reslim"), *vocabulary(config, "reslim"))


def window(rows: int, columns: int) -> Grid:
    return global_grid(4.0).crop(slice(0, rows), slice(0, columns))


def step_of(rows: int, columns: int, batch: int) -> Callable[[], object]:
    """The trainer's own: loss, clipping, optimiser and average in it."""
    train = TrainConfig(batch_size=batch)
    mesh = Mesh(Sizes(), Ranks(0, 1, CPU))
    return Stage(network(meta=True).train(), train, mesh, window(rows, columns), batch, 1, autocast_dtype("auto", CPU)).step


def pass_of(rows: int, columns: int, batch: int) -> Callable[[], object]:
    predict = prediction(network(meta=True), window(rows, columns), batch, autocast_dtype("auto", CPU))[0]
    return torch.inference_mode()(predict)


def running() -> int:
    """Threads of the whole machine that run or could, this one among them; 1 where nothing tells."""
    try:
        return int(Path("/proc/loadavg").read_text(encoding="utf-8").split()[3].split("/")[0])
    except OSError:
        return 1


def timed(turn: Callable[[], object], least: float, beside: int) -> list[Turn]:
    """Turns after some to warm up, with who else ran: five at least, and `least` seconds of those beside which no more than `beside` others
    did. For these it waits ten times as long at most."""
    keep_heap()
    for _ in range(3):
        turn()
    taken: list[Turn] = []
    start = time.perf_counter()
    while len(taken) < 5 or sum(seconds for seconds, good in taken if good) < least:
        waits = time.perf_counter() - start < 10 * least
        if not waits and len(taken) >= 5:
            break
        if waits and running() > 1 + beside:
            time.sleep(0.003)
            continue
        began = time.perf_counter()
        turn()
        taken.append((time.perf_counter() - began, running() <= 1 + beside and waits))
    return taken


def apart(way: str, least: float, beside: int) -> dict[Case, list[Turn]]:
    """Steps and passes of all cases, in a process that waits that `way`, `beside` others."""
    threads, waiting = WAYS[way]
    around = {name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")}
    done = subprocess.run([sys.executable, __file__, "--one", way, "--least", str(least), "--beside", str(beside)], check=True,
                          capture_output=True, text=True, env={**around, "OMP_NUM_THREADS": str(threads), **waiting})  # fmt: skip
    return {(side, name): [(seconds, good) for seconds, good in turns] for side, name, turns in json.loads(done.stdout)}


def measured(turns: int, least: float, beside: int) -> dict[Case, dict[str, list[Turn]]]:
    """Steps and passes by case and way, in turns."""
    took: dict[Case, dict[str, list[Turn]]] = {case: {way: [] for way in OF[case[0]]} for case in CASES}
    for _ in range(turns):
        for way in WAYS:
            for case, found in apart(way, least, beside).items():
                took[case][way] += found
    return took


def median(turns: list[Turn]) -> float:
    """Of those beside which nobody unasked ran, where these are a few."""
    good = [seconds for seconds, undisturbed in turns if undisturbed]
    return statistics.median(good if len(good) >= 5 else [seconds for seconds, _ in turns])


def chosen(case: Case) -> tuple[int, str]:
    """The threads that training, or a prediction, takes, and the way that is."""
    rows, columns, batch = CASES[case]
    forward = forward_flops(network(meta=True), window(rows, columns))
    threads = worthwhile(3 * batch * forward if case[0] == TRAINING else forward, CORES)
    return threads, "one thread" if threads == 1 else OF[case[0]][-1]


def alone(tries: int) -> None:
    """Have this machine measured for the plan while nobody else runs, as often as it takes, at most `tries` times."""
    for _ in range(tries):
        here._measured.cache_clear()
        NOTEBOOK._known.clear()
        before = running()
        Machine("cpu").sheet  # noqa: B018
        if max(before, running()) <= 1:
            return
        time.sleep(2)


def planned(case: Case) -> float:
    """Seconds of a step, or a pass, as the plan has it."""
    rows, columns, batch = CASES[case]
    dtype, model, grid = autocast_dtype("auto", CPU), network(meta=True), window(rows, columns)
    step = (rehearse(model, TrainConfig(batch_size=batch), Sizes(), grid, batch, dtype=dtype) if case[0] == TRAINING
            else rehearse_prediction(model, grid, batch, dtype))  # fmt: skip
    return predict(step, Machine("cpu"), samples=0, precision="fp32" if dtype is None else "bf16").total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--least", type=float, default=SECONDS, help=argparse.SUPPRESS)
    parser.add_argument("--beside", type=int, default=0, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        torch.manual_seed(0)
        makes = {TRAINING: step_of, PREDICTION: pass_of}
        own = {case: sizes for case, sizes in CASES.items() if given.one in OF[case[0]]}
        print(json.dumps([[*case, timed(makes[case[0]](*sizes), given.least, given.beside)] for case, sizes in own.items()]))
        return 0
    turns, least = (1, 0.0) if given.quick else (TURNS, SECONDS)
    took = {ALONE: measured(turns, least, 0)}
    busy = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        took[BUSY] = measured(turns, least, 1)
    finally:
        busy.kill()
        busy.wait()
    alone(1 if given.quick else 30)
    rows: list[dict[str, Any]] = []
    print(f"{CORES} cores; milliseconds of a step or a pass (median)\n{'':12}{'':24}{'':24}" + "".join(f"{way:>18}" for way in WAYS)
          + f"{'plan':>10}")  # fmt: skip
    holds = True
    for case in CASES:
        (threads, way), plan, (side, name) = chosen(case), planned(case), case
        batched = side == PREDICTION and CASES[case][2] > 1
        for beside, found in took.items():
            times = {one: median(taken) for one, taken in found[case].items()}
            quiet = statistics.mean(good for taken in found[case].values() for _, good in taken)
            best, asleep = times[way] / min(times.values()), times[way] / times["all, asleep"]
            ok = asleep <= (BATCHED if batched else ASLEEP)
            if beside == ALONE:
                ok &= best <= (BATCHED if batched else BEST) and abs(plan / times[way] - 1) <= PLAN
            holds &= ok
            rows.append({"side": side, "case": name, "beside": beside, "seconds": times, "threads": threads, "way": way, "planned": plan,
                         "times_the_best": best, "times_asleep": asleep, "undisturbed": round(quiet, 3), "holds": ok})  # fmt: skip
            shown = (f"{1e3 * times[one]:>17.1f}{'*' if one == way else ' '}" if one in times else " " * 18 for one in WAYS)
            print(f"{side:12}{name:24}{beside:24}" + "".join(shown) + f"{1e3 * plan:>10.1f}" + ("" if ok else "  DOES NOT HOLD"))
    print("* as orbit2 train and orbit2 downscale do it")
    if not given.quick:
        write_json(ROOT / "benchmarks" / "results" / "threads.json",
                   {"code_version": code_version(), "cores": CORES, "rows": rows, "holds": holds})  # fmt: skip
    return 0 if holds or given.quick else 1


if __name__ == "__main__":
    sys.exit(main())
