"""Checkpoints of several ranks: saved by 4, read by 2 and by 3 on other meshes; damage that one rank sees, all heed."""

from __future__ import annotations

import ctypes
import json
import logging
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor, Shard, distribute_tensor

from orbit2.errors import OrbitError
from orbit2.train import kept, shards
from orbit2.train.checkpoint import Checkpoints
from orbit2.train.optimizer import decays
from orbit2.train.state import optimizer_state
from tests.data import old_checkpoint
from tests.data.small_downscaling import exit_code, forked

pytestmark = pytest.mark.parallel


def together(world: int, folder: Path, act: Callable[[int], object]) -> None:
    """`act(rank)` on `world` gloo ranks."""
    meet = folder / f"meet-{len(list(folder.glob('meet-*')))}"

    def process(rank: int) -> None:
        dist.init_process_group("gloo", init_method=f"file://{meet}", rank=rank, world_size=world)
        act(rank)
        dist.barrier()
        dist.destroy_process_group()

    pids = [forked(lambda rank=rank: process(rank)) for rank in range(world)]  # type: ignore[misc]
    assert [exit_code(pid) for pid in pids] == [0] * world


class Small(nn.Module):
    """Shapes that no number of ranks divides, and some that are shorter than the ranks are many."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.enter, self.leave = nn.Linear(5, 8), nn.Linear(8, 3)
        self.register_buffer("scale", torch.randn(2, 3))


def run_of(mesh: dict[str, int] | None, seed: int) -> tuple[nn.Module, torch.optim.AdamW]:
    """A model sharded over `mesh` (fsdp alone, or replicated over ddp, or with tp columns), and its optimiser after a step."""
    model = Small()
    if mesh is not None:
        axes = init_device_mesh("cpu", tuple(mesh.values()), mesh_dim_names=tuple(mesh))
        if "tp" in mesh:
            model.enter.weight = nn.Parameter(distribute_tensor(model.enter.weight.detach(), axes["tp"], [Shard(0)]))
            model.enter.bias = nn.Parameter(distribute_tensor(model.enter.bias.detach(), axes["tp"], [Shard(0)]))
        over = axes["ddp", "fsdp"] if "ddp" in mesh else axes["fsdp"]
        for part in (model.enter, model.leave, model):
            fully_shard(part, mesh=over)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.1, foreach=False)
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, float(seed + number))
    optimizer.step()
    return model, optimizer


def state(model: nn.Module, optimizer: torch.optim.AdamW, **progress: float) -> dict[str, Any]:
    average = {name: tensor.detach() * 2 for name, tensor in model.state_dict().items()}
    own = {"model": model.state_dict(), "average": average, "optimizer": optimizer_state(model, optimizer), "objective": {}}
    return {**own, "progress": progress}


def whole(found: dict[str, Any]) -> dict[str, Tensor]:
    """Every tensor of a state, put together: a copy."""
    tensors = shards.flat({name: part for name, part in found.items() if name != "progress"})
    return {name: (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).clone() for name, tensor in tensors}


def read(folder: Path, mesh: dict[str, int] | None) -> dict[str, Any]:
    """The newest checkpoint, in a run that was elsewhere."""
    checkpoints = Checkpoints(folder, {})
    found, into = checkpoints.choose(), state(*run_of(mesh, seed=50))
    assert found is not None
    before = whole(into)
    checkpoints.read(found, into)
    assert not all(torch.equal(tensor, before[name]) for name, tensor in whole(into).items())
    return into


def test_saved_by_four_ranks_read_by_two_by_three_and_by_one(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"

    def save(step: int, mesh: dict[str, int], background: bool) -> Callable[[int], None]:
        def act(rank: int) -> None:
            checkpoints = Checkpoints(folder if rank == 0 else tmp_path / "elsewhere", {}, keep=9, background=background)
            model, optimizer = run_of(mesh, seed=step) if step == 1 else (None, None)
            into = read(folder, mesh) if model is None or optimizer is None else state(model, optimizer, step=step, seconds=0.1 + rank)
            expected = whole(into)
            checkpoints.save({**into, "progress": {**into["progress"], "step": step}}, step)
            if model is not None:
                with torch.no_grad():
                    for parameter in model.parameters():
                        parameter.zero_()  # training goes on, and this rank's copy does not
            checkpoints.wait()
            if rank == 0:
                torch.save(expected, tmp_path / f"expected-{step}.pt")

        return act

    together(4, tmp_path, save(1, {"ddp": 2, "fsdp": 2}, background=True))
    together(2, tmp_path, save(2, {"fsdp": 2}, background=False))
    together(3, tmp_path, save(3, {"fsdp": 3}, background=True))
    together(4, tmp_path, save(4, {"fsdp": 2, "tp": 2}, background=True))
    first = torch.load(tmp_path / "expected-1.pt")
    for step in (2, 3, 4):
        other = torch.load(tmp_path / f"expected-{step}.pt")
        assert first.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in first.items())
    alone = read(folder, None)
    assert all(torch.equal(tensor, first[name]) for name, tensor in whole(alone).items())
    assert alone["progress"] == {"step": 4, "seconds": 0.1}  # the first rank's
    told = json.loads((folder / "step-00000004" / "manifest.json").read_text())
    assert told["world"] == 4 and told["mesh"] == {"fsdp": 2, "tp": 2}
    assert not list((tmp_path / "elsewhere").iterdir())
    saved = [load_file(file) for file in (folder / "step-00000001").glob("*.safetensors")]
    assert len(saved) == 4 and sum(len(part) for part in saved) < 2 * len(first)  # each chunk once, though two ranks have it


def test_a_checkpoint_of_an_earlier_orbit2_is_read_by_ranks_that_share_it(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"
    model = Small()
    groups = [[p for name, p in model.named_parameters() if decays(name, p) == which] for which in (True, False)]
    optimizer = torch.optim.AdamW([{"params": group} for group in groups], lr=0.1)
    for number, parameter in enumerate(model.parameters()):
        parameter.grad = torch.full_like(parameter, 1.0 + number)
    optimizer.step()
    old_checkpoint.write(folder, {}, 5, state(model, optimizer), optimizer)
    expected = whole(state(model, optimizer))

    def act(rank: int) -> None:
        into = read(folder, {"fsdp": 3})
        assert all(torch.equal(tensor, expected[name]) for name, tensor in whole(into).items())
        assert into["progress"]["step"] == 5

    together(3, tmp_path, act)


def test_damage_that_one_rank_finds_sends_all_to_the_one_before(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"

    def damage(rank: int) -> None:
        records: list[logging.LogRecord] = []
        listener = logging.Handler()
        listener.emit = records.append  # type: ignore[method-assign, assignment]
        logging.getLogger("orbit2").addHandler(listener)
        checkpoints = Checkpoints(folder, {}, keep=4)
        model, optimizer = run_of({"fsdp": 3}, seed=1)
        for step in (1, 2, 3, 4):
            checkpoints.save(state(model, optimizer, step=step), step)
        checkpoints.wait()
        if rank == 0:
            os.truncate(folder / "step-00000004" / "shard-00000-of-00003.safetensors", 100)
        dist.barrier()
        looked: list[str] = []
        if rank == 2:  # bits that this node alone reads wrong

            def verify(path: Path, files: dict[str, Any]) -> None:
                looked.extend(files)
                if path.name == "step-00000003":
                    raise ValueError(f"{min(files)} has another checksum")

            kept.verify = verify  # type: ignore[assignment]
        found = checkpoints.choose()
        assert found is not None and found.step == 2 and found.path == str(folder / "step-00000002")
        assert rank != 2 or len(looked) < 3 * 4 / 2  # a share
        said = [record.getMessage() for record in records]
        assert len(said) == (2 if rank == 0 else 0)
        assert not said or ("step-00000004 is damaged (shard-00000-of-00003.safetensors has 100 bytes, not" in said[0]
                            and "damaged-2-step-00000003" in said[1])  # fmt: skip

    together(3, tmp_path, damage)
    assert sorted(p.name for p in folder.iterdir()) == [
        "damaged-1-step-00000004", "damaged-2-step-00000003", "step-00000001", "step-00000002"
    ]  # fmt: skip


def test_what_goes_wrong_on_one_rank_is_one_error_on_all(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"

    def wrong(rank: int) -> None:
        checkpoints = Checkpoints(folder, {})
        model, optimizer = run_of({"fsdp": 2}, seed=1)
        checkpoints.save(state(model, optimizer), 1)
        checkpoints.wait()
        real = shards._save

        def full(tensors: dict[str, Tensor], path: Path) -> None:
            raise OSError(28, "No space left on device", str(path))

        if rank == 1:
            shards._save = full
        checkpoints.save(state(model, optimizer), 2)
        with pytest.raises(OrbitError, match=r"step-00000002: a checkpoint could not be written \(No space left on device\)"):
            checkpoints.save(state(model, optimizer), 3)
        shards._save = real
        broken = state(model, optimizer)
        if rank == 1:
            broken["optimizer"]["leave.bias"]["exp_avg_sq"].to_local()[0] = torch.inf
        with pytest.raises(OrbitError, match=r"step 4: not saved.*got 'optimizer\.leave\.bias\.exp_avg_sq'"):
            checkpoints.save(broken, 4)

    together(2, tmp_path, wrong)
    assert [p.name for p in folder.iterdir()] == ["step-00000001"]


@pytest.mark.skipif(os.getuid() != 0, reason="a disk of its own for one rank needs root")
def test_ranks_that_do_not_see_one_folder_are_told_so(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoints"

    def apart(rank: int) -> None:
        checkpoints = Checkpoints(folder, {})
        model, optimizer = run_of({"fsdp": 2}, seed=1)
        checkpoints.save(state(model, optimizer), 1)
        checkpoints.wait()
        if rank == 1:  # what is mounted from here on, this process alone sees
            assert ctypes.CDLL(None).unshare(0x00020000) == 0
            for command in (["mount", "--make-rprivate", "/"], ["mount", "-t", "tmpfs", "tmpfs", str(folder)]):
                subprocess.run(command, check=True)
        dist.barrier()
        with pytest.raises(OrbitError, match=r"ranks disagree on the checkpoint.*put the checkpoints on a file system that all nodes see"):
            checkpoints.choose()
        checkpoints.save(state(model, optimizer), 2)
        with pytest.raises(OrbitError, match=r"another rank's part.*put the checkpoints on a file system that all nodes see"):
            checkpoints.wait()

    together(2, tmp_path, apart)
    assert [p.name for p in folder.iterdir()] == ["step-00000001"]
