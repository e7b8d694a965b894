"""How much of a plain matrix product's speed the whole model reaches, and where the rest goes.

    .venv/bin/python benchmarks/roofline.py [--quick]

Reslim of embedding 256 and 1024 (published depth and heads cut to fit a minute), one global sample of 23 variables, refinement 4, on
one core. The reference is the fastest plain product of the same size ([N, D] x [D, 4D] or its transpose, contiguous) in the same turns.
Two whole sides: prediction, and the training step with loss, backward pass, clipping, AdamW and weight average; then the same room by
room, each with the inputs it has in the model. `lost` is a room's time beyond its FLOPs at the product's speed: what eats the rest.
Below it the operations that take the most time (torch.profiler). Times are core times, medians over turns, so that other
work on the machine counts little. Exits 1 unless prediction and training reach 60 % in float32; bfloat16 is reported. Writes
benchmarks/results/roofline.json.
"""

from __future__ import annotations

import os

os.environ["OMP_NUM_THREADS"] = "1"

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.files import write_json
from orbit2.grid import uniform
from orbit2.model.flops import count
from orbit2.model.geometry import Geometry
from orbit2.model.reslim import Reslim
from orbit2.provenance import code_version
from orbit2.train import losses
from orbit2.train.average import Average
from orbit2.train.optimizer import build

ROOT = Path(__file__).resolve().parents[1]
TARGET = 0.6
INPUTS = tuple(f"input {i}" for i in range(20))
STATICS = ("orography", "land_sea_mask", "slope")
OUTPUTS = INPUTS[:3]
Call = Callable[[], object]


def reslim(width: int, depth: int, heads: int, grid: tuple[int, int]) -> tuple[Reslim, tuple[Any, ...]]:
    """A model and the arguments of its forward pass."""
    torch.manual_seed(0)
    model = Reslim(ArchitectureConfig(embed_dim=width, depth=depth, heads=heads), (*INPUTS, *STATICS), OUTPUTS, STATICS)
    height, columns = grid
    geometry = Geometry.of(uniform(-60, 60, 0, 240, height, columns), 4)
    coarse, statics = torch.randn(1, 23, height, columns), torch.randn(1, 3, 4 * height, 4 * columns)
    return model, (coarse, statics, geometry, (*INPUTS, *STATICS), None)


@contextmanager
def precision(dtype: torch.dtype) -> Iterator[None]:
    with torch.autocast("cpu", dtype, enabled=dtype != torch.float32):
        yield


def products(tokens: int, width: int, dtype: torch.dtype) -> list[Call]:
    """The plain matrix products of the model's widest layer, ten at a time."""
    a, b = torch.randn(tokens, width, dtype=dtype), torch.randn(width, 4 * width, dtype=dtype)
    c, d = b.T.contiguous(), torch.randn(tokens, 4 * width, dtype=dtype)
    return [lambda: [a @ b for _ in range(10)], lambda: [a @ c.T for _ in range(10)], lambda: [d @ c for _ in range(10)]]


def training_step(model: Reslim, arguments: tuple[Any, ...], dtype: torch.dtype) -> dict[str, Call]:
    """`step` as the trainer does it, and its parts outside the model."""
    config = TrainConfig()
    optimizer, average = build(model, config), Average(model, config.ema)
    target = torch.randn(1, len(OUTPUTS), *(4 * n for n in arguments[0].shape[2:]))
    weights, channels = torch.ones(1, 1, *target.shape[2:]), torch.ones(len(OUTPUTS))

    def loss(prediction: Tensor) -> Tensor:
        part = losses.terms(prediction, target, weights, False, config.loss, model.output_scale)
        return losses.combine(part, part.packed(), channels, config.tv_weight)[0]

    def step() -> None:
        with precision(dtype):
            prediction = model(*arguments)
        optimizer.zero_grad(set_to_none=True)
        loss(prediction).backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        average.update(1)

    step()  # the parts below need gradients
    guess = torch.randn_like(target).requires_grad_()
    return {
        "step": step,
        "loss": lambda: loss(guess).backward(),  # type: ignore[no-untyped-call]
        "clipping": lambda: torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip),
        "AdamW": optimizer.step,
        "weight average": lambda: average.update(1),
    }


def rooms(model: Reslim) -> dict[str, list[nn.Module]]:
    blocks: list[Any] = list(model.blocks)
    return {
        "aggregate": [model.aggregate],
        "embed": [model.position, model.resolution],
        "attention": [block.attention for block in blocks],
        "MLP": [block.mlp for block in blocks],
        "norms": [model.norm, *(norm for block in blocks for norm in (block.norm1, block.norm2))],
        "decoder": [model.decoder],
        "residual": [model.residual],
    }


def room_calls(model: Reslim, arguments: tuple[Any, ...], dtype: torch.dtype, backward: bool) -> dict[str, Call]:
    """Every room alone, on the inputs it gets inside the model."""
    seen: dict[nn.Module, tuple[Any, dict[str, Any]]] = {}
    chosen = rooms(model)
    hooks = [
        module.register_forward_pre_hook(lambda m, a, k: seen.__setitem__(m, (a, k)), with_kwargs=True)
        for group in chosen.values()
        for module in group
    ]
    with precision(dtype), torch.no_grad():
        model(*arguments)
    for hook in hooks:
        hook.remove()

    def inner(value: Any, module: nn.Module) -> Any:
        raw = module in (model.aggregate, model.residual)  # they get data: no gradient to its inputs
        return value.detach().requires_grad_() if backward and not raw and isinstance(value, Tensor) else value

    def call(modules: list[nn.Module]) -> Call:
        def run() -> None:
            for module in modules:
                given, named = seen[module]
                with precision(dtype), torch.set_grad_enabled(backward):
                    result = module(*(inner(v, module) for v in given), **named)
                if backward:
                    result = result[1] if isinstance(result, tuple) else result
                    result.backward(torch.ones_like(result))
        return run

    return {name: call(modules) for name, modules in chosen.items()}


def seconds(calls: dict[str, Call], turns: int) -> dict[str, float]:
    """Median core time of each, all in every turn."""
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(turns + 1):
        for name, call in calls.items():
            began = time.process_time()
            call()
            if turn:  # the first warms up
                taken[name].append(time.process_time() - began)
    return {name: statistics.median(times) for name, times in taken.items()}


def operations(call: Call, top: int) -> list[dict[str, Any]]:
    """The operations with the most time of their own."""
    with profile(activities=[ProfilerActivity.CPU]) as recorded:
        call()
    rows = sorted(recorded.key_averages(), key=lambda row: -row.self_cpu_time_total)
    whole = sum(row.self_cpu_time_total for row in rows)
    return [{"operation": row.key, "calls": row.count, "share": row.self_cpu_time_total / whole} for row in rows[:top]]


def measure(width: int, depth: int, heads: int, grid: tuple[int, int], dtype: torch.dtype, turns: int) -> list[dict[str, Any]]:
    model, arguments = reslim(width, depth, heads, grid)
    tokens = grid[0] * grid[1] // 4
    plain = products(tokens, width, dtype)
    found = []
    for side in ("prediction", "training step"):
        backward = side == "training step"
        model.train(backward)
        if backward:
            extra = training_step(model, arguments, dtype)
            whole = extra.pop("step")
        else:
            extra = {}

            def whole() -> None:
                with torch.no_grad(), precision(dtype):
                    model(*arguments)

        inside = {**room_calls(model, arguments, dtype, backward), **extra}
        flops = {"whole": count(whole), **{name: count(call) for name, call in inside.items()}}
        times = seconds({**{f"product {i}": call for i, call in enumerate(plain)}, "whole": whole, **inside}, turns)
        rate = 10 * 2 * tokens * width * 4 * width / min(times[f"product {i}"] for i in range(len(plain)))
        table = {name: {"gflop": flops[name] / 1e9, "ms": times[name] * 1e3, "of_product": flops[name] / times[name] / rate,
                        "lost_ms": (times[name] - flops[name] / rate) * 1e3} for name in ("whole", *inside)}
        found.append({"width": width, "depth": depth, "heads": heads, "grid": grid, "tokens": tokens, "precision": str(dtype)[6:],
                      "side": side, "product_gflops": rate / 1e9, "of_product": table["whole"]["of_product"], "rooms": table,
                      "operations": operations(whole, 8)})
    return found


def show(case: dict[str, Any]) -> None:
    print(f"\n{case['precision']}, {case['side']}: D {case['width']}, {case['depth']} blocks, {case['heads']} heads, "
          f"{case['tokens']} tokens; plain product {case['product_gflops']:.0f} GFLOP/s")
    print(f"  {'room':16s} {'GFLOP':>8s} {'ms':>9s} {'of product':>11s} {'lost ms':>9s} {'of time':>8s}")
    whole = case["rooms"]["whole"]["ms"]
    for name, row in sorted(case["rooms"].items(), key=lambda item: (item[0] != "whole", -item[1]["lost_ms"])):
        print(f"  {name:16s} {row['gflop']:8.2f} {row['ms']:9.1f} {row['of_product']:11.2f} {row['lost_ms']:9.1f} {row['ms'] / whole:8.1%}")
    shares = (f"{row['operation'].removeprefix('aten::')} {row['share']:.0%}" for row in case["operations"])
    print(f"  most time of their own: {', '.join(shares)}")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small grid and few turns; for a look, writes nothing")
    parser.add_argument("--turns", type=int, default=0, help="turns (default 5, quick 1)")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results" / "roofline.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    turns = arguments.turns or (1 if arguments.quick else 5)
    sizes = [(256, 1, 4, (16, 32))] if arguments.quick else [(256, 6, 4, (64, 128)), (1024, 2, 16, (32, 64))]
    cases = []
    for size in sizes:
        for dtype in (torch.float32, torch.bfloat16):
            for case in measure(*size, dtype, turns):
                show(case)
                cases.append(case)
    held = all(case["of_product"] >= TARGET for case in cases if case["precision"] == "float32")
    print(f"\nclaim ({TARGET:.0%} of a plain product in float32, prediction and training): {'holds' if held else 'DOES NOT HOLD'}")
    if not arguments.quick:
        write_json(arguments.out, {"code_version": code_version(), "torch": torch.__version__, "threads": 1, "target": TARGET,
                                   "capability": torch.backends.cpu.get_cpu_capability(), "cases": cases, "holds": held})
    return 0 if held else 1


if __name__ == "__main__":
    sys.exit(main())
