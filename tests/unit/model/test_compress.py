"""Adaptive compression: off is nothing at all; on, every weight learns, gaps and any grid size are fine, and edges are found."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from skimage import feature
from torch.fx.experimental.proxy_tensor import make_fx

from orbit2.config.network import ArchitectureConfig, CompressionConfig
from orbit2.errors import OrbitError
from orbit2.grid import global_grid, uniform
from orbit2.model.compress import Compression
from orbit2.model.edges import canny
from orbit2.model.geometry import Geometry
from orbit2.model.quadtree import Pyramid, by_budget
from orbit2.model.reslim import Reslim
from orbit2.model.transfer import transfer
from tests.data.small_models import INPUTS, STATICS, batch_for, demo_model, wake


def seeded(**compression: object) -> Reslim:
    torch.manual_seed(3)
    return wake(demo_model(compression=compression)) if compression else wake(demo_model())


@pytest.mark.parametrize("setting", [{"mode": "off", "ratio": 8}, {"mode": "budget", "ratio": 1}])
def test_off_and_ratio_one_are_bit_identical(setting: dict[str, object]) -> None:
    plain, other = seeded(), seeded(**setting)
    coarse, statics, geometry = batch_for(global_grid(15.0))
    assert list(plain.state_dict()) == list(other.state_dict())
    assert not any("compression" in key for key in plain.state_dict())
    with torch.no_grad():
        assert torch.equal(plain(coarse, statics, geometry), other(coarse, statics, geometry))
    assert other.auxiliary(coarse, INPUTS, torch.zeros(1, 2, 48, 96), torch.ones(1, 1, 48, 96), True) is None


def test_compression_leaves_the_other_weights_as_they_were() -> None:
    plain, other = seeded(), seeded(mode="budget", ratio=4, max_leaf=4)
    assert all(torch.equal(value, other.state_dict()[key]) for key, value in plain.state_dict().items())


@pytest.mark.parametrize("setting", [{"mode": "budget", "ratio": 4}, {"mode": "threshold", "threshold": 0.4}])
def test_every_parameter_gets_a_gradient(setting: dict[str, object]) -> None:
    model = seeded(**setting, max_leaf=4)
    coarse, statics, geometry = batch_for(global_grid(15.0), batch=2)
    coarse[0, 0, :3, :4] = torch.nan
    fine = model(coarse, statics, geometry)
    own = model.auxiliary(coarse, INPUTS, torch.randn_like(fine), torch.ones(1, 1, *fine.shape[-2:]), True)
    assert own is not None and float(own[1]) > 0
    ((fine**2).mean() + own[0] / own[1]).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_features_stay_differentiable_without_the_auxiliary_loss() -> None:
    model = seeded(mode="budget", ratio=8, max_leaf=4)
    coarse, _, geometry = batch_for(global_grid(15.0))
    coarse.requires_grad_()
    tokens = model.aggregate(coarse, INPUTS, True)
    (model.attend(tokens, geometry) - tokens).square().sum().backward()  # without the skip: only through the leaves
    assert coarse.grad is not None and (coarse.grad.abs().sum((0, 1)) > 0).all()
    assert model.compression is not None and model.compression.density.weight.grad is None


@pytest.mark.parametrize("shape", [(33, 65), (7, 50), (90, 64)])
@pytest.mark.parametrize("mode", ["budget", "threshold"])
def test_any_size_missing_values_and_repeatable(shape: tuple[int, int], mode: str) -> None:
    model = seeded(mode=mode, ratio=1.5, max_leaf=4).eval()
    coarse, statics, geometry = batch_for(uniform(-40, 40, 10, 200, *shape), batch=2)
    coarse[:, :2, : shape[0] // 2] = torch.nan
    with torch.no_grad():
        first, second = (model(coarse, statics, geometry) for _ in range(2))
        alone = model(coarse[:1], statics[:1], replace(geometry, lat=geometry.lat[:1], lon=geometry.lon[:1]))
    assert first.shape == (2, 2, 4 * shape[0], 4 * shape[1]) and torch.isfinite(first).all()
    assert torch.equal(first, second)
    assert (alone - first[:1]).abs().max() < 1e-4  # what fills up a batch or a grid never leaks into a sample


def test_a_single_token_is_a_single_leaf() -> None:
    model = seeded(mode="threshold", max_leaf=4).eval()
    coarse, statics, geometry = batch_for(uniform(-40, 40, 10, 200, 1, 1))
    with torch.no_grad():
        assert torch.isfinite(model(coarse, statics, geometry)).all()


def test_leaf_tokens_are_means_with_place_and_size() -> None:
    """With whole roots as leaves and embeddings silenced, packing is average pooling and unpacking nearest upsampling plus skip."""
    torch.manual_seed(0)
    module = Compression(CompressionConfig(mode="budget", ratio=16, max_leaf=4), 8, patch=1)
    for part in (module.position.mlp[-1], module.size.mlp[-1]):
        torch.nn.init.zeros_(part.weight)
    geometry, tokens = Geometry.of(uniform(-40, 40, 10, 200, 8, 12), 4, 2), torch.randn(2, 96, 8)
    with torch.no_grad():
        leaves = module.eval().leaves(tokens, geometry)
        packed = module.pack(tokens, leaves, geometry)
        back = module.unpack(packed, tokens, leaves.cells)
    image = tokens.transpose(1, 2).unflatten(2, (8, 12))
    pooled = torch.nn.functional.avg_pool2d(image, 4)
    assert (packed - pooled.flatten(2).transpose(1, 2)).abs().max() < 1e-5
    expected = (torch.nn.functional.interpolate(pooled, scale_factor=4) + image).flatten(2).transpose(1, 2)
    assert (back - expected).abs().max() < 1e-5


def test_leaf_centres_lie_where_the_leaf_does() -> None:
    module = Compression(CompressionConfig(mode="budget", ratio=16, max_leaf=4), 8, patch=1)
    geometry, seen = Geometry.of(uniform(0, 8, 355, 363, 8, 8), 4), []
    module.position.at = lambda where: seen.append(where) or torch.zeros(*where.shape[:2], 8)  # type: ignore[assignment, func-returns-value]
    tokens = torch.zeros(1, 64, 8)
    with torch.no_grad():
        module.pack(tokens, by_budget(torch.zeros(1, 8, 8), Pyramid(8, 8, 1, 4), 4), geometry)
    x, y, z = seen[0][0].unbind(-1)
    lat, lon = torch.rad2deg(torch.asin(z)), torch.rad2deg(torch.atan2(y, x))
    assert torch.allclose(lat, torch.tensor([2.0, 2.0, 6.0, 6.0]), atol=0.01)
    assert torch.allclose(lon, torch.tensor([-3.0, 1.0, -3.0, 1.0]), atol=0.01)


def test_auxiliary_loss_teaches_where_interpolation_errs() -> None:
    """By hand: pooled |truth - base| in units of the scale, area-weighted, masked cells left out."""
    module = Compression(CompressionConfig(mode="budget"), 8, patch=1)
    base, truth = torch.zeros(1, 2, 2, 4), torch.zeros(1, 2, 2, 4)
    truth[0, 0], truth[0, 1, :, :2], truth[0, 1, :, 2:] = 2.0, 30.0, torch.nan
    weights = torch.tensor([[1.0], [3.0]]).expand(1, 1, 2, 4)
    module.predicted = torch.tensor([[[1.0, 0.5]]])  # the pooled errors are (1 + 3) / 2 = 2, and 1 where one variable is masked
    error, weight = module.auxiliary(base, truth, weights, torch.tensor([2.0, 10.0]))
    assert float(weight) == pytest.approx(2 * 2 + 2) and float(error) == pytest.approx(4 * 1.0**2 + 2 * 0.5**2)
    assert module.predicted is None


def test_auxiliary_sums_add_up_over_ranks() -> None:
    model = seeded(mode="budget", ratio=4, max_leaf=4)
    coarse, statics, geometry = batch_for(global_grid(15.0), batch=3)
    truth, weights = torch.randn(3, 2, 48, 96), torch.rand(1, 1, 48, 1).expand(1, 1, 48, 96)
    truth[0, :, :20] = torch.nan
    sums = []
    for rows in (slice(0, 3), slice(0, 1), slice(1, 3)):
        here = replace(geometry, lat=geometry.lat[rows], lon=geometry.lon[rows])
        model(coarse[rows], statics[rows], here)
        own = model.auxiliary(coarse[rows], INPUTS, truth[rows], weights, True)
        assert own is not None
        sums.append(torch.stack(own).detach())
    assert torch.allclose(sums[0], sums[1] + sums[2], rtol=1e-5)


def test_the_blocks_on_leaves_trace_without_values_when_the_roots_fit_the_grid() -> None:
    """Fake tensors have no values: a decision that depends on data would raise. What torch.compile needs for one graph."""
    model = seeded(mode="budget", ratio=4, max_leaf=4).eval()
    geometry, tokens = Geometry.of(uniform(-40, 40, 10, 200, 16, 32), 4, 2), torch.randn(2, 128, 32)
    with torch.no_grad():
        traced = make_fx(lambda given: model.attend(given, geometry), tracing_mode="fake", _allow_non_fake_inputs=True)(tokens)
        assert torch.equal(traced(-tokens), model.attend(-tokens, geometry))


def test_edges_of_a_step_are_one_cell_wide_and_wrap() -> None:
    field = torch.zeros(1, 12, 20)
    field[:, :, 15:] = 1  # on a ring there are two steps: between 14 and 15, and between 19 and 0
    ring, open_ = canny(field, True)[0], canny(field, False)[0]
    assert (open_[:, (14, 15)].sum(1) == 2).all() and (open_[:, (19, 0)] == 0).all()
    assert (ring[:, (14, 15)].sum(1) == 2).all() and (ring[:, (19, 0)].sum(1) == 2).all()
    assert int((ring > 0).sum()) == 24
    rolled = canny(field.roll(7, -1), True)[0]
    assert torch.equal(rolled, ring.roll(7, -1))
    assert canny(torch.full((1, 9, 9), 3.3), True).sum() == 0
    ramp = torch.arange(20.0).expand(1, 9, 20)
    assert canny(ramp, False)[..., 4:-4].sum() == 0  # the ends level off


def test_edges_do_not_depend_on_scale_or_offset() -> None:
    torch.manual_seed(0)
    field = torch.randn(2, 24, 40).cumsum(1).cumsum(2)
    assert torch.equal(canny(field, True), canny(field * 8, True))
    assert (canny(field, True) != canny(0.3 * field + 4, True)).float().mean() < 0.01


def test_neither_edges_nor_leaves_are_those_of_rounding() -> None:
    """Under autocast a convolution would be one of bfloat16: of a field of 1 +- 0.3 it saw 3 % of the cells elsewhere."""
    torch.manual_seed(0)
    field = 1 + 0.3 * torch.randn(2, 48, 96)
    module = Compression(CompressionConfig(mode="budget", ratio=8, max_leaf=8), 4, patch=1).eval()
    geometry, tokens = Geometry.of(uniform(0, 32, 0, 32, 32, 32), 4), torch.randn(2, 1024, 4)
    edges, leaves = canny(field, True), module.leaves(tokens, geometry)
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(canny(field, True), edges)
        assert torch.equal(module.leaves(tokens, geometry).cells, leaves.cells)


def test_edges_lie_where_scikit_image_finds_them() -> None:
    rows, columns = np.mgrid[:60, :60]
    disc = ((rows - 30) ** 2 + (columns - 28) ** 2 < 15**2).astype(np.float64)
    expected = feature.canny(disc, sigma=1.0)
    found = canny(torch.from_numpy(disc)[None], False)[0].numpy() == 2
    near = np.array([np.hypot(*(np.argwhere(expected) - at).T).min() for at in np.argwhere(found)])
    far = np.array([np.hypot(*(np.argwhere(found) - at).T).min() for at in np.argwhere(expected)])
    assert near.max() <= 1.5 and far.max() <= 1.5 and 60 < found.sum() < 140


def test_leaves_are_small_where_the_field_is_rough() -> None:
    torch.manual_seed(0)
    module = Compression(CompressionConfig(mode="budget", ratio=8, max_leaf=8), 4, patch=1).eval()
    tokens = torch.zeros(1, 32, 32, 4)
    tokens[:, :16, :16] = 5 * torch.randn(1, 16, 16, 1)
    with torch.no_grad():
        leaves = module.leaves(tokens.flatten(1, 2), Geometry.of(uniform(0, 32, 0, 32, 32, 32), 4))
    cells = leaves.cells.view(32, 32)
    assert len(cells[:16, :16].unique()) > 6 * len(cells[16:, 16:].unique())


def test_fine_tuning_carries_the_new_weights() -> None:
    parent = seeded(mode="budget", ratio=4, max_leaf=4)
    torch.manual_seed(9)
    inputs = ("mean_sea_level_pressure", *INPUTS)
    child = Reslim(parent.config, inputs, ("2m_temperature",), STATICS)
    transfer(parent, child)
    names = [key for key in parent.state_dict() if key.startswith("compression.")]
    assert len(names) == 14
    assert all(torch.equal(parent.state_dict()[key], child.state_dict()[key]) for key in names)


def test_impossible_settings_are_named() -> None:
    with pytest.raises(ValidationError, match=r"max_leaf \(12\) must be min_leaf \(2\) times a power of two; nearest valid: \[8, 16\]"):
        CompressionConfig(mode="budget", min_leaf=2, max_leaf=12)
    model = seeded(mode="budget", ratio=32, max_leaf=4)
    coarse, statics, geometry = batch_for(global_grid(15.0))
    with pytest.raises(OrbitError, match=r"ratio to at most 12, or a larger max_leaf"):
        model(coarse, statics, geometry)
    with pytest.raises(ValidationError, match="compression"):
        ArchitectureConfig.model_validate({"kind": "vit", "compression": {"mode": "budget"}})
