"""The Bayesian TV loss: masks, areas, wrapped longitude, global denominators."""

import numpy as np
import pytest
import torch

from orbit2.errors import OrbitError
from orbit2.grid import global_grid
from orbit2.train.losses import combine, terms, total_variation


def loss_of(prediction: torch.Tensor, target: torch.Tensor, weights: torch.Tensor, tv: float = 0.02, periodic: bool = True) -> float:
    part = terms(prediction, target, weights, periodic)
    return float(combine(part, part.packed(), torch.ones(prediction.shape[1], dtype=prediction.dtype), tv)[0])


def test_equatorial_error_costs_more_than_polar_by_the_cosine_ratio() -> None:
    grid = global_grid(5.0)
    weights = torch.from_numpy(grid.lat_weights)[None, None, :, None]
    target = torch.zeros(1, 1, *grid.shape, dtype=torch.float64)
    costs = []
    for row in (18, 33):
        prediction = target.clone()
        prediction[..., row, 5] = 1.0
        costs.append(loss_of(prediction, target, weights, tv=0.0))
    expected = np.cos(np.radians(grid.lat[18])) / np.cos(np.radians(grid.lat[33]))
    assert costs[0] / costs[1] == pytest.approx(expected, rel=1e-12)


def test_total_variation_by_hand() -> None:
    field = torch.tensor([[[[0.0, 1.0], [3.0, 6.0]]]], dtype=torch.float64)
    total, count = total_variation(field, torch.ones_like(field), periodic=False)
    assert float(total) == pytest.approx(1 + 3 + 3 + 5 + (6 + 2) / 2**0.5)
    assert float(count) == 6


def test_total_variation_wraps_in_longitude() -> None:
    field = torch.zeros(1, 1, 1, 6, dtype=torch.float64)
    field[..., 0] = 2.0
    assert float(total_variation(field, torch.ones_like(field), periodic=True)[0]) == 4.0
    assert float(total_variation(field, torch.ones_like(field), periodic=False)[0]) == 2.0


def test_masked_cells_never_count() -> None:
    torch.manual_seed(0)
    prediction, target = torch.randn(2, 1, 6, 8, dtype=torch.float64), torch.randn(2, 1, 6, 8, dtype=torch.float64)
    target[:, :, :, 5:] = torch.nan
    other = prediction.clone()
    other[:, :, :, 5:] += 100.0
    weights = torch.ones(1, 1, 6, 1, dtype=torch.float64)
    assert loss_of(prediction, target, weights) == pytest.approx(loss_of(other, target, weights), rel=1e-14)


def test_parts_with_unequal_masks_add_up_to_the_whole() -> None:
    torch.manual_seed(0)
    prediction, target = torch.randn(4, 2, 6, 8, dtype=torch.float64), torch.randn(4, 2, 6, 8, dtype=torch.float64)
    target[0, 0, :5] = torch.nan
    target[2, 1, 1:] = torch.nan
    weights, channels = torch.rand(1, 1, 6, 1, dtype=torch.float64), torch.ones(2, dtype=torch.float64)
    whole = terms(prediction, target, weights, True)
    parts = [terms(prediction[i], target[i], weights, True) for i in (slice(0, 1), slice(1, 4))]
    shared = parts[0].packed() + parts[1].packed()
    added = sum(float(combine(part, shared, channels, 0.02)[0]) for part in parts)
    assert added == pytest.approx(float(combine(whole, whole.packed(), channels, 0.02)[0]), rel=1e-12)


@pytest.mark.parametrize("loss", ["bayesian_tv", "mse", "mae", "huber"])
def test_gradients_against_finite_differences(loss: str) -> None:
    torch.manual_seed(0)
    prediction = torch.randn(1, 2, 3, 4, dtype=torch.float64, requires_grad=True)
    target = torch.randn(1, 2, 3, 4, dtype=torch.float64)
    target[0, 0, 0, 0] = torch.nan
    weights = torch.rand(1, 1, 3, 1, dtype=torch.float64)

    def total(x: torch.Tensor) -> torch.Tensor:
        part = terms(x, target, weights, True, loss, torch.tensor([0.5, 2.0], dtype=torch.float64))
        return combine(part, part.packed(), torch.ones(2, dtype=torch.float64), 0.02)[0]

    assert torch.autograd.gradcheck(total, prediction)


def test_unknown_loss() -> None:
    with pytest.raises(OrbitError, match="unknown loss"):
        terms(torch.zeros(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.ones(1, 1, 2, 1), True, "mze")
