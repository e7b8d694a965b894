"""SSIM and PSNR against scikit-image on the sample of evaluation.md 6.1, and their borders, seams and masks."""

import numpy as np
import pytest
from scipy import ndimage
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from orbit2.grid import global_grid
from orbit2.metrics.binning import Bins
from orbit2.metrics.spatial import psnr, ssim, ssim_map
from orbit2.metrics.statistics import moments


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(0)
    generator.normal(size=(50, 50))
    a = ndimage.gaussian_filter(generator.gamma(0.3, 5, size=(128, 160)), 1.5)
    return a, a + generator.normal(0, 0.2, size=a.shape)


def test_ssim_of_the_sample(images):  # oracle 3
    a, b = images
    span = np.ptp(a)
    assert structural_similarity(a, b, data_range=span) == pytest.approx(0.86607, abs=5e-6)  # we hold the same sample
    assert ssim(b, a, span, np.ones_like(a), periodic=False) == pytest.approx(0.83236, abs=5e-6)


@pytest.mark.parametrize("offset", [0.0, 280.0])
def test_local_map_is_scikit_image_s(offset):  # also across the strips that the columns are taken in
    generator = np.random.default_rng(1)
    truth = ndimage.gaussian_filter(generator.normal(size=(40, 1100)), 2) * 20 + offset
    prediction = truth + generator.normal(size=truth.shape)
    wang = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    _, full = structural_similarity(truth, prediction, data_range=50.0, full=True, **wang)
    ours = ssim_map(prediction, truth, 50.0, periodic=False)
    assert ours[5:-5, 5:-5] == pytest.approx(full[5:-5, 5:-5], abs=1e-9) and np.isnan(ours[:, :5]).all() and np.isnan(ours[-5:]).all()
    assert ssim_map(prediction.astype(np.float32), truth, 50.0, True)[5:-5, 5:-5] == pytest.approx(full[5:-5, 5:-5], abs=1e-4)


def test_conventions_of_ssim_differ_by_window_and_border(images):
    """The same images: 0.86607 in skimage's window, 0.83236 inside the Gaussian's, 0.83036 with a reflected border (torchmetrics)."""
    a, b = images
    span, kernel = np.ptp(a), np.exp(-np.arange(-5, 6) ** 2 / (2 * 1.5**2))
    kernel /= kernel.sum()

    def blurred(x):
        for axis in (0, 1):
            x = ndimage.correlate1d(x, kernel, axis, mode="mirror")
        return x

    mean_a, mean_b = blurred(a), blurred(b)
    spread_a, spread_b, both = blurred(a * a) - mean_a**2, blurred(b * b) - mean_b**2, blurred(a * b) - mean_a * mean_b
    c1, c2 = (0.01 * span) ** 2, (0.03 * span) ** 2
    by_hand = (2 * mean_a * mean_b + c1) * (2 * both + c2) / ((mean_a**2 + mean_b**2 + c1) * (spread_a + spread_b + c2))
    assert by_hand.mean() == pytest.approx(0.83036, abs=5e-6)
    assert by_hand[5:-5, 5:-5].mean() == pytest.approx(0.83236, abs=5e-6)
    assert ssim_map(b, a, span, False)[5:-5, 5:-5] == pytest.approx(by_hand[5:-5, 5:-5], abs=1e-9)


def test_psnr_of_the_sample(images):  # oracle 3
    a, b = images
    m = moments(b, a, np.ones_like(a), Bins(("all",), np.zeros(a.shape, dtype=np.int64)))
    assert psnr(m, np.ptp(a))[0] == pytest.approx(26.351005, abs=5e-7)
    assert psnr(m, np.ptp(a))[0] == pytest.approx(peak_signal_noise_ratio(a, b, data_range=np.ptp(a)), abs=1e-10)


def test_perfect_prediction(images):  # T1
    a, _ = images
    assert ssim(a, a, np.ptp(a), np.ones_like(a), periodic=True) == pytest.approx(1, abs=1e-12)
    same = moments(a, a, np.ones_like(a), Bins(("all",), np.zeros(a.shape, dtype=np.int64)))
    assert np.isposinf(psnr(same, 1.0)[0])


def test_periodic_map_rolls_with_the_field_and_has_no_seam(images):
    a, b = images
    full = ssim_map(b, a, np.ptp(a), periodic=True)
    rolled = ssim_map(np.roll(b, 31, axis=1), np.roll(a, 31, axis=1), np.ptp(a), periodic=True)
    assert rolled == pytest.approx(np.roll(full, 31, axis=1), abs=1e-9, nan_ok=True)
    assert np.isfinite(full[5:-5]).all() and np.isnan(full[:5]).all() and np.isnan(full[-5:]).all()


def test_windows_that_meet_missing_cells_are_not_scored(images):
    a, b = images
    land = np.zeros(a.shape, dtype=bool)
    land[20:90, 30:120] = True
    weights = np.ones_like(a)
    inside = ssim_map(np.where(land, b, np.nan), a, np.ptp(a), periodic=False)
    assert np.isfinite(inside).sum() == (70 - 10) * (90 - 10)
    plain = ssim_map(b, a, np.ptp(a), periodic=False)
    assert inside[25:85, 35:115] == pytest.approx(plain[25:85, 35:115], abs=1e-12)
    zeros = ssim(np.where(land, b, np.nan), np.where(land, a, 0.0), np.ptp(a), weights, periodic=False)
    assert zeros == pytest.approx(np.nanmean(inside), abs=1e-12)  # ocean := anything changes nothing (T5)


def test_area_weights_enter(images):
    grid = global_grid(4.0)
    g = np.random.default_rng(0)
    o = g.normal(size=grid.shape)
    p = o + np.where(np.abs(grid.lat)[:, None] > 60, 2.0, 0.1) * g.normal(size=grid.shape)  # bad near the poles only
    flat = ssim(p, o, 6.0, np.ones(grid.shape), periodic=True)
    weighted = ssim(p, o, 6.0, np.cos(np.radians(grid.lat))[:, None] * np.ones(grid.shape), periodic=True)
    assert weighted > flat + 0.02


def test_domain_smaller_than_a_window_has_no_ssim():
    assert np.isnan(ssim(np.ones((8, 30)), np.ones((8, 30)), 1.0, np.ones((8, 30)), periodic=False))
