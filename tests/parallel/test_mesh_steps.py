"""A step is the same step on any mesh: loss, every gradient, clipping, optimiser and average, over two steps."""

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
FOUR = [  # each axis once, and what works together
    Case("hsdp", {"mesh": {"ddp": 2, "fsdp": 2}, "checkpointing": "all", "accumulate": 2, "batch_size": 8}, COMPRESSED, scored=True),
    Case("tiles_fsdp", {"mesh": {"tiles": 2, "fsdp": 2}, "accumulate": 3, **TILED}, COMPRESSED),
    Case("fsdp_vit", {"mesh": {"fsdp": 4}, "checkpointing": "blocks"}, {"kind": "vit", "residual_width": 48, "residual_blocks": 4}),
    Case("sp_fsdp", {"mesh": {"sp": 2, "fsdp": 2}, "checkpointing": "blocks"}, COMPRESSED),
    Case("channels_fsdp", {"mesh": {"tp": 2, "fsdp": 2, "channels": True}}, sets=True),
]
MORE = [
    Case("ddp", {"mesh": {"ddp": 4}}),
    Case("fsdp", {"mesh": {"fsdp": 4}}),
    Case("tiles", {"mesh": {"tiles": 4}, **TILED}),
    Case("fsdp_sets", {"mesh": {"fsdp": 4}}, sets=True),
    Case("tp_fsdp", {"mesh": {"tp": 2, "fsdp": 2}, **TILED}),
    Case("sp_tp_dropped", {"mesh": {"sp": 2, "tp": 2}, "checkpointing": "all"}, {"drop_path": 0.5, **COMPRESSED}),
]
HALF = Case("fsdp_bf16", {"mesh": {"fsdp": 4}, "precision": "bf16"}, COMPRESSED)
COMPILED = [
    Case("fsdp_compiled", {"mesh": {"ddp": 2, "fsdp": 2}, "compile": "on", "checkpointing": "all"}),
    Case("sp_tp_compiled", {"mesh": {"sp": 2, "tp": 2}, "compile": "on"}, COMPRESSED),
    Case("channels_compiled", {"mesh": {"tp": 2, "fsdp": 2, "channels": True}, "compile": "on"}),
]
NOISE = {"dropout": 0.4, "drop_path": 0.3}
NOISY = [Case("noisy", {"mesh": {"sp": 2, "tp": 2}}, NOISE), Case("again", {"mesh": {"sp": 2, "tp": 2}, "checkpointing": "all"}, NOISE)]
EIGHT = [
    Case("sp", {"mesh": {"sp": 4, "ddp": 2}}),
    Case("tp", {"mesh": {"tp": 4, "ddp": 2}}),
    Case("ddp_fsdp_tp", {"mesh": {"ddp": 2, "fsdp": 2, "tp": 2}, "checkpointing": "all", "accumulate": 2, "batch_size": 8}, COMPRESSED),
    Case("channels_tp_fsdp", {"mesh": {"ddp": 2, "fsdp": 2, "tp": 2, "channels": True}}, COMPRESSED, sets=True),
    Case("fsdp_sp_tp", {"mesh": {"fsdp": 2, "sp": 2, "tp": 2, "channels": True}}, COMPRESSED),
    Case("tiles_fsdp_tp", {"mesh": {"tiles": 2, "fsdp": 2, "tp": 2}, **TILED}, COMPRESSED),
    Case("vit_fsdp_sp_tp", {"mesh": {"fsdp": 2, "sp": 2, "tp": 2}}, {"kind": "vit", "residual_width": 48, "residual_blocks": 4}),
]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Tiny, Mapping[str, Any]]:
    return build(tmp_path_factory.mktemp("tiny")), build_both(tmp_path_factory.mktemp("sets"))


@pytest.fixture(scope="module")
def four(made: tuple[Tiny, Mapping[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("four")
    spread(FOUR, 4, *made, folder)
    return folder


@pytest.fixture(scope="module")
def more(made: tuple[Tiny, Mapping[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("more")
    spread([*MORE, HALF, *NOISY], 4, *made, folder)
    return folder


@pytest.fixture(scope="module")
def eight(made: tuple[Tiny, Mapping[str, Any]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("eight")
    spread(EIGHT, 8, *made, folder)
    return folder


@pytest.mark.parametrize("case", FOUR, ids=lambda case: case.name)
def test_four_ranks_make_the_step_of_one(case: Case, made: tuple[Tiny, Mapping[str, Any]], four: Path) -> None:
    compare(case, made, four, 4)


@pytest.mark.slow
def test_compiled_parts_make_the_step_of_one(
    made: tuple[Tiny, Mapping[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As graphs with their backward passes, run operator by operator: inductor would take minutes on a processor."""
    compile = torch.compile
    monkeypatch.setattr(torch, "compile", lambda function, *, backend, **more: compile(function, backend="aot_eager", **more))
    spread(COMPILED, 4, *made, tmp_path)
    for case in COMPILED:
        compare(case, made, tmp_path, 4)


@pytest.mark.slow
@pytest.mark.parametrize("case", MORE, ids=lambda case: case.name)
def test_four_ranks_make_the_step_of_one_in_other_ways(case: Case, made: tuple[Tiny, Mapping[str, Any]], more: Path) -> None:
    compare(case, made, more, 4)


@pytest.mark.slow
def test_bf16_multiplies_alike_and_keeps_float32(made: tuple[Tiny, Mapping[str, Any]], more: Path) -> None:
    """The same products, from weights rounded before they are gathered; masters, their average and the sums of gradients stay float32."""
    alone = steps(HALF, *made, more)
    found = torch.load(more / f"{HALF.name}-rank0.pt", weights_only=False)
    for one, other in zip(found["records"], alone["records"], strict=True):
        assert one["loss"] == pytest.approx(other["loss"], rel=2e-3)
        assert one["gradient_norm"] == pytest.approx(other["gradient_norm"], rel=2e-2)
    assert {value.dtype for group in ("weights", "average") for value in found[group].values()} == {torch.float32}
    assert {value.dtype for gradients in found["gradients"] for value in gradients.values()} == {torch.float32}


@pytest.mark.slow
def test_dropout_under_sp_and_tp_is_drawn_again_in_a_recomputed_block(made: tuple[Tiny, Mapping[str, Any]], more: Path) -> None:
    """Ranks drop other tokens and features, so that no single process can draw the same. What must hold: blocks that run again draw what
    they drew, to the bit; and ranks that share samples keep one state: copies of parameters, and of what is shown, never drift apart."""
    found = {(case.name, rank): torch.load(more / f"{case.name}-rank{rank}.pt", weights_only=False) for case in NOISY for rank in (0, 3)}
    first = found["noisy", 0]
    for other in found.values():
        assert other["records"] == first["records"]
        for what in ("weights", "average"):
            assert all(torch.equal(value, first[what][name]) for name, value in other[what].items())
        for mine, theirs in zip(other["gradients"], first["gradients"], strict=True):
            assert all(torch.equal(value, theirs[name]) for name, value in mine.items())
    still = steps(Case("still"), *made, more)["records"][0]["loss"]
    assert abs(first["records"][0]["loss"] - still) > 1e-5 * still  # beyond rounding: something was dropped


@pytest.mark.slow
@pytest.mark.parametrize("case", EIGHT, ids=lambda case: case.name)
def test_eight_ranks_make_the_step_of_one(case: Case, made: tuple[Tiny, Mapping[str, Any]], eight: Path) -> None:
    compare(case, made, eight, 8)


def compare(case: Case, made: tuple[Tiny, Mapping[str, Any]], folder: Path, world: int) -> None:
    alone, mesh = steps(case, *made, folder), case.train["mesh"]
    for rank in (0, world - 1):
        found = torch.load(folder / f"{case.name}-rank{rank}.pt", weights_only=False)
        assert difference(found, alone) is None
        assert found["local"] <= 1.2 * alone["local"] / mesh.get("fsdp", 1) / mesh.get("sp", 1)
