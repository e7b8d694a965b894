"""Reslim 9.5M on one GPU: 23 x 180 x 360 -> 3 x 720 x 1440, prediction and training, beside the device's own matrix rate.

    python benchmarks/gpu.py [--quick] [--device cuda] [--out-dir benchmarks/results] [--minutes 9]

Every case is one network (full attention; compression 8, 16, 32 times; 16 tiles, bare and with a halo of 4 coarse cells), one way to run
it (eager; torch.compile; CUDA graph; both) and one batch (1 to 64 global samples; tiles of a sample are one batch). FLOPs are counted,
the floor is those FLOPs at the rate of a plain bf16 matrix product measured in the same run, before and after. Times
are the device's own (CUDA events; core time on a CPU), medians; float32 islands under bf16 autocast may use TF32. A case that runs out
of memory is reported and larger batches are left out; cases that would start after --minutes are left out and named. Exits 1 when the
fastest prediction with full attention, or with 16 bare tiles, takes more than twice its floor (a CPU is never judged).
Writes <out-dir>/gpu_<device>.json, anew after every case, so that nothing is lost when a later one takes the machine down.
"""

from __future__ import annotations

import argparse
import copy
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.files import write_json
from orbit2.grid import global_grid
from orbit2.model.compiled import compile_model, replay_model
from orbit2.model.flops import count
from orbit2.model.geometry import Geometry
from orbit2.model.reslim import Reslim
from orbit2.provenance import code_version
from orbit2.train import losses
from orbit2.train.optimizer import build

ROOT = Path(__file__).resolve().parents[1]
TARGET = 2.0  # times the floor
STATICS = ("orography", "land_sea_mask", "slope")
INPUTS = (*(f"input {i}" for i in range(20)), *STATICS)
OUTPUTS = INPUTS[:3]
Call = Callable[[], object]


@dataclass(frozen=True)
class Size:
    """The network and the global grid: `degrees` coarse, `side` x `side` tiles."""

    width: int = 256
    depth: int = 6
    heads: int = 4
    degrees: float = 1.0
    side: int = 4
    product: int = 8192


@dataclass(frozen=True)
class Network:
    name: str
    ratio: int = 0  # compression; 0 = off
    tiled: bool = False
    halo: int = 0  # coarse cells


NETWORKS = (
    Network("full attention"), Network("16 tiles", tiled=True), Network("compression 8", ratio=8), Network("compression 16", ratio=16),
    Network("compression 32", ratio=32), Network("16 tiles, halo 4", tiled=True, halo=4),
)  # fmt: skip
WAYS = {"prediction": ("eager", "compiled", "graph", "compiled graph"), "training": ("eager", "compiled")}
BATCHES = (1, 2, 4, 8, 16, 32, 64)


def reslim(size: Size, network: Network, device: torch.device) -> Reslim:
    torch.manual_seed(0)
    compression = {"mode": "budget", "ratio": network.ratio} if network.ratio else {"mode": "off"}
    settings = {"embed_dim": size.width, "depth": size.depth, "heads": size.heads, "compression": compression}
    return Reslim(ArchitectureConfig.model_validate(settings), INPUTS, OUTPUTS, STATICS).to(device)


def arguments(size: Size, network: Network, batch: int, device: torch.device) -> tuple[Any, ...]:
    """(coarse, statics, geometry, names, clock) of `batch` global samples; tiles lie along the batch. Random fields."""
    grid = global_grid(size.degrees)
    height, width = grid.shape
    geometry = Geometry.of(grid, 4)
    if network.tiled:
        height, width = height // size.side + 2 * network.halo, width // size.side + 2 * network.halo
        batch *= size.side**2
        geometry = replace(geometry, lat=geometry.lat[:, :height], lon=geometry.lon[:, :width], periodic=False)
    lat, lon = (centres.expand(batch, -1).contiguous() for centres in (geometry.lat, geometry.lon))
    geometry = replace(geometry, lat=lat, lon=lon).to(device)
    torch.manual_seed(1)
    coarse = torch.randn(batch, len(INPUTS), height, width, device=device)
    statics = torch.randn(batch, len(STATICS), 4 * height, 4 * width, device=device)
    return coarse, statics, geometry, INPUTS, None


def predicting(model: Reslim, given: tuple[Any, ...]) -> Call:
    device = given[0].device

    def call() -> Tensor:
        with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
            result: Tensor = model(*given)
        return result

    return call


def training(model: Reslim, given: tuple[Any, ...]) -> Call:
    """Forward, loss (with the compression's own), backward, clipping and AdamW, as the trainer does them."""
    config, device = TrainConfig(), given[0].device
    optimizer = build(model, config)
    target = torch.randn(len(given[0]), len(OUTPUTS), *(4 * n for n in given[0].shape[2:]), device=device)
    weights, channels = torch.ones(1, 1, *target.shape[2:], device=device), torch.ones(len(OUTPUTS), device=device)

    def call() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            prediction = model(*given)
        part = losses.terms(prediction, target, weights, given[2].periodic, config.loss, model.output_scale)
        loss, _, _ = losses.combine(part, part.packed(), channels, config.tv_weight)
        own = model.auxiliary(given[0], INPUTS, target, weights, given[2].periodic)
        if own is not None:
            loss = loss + model.config.compression.auxiliary_weight * own[0] / own[1]
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()

    return call


def seconds(call: Call, device: torch.device, repeats: int) -> float:
    """Median time of a call by the device's clock, after warming up."""
    for _ in range(2):
        call()
    taken = []
    for _ in range(repeats):
        if device.type == "cuda":
            first, last = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            first.record()
            call()
            last.record()
            torch.cuda.synchronize()
            taken.append(first.elapsed_time(last) / 1e3)
        else:
            began = time.process_time()
            call()
            taken.append(time.process_time() - began)
    return statistics.median(taken)


def product_rate(device: torch.device, n: int, repeats: int) -> float:
    """FLOP/s of a plain [n, n] x [n, n] bf16 product of random data."""
    a, b = (torch.randn(n, n, device=device, dtype=torch.bfloat16) for _ in range(2))
    return 2 * n**3 / seconds(lambda: a @ b, device, repeats)


def cases(batches: tuple[int, ...], device: torch.device, quick: bool) -> Iterator[tuple[Network, str, str, int]]:
    """What was asked for first: every batch of full attention and tiles, then the rest. A quick look compiles one network only."""
    for network in NETWORKS[:3] if quick else NETWORKS:
        for side, ways in WAYS.items():
            for way in ways:
                if quick and "compiled" in way and network != NETWORKS[0]:
                    continue
                if "graph" in way and device.type != "cuda":
                    continue
                for batch in batches:
                    yield network, side, way, batch


def measure(
    size: Size, network: Network, side: str, way: str, batch: int, device: torch.device, repeats: int, backend: str
) -> dict[str, Any]:
    """One case; "error" instead of a time when memory runs out or the case cannot run."""
    row: dict[str, Any] = {"network": network.name, "side": side, "way": way, "batch": batch}
    try:
        torch._dynamo.reset()
        if device.type == "cuda":
            torch.cuda.empty_cache()
        model = reslim(size, network, device).train(side == "training")
        make = training if side == "training" else predicting
        one = make(copy.deepcopy(model), arguments(size, network, 1, device))
        row["gflop_per_sample"] = count(one) / 1e9
        if "compiled" in way:
            compile_model(model, "on", device, backend)
        if "graph" in way:
            replay_model(model, device, torch.bfloat16)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        row["ms_per_sample"] = 1e3 * seconds(make(model, arguments(size, network, batch, device)), device, repeats) / batch
        if device.type == "cuda":
            row["peak_gib"] = torch.cuda.max_memory_allocated() / 2**30
    except torch.OutOfMemoryError:
        row["error"] = "out of memory"
    except Exception as error:  # one case that fails must not lose the others' results
        row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}" if str(error) else type(error).__name__
    return row


def run(
    size: Size, batches: tuple[int, ...], device: torch.device, minutes: float, quick: bool, keep: Callable[[dict[str, Any]], None]
) -> dict[str, Any]:
    """All cases; `keep` is given what is known so far after each of them."""
    repeats, backend = (1, "eager") if quick else (10, "inductor")
    began, rate = time.monotonic(), product_rate(device, size.product, 10)
    rows: list[dict[str, Any]] = []
    left_out: list[str] = []
    result: dict[str, Any] = {"product_tflops": [rate / 1e12], "rows": rows, "left_out": left_out}
    full: set[tuple[str, str, str]] = set()
    print(
        f"{'network':18s} {'side':11s} {'way':15s} {'batch':>5s} {'GFLOP/sample':>13s} {'ms/sample':>10s} {'floor ms':>9s} "
        f"{'of floor':>9s} {'GiB':>6s}"
    )
    for network, side, way, batch in cases(batches, device, quick):
        key = (network.name, side, way)
        if key in full:
            continue
        if time.monotonic() - began > 60 * minutes:
            left_out.append(f"{network.name}, {side}, {way}, batch {batch}")
            continue
        row = measure(size, network, side, way, batch, device, repeats, backend)
        rows.append(row)
        named = f"{network.name:18s} {side:11s} {way:15s} {batch:5d}"
        if "error" in row:
            full.add(key)
            print(f"{named} {row['error']}", flush=True)
        else:
            row["floor_ms"] = row["gflop_per_sample"] * 1e12 / rate
            row["of_floor"] = row["ms_per_sample"] / row["floor_ms"]
            print(
                f"{named} {row['gflop_per_sample']:13.2f} {row['ms_per_sample']:10.3f} {row['floor_ms']:9.3f} {row['of_floor']:9.2f} "
                f"{row.get('peak_gib', 0):6.1f}",
                flush=True,
            )
        keep(result)
    try:
        result["product_tflops"].append(product_rate(device, size.product, 10) / 1e12)
    except Exception as error:  # what is measured stays, also from a device that has stopped answering
        print(f"the matrix product fails now: {type(error).__name__}")
    return result


def fastest(rows: list[dict[str, Any]], network: str, side: str) -> dict[str, Any] | None:
    found = [row for row in rows if row["network"] == network and row["side"] == side and "error" not in row]
    return min(found, key=lambda row: float(row["of_floor"])) if found else None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a tiny network, batch 2, one repeat: does it run, not how fast")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--out-dir", type=Path, default=ROOT / "benchmarks" / "results")
    parser.add_argument("--minutes", type=float, default=9.0, help="start no case later than this")
    parser.add_argument("--batches", type=int, nargs="+", default=list(BATCHES))
    options = parser.parse_args()
    device = torch.device(options.device)
    if device.type == "cuda":
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # what autocast leaves in float32
        name = torch.cuda.get_device_name(device)
    else:
        name = "cpu"
        if not options.quick:
            print("no GPU: only --quick runs on a CPU")
            return 2
    print(f"device: {name}, torch {torch.__version__}")
    options.out_dir.mkdir(parents=True, exist_ok=True)
    label = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_") + ("_quick" if options.quick else "")
    about = {"code_version": code_version(), "device": name, "torch": torch.__version__, "quick": options.quick}

    def keep(result: dict[str, Any], holds: bool | None = None) -> None:
        write_json(options.out_dir / f"gpu_{label}.json", {**about, **result, "holds": holds})

    if options.quick:
        size = Size(width=32, depth=1, heads=2, degrees=7.5, side=2, product=256)
        result = run(size, (2,), device, options.minutes, True, keep)
    else:
        result = run(Size(), tuple(options.batches), device, options.minutes, False, keep)
    if result["left_out"]:
        print(f"left out after {options.minutes:g} minutes: {'; '.join(result['left_out'])}")
    print(f"plain bf16 product: {' and '.join(f'{rate:.3g}' for rate in result['product_tflops'])} TFLOP/s (before and after)")
    held = True
    for network in ("full attention", "16 tiles"):
        for side in ("prediction", "training"):
            best = fastest(result["rows"], network, side)
            if best is None:
                held = held and side == "training"
                print(f"{network}, {side}: no case ran")
                continue
            print(
                f"{network}, {side}: fastest {best['ms_per_sample']:.2f} ms a global sample ({best['way']}, batch {best['batch']}), "
                f"{best['of_floor']:.2f} times its floor of {best['floor_ms']:.2f} ms"
            )
            held = held and (side == "training" or best["of_floor"] <= TARGET)
    judged = device.type == "cuda" and not options.quick
    if judged:
        print(f"claim (prediction at most {TARGET:g} times the floor): {'holds' if held else 'DOES NOT HOLD'}")
    keep(result, held if judged else None)
    return 0 if held or not judged else 1


if __name__ == "__main__":
    sys.exit(main())
