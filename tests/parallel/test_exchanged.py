"""What a rehearsal says of exchanges is what real processes exchange over gloo: each collective as it is called, and bytes on the wire."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.grid import global_grid
from orbit2.model.build import Downscaling, build
from orbit2.parallel.apply import apply
from orbit2.parallel.launch import Ranks
from orbit2.parallel.mesh import Mesh, Sizes
from orbit2.plan.rehearse import Rehearsal, Stage, rehearse
from tests.data.small_models import INPUTS, OUTPUTS, STATICS
from tests.data.small_ranks import forked_ranks

pytestmark = pytest.mark.parallel
GRID, BLOCKS = global_grid(15.0), 2
NETWORK = {"embed_dim": 64, "depth": BLOCKS, "heads": 4, "decoder_depth": 1, "residual_width": 8, "residual_blocks": 1}
TRAIN = TrainConfig.model_validate({"accumulate": 2})
CASES = {2: [Sizes(ddp=2), Sizes(fsdp=2), Sizes(sp=2), Sizes(tp=2)], 4: [Sizes(ddp=2, fsdp=2), Sizes(sp=2, tp=2)]}
NAMES = {"allgather": "all-gather", "all_gather": "all-gather", "reduce_scatter": "reduce-scatter", "allreduce": "all-reduce",
         "all_reduce": "all-reduce", "alltoall": "all-to-all", "all_to_all": "all-to-all"}  # fmt: skip
SENT = {"all-reduce": 1.0, "reduce-scatter": 1.0}  # of a tensor, by one rank to the other; gloo's reduce-scatter is an all-reduce


def network() -> Downscaling:
    with torch.device("meta"):
        return build(ArchitectureConfig.model_validate(NETWORK), INPUTS, OUTPUTS, STATICS)


class Called(TorchDispatchMode):
    """Calls and bytes of every collective of real tensors, by kind and direction."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if any(issubclass(kind, DTensor) for kind in types):
            return NotImplemented
        space, _, name = func._schema.name.partition("::")
        if space in ("c10d", "_c10d_functional") and (kind := next((NAMES[part] for part in NAMES if part in name), None)):
            key = f"{kind} {'back' if torch._C._current_graph_task_id() >= 0 else 'forth'}"
            self.calls[key] += 1
            result = func(*args, **(kwargs or {}))
            self.bytes[key] += max(tensor.nbytes for tensor in tree_leaves((args, result)) if isinstance(tensor, torch.Tensor))
            return result
        return func(*args, **(kwargs or {}))


def written() -> int:
    """Bytes that this process has written so far, to sockets too."""
    return int(dict(line.split(": ") for line in Path("/proc/self/io").read_text(encoding="utf-8").splitlines())["wchar"])


def step(rank: int, world: int, meshes: list[Sizes], folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    found = []
    for shape in meshes:
        mesh = Mesh(shape, Ranks(rank, world, torch.device("cpu")))
        model = network().train()
        apply(model, mesh)
        stage = Stage(model, TRAIN, mesh, GRID, 1, TRAIN.accumulate)
        stage.step()
        before = written()
        with Called() as called:
            stage.step()
        sent = written() - before
        found.append({"sent": sent, "calls": called.calls, "bytes": called.bytes})
    (folder / f"{rank}.json").write_text(json.dumps(found), encoding="utf-8")
    dist.destroy_process_group()


def said(found: Rehearsal) -> tuple[Counter[str], Counter[str]]:
    calls: Counter[str] = Counter()
    size: Counter[str] = Counter()
    for each in found.collectives:
        key = f"{each.kind} {'back' if each.backward else 'forth'}"
        calls[key] += 1
        size[key] += each.bytes
    return calls, size


@pytest.mark.parametrize("world", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_collectives_are_those_of_real_processes(world: int, tmp_path: Path) -> None:
    codes, _ = forked_ranks(lambda rank: step(rank, world, CASES[world], tmp_path), world)
    assert codes == [0] * world
    told = json.loads((tmp_path / "0.json").read_text(encoding="utf-8"))
    for shape, real in zip(CASES[world], told, strict=True):
        found = rehearse(network(), TRAIN, shape, GRID, 1)
        calls, size = said(found)
        assert (dict(calls), dict(size)) == (real["calls"], real["bytes"]), shape
        if world == 2 and sys.platform == "linux":
            sent = sum(each.bytes * SENT.get(each.kind, 0.5) for each in found.collectives if each.ranks == 2)
            assert real["sent"] == pytest.approx(sent, rel=0.05), shape


def test_tokens_and_hidden_width_go_back_as_they_came() -> None:
    """Adjoints: an exchange's is an exchange, a gather's a reduce-scatter; a sum leaves, where what was summed entered. In each part."""
    sp, tp = (rehearse(network(), TRAIN, shape, GRID, 1) for shape in (Sizes(sp=2), Sizes(tp=2)))
    parts = TRAIN.accumulate
    assert sp.count("all-to-all", "sp", False) == sp.count("all-to-all", "sp", True) == parts * 2 * BLOCKS
    tokens = 6 * 12 * 64 * 4  # of 64 numbers, in float32
    gathers = [c for c in sp.collectives if c.kind == "all-gather" and c.bytes == tokens]
    scatters = [c for c in sp.collectives if c.kind == "reduce-scatter" and c.bytes == tokens]
    assert [c.backward for c in gathers] == parts * [False] and [c.backward for c in scatters] == parts * [True]
    sums = [c.backward for c in tp.collectives if c.kind == "all-reduce" and c.bytes == tokens]
    assert sums.count(False) == parts * 2 * BLOCKS  # after attention and the MLP
    assert sums.count(True) == parts * (2 * BLOCKS + 2)  # before them; and before the decoder's two matrices, whose results were gathered
