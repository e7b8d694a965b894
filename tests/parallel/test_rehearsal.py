"""The shipped 10B model on 512 ranks, without any of them: what one rank holds and says must be what the mesh is for."""

from __future__ import annotations

import itertools
import json
import tempfile
from pathlib import Path

import pytest
import torch

from orbit2.config.load import load, read_yaml
from orbit2.config.network import TrainConfig
from orbit2.config.schema import RunConfig
from orbit2.grid import global_grid, named
from orbit2.model.inspect import build
from orbit2.parallel.apply import apply
from orbit2.parallel.mesh import Sizes
from orbit2.plan.rehearse import Rehearsal, Stage, _step, read, rehearse, staying, world, written
from orbit2.plan.watch import axes
from tests.data.small_models import demo_model

BLOCKS, WIDTH = 11, 8192


def shipped(root: Path, *overrides: str) -> RunConfig:
    """The foundation run with the 10B network."""
    network = read_yaml(root / "config" / "models" / "reslim_10b.yaml")
    asked = [f"models.foundation.architecture.{key}={value}" for key, value in network.items()]
    return load(root / "config" / "runs" / "foundation.yaml", [*asked, *overrides])


def of(root: Path, mesh: Sizes, channels: bool = False) -> Rehearsal:
    config = shipped(root, "models.foundation.train.checkpointing=blocks", f"models.foundation.train.mesh.channels={str(channels).lower()}",
                     "models.foundation.train.accumulate=1")  # fmt: skip
    grid = named(config.datasets["era5_112km"].coarse_grid)
    model = build(config, "foundation")
    assert (len(model.blocks), model.config.embed_dim) == (BLOCKS, WIDTH)  # type: ignore[arg-type]
    whole = sum(p.numel() for p in model.parameters())
    found = rehearse(model, config.models["foundation"].train, mesh, grid, 1, dtype=torch.bfloat16)
    assert not torch.distributed.is_initialized()
    blocks = BLOCKS * 12 * WIDTH * WIDTH
    held = sum(torch.Size(shape).numel() for name, shape in found.shapes.items() if name.startswith("blocks.") and len(shape) == 2)
    assert held == blocks // (mesh.shards * mesh.tp)  # every matrix is divided by all three axes
    assert whole * 4 / (mesh.shards * mesh.tp) <= found.weights < 1.2 * whole * 4 / mesh.shards / mesh.tp * mesh.tp**0.5
    assert found.average == found.weights and 2 * found.weights <= found.moments < 2 * found.weights + 4096
    return found


@pytest.mark.slow
@pytest.mark.parametrize("mesh", [Sizes(ddp=8, fsdp=8, tp=8), Sizes(ddp=4, fsdp=8, sp=4, tp=4)], ids=str)
def test_ten_billion_weights_on_512_ranks(root: Path, mesh: Sizes) -> None:
    found = of(root, mesh)
    assert mesh.world == 512
    # layer by layer: each block and what is outside them, again for the backward pass; gradients once
    assert (found.count("all-gather", "fsdp", False), found.count("all-gather", "fsdp", True)) == (BLOCKS + 1, BLOCKS)
    assert found.count("reduce-scatter", "fsdp") == BLOCKS + 1
    gathered = [c.bytes for c in found.collectives if c.kind == "all-gather" and "fsdp" in c.axes]
    assert gathered[1:] and min(gathered) >= 2 * 12 * WIDTH * WIDTH // mesh.tp  # a block in bf16, of which tp has its share
    assert sum(c.kind == "all-reduce" and c.axes == ("ddp",) for c in found.collectives) == BLOCKS + 1
    # the loss: its denominators before, the sums for show after
    assert sum(c.kind == "all-reduce" and c.axes == ("ddp", "fsdp") for c in found.collectives) == 2
    # hidden width: a sum after attention and one after the MLP, and their transposes
    tokens = 90 * 180 // mesh.sp * WIDTH * 2
    sums = [c for c in found.collectives if c.kind == "all-reduce" and c.axes == ("tp",) and c.bytes == tokens]
    assert sum(not c.backward for c in sums) == 2 * BLOCKS
    # tokens: to heads and back, a block
    assert found.count("all-to-all", "sp", False) == (2 * BLOCKS if mesh.sp > 1 else 0)
    assert all(c.ranks == 4 for c in found.collectives if c.axes == ("sp",))
    assert found.peak < 80e9


def test_axes_of_a_group() -> None:
    mesh = Sizes(ddp=2, fsdp=2, tp=2)
    assert axes(mesh, [0, 1]) == ("tp",) and axes(mesh, [1, 3]) == ("fsdp",) and axes(mesh, [0, 2, 4, 6]) == ("ddp", "fsdp")


def test_worlds_one_after_the_other() -> None:
    """Equal groups of another world: what DTensor remembers of the first would name groups that are gone."""
    for mesh in (Sizes(ddp=2, fsdp=2, tp=2), Sizes(ddp=4, tp=2)):
        with torch.device("meta"):
            model = demo_model()
        found = rehearse(model, TrainConfig(), mesh, global_grid(15.0), 1)
        assert found.count("all-reduce", "tp", False) >= 4


def test_memory_is_what_torch_allocates(root: Path) -> None:
    """One process, two parts of a step: the estimate beside torch's own record of its allocator (benchmarks/plan_memory.py has meshes)."""
    asked = {"architecture.embed_dim": 64, "architecture.depth": 2, "train.accumulate": 2, "train.checkpointing": "blocks"}
    config = load(root / "config" / "runs" / "foundation.yaml", [f"models.foundation.{key}={value}" for key, value in asked.items()])
    train, grid, one = config.models["foundation"].train, global_grid(10.0), Sizes()
    found = rehearse(build(config, "foundation"), train, one, grid, 2)
    with world(one) as mesh:
        model = build(config, "foundation").train()
        apply(model, mesh, checkpointing=train.checkpointing)
        stage = Stage(model, train, mesh, grid, 2, 2)
    stage.step()
    stage.optimizer.zero_grad(set_to_none=True)
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        stage.step()
    with tempfile.NamedTemporaryFile(suffix=".json") as trace:
        profile.export_chrome_trace(trace.name)
        events = json.loads(Path(trace.name).read_text(encoding="utf-8"))["traceEvents"]
    sizes = [size for _, size in sorted((e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]")]
    measured = max(itertools.accumulate(sizes))
    assert found.passing - found.inputs == pytest.approx(measured, rel=0.05)


@pytest.mark.slow
def test_a_world_that_is_kept_changes_nothing() -> None:
    """Rehearsed on another grid, on another mesh and again: as in worlds of their own, and none is left."""

    def step(mesh: Sizes, degrees: float) -> Rehearsal:
        with torch.device("meta"):
            model = demo_model()
        return _step(model, TrainConfig(), mesh, global_grid(degrees), 1, None, 0, False)  # not what was found before

    asked = [(Sizes(ddp=2, tp=2), 15.0), (Sizes(ddp=2, tp=2), 12.0), (Sizes(fsdp=2), 15.0), (Sizes(ddp=2, tp=2), 15.0)]
    alone = [step(*one) for one in asked[:3]]
    with staying():
        together = [step(*one) for one in asked]
    assert together == [*alone, alone[0]] and not torch.distributed.is_initialized()
    assert all(read(json.loads(json.dumps(written(one)))) == one for one in alone)  # as the notebook keeps it
