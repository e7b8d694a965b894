"""The learned baselines: the same promises as Reslim's, for every kind."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from orbit2.config.network import ArchitectureConfig
from orbit2.errors import OrbitError
from orbit2.grid import global_grid, uniform
from orbit2.model.build import Downscaling, build
from orbit2.model.geometry import Geometry
from orbit2.model.inspect import forward_flops, tokens
from orbit2.model.transfer import transfer
from orbit2.model.upsampled import Upsampled, fine_geometry
from tests.data.small_models import INPUTS, OUTPUTS, STATICS, batch_for

SMALL = {
    "vit": {"embed_dim": 32, "depth": 2, "heads": 2, "decoder_depth": 1, "patch": 4},
    "unet": {"width": 4, "levels": 2},
    "conv": {"width": 8, "layers": 3},
}
every_kind = pytest.mark.parametrize("kind", SMALL)


def small(kind: str, outputs: tuple[str, ...] = OUTPUTS, inputs: tuple[str, ...] = INPUTS, **changes: object) -> Upsampled:
    torch.manual_seed(0)
    model = build(ArchitectureConfig.model_validate({"kind": kind, **SMALL[kind], **changes}), inputs, outputs, STATICS)
    assert isinstance(model, Upsampled)
    return model


def wake(model: Downscaling) -> None:
    """Give the zero-initialised last layer weights, as training would."""
    torch.manual_seed(1)
    for name, parameter in model.named_parameters():
        if name.startswith(("leave.", "decoder.smooth.")):
            torch.nn.init.normal_(parameter, std=0.1)


@every_kind
def test_untrained_is_exactly_the_interpolation(kind: str) -> None:
    coarse, statics, geometry = batch_for(global_grid(15.0))
    with torch.no_grad():
        fine = small(kind)(coarse, statics, geometry)
    wrapped = F.pad(F.pad(coarse[:, :2], (3, 3, 0, 0), mode="circular"), (0, 0, 3, 3), mode="replicate")
    expected = F.interpolate(wrapped, scale_factor=4, mode="bicubic", align_corners=False)[..., 12:-12, 12:-12]
    assert (fine - expected).abs().max() < 1e-6


@every_kind
def test_detail_comes_in_units_of_the_interpolation_s_error(kind: str) -> None:
    model = small(kind).eval()
    coarse, statics, geometry = batch_for(global_grid(15.0))
    with torch.no_grad():
        base = model(coarse, statics, geometry)
        wake(model)
        once = model(coarse, statics, geometry) - base
        model.output_scale.copy_(torch.tensor([3.0, 0.0]))
        thrice = model(coarse, statics, geometry) - base
    assert once[:, 0].abs().max() > 1e-2
    assert (thrice[:, 0] - 3 * once[:, 0]).abs().max() < 1e-4 and thrice[:, 1].abs().max() == 0


@every_kind
def test_every_parameter_gets_a_gradient_with_missing_cells(kind: str) -> None:
    model = small(kind)
    wake(model)
    coarse, statics, geometry = batch_for(global_grid(15.0), batch=2)
    coarse[0, 0, :6, :8] = torch.nan
    fine = model(coarse, statics, geometry)
    absent = model.missing(coarse, INPUTS, geometry.periodic)
    assert absent is not None and 0 < absent[0, 0].float().mean() < 0.5 and not absent[1].any() and not absent[:, 1].any()
    assert torch.isfinite(fine).all()
    fine.square().mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and torch.isfinite(parameter.grad).all() and parameter.grad.abs().sum() > 0, name


@every_kind
@pytest.mark.parametrize("shape", [(12, 24), (9, 15), (5, 6)])
def test_any_grid_size_of_a_region(kind: str, shape: tuple[int, int]) -> None:
    grid = uniform(-40, 40, 10, 200, *shape)
    coarse, statics, geometry = batch_for(grid)
    model = small(kind)
    wake(model)
    with torch.no_grad():
        assert model(coarse, statics, geometry).shape == (1, 2, shape[0] * 4, shape[1] * 4)


@every_kind
@pytest.mark.parametrize("conserve", [False, True])
def test_rolling_longitude_rolls_the_output(kind: str, conserve: bool) -> None:
    model = small(kind, conserve=conserve).eval()
    wake(model)
    coarse, statics, geometry = batch_for(global_grid(15.0))
    shifted = Geometry(geometry.lat, geometry.lon.roll(7, 1), geometry.coarse_km, geometry.fine_km, True)
    with torch.no_grad():
        plain = model(coarse, statics, geometry)
        rolled = model(coarse.roll(7, -1), statics.roll(28, -1), shifted)
    assert (plain - model.residual.interpolation_of(coarse, list(INPUTS), True)).abs().max() > 1e-2
    assert (rolled - plain.roll(28, -1)).abs().max() < 1e-4


def test_a_row_that_cannot_be_halved_still_closes() -> None:
    model = small("unet", levels=3).eval()  # 60 fine columns: not a multiple of 8
    wake(model)
    coarse, statics, geometry = batch_for(uniform(-90, 90, 0, 360, 8, 15))
    assert geometry.periodic
    moved = statics.clone()
    moved[..., -1] += 1
    with torch.no_grad():
        change = (model(coarse, moved, geometry) - model(coarse, statics, geometry)).abs().amax((0, 1, 2))
    assert change[0] > 0.3 * change[-2]  # either neighbour of the last column


@every_kind
def test_variables_are_found_by_name(kind: str) -> None:
    model = small(kind).eval()
    wake(model)
    coarse, statics, geometry = batch_for(global_grid(15.0))
    order = [2, 1, 3, 0]
    with torch.no_grad():
        plain = model(coarse, statics, geometry, INPUTS)
        mixed = model(coarse[:, order], statics, geometry, [INPUTS[i] for i in order])
        fewer = model(coarse[:, 1:], statics, geometry, INPUTS[1:])
    assert (plain - mixed).abs().max() < 1e-5
    assert fewer.shape == plain.shape and torch.isfinite(fewer).all() and (fewer - plain).abs().max() > 1e-2
    with pytest.raises(OrbitError, match="does not know"):
        model(coarse, statics, geometry, ("nonsense", *INPUTS[1:]))


@every_kind
def test_output_that_is_not_an_input_starts_from_zero(kind: str) -> None:
    coarse, statics, geometry = batch_for(global_grid(15.0))
    with torch.no_grad():
        fine = small(kind, outputs=("mean_sea_level_pressure", "2m_temperature"))(coarse, statics, geometry)
    assert fine[:, 0].abs().max() == 0 and fine[:, 1].abs().max() > 0


@every_kind
def test_conserved_output_has_the_input_as_block_mean(kind: str) -> None:
    grid = global_grid(15.0)
    model = small(kind, conserve=True).eval()
    wake(model)
    coarse, statics, geometry = batch_for(grid)
    with torch.no_grad():
        temperature = model(coarse, statics, geometry)[0, 0].double()
    weights = torch.from_numpy(grid.refine(4).lat_weights)[:, None].expand_as(temperature)
    means = (temperature * weights).reshape(12, 4, 24, 4).sum((1, 3)) / weights.reshape(12, 4, 24, 4).sum((1, 3))
    assert (means - coarse[0, 0]).abs().max() < 1e-5


@pytest.mark.parametrize("start", [0, 5])
def test_fine_centres_are_the_refined_grid_s(start: int) -> None:
    grid = global_grid(15.0)
    geometry = Geometry.of(grid, 4)
    geometry = Geometry(geometry.lat, geometry.lon.roll(start, 1), geometry.coarse_km, geometry.fine_km, True)
    fine = fine_geometry(geometry, 4)
    expected = torch.from_numpy(grid.refine(4).lon).roll(4 * start)
    assert (fine.lat[0] - torch.from_numpy(grid.refine(4).lat)).abs().max() < 1e-4
    assert (torch.remainder(fine.lon[0] - expected + 180, 360) - 180).abs().max() < 1e-4


@every_kind
def test_transfer_to_more_inputs_and_fewer_outputs_keeps_what_was_learnt(kind: str) -> None:
    parent = small(kind).eval()
    wake(parent)
    if kind == "vit":  # its last 3x3 convolution mixes outputs: what a dropped output gave is lost
        with torch.no_grad():
            parent.get_parameter("decoder.smooth.weight")[1, 0] = 0
    inputs = ("precipitation_rate", "specific_humidity_850", "2m_temperature", *STATICS)
    child = small(kind, outputs=("precipitation_rate",), inputs=inputs).eval()
    report = transfer(parent, child)
    assert report.new == ["specific_humidity_850"] and report.dropped == []
    coarse, statics, geometry = batch_for(global_grid(15.0))
    with torch.no_grad():
        old = parent(coarse, statics, geometry)
        new = child(coarse, statics, geometry, INPUTS)  # the new variable is absent
        given = child(torch.cat([coarse[:, :1], coarse], 1), statics, geometry, ("specific_humidity_850", *INPUTS))
    assert (new[:, 0] - old[:, 1]).abs().max() < 1e-5
    assert (given - new).abs().max() > 1e-4


def test_weights_of_another_kind_are_refused() -> None:
    with pytest.raises(OrbitError, match="another kind"):
        transfer(small("unet"), small("conv"))


def test_flops_by_hand() -> None:
    grid = global_grid(15.0)  # fine: 48 x 96
    shallow, deep = (small("vit", depth=depth).to("meta") for depth in (1, 2))
    width, count = 32, 12 * 24
    assert tokens(deep, grid) == count
    assert forward_flops(deep, grid) - forward_flops(shallow, grid) == 2 * count * width**2 * (3 + 1 + 8) + 4 * count**2 * width
    assert forward_flops(small("conv").to("meta"), grid) == 2 * 48 * 96 * 9 * (2 * 4 * 8 + 2 * 8 * 8 + 8 * 2)
    assert tokens(small("conv"), grid) == 0


def test_a_key_that_a_kind_does_not_read_is_refused() -> None:
    with pytest.raises(ValueError, match="`depth` means nothing to kind 'conv'"):
        ArchitectureConfig(kind="conv", depth=3)
    config = ArchitectureConfig(kind="unet", width=8)
    assert ArchitectureConfig.model_validate(config.model_dump(mode="json")) == config  # as a model folder keeps it
