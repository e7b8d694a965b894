"""Memory of a training rank: `orbit2 plan`'s estimate beside what two real processes allocate, on the foundation run made small.

The truth is torch's own profiler, which sees every allocation of the CPU's allocator; the estimate is orbit2.plan.rehearse.
Writes benchmarks/results/plan_memory.json.
"""

from __future__ import annotations

import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from orbit2.config.load import load
from orbit2.config.schema import RunConfig
from orbit2.grid import Grid, global_grid
from orbit2.model.inspect import build
from orbit2.parallel.apply import apply
from orbit2.parallel.launch import Ranks
from orbit2.parallel.mesh import Mesh, Sizes
from orbit2.plan.rehearse import Stage, rehearse
from orbit2.provenance import code_version

ALLOWED = 0.1  # of a rank's memory
ROOT = Path(__file__).resolve().parents[1]
RANKS, GRID = 2, 6.0  # degrees: 30 x 60 cells
SMALL = {"embed_dim": 128, "depth": 4, "heads": 4}
CASES: list[tuple[Sizes, str, int, int]] = [  # mesh, checkpointing, parts, samples of a part
    (Sizes(ddp=2), "none", 1, 4),
    (Sizes(ddp=2), "none", 4, 2),
    (Sizes(fsdp=2), "none", 1, 4),
    (Sizes(fsdp=2), "blocks", 1, 4),
    (Sizes(fsdp=2), "all", 2, 4),
    (Sizes(sp=2), "none", 1, 4),
    (Sizes(tp=2), "none", 1, 4),
]


def config(checkpointing: str, parts: int) -> RunConfig:
    """The shipped foundation run, narrow and shallow."""
    asked: dict[str, Any] = {f"architecture.{key}": value for key, value in SMALL.items()}
    asked |= {"train.checkpointing": checkpointing, "train.accumulate": parts}
    return load(ROOT / "config" / "runs" / "foundation.yaml", [f"models.foundation.{key}={value}" for key, value in asked.items()])


def measured(rank: int, store: str, grid: Grid, out: str) -> None:
    """Peak bytes that a step of each case allocates on this rank, beside its weights, moments and average."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=RANKS)
    peaks = []
    for mesh, checkpointing, parts, together in CASES:
        run = config(checkpointing, parts)
        model, here = build(run, "foundation"), Mesh(mesh, Ranks(rank, RANKS, torch.device("cpu")))
        apply(model.train(), here, checkpointing=checkpointing)
        stage = Stage(model, run.models["foundation"].train, here, grid, together, parts)
        stage.step()  # makes what stays
        stage.optimizer.zero_grad(set_to_none=True)  # freed before it is looked at
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
            stage.step()
        with tempfile.NamedTemporaryFile(suffix=".json") as trace:
            profile.export_chrome_trace(trace.name)
            events = json.loads(Path(trace.name).read_text())["traceEvents"]
        memory = sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")
        live = peak = 0
        for _, size in memory:
            live += size
            peak = max(peak, live)
        peaks.append(peak)
    if rank == 0:
        Path(out).write_text(json.dumps(peaks))
    dist.destroy_process_group()


def main() -> int:
    grid = global_grid(GRID)
    with tempfile.TemporaryDirectory() as folder:
        mp.spawn(measured, (f"{folder}/store", grid, f"{folder}/peaks.json"), nprocs=RANKS)
        peaks = json.loads(Path(f"{folder}/peaks.json").read_text())
    rows: list[dict[str, Any]] = []
    print(f"{'mesh':<10}{'checkpointing':<15}{'parts':>6}{'state':>10}{'estimated':>12}{'measured':>12}{'off':>8}   MB of a rank")
    for (mesh, checkpointing, parts, together), peak in zip(CASES, peaks, strict=True):
        run = config(checkpointing, parts)
        found = rehearse(build(run, "foundation"), run.models["foundation"].train, mesh, grid, together)
        passing = found.passing - found.inputs  # which lie ready before the step here
        off = (found.state + passing) / (found.state + peak) - 1
        rows.append({"mesh": asdict(mesh), "checkpointing": checkpointing, "accumulate": parts, "samples": together, "state": found.state,
                     "estimated": passing, "measured": peak, "off": round(off, 4), "passing_off": round(passing / peak - 1, 4)})
        print(f"{mesh!s:<10}{checkpointing:<15}{parts:>6}{found.state / 1e6:>10.1f}{passing / 1e6:>12.1f}{peak / 1e6:>12.1f}{off:>8.1%}")
    holds = all(abs(row["off"]) <= ALLOWED for row in rows)
    about = {"code_version": code_version(), "holds": holds, "torch": torch.__version__}
    result = {**about, "grid_degrees": GRID, "architecture": SMALL, "dtype": "float32", "rows": rows}
    (ROOT / "benchmarks" / "results" / "plan_memory.json").write_text(json.dumps(result, indent=1) + "\n")
    return int(not holds)


if __name__ == "__main__":
    sys.exit(main())
