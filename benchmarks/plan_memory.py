"""Memory of a rank: `orbit2 plan`'s estimate beside what two real processes allocate, on the foundation run made small: meshes, kinds of
recomputation, precision, compression, tiles; and of a prediction.

The truth is torch's own profiler, which sees every allocation of the CPU's allocator; the estimate is orbit2.plan.rehearse.
Writes benchmarks/results/plan_memory.json.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from orbit2.config.load import load, read_yaml
from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.config.schema import RunConfig
from orbit2.grid import Grid, global_grid
from orbit2.model.build import Downscaling
from orbit2.model.build import build as build_model
from orbit2.model.inspect import build
from orbit2.parallel.apply import apply
from orbit2.parallel.launch import Ranks
from orbit2.parallel.mesh import Mesh, Sizes
from orbit2.plan.rehearse import Rehearsal, Stage, prediction, rehearse, rehearse_prediction
from orbit2.provenance import code_version
from orbit2.variables import VARIABLES

ALLOWED = 0.1  # of a rank's memory
ROOT = Path(__file__).resolve().parents[1]
RANKS, GRID = 2, 6.0  # degrees: 30 x 60 cells
SMALL = {"embed_dim": 128, "depth": 4, "heads": 4}
DTYPES = {"fp32": None, "bf16": torch.bfloat16}


class Case(NamedTuple):
    """`parts` of a step with `together` samples, or windows (a corner of the globe), each; ratio 0: no compression."""

    mesh: Sizes
    checkpointing: str
    parts: int
    together: int
    precision: str = "fp32"
    ratio: float = 0
    tiled: bool = False

    def grid(self) -> Grid:
        whole = global_grid(GRID)
        return whole.crop(slice(0, 12), slice(0, 24)) if self.tiled else whole


CASES = [
    Case(Sizes(ddp=2), "none", 1, 4),
    Case(Sizes(ddp=2), "none", 4, 2),
    Case(Sizes(ddp=2), "blocks", 1, 4, "bf16"),
    Case(Sizes(fsdp=2), "none", 1, 4),
    Case(Sizes(fsdp=2), "none", 1, 4, "bf16"),
    Case(Sizes(fsdp=2), "blocks", 1, 4),
    Case(Sizes(fsdp=2), "all", 2, 4),
    Case(Sizes(fsdp=2), "none", 1, 4, ratio=4),
    Case(Sizes(fsdp=2), "none", 1, 12, tiled=True),
    Case(Sizes(sp=2), "none", 1, 4),
    Case(Sizes(sp=2), "blocks", 1, 4, "bf16"),
    Case(Sizes(tp=2), "none", 1, 4),
    Case(Sizes(tp=2), "blocks", 1, 4, "bf16"),
]
PREDICTIONS = [Case(Sizes(), "none", 1, 1), Case(Sizes(), "none", 1, 4, "bf16"), Case(Sizes(), "none", 1, 4, ratio=4)]


def config(case: Case) -> RunConfig:
    """The shipped foundation run, narrow and shallow."""
    asked: dict[str, Any] = {f"architecture.{key}": value for key, value in SMALL.items()}
    asked |= {"train.checkpointing": case.checkpointing, "train.accumulate": case.parts}
    if case.ratio:
        ratio = {"mode": "budget", "ratio": case.ratio, "max_leaf": 4}
        asked |= {f"architecture.compression.{key}": value for key, value in ratio.items()}
    return load(ROOT / "config" / "runs" / "foundation.yaml", [f"models.foundation.{key}={value}" for key, value in asked.items()])


def allocated(call: Callable[[], object]) -> int:
    """Peak bytes that a call allocates, beside what is there before."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    with tempfile.NamedTemporaryFile(suffix=".json") as trace:
        profile.export_chrome_trace(trace.name)
        events = json.loads(Path(trace.name).read_text())["traceEvents"]
    memory = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
    return max(itertools.accumulate(size for _, size in memory))


def measured(rank: int, store: str, out: str) -> None:
    """Peak bytes that a step of each case allocates on this rank, beside its weights, moments and average."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    peaks = []
    for case in CASES:
        run, dtype = config(case), DTYPES[case.precision]
        model, here = build(run, "foundation"), Mesh(case.mesh, Ranks(rank, RANKS, torch.device("cpu")))
        apply(model.train(), here, checkpointing=case.checkpointing, dtype=dtype)
        stage = Stage(model, run.models["foundation"].train, here, case.grid(), case.together, case.parts, dtype)
        stage.step()  # makes what stays
        stage.optimizer.zero_grad(set_to_none=True)  # freed before it is looked at
        peaks.append(allocated(stage.step))
    if rank == 0:
        Path(out).write_text(json.dumps(peaks))
    dist.destroy_process_group()


def predicted(case: Case) -> int:
    predict, _, _ = prediction(build(config(case), "foundation"), case.grid(), case.together, DTYPES[case.precision])
    with torch.inference_mode():
        return allocated(predict)


def row(kind: str, case: Case, found: Rehearsal, peak: int) -> dict[str, Any]:
    passing = found.passing - found.inputs  # which lie ready before the step here
    off = (found.state + passing) / (found.state + peak) - 1
    print(f"{kind:<11}{case.mesh!s:<16}{case.checkpointing:<8}{case.parts:>3}{case.together:>4} {case.precision:<6}{case.ratio:>3}"
          f"{case.tiled:>3}{found.state / 1e6:>10.1f}{passing / 1e6:>12.1f}{peak / 1e6:>12.1f}{off:>8.1%}", flush=True)  # fmt: skip
    return {"kind": kind, **case._asdict(), "mesh": str(case.mesh), "state": found.state, "estimated": passing, "measured": peak,
            "off": round(off, 4), "passing_off": round(passing / peak - 1, 4), "parts_of_memory": found.memory}  # fmt: skip


GPU = {"training": 13.0, "prediction": 1.4}  # GiB, of an earlier session on one H200: eight samples, bf16, 9.5M, 23 x 180 x 360


def gpu() -> list[dict[str, Any]]:
    """Beside what one GPU took: other kernels than the CPU's that are rehearsed. What gpu.py held beside what it measured counts: a second
    network whose FLOPs it had counted on one sample, with its moments and gradients, that sample and its target. It kept no average.

    Not in the estimate: what cuDNN's plans of convolutions and attention ask of the allocator while they run, and blocks that the
    allocator does not split (by its rule at most 1 MiB of each: 0.4 % here).
    """
    statics = ("orography", "land_sea_mask", "slope")
    names = tuple(name for name in VARIABLES if name not in statics)[:20]
    architecture = ArchitectureConfig.model_validate(read_yaml(ROOT / "config" / "models" / "reslim_9m.yaml"))

    def network() -> Downscaling:
        with torch.device("meta"):
            return build_model(architecture, (*names, *statics), names[:3], statics)

    def trained(together: int) -> Rehearsal:
        found = rehearse(network(), TrainConfig(), Sizes(), global_grid(1.0), together, dtype=torch.bfloat16, gpu=True)
        return replace(found, average=0)

    one, single = trained(1), rehearse_prediction(network(), global_grid(1.0), 1, torch.bfloat16, gpu=True)
    found = {
        "training": (trained(8), one.state + one.weights + one.inputs),
        "prediction": (rehearse_prediction(network(), global_grid(1.0), 8, torch.bfloat16, gpu=True), single.weights + single.inputs),
    }
    rows = []
    for kind, (rehearsal, beside) in found.items():
        estimated, held = rehearsal.peak / 2**30, beside / 2**30
        off = (estimated + held) / GPU[kind] - 1
        print(f"{kind} on an H200: {estimated:.2f} + {held:.2f} GiB estimated, {GPU[kind]} measured, {off:.1%}", flush=True)
        rows.append({"kind": kind, "device": "NVIDIA H200", "origin": "an earlier session", "estimated_gib": round(estimated, 3),
                     "beside_gib": round(held, 3), "measured_gib": GPU[kind], "off": round(off, 4)})  # fmt: skip
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--gpu", action="store_true", help="estimate the GPU's rows anew, for a network that was just measured there")
    anew, out = parser.parse_args().gpu, ROOT / "benchmarks" / "results" / "plan_memory.json"
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(measured, (f"{folder}/store", f"{folder}/peaks.json"), nprocs=RANKS)
        peaks = json.loads(Path(f"{folder}/peaks.json").read_text())
    print("kind       mesh     checkpointing, parts, together, precision, compression, tiled, state, estimated, measured: MB of a rank")
    rows = []
    for case, peak in zip(CASES, peaks, strict=True):
        run = config(case)
        train, dtype = run.models["foundation"].train, DTYPES[case.precision]
        found = rehearse(build(run, "foundation"), train, case.mesh, case.grid(), case.together, dtype=dtype)
        rows.append(row("training", case, found, peak))
    for case in PREDICTIONS:
        found = rehearse_prediction(build(config(case), "foundation"), case.grid(), case.together, DTYPES[case.precision])
        rows.append(row("prediction", case, found, predicted(case)))
    # the network has changed since it was measured: what was estimated of it then, stays
    beside = gpu() if anew else json.loads(out.read_text(encoding="utf-8"))["gpu"]
    holds = all(abs(each["off"]) <= ALLOWED for each in (*rows, *beside))
    about = {"code_version": code_version(), "holds": holds, "torch": torch.__version__}
    result = {**about, "grid_degrees": GRID, "architecture": SMALL, "rows": rows, "gpu": beside}
    out.write_text(json.dumps(result, indent=1) + "\n")
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
