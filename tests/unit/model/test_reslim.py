"""Reslim: the faults known in the reference implementation, one test each, and what users rely on."""

import pytest
import torch
import torch.nn.functional as F

from orbit2.config.network import ArchitectureConfig
from orbit2.grid import Grid, global_grid, uniform
from orbit2.model.constraints import row_weights
from orbit2.model.decoder import Decoder
from orbit2.model.geometry import Geometry
from orbit2.model.reslim import Reslim
from tests.data.small_models import INPUTS, OUTPUTS, STATICS, batch_for, demo_model, wake


def test_one_token_lights_exactly_its_block() -> None:
    decoder = Decoder(8, outputs=2, depth=0, patch=2, refinement=4)
    for token in (0, 7, 11):
        lit = torch.zeros(1, 12, 2 * 64)
        lit[:, token] = 1
        fine = decoder.unpatchify(lit, (3, 4))
        row, column = divmod(token, 4)
        expected = torch.zeros(24, 32)
        expected[row * 8 : row * 8 + 8, column * 8 : column * 8 + 8] = 1
        assert torch.equal(fine[0, 0], expected) and torch.equal(fine[0, 1], expected)


def test_unpatchify_order_inside_a_block() -> None:
    decoder = Decoder(8, outputs=1, depth=0, patch=1, refinement=2)
    fine = decoder.unpatchify(torch.tensor([[[1.0, 2.0, 3.0, 4.0]]]), (1, 1))
    assert fine[0, 0].tolist() == [[1, 2], [3, 4]]


def test_untrained_is_exactly_the_interpolation() -> None:
    grid = global_grid(15.0)
    coarse, statics, geometry = batch_for(grid)
    with torch.no_grad():
        fine = demo_model()(coarse, statics, geometry)
    wrapped = F.pad(F.pad(coarse[:, :2], (3, 3, 0, 0), mode="circular"), (0, 0, 3, 3), mode="replicate")
    expected = F.interpolate(wrapped, scale_factor=4, mode="bicubic", align_corners=False)[..., 12:-12, 12:-12]
    assert (fine - expected).abs().max() < 1e-6


def test_every_parameter_gets_a_gradient() -> None:
    model = wake(demo_model(drop_path=0.0))
    coarse, statics, geometry = batch_for(global_grid(15.0), batch=2)
    coarse[0, 0, :3, :4] = torch.nan
    (model(coarse, statics, geometry) ** 2).mean().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


@pytest.mark.parametrize("shape", [(120, 240), (90, 64), (33, 65)])
def test_any_aspect_ratio_and_size(shape: tuple[int, int]) -> None:
    grid = uniform(-40, 40, 10, 200, *shape)
    coarse, statics, geometry = batch_for(grid)
    with torch.no_grad():
        assert wake(demo_model())(coarse, statics, geometry).shape == (1, 2, shape[0] * 4, shape[1] * 4)


@pytest.mark.parametrize("conserve", [False, True])
def test_rolling_longitude_rolls_the_output(conserve: bool) -> None:
    grid = global_grid(15.0)
    model = wake(demo_model(conserve=conserve)).eval()
    coarse, statics, geometry = batch_for(grid)
    shifted = Geometry(geometry.lat, geometry.lon.roll(6, 1), geometry.coarse_km, geometry.fine_km, True)
    with torch.no_grad():
        plain = model(coarse, statics, geometry)
        rolled = model(coarse.roll(6, -1), statics.roll(24, -1), shifted)
    assert (rolled - plain.roll(24, -1)).abs().max() < 1e-4


def test_output_that_is_not_an_input_starts_from_zero() -> None:
    model = demo_model(outputs=("2m_temperature", "mean_sea_level_pressure"))
    coarse, statics, geometry = batch_for(global_grid(15.0))
    with torch.no_grad():
        fine = model(coarse, statics, geometry)
    assert fine[:, 1].abs().max() == 0 and fine[:, 0].abs().max() > 0


def test_no_embedding_drowns_another() -> None:
    torch.manual_seed(0)
    model = demo_model(embed_dim=128, time_embedding=True)
    geometry = Geometry.of(global_grid(4.0), 4)
    assert model.time is not None
    with torch.no_grad():
        spreads = [
            float(e.std())
            for e in (model.position(geometry, 2), model.resolution(geometry), model.time(torch.randn(1, 4)), model.aggregate.embedding)
        ]
    assert max(spreads) / min(spreads) < 3


def test_most_cells_missing_still_finite() -> None:
    model = wake(demo_model())
    coarse, statics, geometry = batch_for(global_grid(5.0))
    blob = F.interpolate(torch.randn(1, 1, 9, 18), size=coarse.shape[-2:], mode="bicubic")
    coarse[:, :2] = coarse[:, :2].masked_fill(blob > blob.flatten().quantile(0.4), torch.nan)
    assert torch.isnan(coarse[:, 0]).float().mean() > 0.55
    fine = model(coarse, statics, geometry)
    absent = model.missing(coarse, INPUTS, geometry.periodic)
    assert absent is not None and 0.2 < (~absent).float().mean() < 1
    assert torch.isfinite(fine).all()
    fine[~absent].square().mean().backward()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_conserved_output_has_the_input_as_block_mean() -> None:
    grid = global_grid(15.0)
    model = wake(demo_model(conserve=True)).eval()
    model.output_moments.copy_(torch.tensor([[280.0, 20.0], [0.6, 0.8]]))
    coarse, statics, geometry = batch_for(grid)
    with torch.no_grad():
        temperature, rain = model(coarse, statics, geometry)[0].double()
    weights = torch.from_numpy(grid.refine(4).lat_weights)[:, None].expand_as(rain)

    def block(fine: torch.Tensor) -> torch.Tensor:
        return (fine * weights).reshape(12, 4, 24, 4).sum((1, 3)) / weights.reshape(12, 4, 24, 4).sum((1, 3))

    assert (block(temperature) - coarse[0, 0]).abs().max() < 1e-5
    amount = torch.expm1(coarse[0, 1].double() * 0.8 + 0.6).clamp_min(0)  # mm
    assert (block(torch.expm1(rain * 0.8 + 0.6)) - amount).abs().max() < 1e-4
    assert (amount == 0).any() and (amount > 1).any()


@pytest.mark.parametrize("part", [slice(0, None), slice(0, 5), slice(7, None), slice(4, 9)])
@pytest.mark.parametrize("degrees", [15.0, 4.0, 0.25])
def test_row_weights_are_the_grid_s(degrees: float, part: slice) -> None:
    grid = global_grid(degrees).crop(part, slice(0, 4))
    ratio = row_weights(Geometry.of(grid, 4), 4)[0].double().numpy() / grid.refine(4).lat_weights
    assert abs(ratio / ratio.mean() - 1).max() < 2e-6


@pytest.mark.parametrize(
    ("embed_dim", "depth", "heads", "published"),
    [(256, 6, 4, 9.5e6), (1024, 8, 16, 126.1e6), (3072, 8, 24, 1.033e9), (8192, 11, 32, 9.53e9)],
)
def test_published_sizes(embed_dim: int, depth: int, heads: int, published: float) -> None:
    config = ArchitectureConfig(embed_dim=embed_dim, depth=depth, heads=heads, decoder_depth=4, position="table")
    with torch.device("meta"):
        model = Reslim(config, [f"v{i}" for i in range(23)], ["a", "b", "c"], ["x", "y", "z"])
    assert abs(sum(p.numel() for p in model.parameters()) / published - 1) < 0.05


def test_table_position_interpolates_to_other_grids() -> None:
    model = demo_model(position="table", table_shape=(6, 12))
    coarse, statics, geometry = batch_for(Grid(global_grid(5.0).lat_edges, global_grid(5.0).lon_edges))
    with torch.no_grad():
        assert model(coarse, statics, geometry).shape[-2:] == (144, 288)


def test_names_used_in_the_demo_exist() -> None:
    assert set(INPUTS[:2]) == set(OUTPUTS) and STATICS[0] in INPUTS
