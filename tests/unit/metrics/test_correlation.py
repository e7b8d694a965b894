"""Autocorrelation lengths against processes whose length is known, and against every pair counted one by one."""

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from orbit2.metrics.correlation import FOLD, Lags, e_folding, lags, lengths


def paired_one_by_one(field: np.ndarray, weights: np.ndarray, axis: int, periodic: bool) -> np.ndarray:
    """Correlation at every lag by a loop over all pairs of cells."""
    height, width = field.shape
    valid = np.isfinite(field)
    area = np.repeat(weights[:, None], width, 1)
    centred = field - np.average(field[valid], weights=area[valid])
    size = field.shape[axis]
    result = []
    for k in range(size // 2 + 1):
        product = first = second = 0.0
        for i in range(height):
            for j in range(width):
                a, b = (i, j + k) if axis == -1 else (i + k, j)
                if periodic:
                    a, b = (a, b % width) if axis == -1 else (a % height, b)
                if a >= height or b >= width or not (valid[i, j] and valid[a, b]):
                    continue
                weight = np.sqrt(weights[i] * weights[a])
                product += weight * centred[i, j] * centred[a, b]
                first += weight * centred[i, j] ** 2
                second += weight * centred[a, b] ** 2
        result.append(product / np.sqrt(first * second))
    return np.array(result)


def blobs(shape: tuple[int, int], sigma: tuple[float, float], seed: int, mode: str = "wrap") -> np.ndarray:
    """White noise smoothed by a Gaussian: its autocorrelation is exp(-k^2 / (4 sigma^2)), which is 1/e at 2 sigma."""
    return gaussian_filter(np.random.default_rng(seed).standard_normal(shape), sigma, mode=mode)


@pytest.mark.parametrize("axis", [-1, -2])
@pytest.mark.parametrize("periodic", [False, True])
def test_every_pair_counted_one_by_one(axis: int, periodic: bool) -> None:
    random = np.random.default_rng(0)
    field = random.standard_normal((9, 14)).cumsum(1)
    field[random.random(field.shape) < 0.2] = np.nan
    weights = random.uniform(0.1, 2.0, 9)
    expected = paired_one_by_one(field, weights, axis, periodic)
    np.testing.assert_allclose(lags(field, weights, axis, periodic).correlation, expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("coefficient", [0.5, 0.9])
@pytest.mark.parametrize("axis", [-1, -2])
def test_first_order_autoregression(coefficient: float, axis: int) -> None:
    random = np.random.default_rng(1)
    field = np.empty((400, 600))
    field[0] = random.standard_normal(600)
    for i in range(1, 400):  # correlation coefficient^k, and none along the other axis
        field[i] = coefficient * field[i - 1] + np.sqrt(1 - coefficient**2) * random.standard_normal(600)
    along = field if axis == -2 else field.T
    zonal, meridional = lengths([along[None]], np.ones(len(along)), False)[0]
    across, found = (zonal, meridional) if axis == -2 else (meridional, zonal)
    assert found == pytest.approx(-1 / np.log(coefficient), rel=0.05)  # sampling error: 2 % (one sigma)
    assert across < 1


@pytest.mark.parametrize("periodic", [False, True])
@pytest.mark.parametrize("holes", [False, True])
def test_gaussian_blobs(periodic: bool, holes: bool) -> None:
    random = np.random.default_rng(2)
    mask = random.random((240, 480)) < 0.3
    mask[60:120, 100:300] = True  # a land mass
    samples = []
    for seed in range(4):
        field = blobs((240, 480), (2.0, 5.0), seed, "wrap" if periodic else "reflect")
        samples.append(np.where(mask, np.nan, field)[None] if holes else field[None])
    zonal, meridional = lengths(samples, np.ones(240), periodic)[0]
    assert zonal == pytest.approx(10, rel=0.08)
    assert meridional == pytest.approx(4, rel=0.08)


def test_missing_cells_are_not_zeros() -> None:
    """Zeros in place of 40 % of the cells would leave 0.6 of the correlation at every lag but 0."""
    random = np.random.default_rng(3)
    field = blobs((200, 300), (3.0, 3.0), 5)
    punched = np.where(random.random(field.shape) < 0.4, np.nan, field)
    whole, holed = (lags(x, np.ones(200), -1, True).correlation[:12] for x in (field, punched))
    np.testing.assert_allclose(holed, whole, atol=0.03)


def test_a_periodic_row_pairs_its_two_ends() -> None:
    """One wave around the globe: opposite cells are exactly opposite, only where the row closes."""
    field = np.tile(np.cos(2 * np.pi * np.arange(36) / 36), (4, 1))
    np.testing.assert_allclose(lags(field, np.ones(4), -1, True).correlation, np.cos(2 * np.pi * np.arange(19) / 36), atol=1e-12)
    assert e_folding(lags(field, np.ones(4), -1, True).correlation) == pytest.approx(36 * np.arccos(FOLD) / (2 * np.pi), rel=0.005)


def test_rows_count_by_their_area() -> None:
    rough, smooth = np.random.default_rng(4).standard_normal((50, 400)), blobs((50, 400), (0.0, 8.0), 6)
    field = np.concatenate([rough, smooth / smooth.std()])
    polar, tropical = (lengths([field[None]], np.repeat(w, 50), True)[0][0] for w in ([1, 1e-6], [1e-6, 1]))
    assert polar < 1 and tropical == pytest.approx(16, rel=0.15)


def test_samples_add_up() -> None:
    fields = [blobs((30, 60), (1.0, 2.0), seed) for seed in (7, 8)]
    fields = [field - field.mean() for field in fields]
    one, two = (lags(field, np.ones(30), -1, True) for field in fields)
    both = lags(np.concatenate(fields), np.ones(60), -1, True)
    np.testing.assert_allclose((one + two).correlation, both.correlation, atol=1e-12)


def test_crossing_between_two_lags() -> None:
    assert e_folding(np.exp(-np.arange(9) / 2.6)) == pytest.approx(2.6, abs=1e-12)
    assert e_folding(np.array([1.0, -1.0])) == pytest.approx((1 - FOLD) / 2)
    assert e_folding(np.array([1.0, 0.9, np.nan, 0.1])) == pytest.approx(1 + 2 * np.log(0.9 / FOLD) / np.log(9))


def test_what_has_no_length() -> None:
    assert e_folding(np.array([1.0, 0.9, 0.8])) == float("inf")
    assert np.isnan(e_folding(np.array([np.nan, np.nan])))
    empty = np.full((1, 6, 8), np.nan)
    assert all(np.isnan(x) for x in lengths([empty], np.ones(6), True)[0])
    assert all(np.isnan(x) for x in lengths([np.full((1, 6, 8), 3.0)], np.ones(6), True)[0])
    assert isinstance(lags(empty[0], np.ones(6), -1, True), Lags)
