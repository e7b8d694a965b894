"""Constraint layers (Harder et al. 2023): exact in training and prediction, on tiles, of the input as it is; each what its paper says."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orbit2.config.network import ArchitectureConfig
from orbit2.data.transforms import Normaliser
from orbit2.downscale.predictor import Downscaler
from orbit2.grid import global_grid
from orbit2.model import constraints
from orbit2.model.geometry import Geometry
from tests.data.small_models import batch_for, demo_model, wake

LAYERS = ("additive", "multiplicative", "softmax")
KINDS = (True, *LAYERS)
MOMENTS = torch.tensor([[280.0, 20.0], [0.6, 0.8]])


def means(fine: torch.Tensor, weights: np.ndarray, factor: int = 4) -> torch.Tensor:
    """Area means over blocks, in float64 and by another way than the layers'."""
    rows, columns = fine.shape[-2] // factor, fine.shape[-1] // factor
    w = torch.from_numpy(weights).view(rows, factor, 1, 1)
    return (fine.double().view(rows, factor, columns, factor) * w).sum((1, 3)) / (w.sum((1, 3)) * factor)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("conserve", KINDS)
def test_block_means_are_the_input_s_to_1e_5(conserve: bool | str, training: bool) -> None:
    grid = global_grid(15.0)
    model = wake(demo_model(conserve=conserve)).train(training)
    model.output_moments.copy_(MOMENTS)
    coarse, statics, geometry = batch_for(grid)
    coarse[:, 1] = (torch.log1p(torch.expm1(coarse[:, 1]).clamp_min(0) * 5) - 0.6) / 0.8  # from dry to heavy rain
    fine = model(coarse, statics, geometry)
    temperature, rain = fine[0].detach().double()
    weights = grid.refine(4).lat_weights
    assert (means(temperature, weights) - coarse[0, 0]).abs().max() < 1e-5
    amount = torch.expm1(coarse[0, 1].double() * 0.8 + 0.6).clamp_min(0)
    assert (amount < 1e-6).any() and (amount > 5).any()
    off = (means(torch.expm1(rain * 0.8 + 0.6), weights) - amount).abs() / amount.clamp_min(1)
    if conserve is True and training:
        assert off.max() > 1e-3  # rain is left to learn in its own space
    else:
        assert off.max() < 1e-5 and torch.expm1(rain * 0.8 + 0.6).min() > -1e-6
    if training:
        fine.square().mean().backward()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


@pytest.mark.parametrize("conserve", KINDS)
@pytest.mark.parametrize("blend", [0, 1])
def test_tiles_conserve_the_physical_input_with_its_drizzle(conserve: bool | str, blend: int) -> None:
    grid = global_grid(15.0)
    model = wake(demo_model(conserve=conserve)).eval()
    model.output_moments.copy_(MOMENTS)
    moments = {"2m_temperature": (280.0, 20.0), "precipitation_rate": (0.6, 0.8)}
    normaliser = Normaliser(moments | dict.fromkeys(model.statics, (0.0, 1.0)))
    generator = np.random.default_rng(0)
    coarse = np.stack([280 + 20 * generator.standard_normal(grid.shape), 0.15 * generator.gamma(0.3, 5.0, grid.shape)]).astype(np.float32)
    drizzle = (coarse[1] > 0.001) & (coarse[1] < 0.25)
    assert drizzle.sum() > 20
    statics = generator.standard_normal((len(model.statics), *grid.refine(4).shape)).astype(np.float32)
    downscaler = Downscaler(model, normaliser, {}, torch.device("cpu"))
    fine = downscaler.predict(coarse, downscaler.inputs, statics, grid, np.datetime64("2020-01-01"), tile=6, halo=4, blend=blend)
    weights = grid.refine(4).lat_weights
    found = [means(torch.from_numpy(field), weights).numpy() for field in fine]
    assert np.abs(found[0] - coarse[0]).max() < 20 * 1e-5
    assert (np.abs(found[1] - coarse[1]) / np.maximum(coarse[1], 1)).max() < 1e-5
    assert np.abs(found[1] - coarse[1])[drizzle].max() < 1e-5


def field_of(cells: list[float]) -> tuple[torch.Tensor, torch.Tensor]:
    """One block of 2 x 2 cells, rows of areas 3 and 1."""
    return torch.tensor(cells).view(1, 1, 2, 2), torch.tensor([3.0, 1.0]).view(1, 1, 2, 1)


def test_additive_is_the_nearest_non_negative_field_with_the_amount() -> None:
    rain, weights = field_of([4.0, 1.0, 0.5, 2.0])
    found = constraints.additive_layer(rain, torch.tensor([[[[0.75]]]]), weights, 2).flatten()
    # 3 (4 + c) = 0.75 x 8 while all others are dry: c = -2
    assert found.tolist() == pytest.approx([2.0, 0.0, 0.0, 0.0])
    more = constraints.additive_layer(rain, torch.tensor([[[[10.0]]]]), weights, 2)
    assert (more - rain).flatten().tolist() == pytest.approx([10 - 17.5 / 8] * 4)
    generator = torch.Generator().manual_seed(0)
    near = float((found - rain.flatten()).square().mul(torch.tensor([3.0, 3, 1, 1])).sum())
    for _ in range(200):  # no other non-negative field with this amount is nearer
        other = torch.rand(4, generator=generator)
        other = other * 6 / (other * torch.tensor([3.0, 3, 1, 1])).sum()
        assert float((other - rain.flatten()).square().mul(torch.tensor([3.0, 3, 1, 1])).sum()) >= near - 1e-5


def test_multiplicative_keeps_ratios_and_softmax_is_of_the_output_itself() -> None:
    rain, weights = field_of([4.0, 1.0, 0.5, 2.0])
    amount = torch.tensor([[[[2.1875 * 3]]]])
    assert (constraints.multiplicative_layer(rain, amount, weights, 2) / rain).flatten().tolist() == pytest.approx([3.0] * 4)
    dry = constraints.multiplicative_layer(torch.zeros_like(rain), amount, weights, 2)
    assert dry.flatten().tolist() == pytest.approx([2.1875 * 3] * 4)
    soft = constraints.softmax_layer(rain, amount, weights, 2)
    assert (soft / torch.exp(rain)).flatten().std() < 1e-5
    assert float((soft * weights).sum() / 8) == pytest.approx(2.1875 * 3)
    huge = constraints.softmax_layer(rain * 100, amount, weights, 2)
    assert torch.isfinite(huge).all()


def test_a_quantity_that_can_be_negative_is_shifted_by_every_layer() -> None:
    grid = global_grid(15.0)
    geometry = Geometry.of(grid, 4)
    fine, coarse = torch.randn(1, 1, 48, 96), torch.randn(1, 1, 12, 24)
    moments = torch.tensor([[0.5, 3.0]])
    names = ["10m_u_component_of_wind"]
    found = [constraints.conserve_blocks(fine, coarse, names, names, geometry, 4, moments, kind) for kind in KINDS]
    assert all(torch.equal(found[0], other) for other in found[1:])
    kelvin = [constraints.conserve_blocks(fine, coarse, ["2m_temperature"], ["2m_temperature"], geometry, 4, MOMENTS, k) for k in KINDS]
    assert torch.equal(kelvin[0], kelvin[1]) and not torch.equal(kelvin[0], kelvin[2])
    ratio = (kelvin[2] * 20 + 280) / (fine * 20 + 280)
    spread = ratio.view(12, 4, 24, 4)
    assert float((spread.amax((1, 3)) - spread.amin((1, 3))).max()) < 1e-6


@pytest.mark.parametrize("conserve", LAYERS)
def test_a_block_without_an_input_is_left_alone(conserve: str) -> None:
    fine, coarse = torch.randn(1, 1, 48, 96), torch.randn(1, 1, 12, 24)
    coarse[0, 0, 3, 5] = torch.nan
    names = ["precipitation_rate"]
    geometry = Geometry.of(global_grid(15.0), 4)
    found = constraints.conserve_blocks(fine, coarse, names, names, geometry, 4, torch.tensor([[0.6, 0.8]]), conserve)
    assert torch.equal(found[..., 12:16, 20:24], fine[..., 12:16, 20:24]) and torch.isfinite(found).all()
    assert ArchitectureConfig(conserve=conserve).conserve == conserve
