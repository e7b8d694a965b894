"""What the CPU computes in its own way is what PyTorch's plain operations compute, gradients included."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from orbit2.config.network import TrainConfig
from orbit2.grid import global_grid
from orbit2.model.borders import around
from orbit2.model.decoder import DecoderLayer, patchify, unpatchify
from orbit2.model.embed import TablePosition
from orbit2.model.geometry import Geometry, pad
from orbit2.model.residual import interpolate
from orbit2.train import optimizer


def plainly_padded(fields: Tensor, margin: int, periodic: bool) -> Tensor:
    wide = F.pad(fields, (margin, margin, 0, 0), mode="circular" if periodic else "replicate")
    return F.pad(wide, (0, 0, margin, margin), mode="replicate")


@pytest.mark.parametrize("periodic", [True, False])
@pytest.mark.parametrize("margin", [1, 2])
def test_padding_for_convolutions_and_its_gradient(periodic: bool, margin: int) -> None:
    fields = torch.randn(2, 5, 4, 6, dtype=torch.float64, requires_grad=True)
    wanted = plainly_padded(fields, margin, periodic)
    seed = torch.randn_like(wanted)
    (gradient,) = torch.autograd.grad(wanted, fields, seed)
    for given in (fields, fields.contiguous(memory_format=torch.channels_last)):
        padded = around(given, margin, periodic)
        assert torch.equal(padded, wanted) and padded.is_contiguous(memory_format=torch.channels_last)
        assert torch.allclose(torch.autograd.grad(padded, fields, seed)[0], gradient, rtol=1e-14)
    assert torch.equal(pad(fields, margin, margin, periodic, south=margin, west=margin), wanted)


def test_blocks_of_cells_are_pixel_shuffles() -> None:
    fields = torch.randn(2, 3, 8, 12)
    cells = patchify(fields, 4)
    assert torch.equal(cells.permute(0, 3, 1, 2), F.pixel_unshuffle(fields, 4))
    assert torch.equal(unpatchify(cells, 4), fields)
    other = torch.randn(2, 2, 3, 3 * 16)
    assert torch.equal(unpatchify(other, 4), F.pixel_shuffle(other.permute(0, 3, 1, 2), 4))


def test_a_decoder_layer_is_its_formula_row_by_row() -> None:
    layer = DecoderLayer(8).double()
    tokens = torch.randn(2, 15, 8, dtype=torch.float64)
    grid = layer.norm(tokens).transpose(1, 2).reshape(2, 8, 3, 5)
    mixed = F.conv2d(plainly_padded(grid, 1, True), layer.depthwise.weight, layer.depthwise.bias, groups=8)
    wanted = tokens + F.gelu(layer.linear(mixed.flatten(2).transpose(1, 2)))
    assert torch.allclose(layer(tokens, (3, 5), True), wanted, rtol=1e-12)


@pytest.mark.parametrize("mode", ["bicubic", "bilinear"])
@pytest.mark.parametrize("factor", [1, 2, 3, 4])
@pytest.mark.parametrize("periodic", [True, False])
def test_interpolation_is_pytorch_s(mode: str, factor: int, periodic: bool) -> None:
    fields = torch.randn(2, 3, 5, 7, dtype=torch.float64)
    cut = 3 * factor
    wide = F.interpolate(plainly_padded(fields, 3, periodic), scale_factor=factor, mode=mode, align_corners=False)
    wanted = wide[..., cut:-cut, cut:-cut]
    found = interpolate(fields, factor, mode, periodic)
    assert torch.allclose(found, wanted, rtol=0, atol=1e-13) and found.is_contiguous()
    single = interpolate(fields.float(), factor, mode, periodic)
    assert torch.allclose(single.double(), wanted, rtol=0, atol=5e-6)
    with torch.autocast("cpu", torch.bfloat16):  # the residual path's interpolation keeps fp32
        assert torch.equal(interpolate(fields.float(), factor, mode, periodic), single)


@pytest.mark.parametrize("shape", [(7, 9), (9, 18), (6, 40)])  # larger and smaller than the 9 x 18 tokens, the same, and both
def test_table_position_is_bilinear_interpolation_of_the_table(shape: tuple[int, int]) -> None:
    position = TablePosition(4, shape).double()
    geometry = Geometry.of(global_grid(10.0), 2)  # 18 x 36 cells, 9 x 18 tokens
    plain = F.interpolate(position.table.permute(2, 0, 1)[None], size=(9, 18), mode="bilinear", align_corners=False)
    wanted = plain.flatten(2).transpose(1, 2)
    found = position(geometry, 2)
    assert torch.allclose(found, wanted, rtol=0, atol=2e-5)  # shares are computed in fp32
    seed = torch.randn_like(wanted)
    gradients = [torch.autograd.grad(value, position.table, seed)[0] for value in (found, wanted)]
    assert torch.allclose(*gradients, rtol=0, atol=2e-5)


def test_optimiser_is_adamw_s_formula() -> None:
    """Three steps against the published update in float64, decay on the matrix only."""
    torch.manual_seed(0)
    model = torch.nn.Linear(5, 3)
    config = TrainConfig()
    adam = optimizer.build(model, config)
    first, second = config.betas
    state = {p: (p.detach().double(), torch.zeros(p.shape).double(), torch.zeros(p.shape).double()) for p in model.parameters()}
    for step in range(1, 4):
        for p in model.parameters():
            p.grad = torch.randn_like(p)
            value, mean, square = state[p]
            gradient = p.grad.double()
            mean, square = first * mean + (1 - first) * gradient, second * square + (1 - second) * gradient**2
            value = value * (1 - config.learning_rate * (config.weight_decay if p.ndim > 1 else 0))
            value = value - config.learning_rate * (mean / (1 - first**step)) / ((square / (1 - second**step)).sqrt() + 1e-8)
            state[p] = value, mean, square
        adam.step()
    for p in model.parameters():
        assert torch.allclose(p.double(), state[p][0], rtol=0, atol=1e-7)
