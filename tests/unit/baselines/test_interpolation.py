"""Baselines agree with torch, wrap in longitude, keep missing data missing and conserve what they say they conserve."""

import numpy as np
import pytest
import torch

from orbit2.baselines import interpolate
from orbit2.baselines.interpolation import METHODS, block_mean
from orbit2.errors import OrbitError
from orbit2.grid import global_grid, uniform

GLOBE = global_grid(12.0)  # 15 x 30
BOX = uniform(24, 48, 230, 290, 6, 15)


def field(grid, seed=0):
    return np.random.default_rng(seed).normal(size=(2, *grid.shape))


def torch_reference(values, periodic, factor, mode, pad=4):
    x = torch.from_numpy(values)[:, None]
    x = torch.nn.functional.pad(x, (pad, pad, 0, 0), mode="circular" if periodic else "replicate")
    x = torch.nn.functional.pad(x, (0, 0, pad, pad), mode="replicate")
    y = torch.nn.functional.interpolate(x, scale_factor=factor, mode=mode, align_corners=False)
    cut = pad * factor
    return y[:, 0, cut:-cut, cut:-cut].numpy()


@pytest.mark.parametrize("grid", [GLOBE, BOX], ids=["periodic", "box"])
@pytest.mark.parametrize("method", ["bilinear", "bicubic"])
@pytest.mark.parametrize("factor", [2, 3, 4])
def test_equals_torch_on_padded_field(grid, method, factor):
    x = field(grid)
    assert interpolate(x, grid, factor, method) == pytest.approx(torch_reference(x, grid.periodic, factor, method), abs=1e-10)


def test_float32_agrees_with_torch_to_1e_5():
    x = field(GLOBE).astype(np.float32)
    ours = interpolate(x, GLOBE, 4, "bicubic")
    assert ours.dtype == np.float32
    assert np.abs(ours - torch_reference(x, True, 4, "bicubic")).max() < 1e-5


@pytest.mark.parametrize("grid", [GLOBE, BOX], ids=["periodic", "box"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("lower", [None, 0.0])
def test_bands_of_rows_and_another_precision_change_no_value(grid, method, lower, monkeypatch):
    whole = interpolate(field(grid), grid, 3, method, lower=lower)
    monkeypatch.setattr("orbit2.baselines.interpolation.BAND_CELLS", 400)  # bands of one coarse row and of several
    banded = interpolate(field(grid), grid, 3, method, lower=lower)
    single = interpolate(field(grid), grid, 3, method, lower=lower, precision=np.float32)
    assert (banded == whole).all() and single.dtype == np.float32 and (single == whole.astype(np.float32)).all()


@pytest.mark.parametrize("method", ["nearest", "conservative"])
@pytest.mark.parametrize("grid", [GLOBE, BOX], ids=["periodic", "box"])
def test_conserving_methods_keep_block_means(grid, method):
    x = field(grid) * 8 + 280
    fine = interpolate(x, grid, 4, method)
    assert block_mean(fine, grid.refine(4).lat_weights, 4) == pytest.approx(x, rel=1e-12)


def test_conservative_precipitation_stays_non_negative_and_conserves():
    rain = np.maximum(field(GLOBE), 0) ** 3
    fine = interpolate(rain, GLOBE, 4, "conservative", lower=0.0)
    assert fine.min() >= 0
    assert block_mean(fine, GLOBE.refine(4).lat_weights, 4) == pytest.approx(rain, abs=1e-12)


@pytest.mark.parametrize("factor", [2, 5])
def test_conservative_is_the_same_with_a_hole_far_away(factor):  # its passes are then taken on the fine grid, not on the coarse one
    grid = uniform(0, 60, 0, 120, 30, 60)
    x = field(grid)[0] * 8 + 280
    holed = x.copy()
    holed[10, 3] = np.nan
    whole, other = interpolate(x, grid, factor, "conservative"), interpolate(holed, grid, factor, "conservative")
    assert whole[:, 30 * factor :] == pytest.approx(other[:, 30 * factor :], rel=1e-12)
    assert np.abs(whole - interpolate(x, grid, factor, "bilinear")).max() > 1.0


def test_conservative_is_closer_to_a_smooth_truth_than_nearest():
    grid = global_grid(4.0)
    fine_grid = grid.refine(4)
    truth = np.cos(np.radians(fine_grid.lat))[:, None] * np.sin(6 * np.radians(fine_grid.lon))[None]
    coarse = block_mean(truth, fine_grid.lat_weights, 4)
    methods = ("nearest", "bilinear", "bicubic", "conservative")
    error = {m: np.sqrt(np.mean((interpolate(coarse, grid, 4, m) - truth) ** 2)) for m in methods}
    assert error["conservative"] < error["bilinear"] < error["nearest"]
    assert error["bicubic"] < error["bilinear"]


def test_bicubic_of_coarse_truth_conserves_within_tolerance():  # evaluation.md T11
    grid = global_grid(4.0)
    fine_grid = grid.refine(4)
    truth = 280 + 20 * np.cos(np.radians(fine_grid.lat))[:, None] * np.sin(5 * np.radians(fine_grid.lon))[None]
    coarse = block_mean(truth, fine_grid.lat_weights, 4)
    residual = block_mean(interpolate(coarse, grid, 4, "bicubic"), fine_grid.lat_weights, 4) - coarse
    assert np.abs(residual).mean() / coarse.mean() < 1e-3
    exact = block_mean(interpolate(coarse, grid, 4, "nearest"), fine_grid.lat_weights, 4) - coarse
    assert np.abs(exact).max() < 1e-10


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "conservative", "bicubic_log1p"])
def test_rolling_longitude_rolls_the_result(method):
    x = np.abs(field(GLOBE))
    rolled = interpolate(np.roll(x, 7, axis=-1), GLOBE, 4, method)
    assert rolled == pytest.approx(np.roll(interpolate(x, GLOBE, 4, method), 28, axis=-1), abs=1e-12)


@pytest.mark.parametrize("method", ["nearest", "bilinear", "bicubic", "conservative"])
def test_missing_cells_never_pull_towards_zero(method):
    x = np.full(GLOBE.shape, 300.0)
    x[3:8, 5:12] = np.nan
    fine = interpolate(x, GLOBE, 4, method)
    assert np.nanmin(fine) == pytest.approx(300.0) and np.nanmax(fine) == pytest.approx(300.0)
    assert np.isnan(fine[4 * 5, 4 * 8]) and np.isnan(fine).sum() >= 16 * 15


def test_missing_cells_leave_far_cells_bit_identical():
    x = field(GLOBE)[0]
    holed = x.copy()
    holed[7, 15] = np.nan
    a, b = interpolate(x, GLOBE, 4, "bicubic"), interpolate(holed, GLOBE, 4, "bicubic")
    far = np.ones(a.shape, dtype=bool)
    far[4 * 4 : 4 * 11, 4 * 12 : 4 * 19] = False
    assert np.array_equal(a[far], b[far]) and np.isfinite(a[far]).all()
    assert np.isnan(interpolate(np.full(GLOBE.shape, np.nan), GLOBE, 2, "bicubic")).all()


def test_overshoot_of_precipitation_is_clipped():
    rain = np.zeros(GLOBE.shape)
    rain[7, 15] = 100.0
    assert interpolate(rain, GLOBE, 4, "bicubic").min() < -1
    assert interpolate(rain, GLOBE, 4, "bicubic", lower=0.0).min() == 0
    logs = interpolate(rain, GLOBE, 4, "bilinear_log1p")
    assert logs.min() == 0
    middle = torch_reference(np.log1p(rain)[None], True, 4, "bilinear")[0]
    assert logs == pytest.approx(np.expm1(middle), abs=1e-9)


def test_bad_arguments_are_named():
    with pytest.raises(OrbitError, match="did you mean 'bicubic'"):
        interpolate(np.zeros(GLOBE.shape), GLOBE, 4, "bicubc")
    with pytest.raises(OrbitError, match="does not match its grid"):
        interpolate(np.zeros((3, 3)), GLOBE, 4, "nearest")
    with pytest.raises(OrbitError, match="at least 1"):
        interpolate(np.zeros(GLOBE.shape), GLOBE, 0, "nearest")
