"""Reslim on one GPU: 23 x 180 x 360 -> 3 x 720 x 1440, prediction and training, beside the device's own matrix rate.

    python benchmarks/gpu.py [--quick] [--device cuda] [--out-dir benchmarks/results] [--minutes 9] [--batches 8 1 32 ...]

Every case is one network (9.5M with full attention; 16 tiles, bare and with a halo of 4 coarse cells; compression 8, 16, 32 times; the
published code's mathematics, `kind: orbit2`, at the same size; 126M and 1B), one way to run it (eager; torch.compile; CUDA graph; both) and
one batch (global samples; tiles of a sample are one batch), batch by batch: the first is that of most cases. A training step is forward,
loss, backward, clipping, AdamW and the weights' average; predictions have their weights rounded once, as `orbit2 downscale` has. FLOPs are
counted, the floor is those FLOPs at the rate of a plain bf16 matrix product measured in the same run, before and after. Times are the
device's own (CUDA events; core time on a CPU), medians; what is float32 under bf16 autocast may use TF32. A case that runs out of memory is
reported and larger batches are left out; cases that would start after --minutes are left out and named. Exits 1 where a target (TARGETS,
AGAINST; of another card the same share of its own product) is missed, or eager is more than 1.5 times compiled (a CPU is never judged).
Writes <out-dir>/gpu_<device>.json, anew after every case, so that nothing is lost when a later one takes the machine down.
"""

from __future__ import annotations

import argparse
import copy
import gc
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
from orbit2.data.batch import Batch
from orbit2.files import write_json
from orbit2.grid import global_grid
from orbit2.model.build import Downscaling
from orbit2.model.build import build as build_model
from orbit2.model.compiled import compile_model
from orbit2.model.flops import count
from orbit2.model.gaps import MissingFlags
from orbit2.model.geometry import Geometry
from orbit2.model.precision import rounded
from orbit2.model.replayed import replay_model
from orbit2.model.reslim import Reslim
from orbit2.provenance import code_version
from orbit2.train import losses
from orbit2.train.average import Average
from orbit2.train.optimizer import build
from orbit2.train.replayed import Replays
from orbit2.train.validation import gaps_of

ROOT = Path(__file__).resolve().parents[1]
PRODUCT = 763e12  # FLOP/s of a plain product on the H200 that targets are for
TARGETS = {  # milliseconds a global sample there
    ("full attention", "prediction"): 4.7, ("16 tiles", "prediction"): 1.2, ("compression 8", "prediction"): 0.9,
    ("compression 16", "prediction"): 0.75, ("compression 32", "prediction"): 0.7,
    ("full attention", "training"): 16.0, ("16 tiles", "training"): 4.5,
}  # fmt: skip
AGAINST = {  # times as fast as the published code's mathematics, full attention
    ("full attention", "prediction"): 2.0, ("full attention", "training"): 2.3, ("16 tiles", "prediction"): 8.0,
    ("16 tiles", "training"): 8.0,
}  # fmt: skip
EAGER = 1.5  # times compiled, at most
STATICS = ("orography", "land_sea_mask", "slope")
INPUTS = (*(f"input {i}" for i in range(20)), *STATICS)
OUTPUTS = INPUTS[:3]
Call = Callable[[], object]


@dataclass(frozen=True)
class Size:
    """The 9.5M network and the global grid: `degrees` coarse, `side` x `side` tiles."""

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
    kind: str = "reslim"
    wider: tuple[int, int, int] | None = None  # width, depth and heads of another size


NETWORKS = (
    Network("full attention"), Network("16 tiles", tiled=True), Network("compression 8", ratio=8), Network("compression 16", ratio=16),
    Network("compression 32", ratio=32), Network("published", kind="orbit2"), Network("16 tiles, halo 4", tiled=True, halo=4),
    Network("126M", wider=(1024, 8, 16)), Network("1B", wider=(3072, 8, 24)),
)  # fmt: skip
WAYS = {"prediction": ("eager", "compiled", "graph", "compiled graph"), "training": ("eager", "compiled", "graph", "compiled graph")}
BATCHES = (8, 1, 32, 2, 4, 16, 64)


def model_of(size: Size, network: Network, device: torch.device) -> Downscaling:
    torch.manual_seed(0)
    width, depth, heads = network.wider or (size.width, size.depth, size.heads)
    settings: dict[str, Any] = {"kind": network.kind, "embed_dim": width, "depth": depth, "heads": heads}
    if network.ratio:
        settings["compression"] = {"mode": "budget", "ratio": network.ratio}
    if network.kind == "orbit2":
        settings["table_shape"] = [n // 2 for n in global_grid(size.degrees).shape]
    return build_model(ArchitectureConfig.model_validate(settings), INPUTS, OUTPUTS, STATICS).to(device)


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


def predicting(model: Downscaling, given: tuple[Any, ...]) -> Call:
    device = given[0].device

    def call() -> Tensor:
        with torch.inference_mode(), torch.autocast(device.type, torch.bfloat16):
            result: Tensor = model(*given)
        return result

    return call


def training(model: Downscaling, given: tuple[Any, ...], compiled: str = "", graph: bool = False) -> Call:
    """Forward, loss (with the compression's own), backward, clipping, AdamW and the average, as the trainer does them; `compiled`: the
    backend that makes the loss; `graph`: what comes before clipping is replayed, as by `train.cuda_graphs`."""
    config, device = TrainConfig(), given[0].device
    optimizer, average = build(model, config), Average(model, config.ema)
    objective = losses.Objective(config, OUTPUTS, model.config).to(device)
    if compiled:
        objective.compile(1, compiled)
    target = torch.randn(len(given[0]), len(OUTPUTS), *(4 * n for n in given[0].shape[2:]), device=device)
    weights, channels = torch.ones(1, 1, *target.shape[2:], device=device), torch.ones(len(OUTPUTS), device=device)
    coarse, statics, geometry, names, clock = given
    whole = MissingFlags((False,) * len(names))
    batch = Batch(coarse, target, statics, weights, torch.zeros(len(coarse), 4, device=device), geometry, names, [], missing=whole)
    replays = Replays(model.parameters()) if graph else None

    def passes(batch: Batch, known: object = None) -> Tensor:
        with torch.autocast(device.type, torch.bfloat16):
            prediction = model(batch.coarse, batch.statics, batch.geometry, names, clock, gaps_of(model, batch))
        part = objective.terms(prediction, batch.fine, batch.weights, batch.geometry.periodic, model.output_scale)
        loss, data, prior = losses.combine(part, part.packed(), channels, config.tv_weight)
        own = None
        if isinstance(model, Reslim):
            own = model.auxiliary(batch.coarse, names, batch.fine, batch.weights, batch.geometry.periodic, None, gaps_of(model, batch))
        if own is not None:
            loss = loss + model.config.compression.auxiliary_weight * own[0] / own[1]
        loss.backward()  # type: ignore[no-untyped-call]
        return torch.stack([loss, data, prior]).detach()

    def call() -> None:
        optimizer.zero_grad(set_to_none=True)
        if replays is None:
            passes(batch)
        else:
            replays.begun()
            if replays(passes, model, batch, None) is None:
                passes(batch)
            replays.added()
            replays.ended()
        torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip)
        optimizer.step()
        average.update(1000)

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
    """What was asked for first: the first batch of every network, as it is and as graphs, then compiled (up to a minute each), then the
    others. A quick look compiles one network only."""
    for batch in batches:
        for compiled in (False, True):
            for network in (*NETWORKS[:3], NETWORKS[5]) if quick else NETWORKS:
                for side, ways in WAYS.items():
                    for way in (each for each in ways if ("compiled" in each) == compiled):
                        if quick and compiled and network != NETWORKS[0]:
                            continue
                        if side == "training" and "graph" in way and not (network.tiled or network.ratio):
                            continue  # products and attention are all that counts there
                        if ("graph" in way and device.type != "cuda") or (network.kind == "orbit2" and way != "eager"):
                            continue
                        yield network, side, way, batch


def measure(
    size: Size, network: Network, side: str, way: str, batch: int, device: torch.device, repeats: int, backend: str
) -> dict[str, Any]:
    """One case; "error" instead of a time when memory runs out or the case cannot run."""
    row: dict[str, Any] = {"network": network.name, "side": side, "way": way, "batch": batch}
    try:
        torch._dynamo.reset()
        gc.collect()  # networks that were compiled or replayed, with their graphs' memory
        if device.type == "cuda":
            torch.cuda.empty_cache()
        model = model_of(size, network, device).train(side == "training")
        make = training if side == "training" else predicting
        row["gflop_per_sample"] = count(make(copy.deepcopy(model), arguments(size, network, 1, device))) / 1e9
        if side == "prediction":
            rounded(model, torch.bfloat16)
        if "compiled" in way:
            compile_model(model, "on", device, backend)
        if "graph" in way and side == "prediction":
            replay_model(model, device, torch.bfloat16)
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        given = arguments(size, network, batch, device)
        call = make(model, given)
        if side == "training":
            call = training(model, given, backend if "compiled" in way else "", "graph" in way)
        began = time.perf_counter()
        call()
        row["first_seconds"] = time.perf_counter() - began  # kernels are chosen or compiled
        row["ms_per_sample"] = 1e3 * seconds(call, device, repeats) / batch
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
    return min(found, key=lambda row: float(row["ms_per_sample"])) if found else None


def judge(rows: list[dict[str, Any]], rate: float) -> list[str]:
    """What is missed, in words; what did not run is."""
    missed = []
    for (network, side), most in TARGETS.items():
        best, most = fastest(rows, network, side), most * PRODUCT / rate
        took = "no case ran" if best is None else f"{best['ms_per_sample']:.2f} ms"
        print(f"{network}, {side}: fastest {took} a global sample"
              + ("" if best is None else f" ({best['way']}, batch {best['batch']}), {best['of_floor']:.2f} times its floor")
              + f"; asked: {most:.2f}")  # fmt: skip
        if best is None or best["ms_per_sample"] > most:
            missed.append(f"{network}, {side}: {took}")
    for (network, side), times in AGAINST.items():
        ours, theirs = fastest(rows, network, side), fastest(rows, "published", side)
        if ours is not None and theirs is not None:
            faster = theirs["ms_per_sample"] / ours["ms_per_sample"]
            print(f"{network}, {side}: {faster:.1f} times as fast as the published mathematics; asked: {times:g}")
            if faster < times:
                missed.append(f"{network}, {side}: {faster:.1f} times the published mathematics")
    known = {(row["network"], row["side"], row["batch"], row["way"]): row["ms_per_sample"] for row in rows if "error" not in row}
    for (network, side, batch, way), took in known.items():
        compiled = known.get((network, side, batch, "compiled"))
        if way == "eager" and batch >= 8 and compiled and took > EAGER * compiled:
            missed.append(f"{network}, {side}, batch {batch}: eager {took / compiled:.2f} times compiled")
    return missed


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
    judged = device.type == "cuda" and not options.quick
    missed = judge(result["rows"], 1e12 * result["product_tflops"][0]) if judged else []
    held = not missed
    if judged:
        verdict = "holds" if held else f"DOES NOT HOLD: {'; '.join(missed)}"
        print(f"claim (all targets, eager at most {EAGER:g} times compiled): {verdict}")
    keep(result, held if judged else None)
    return 0 if held or not judged else 1


if __name__ == "__main__":
    sys.exit(main())
