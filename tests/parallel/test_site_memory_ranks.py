"""Ranks that share the training block, and the network, learn one and the same site memory."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
import xarray as xr

from orbit2.cli import main
from tests.data.small_downscaling import exit_code, forked
from tests.data.small_ranks import free_port
from tests.data.tiny_training import build

pytestmark = pytest.mark.parallel


def test_two_ranks_learn_what_one_learns(tmp_path: Path) -> None:
    tiny, port = build(tmp_path / "tiny"), free_port()
    found = []
    for world in (1, 2):
        out = tmp_path / str(world)
        config = tiny.slice(out / "config.json", site_memory=True, steps=2, validate_every=2, mesh={"fsdp": world})

        def process(rank: int, world: int = world, config: Path = config, out: Path = out) -> None:
            if world > 1:
                os.environ.update(RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
            main(["train", *tiny.command(config, out)])

        assert [exit_code(pid) for pid in [forked(lambda rank=rank: process(rank)) for rank in range(world)]] == [0] * world  # type: ignore[misc]
        with xr.open_dataset(out / "model" / "site_memory" / "tiny.nc") as opened:
            found.append((opened.load(), json.loads((out / "model" / "config.json").read_text())["site_memory"]["tiny"]["factors"]))
    (alone, weights), (together, others) = found
    assert weights == others and float(abs(alone["offset"]).max()) > 0.01
    assert float(abs(alone["offset"] - together["offset"]).max()) < 1e-4
