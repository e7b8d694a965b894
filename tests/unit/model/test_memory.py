"""Memory counted on the meta device agrees with what can be added up by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from orbit2.grid import global_grid
from orbit2.model.inspect import activation_bytes
from orbit2.model.memory import peak_bytes
from tests.data.small_models import demo_model

N = 1000  # one vector of fp32: 4 N bytes


def chain(length: int, x: torch.Tensor) -> torch.Tensor:
    for _ in range(length):
        x = x.sigmoid()
    return x


@pytest.mark.parametrize("length", [2, 5])
def test_a_chain_keeps_two_to_predict_and_everything_to_train(length: int) -> None:
    weight = torch.empty(N, device="meta", requires_grad=True)
    assert peak_bytes(lambda: chain(length, weight), [weight], training=False) == 2 * 4 * N
    trained = peak_bytes(lambda: chain(length, weight), [weight], training=True)
    # the outputs of all, the gradient that comes in and the one that goes out; a sum and its gradient are one number each
    assert abs(trained - (length + 2) * 4 * N) <= 4 * N


def test_views_and_work_in_place_cost_nothing() -> None:
    x = torch.empty(N, device="meta")
    assert peak_bytes(lambda: (x * 2).view(10, -1).t().add_(1), [x], training=False) == 4 * N


def test_attention_does_not_keep_its_scores() -> None:
    q = torch.empty(1, 2, N, 16, device="meta", requires_grad=True)
    peak = peak_bytes(lambda: F.scaled_dot_product_attention(q, q, q), [q], training=True)
    assert peak < 16 * q.numel() * 4 < 2 * N * N * 4


def test_memory_of_a_model_grows_with_the_batch_and_leaves_it_as_it_was() -> None:
    model = demo_model().eval().to("meta")
    grid = global_grid(15.0)
    one, four = (activation_bytes(model, grid, training=True, batch=batch) for batch in (1, 4))
    assert 3 * one < four + 4 * sum(p.numel() * 4 for p in model.parameters())
    assert activation_bytes(model, grid, training=False) < 0.5 * one
    assert not model.training and all(p.grad is None for p in model.parameters())
