"""Variable aggregation folded (orbit2/model/aggregate.py) against the naive form, same parameters, same result: time and memory.

    .venv/bin/python benchmarks/aggregate.py [--quick]

The naive form is the paper's wording: a token of D numbers per variable and patch, keys and values projected from each, PyTorch's fused
attention with one query over the variables, output projection. The folded form never makes a token per variable. Both are timed with the
output projection, for inference (no gradient) and training (forward and backward, gradients of all parameters), fp32, one thread, D = 256,
4 heads, 2 x 2 patches. They take turns in one process; times are core times (of all threads), ratios medians over the turns, so that
other work on the machine does not count. Memory is the peak the allocator reaches above what is there before (PyTorch's profiler). FLOPs
are counted (torch.utils.flop_counter). Exits 1 unless folding is 20 times faster and 10 times smaller at V = 23 in both modes on
64 x 128 and 128 x 256 coarse cells. On 32 x 64 (512 tokens) what is done once per pass, folding the weights and calling a hundred small
operations, shows in the time.
Writes benchmarks/results/aggregate.json.
"""

from __future__ import annotations

# ruff: noqa: E402  (thread counts are set before the libraries load)
import os

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from orbit2.files import write_json
from orbit2.model.aggregate import VariableAggregation
from orbit2.provenance import code_version

ROOT = Path(__file__).resolve().parents[1]
WIDTH, HEADS, PATCH = 256, 4, 2
GRIDS = {"32 x 64": (32, 64), "64 x 128": (64, 128), "128 x 256": (128, 256)}  # coarse cells; the first is Table II a's
CASES = [(7, "64 x 128"), (23, "32 x 64"), (23, "64 x 128"), (23, "128 x 256"), (100, "64 x 128"), (500, "32 x 64")]
TARGET_TIME, TARGET_MEMORY, TARGET = 20.0, 10.0, (23, ("64 x 128", "128 x 256"))
MODES = ("inference", "training")


def naive(room: VariableAggregation, fields: Tensor) -> Tensor:
    """Every variable's tokens, keys and values spelled out; complete fields."""
    patches = room.patches(fields, True)  # [B, V, p^2, N]
    tokens = torch.einsum("bvpn,vpd->bnvd", patches, room.weight) + (room.bias + room.embedding)
    keys = F.linear(tokens, room.key).unflatten(-1, (HEADS, -1)).transpose(2, 3)  # [B, N, h, V, d]
    values = F.linear(tokens, room.value).unflatten(-1, (HEADS, -1)).transpose(2, 3)
    query = room.query.view(HEADS, 1, -1).expand(*keys.shape[:3], 1, -1)
    mixed = F.scaled_dot_product_attention(query, keys, values)
    result: Tensor = room.output(mixed.flatten(2))
    return result


def sides(variables: int, grid: str) -> tuple[VariableAggregation, dict[str, Callable[[], Tensor]]]:
    """The room and both ways through it."""
    torch.manual_seed(0)
    names = [f"v{i}" for i in range(variables)]
    room = VariableAggregation(names, PATCH, WIDTH, HEADS)
    fields = torch.randn(1, variables, *GRIDS[grid])
    return room, {"naive": lambda: naive(room, fields), "folded": lambda: room(fields, names, True)}


def passing(room: VariableAggregation, way: Callable[[], Tensor], mode: str) -> Callable[[], None]:
    """One pass of inference or training."""

    def inference() -> None:
        with torch.no_grad():
            way()

    def training() -> None:
        room.zero_grad(set_to_none=True)
        way().square().mean().backward()

    return inference if mode == "inference" else training


def peak(once: Callable[[], None]) -> float:
    """Megabytes the allocator holds at most above what was there before."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        once()
    events = [e for e in found.profiler.kineto_results.events() if e.name() == "[memory]"]  # type: ignore[union-attr]
    held = np.cumsum([e.nbytes() for e in sorted(events, key=lambda e: e.start_ns())])
    return float(held.max()) / 1e6


def measure(variables: int, grid: str, turns: int) -> dict[str, Any]:
    room, ways = sides(variables, grid)
    with torch.no_grad():
        results = {name: way() for name, way in ways.items()}
    difference = float((results["naive"] - results["folded"]).abs().max() / results["naive"].abs().max())
    row: dict[str, Any] = {"variables": variables, "grid": grid, "tokens": results["naive"].shape[1], "difference": difference}
    for mode in MODES:
        passes = {name: passing(room, way, mode) for name, way in ways.items()}
        taken: dict[str, list[float]] = {name: [] for name in passes}
        for turn in range(turns + 1):  # the first warms up
            for name, once in passes.items():
                repeats = 1 if name == "naive" else 5
                start = time.process_time()
                for _ in range(repeats):
                    once()
                if turn:
                    taken[name].append((time.process_time() - start) / repeats)
        found: dict[str, Any] = {}
        for name, once in passes.items():
            with FlopCounterMode(display=False) as counter:
                once()
            core, gflop = 1e3 * float(np.median(taken[name])), counter.get_total_flops() / 1e9
            found[name] = {"core_ms": core, "megabytes": peak(once), "gflop": gflop}
        found["time"] = float(np.median(np.array(taken["naive"]) / np.array(taken["folded"])))
        for key, label in (("megabytes", "memory"), ("gflop", "flops")):
            found[label] = found["naive"][key] / found["folded"][key]
        row[mode] = found
    return row


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="23 variables up to 64 x 128, few turns, no result file")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "aggregate.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    cases = [case for case in CASES if not arguments.quick or case in ((23, "32 x 64"), (23, "64 x 128"))]
    print(f"{'variables':>9} {'grid':>9} {'mode':>10} {'naive ms':>10} {'folded ms':>10} {'times':>7} {'naive MB':>9} {'folded MB':>10} "
          f"{'times':>7} {'times FLOPs':>12} {'difference':>11}")
    rows = []
    for variables, grid in cases:
        row = measure(variables, grid, 3 if arguments.quick else 7)
        rows.append(row)
        for mode in MODES:
            found = row[mode]
            slow, fast = found["naive"], found["folded"]
            print(f"{variables:>9} {grid:>9} {mode:>10} {slow['core_ms']:>10.1f} {fast['core_ms']:>10.2f} {found['time']:>7.1f} "
                  f"{slow['megabytes']:>9.1f} {fast['megabytes']:>10.2f} {found['memory']:>7.1f} {found['flops']:>12.1f} "
                  f"{row['difference']:>11.1e}", flush=True)
    asked = [row[mode] for row in rows if row["variables"] == TARGET[0] and row["grid"] in TARGET[1] for mode in MODES]
    holds = (min(f["time"] for f in asked) >= TARGET_TIME and min(f["memory"] for f in asked) >= TARGET_MEMORY
             and max(row["difference"] for row in rows) < 1e-5)
    print(f"claim ({TARGET_TIME:g} times the speed, {TARGET_MEMORY:g} times less memory at V = {TARGET[0]} on {' and '.join(TARGET[1])}): "
          f"{'holds' if holds else 'DOES NOT HOLD'}")
    if not arguments.quick:
        write_json(arguments.out, {
            "code_version": code_version(), "torch": torch.__version__, "machine": platform.machine(), "width": WIDTH, "heads": HEADS,
            "patch": PATCH, "threads": 1, "times": "core ms, medians of paired turns; the machine was busy with other work",
            "rows": rows, "holds": holds,
        })
    return 0 if holds else 1


if __name__ == "__main__":
    sys.exit(main())
