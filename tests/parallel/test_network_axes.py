"""Tokens, hidden width and input variables split over four real processes: loss and every gradient are those of one process."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, fully_shard
from torch.distributed.tensor import DTensor

from orbit2.config.network import ArchitectureConfig
from orbit2.errors import OrbitError
from orbit2.model.build import Downscaling, build
from orbit2.model.geometry import Geometry
from orbit2.parallel.channels import held, split_channels
from orbit2.parallel.draws import RankDropout
from orbit2.parallel.sequence import split_sequence
from orbit2.parallel.sharded import gather, local
from orbit2.parallel.tensor import split_hidden
from tests.data.small_ranks import forked_ranks

pytestmark = pytest.mark.parallel

WORLD = 4
INPUTS = ("t", "q", "u", "v", "z", "orography", "slope")
OUTPUTS, STATICS = ("t", "q"), ("orography", "slope")
BUDGET = {"mode": "budget", "ratio": 3, "max_leaf": 4}
THRESHOLD = {"mode": "threshold", "threshold": 0.2, "max_leaf": 4}


@dataclass(frozen=True)
class Case:
    """How ranks split the work (what the sizes leave are groups that all do the same, or `fsdp`); settings of the architecture."""

    name: str
    sp: int = 1
    tp: int = 1
    hidden: bool = True
    channels: bool = False
    fsdp: bool = False
    architecture: dict[str, Any] = field(default_factory=dict)


CASES = [
    Case("sp4-budget", sp=4, architecture={"compression": BUDGET, "drop_path": 0.5}),
    Case("tp4-budget", tp=4, architecture={"compression": BUDGET, "drop_path": 0.5}),
    Case("channels4-threshold", tp=4, hidden=False, channels=True, architecture={"compression": THRESHOLD}),
    Case("fsdp2-tp2-channels", tp=2, channels=True, fsdp=True),
    Case("vit-sp2-tp2-channels", sp=2, tp=2, channels=True, architecture={"kind": "vit"}),
]
MORE = [
    Case("sp2", sp=2, architecture={"drop_path": 0.5}),
    Case("sp4", sp=4),
    Case("sp2-threshold", sp=2, architecture={"compression": THRESHOLD, "drop_path": 0.5}),
    Case("tp2", tp=2),
    Case("channels2", tp=2, hidden=False, channels=True),
    Case("sp2-tp2-channels", sp=2, tp=2, channels=True, architecture={"compression": BUDGET}),
]


def network(case: Case) -> Downscaling:
    """Its weights moved away from where they start: layers that begin at zero would hide errors."""
    settings: dict[str, Any] = {"embed_dim": 16, "depth": 2, "heads": 4, "decoder_depth": 1, "patch": 2}
    if case.architecture.get("kind") != "vit":
        settings |= {"residual_width": 4, "residual_blocks": 1}
    torch.manual_seed(0)
    model = build(ArchitectureConfig.model_validate({**settings, **case.architecture}), INPUTS, OUTPUTS, STATICS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return model.train()


def batches() -> list[tuple[Tensor, Tensor, Geometry, tuple[str, ...], Tensor]]:
    """25 coarse tokens (odd): complete, with missing cells and patches of which all variables are missing, and with other variables."""
    made = []
    for number, names in enumerate([INPUTS, ("v", "t", "q", "orography", "slope"), ("t", "q")]):
        torch.manual_seed(number)
        coarse = torch.randn(2, len(names), 9, 10)
        if number == 1:
            coarse[0, 1, :5, 2:7] = torch.nan
            coarse[1, :, 4:8, :4] = torch.nan
            coarse[0, 3:, 4:8, 4:] = torch.nan  # all that a rank of two, or several of four, have
        geometry = Geometry(torch.linspace(-40, 40, 9).expand(2, -1), torch.linspace(0, 90, 10).expand(2, -1), 100.0, 25.0, False)
        made.append((coarse, torch.randn(2, 2, 36, 40), geometry, names, torch.randn(2, 2, 36, 40)))
    return made


def loss_of(model: Downscaling, batch: tuple[Tensor, Tensor, Geometry, tuple[str, ...], Tensor]) -> Tensor:
    coarse, statics, geometry, names, target = batch
    loss = (model(coarse, statics, geometry, names) - target).square().mean()
    auxiliary = getattr(model, "auxiliary", lambda *arguments: None)(coarse, names, target, torch.ones(1), False)
    return loss if auxiliary is None else loss + auxiliary[0] / auxiliary[1]


def split(model: Downscaling, case: Case) -> tuple[DeviceMesh, DeviceMesh]:
    """In the order of application: tp and channels, sp, fsdp. Returns the meshes (rest, sp, tp) and the one that fsdp uses."""
    mesh = init_device_mesh("cpu", (WORLD // case.sp // case.tp, case.sp, case.tp), mesh_dim_names=("rest", "sp", "tp"))
    if case.tp > 1 and case.hidden:
        split_hidden(model, mesh["tp"])
    if case.channels:
        split_channels(model, mesh["tp"])
    if case.sp > 1:
        split_sequence(model, mesh["sp"])
    if case.fsdp:
        for block in model.blocks:  # type: ignore[union-attr]
            fully_shard(block, mesh=mesh["rest"])
        fully_shard(model, mesh=mesh["rest"])
        for module in model.modules():
            if isinstance(module, FSDPModule):
                module.set_gradient_divide_factor(1.0)
                module.set_force_sum_reduction_for_comms(True)
    return mesh, mesh["rest"]


def compared(case: Case) -> dict[str, Any]:
    """Relative errors of losses and gradients, batch by batch, against the same model in this process alone."""
    model = network(case)
    alone = copy.deepcopy(model)
    mesh, _ = split(model, case)
    shares = case.sp * (WORLD // case.sp // case.tp if case.fsdp else 1)  # ranks whose losses add up to one
    found: dict[str, Any] = {"losses": [], "gradients": {}, "alike": True}
    for number, batch in enumerate(batches()):
        torch.manual_seed(10 + number)
        expected = loss_of(alone, batch)
        torch.manual_seed(10 + number)
        loss = loss_of(model, batch)
        found["losses"].append(abs(float(loss.detach() / expected.detach()) - 1))
        if loss.requires_grad:
            expected.backward()
            (loss / shares).backward()
        total = torch.cat([p.grad.flatten() for p in alone.parameters() if p.grad is not None]).norm()
        for (name, p), (_, q) in zip(model.named_parameters(), alone.named_parameters(), strict=True):
            assert (p.grad is None) == (q.grad is None), name
            if p.grad is None or q.grad is None:
                continue
            gradient = gather(p.grad).clone()
            if case.sp > 1:
                dist.all_reduce(gradient, group=mesh["sp"].get_group())
            if not isinstance(p, DTensor):  # over tp there is nothing to add: it is the same
                others = [torch.empty_like(gradient) for _ in range(case.tp)]
                dist.all_gather(others, gradient, group=mesh["tp"].get_group())
                found["alike"] &= all(torch.allclose(gradient, other, rtol=1e-4, atol=1e-6 * float(total)) for other in others)
            error = (gradient - q.grad).norm() / max(q.grad.norm(), 1e-3 * total)
            found["gradients"][name] = max(found["gradients"].get(name, 0.0), float(error))
            p.grad = q.grad = None
    found["local"] = {name: tuple(local(p).shape) for name, p in model.named_parameters()}
    return found


def dropped(case: Case) -> dict[str, Any]:
    """With dropout, every rank's generator goes on alike, and a block run again in the backward pass has the same masks."""
    model = network(case)
    split(model, case)
    torch.manual_seed(5)
    first = loss_of(model, batches()[0])
    state = torch.get_rng_state()
    torch.manual_seed(5)
    return {"again": float(first.detach()) == float(loss_of(model, batches()[0]).detach()), "state": state,
            "parts": [m.part for m in model.modules() if isinstance(m, RankDropout)]}  # fmt: skip


def refused(act: Callable[[], object]) -> str:
    try:
        act()
    except OrbitError as error:
        return str(error)
    return ""


class Heard(logging.Handler):
    """What torch says."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def process(rank: int, folder: Path, cases: list[Case]) -> None:
    logging.getLogger("torch.distributed.tensor").addHandler(heard := Heard())
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=WORLD)
    try:
        found: dict[str, Any] = {case.name: compared(case) for case in cases}
        found["heard"] = heard.lines
        found["dropout"] = dropped(Case("dropout", sp=2, tp=2, channels=True, architecture={"dropout": 0.5, "drop_path": 0.5}))
        odd = Case("odd", sp=2, tp=2, architecture={"heads": 2})
        many = init_device_mesh("cpu", (WORLD,))
        conv = build(ArchitectureConfig(kind="conv"), INPUTS, OUTPUTS, STATICS)
        ways: list[Callable[[], object]] = [lambda: split(network(odd), odd), lambda: split_hidden(network(odd), many)]
        ways += [lambda way=way: way(conv, many) for way in (split_hidden, split_channels, split_sequence)]  # type: ignore[misc]
        found["refused"] = [refused(way) for way in ways]
        torch.save(found, folder / f"{rank}.pt")
    finally:
        dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What each of the four processes found."""
    return computed(tmp_path_factory.mktemp("axes"), CASES)


@pytest.fixture(scope="module")
def more_ranks(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    return computed(tmp_path_factory.mktemp("more"), MORE)


def computed(folder: Path, cases: list[Case]) -> list[dict[str, Any]]:
    codes, _ = forked_ranks(lambda rank: process(rank, folder, cases), WORLD)
    assert codes == [0] * WORLD
    return [torch.load(folder / f"{rank}.pt", weights_only=False) for rank in range(WORLD)]


@pytest.mark.parametrize("name", [case.name for case in CASES])
def test_ranks_compute_what_one_process_does(ranks: list[dict[str, Any]], name: str) -> None:
    compare(ranks, name)


@pytest.mark.slow
@pytest.mark.parametrize("name", [case.name for case in MORE])
def test_ranks_compute_it_in_other_divisions(more_ranks: list[dict[str, Any]], name: str) -> None:
    compare(more_ranks, name)
    assert all(rank["heard"] == [] for rank in more_ranks)


def compare(ranks: list[dict[str, Any]], name: str) -> None:
    for found in (rank[name] for rank in ranks):
        assert len(found["losses"]) == 3 and max(found["losses"]) < 1e-5
        wrong = {key: error for key, error in found["gradients"].items() if not error < 1e-5}
        assert not wrong and len(found["gradients"]) > 40 and found["alike"]


def test_memory_is_divided(ranks: list[dict[str, Any]]) -> None:
    shapes = [rank["channels4-threshold"]["local"] for rank in ranks]
    assert [shape["aggregate.weight"] for shape in shapes] == [(2, 4, 16), (2, 4, 16), (2, 4, 16), (1, 4, 16)]
    shape = ranks[0]["tp4-budget"]["local"]
    assert shape["blocks.0.attention.qkv_by_head.weight"] == (12, 16) and shape["blocks.0.attention.output.weight"] == (16, 4)
    assert shape["blocks.0.mlp.0.weight"] == (16, 16) and shape["blocks.0.mlp.3.weight"] == (16, 16)
    assert shape["decoder.head.weight"] == (32, 16) and shape["decoder.layers.0.linear.weight"] == (4, 16)
    half = ranks[0]["fsdp2-tp2-channels"]["local"]
    assert half["blocks.0.attention.qkv_by_head.weight"] == (12, 16) and half["aggregate.embedding"] == (2, 16)


def test_a_tensor_over_two_axes_is_gathered_without_advice_about_flattened_meshes(ranks: list[dict[str, Any]]) -> None:
    assert all(rank["heard"] == [] for rank in ranks)


def test_dropout_differs_between_parts_and_leaves_generators_alike(ranks: list[dict[str, Any]]) -> None:
    assert all(rank["dropout"]["again"] and torch.equal(rank["dropout"]["state"], ranks[0]["dropout"]["state"]) for rank in ranks)
    assert sorted(rank["dropout"]["parts"][0] for rank in ranks) == [0, 1, 2, 3]
    values, masks = torch.ones(200, 50), []
    for part in (0, 1, 0):
        torch.manual_seed(0)
        masks.append(RankDropout(0.25, part).train()(values))
    assert torch.equal(masks[0], masks[2]) and abs(float(masks[0].mean()) - 1) < 0.03
    both = float(((masks[0] > 0) & (masks[1] > 0)).float().mean())
    assert abs(both - 0.75**2) < 0.02  # independent
    assert torch.equal(RankDropout(0.25, 1).eval()(values), values)


def test_what_cannot_be_split_is_refused_with_what_can(ranks: list[dict[str, Any]]) -> None:
    sequence, hidden, *kinds = ranks[0]["refused"]
    assert "sp must divide" in sequence and "2 for 1 heads" in sequence and "1" in sequence
    assert "tp must divide the attention heads" in hidden and "4 for 2" in hidden and "1, 2" in hidden
    assert len(kinds) == 3 and all("transformers only" in line and "UpsampledViT" in line for line in kinds)


@pytest.mark.parametrize(("count", "ranks_of"), [(7, 4), (5, 4), (8, 4), (2, 4), (23, 16)])
def test_every_variable_is_held_once(count: int, ranks_of: int) -> None:
    shares = [held(count, ranks_of, rank) for rank in range(ranks_of)]
    assert [place for share in shares for place in share] == list(range(count)) and max(map(len, shares)) == -(-count // ranks_of)
    assert [len(share) for share in shares] == [len(part) for part in torch.arange(count).chunk(ranks_of)] + [0] * (
        ranks_of - len(torch.arange(count).chunk(ranks_of))
    )
