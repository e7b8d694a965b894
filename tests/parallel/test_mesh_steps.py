"""A step is the same step on any mesh: loss, every gradient, clipping, optimiser and average, over three steps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.data.mesh_steps import Case, difference, spread, steps
from tests.data.tiny_training import Tiny, build
from tests.data.variable_sets import build_both

pytestmark = pytest.mark.parallel
TILED = {"tile": [5, 7], "halo": 2, "tiles_per_sample": 4}
COMPRESSED = {"compression": {"mode": "budget", "ratio": 4, "max_leaf": 4}}
FOUR = [
    Case("ddp", {"mesh": {"ddp": 4}}),
    Case("fsdp", {"mesh": {"fsdp": 4}}),
    Case("hsdp", {"mesh": {"ddp": 2, "fsdp": 2}, "checkpointing": "all", "accumulate": 2, "batch_size": 8}, COMPRESSED),
    Case("tiles", {"mesh": {"tiles": 4}, **TILED}),
    Case("tiles_fsdp", {"mesh": {"tiles": 2, "fsdp": 2}, "accumulate": 3, **TILED}, COMPRESSED),
    Case("fsdp_sets", {"mesh": {"fsdp": 4}}, sets=True),
    Case("fsdp_vit", {"mesh": {"fsdp": 4}, "checkpointing": "blocks"}, {"kind": "vit", "residual_width": 48, "residual_blocks": 4}),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, Mapping[str, Any]]:
    return build(tmp_path_factory.mktemp("tiny")), build_both(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def four(made: tuple[Tiny, Mapping[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four")
    spread(FOUR, 4, *made, folder)
    return folder


@pytest.mark.parametrize("case", FOUR, ids=lambda case: case.name)
def test_four_ranks_make_the_step_of_one(case: Case, made: tuple[Tiny, Mapping[str, Any]], four: Path) -> None:
    alone = steps(case, *made, four)
    for rank in (0, 3):
        found = torch.load(four / f"{case.name}-rank{rank}.pt", weights_only=False)
        assert difference(found, alone) is None
        assert found["local"] <= 1.2 * alone["local"] / case.train["mesh"].get("fsdp", 1)
