"""What is done to the blocks of a network that is spread over ranks: compiled, and computed again, the one in the other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch

from orbit2.parallel import launch
from orbit2.parallel.apply import apply
from orbit2.parallel.mesh import Mesh, Sizes
from tests.data.small_ranks import two_ranks
from tests.parallel.test_network_axes import Case, batches, loss_of, network

pytestmark = pytest.mark.parallel


@pytest.mark.parametrize(("checkpointing", "times"), [("none", 1), ("blocks", 2), ("all", 2)])
def test_a_compiled_block_is_recomputed_too(checkpointing: str, times: int) -> None:
    """Its graph runs once forward, and once more where its activations are not kept."""
    calls: list[str] = []

    def compile(function: Callable[..., Any], **_: Any) -> Callable[..., Any]:
        def graph(*arguments: Any) -> Any:
            calls.append(function.__qualname__)
            return function(*arguments)

        return graph

    def act(rank: int) -> None:
        torch.compile = compile  # type: ignore[assignment]
        with launch.ranks(device="cpu") as here:
            model = network(Case("compiled"))
            apply(model, Mesh(Sizes(fsdp=2), here), checkpointing=checkpointing, compiled=1)
            loss_of(model, batches()[0]).backward()
            assert calls.count("Block.undropped") == times * len(model.blocks), calls  # type: ignore[arg-type]

    assert two_ranks(act)[0] == [0, 0]
