"""Meshes: sizes from the configuration, what is refused and what is offered instead, every rank's place and groups."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch.testing._internal.distributed.fake_pg import FakeStore

from orbit2.cli import main
from orbit2.config.network import ArchitectureConfig, MeshConfig
from orbit2.errors import OrbitError
from orbit2.parallel.launch import Ranks
from orbit2.parallel.mesh import AXES, Mesh, Sizes, nearest, sizes, unfit
from tests.data.tiny_training import build

MODEL = ArchitectureConfig(embed_dim=128, heads=4)  # 512 hidden features
SHAPES = [Sizes(2, 3, 2, 2, 1), Sizes(1, 2, 3, 1, 4), Sizes(3, 1, 1, 2, 2), Sizes(1, 1, 2, 2, 2), Sizes(8), Sizes(tp=5)]
POWERS = st.sampled_from([2**n for n in range(16)])


def asked(mesh: dict[str, Any], world: int, *, batch: int = 64, inputs: int = 5, tiled: bool = True, **architecture: Any) -> Sizes:
    built = ArchitectureConfig.model_validate({**MODEL.model_dump(include={"embed_dim", "heads"}), **architecture})
    return sizes(MeshConfig.model_validate(mesh), world, built, batch, inputs, tiled)


@pytest.mark.parametrize(("mesh", "world", "expected"), [
    ({}, 1, Sizes()),
    ({}, 6, Sizes(ddp=6)),
    ({"fsdp": 4}, 4, Sizes(fsdp=4)),
    ({"fsdp": 4, "tp": 2}, 16, Sizes(ddp=2, fsdp=4, tp=2)),
    ({"ddp": 2, "tiles": 2, "fsdp": 3, "sp": 2, "tp": 2}, 48, Sizes(2, 2, 3, 2, 2)),
    ({"tiles": 4, "fsdp": 8, "sp": 2, "tp": 2}, 32_768, Sizes(ddp=256, tiles=4, fsdp=8, sp=2, tp=2)),
])  # fmt: skip
def test_ddp_takes_what_the_other_axes_leave(mesh: dict[str, int], world: int, expected: Sizes) -> None:
    assert asked(mesh, world, batch=32_768) == expected
    assert expected.world == world


@pytest.mark.parametrize(("mesh", "world", "keys", "says"), [
    ({"fsdp": 3}, 7, {}, "got 'ddp 2 x fsdp 3 takes 6 rank(s), and 7 started'; allowed: for 7 rank(s) for example "),
    ({"fsdp": 8}, 1, {}, "got 'fsdp 8 takes 8 rank(s), and 1 started'; allowed: for 1 rank(s) for example nothing split"),
    ({"ddp": 1}, 2, {}, "got 'nothing split takes 1 rank(s), and 2 started'; allowed: for 2 rank(s) for example ddp 2"),
    ({}, 8, {"batch": 4}, "got '8 ranks (ddp x fsdp) share 4 samples a step (train.batch_size)'; allowed: for 8 rank(s) for example "),
    ({"fsdp": 2}, 8, {"batch": 4, "tiled": False, "kind": "conv"}, "allowed: no mesh of 8 ranks: take fewer"),
    ({"tiles": 2}, 2, {"tiled": False}, "got 'tiles 2 without train.tile: samples are not cut'; allowed: for 2 rank(s) for example ddp 2"),
    ({"tp": 3}, 3, {}, "got 'tp 3 does not divide 4 heads'"),
    ({"tp": 2}, 2, {"mlp_ratio": 0.5, "embed_dim": 10, "heads": 2}, "got 'tp 2 does not divide the 5 hidden features of a block's MLP'"),
    ({"sp": 4, "tp": 2}, 8, {}, "got 'sp 4 does not divide the 2 heads of a rank'; allowed: for 8 rank(s) for example ddp 2 x sp 4"),
    ({"sp": 2}, 2, {"kind": "unet"}, "got 'sp and tp split transformers (reslim, vit), not kind unet'; allowed: for 2 rank(s) for "),
    ({"tp": 4, "channels": True}, 4, {"inputs": 3}, "got 'tp 4 is more than the 3 input variables that `channels` shares out'"),
])  # fmt: skip
def test_what_does_not_fit_is_refused_with_one_that_does(mesh: dict[str, Any], world: int, keys: dict[str, Any], says: str) -> None:
    with pytest.raises(OrbitError) as error:
        asked(mesh, world, **keys)
    assert str(error.value).startswith("train.mesh: the mesh does not fit; got ")
    assert says in str(error.value).replace('"', "'"), error.value
    assert str(error.value).endswith("change train.mesh, train.batch_size or the number of ranks")


def test_more_variables_than_ranks_are_shared_out_and_fewer_need_no_sharing() -> None:
    assert asked({"tp": 4, "channels": True}, 4, inputs=4).tp == 4
    assert asked({"tp": 4}, 4, inputs=3).tp == 4


@settings(max_examples=60, deadline=None)
@given(
    world=st.one_of(POWERS, st.integers(1, 32_768)),
    ddp=st.one_of(st.just(1), POWERS), tiles=st.integers(1, 9), fsdp=st.one_of(POWERS, st.integers(1, 600)), sp=st.integers(1, 9),
    tp=st.integers(1, 40), heads=st.sampled_from([1, 2, 4, 12, 32]), batch=st.integers(1, 40_000), inputs=st.integers(1, 30),
    tiled=st.booleans(), channels=st.booleans(), kind=st.sampled_from(["reslim", "vit", "conv"]),
)  # fmt: skip
@example(32_768, 1, 1, 1, 3, 3, 12, 32_768, 23, True, True, "reslim")
@example(27_720, 1, 7, 11, 5, 9, 12, 512, 23, True, True, "reslim")  # 96 divisors
def test_the_mesh_named_instead_is_itself_one(
    world: int, ddp: int, tiles: int, fsdp: int, sp: int, tp: int, heads: int, batch: int, inputs: int, tiled: bool, channels: bool,
    kind: Any,
) -> None:  # fmt: skip
    if kind == "conv":
        heads = 4  # its default: convolutions have none
    built = ArchitectureConfig(kind=kind, heads=heads, embed_dim=128 if kind == "conv" else 96)
    began = time.process_time()
    found = nearest(Sizes(ddp, tiles, fsdp, sp, tp), world, built, batch, inputs, tiled, channels)
    assert time.process_time() - began < 5
    together = math.gcd(world, heads) if kind != "conv" else 1  # most ranks that can share a sample's tokens and width
    assert (found is None) == (not tiled and world // together > batch)
    if found is None:
        return
    config = MeshConfig(**dict(zip(AXES, astuple(found), strict=True)), channels=channels)
    assert sizes(config, world, built, batch, inputs, tiled) == found


def test_a_mesh_that_fits_is_the_nearest_to_itself() -> None:
    for shape in SHAPES:
        built = ArchitectureConfig(heads=4 * shape.tp, embed_dim=160)
        assert unfit(shape, built, 64, 8, True, True) is None
        assert nearest(shape, shape.world, built, 64, 8, True, True) == shape


@settings(max_examples=30, deadline=None)
@given(shape=st.builds(Sizes, *[st.integers(1, 8)] * 5))
@example(Sizes(256, 4, 8, 2, 2))
def test_ranks_are_numbered_with_tp_fastest_and_ddp_slowest(shape: Sizes) -> None:
    places = np.stack(np.unravel_index(np.arange(shape.world), astuple(shape)), axis=1)
    for rank in {0, 1, shape.world // 3, shape.world // 2, shape.world - 1} & set(range(shape.world)):
        assert list(shape.place(rank).items()) == list(zip(reversed(AXES), reversed(places[rank].tolist()), strict=True))


@contextmanager
def as_rank(rank: int, world: int) -> Iterator[Ranks]:
    """A process group that talks to nobody."""
    dist.init_process_group("fake", rank=rank, world_size=world, store=FakeStore())
    try:
        yield Ranks(rank, world, torch.device("cpu"))
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_shares_are_disjoint_and_complete_and_groups_hold_whom_they_should(shape: Sizes) -> None:
    ranks = np.arange(shape.world).reshape(astuple(shape))
    read: dict[tuple[int, int], set[int]] = {}
    parts: dict[int, set[int]] = {}
    for rank in range(shape.world):
        ddp, tiles, fsdp, sp, tp = (int(k) for k in np.argwhere(ranks == rank)[0])
        with as_rank(rank, shape.world) as here:
            mesh = Mesh(shape, here)
            read.setdefault((mesh.reader, mesh.place["tiles"]), set()).add(rank)
            parts.setdefault(mesh.part, set()).add(rank)
            assert mesh.split and mesh.data is not None and mesh.parameters is not None
            # the loss is a sum over all that read other data; parameters are divided over fsdp x sp and copied over ddp x tiles
            assert dist.get_process_group_ranks(mesh.data) == ranks[:, :, :, sp, tp].flatten().tolist()
            names = mesh.parameters.mesh_dim_names
            assert names == ("replicate", "shard")
            assert dist.get_process_group_ranks(mesh.parameters.get_group("shard")) == ranks[ddp, tiles, :, :, tp].flatten().tolist()
            assert dist.get_process_group_ranks(mesh.parameters.get_group("replicate")) == ranks[:, :, fsdp, sp, tp].flatten().tolist()
            for axis, others in (("sp", ranks[ddp, tiles, fsdp, :, tp]), ("tp", ranks[ddp, tiles, fsdp, sp])):
                group = getattr(mesh, axis)
                assert (group is None) == (others.size == 1)
                if group is not None:
                    assert dist.get_process_group_ranks(group.get_group()) == others.tolist()
    assert set(read) == {(reader, tile) for reader in range(shape.readers) for tile in range(shape.tiles)}
    assert sorted(parts) == list(range(shape.data))
    together = shape.sp * shape.tp  # ranks that hold the same samples: neighbours
    for same in (read, parts):
        assert all(len(group) == together and max(group) - min(group) == together - 1 for group in same.values())
        assert set().union(*same.values()) == set(range(shape.world))


def test_one_process_has_no_groups() -> None:
    mesh = Mesh(Sizes(), Ranks(0, 1, torch.device("cpu")), channels=True)
    assert not mesh.split and mesh.parameters is mesh.tp is mesh.sp is mesh.data is None
    assert (mesh.reader, mesh.part, str(mesh)) == (0, 0, "nothing split")


def test_a_bad_mesh_is_one_line_and_exit_2(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = build(tmp_path)
    slice_ = made.slice(tmp_path / "slice.json", mesh={"fsdp": 2, "tp": 2})
    with pytest.raises(SystemExit) as stop:
        main(["train", *made.command(slice_, tmp_path)])
    lines = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert stop.value.code == 2 and len(lines) == 1
    assert lines[0] == (
        "error: train.mesh: the mesh does not fit; got 'fsdp 2 x tp 2 takes 4 rank(s), and 1 started'; "
        "allowed: for 1 rank(s) for example nothing split; change train.mesh, train.batch_size or the number of ranks"
    )
    assert not (tmp_path / "model").exists()
