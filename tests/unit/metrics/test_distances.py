"""Distances between distributions from histograms, against scipy on the values."""

import numpy as np
import pytest
from scipy import stats

from orbit2.metrics import distances

EDGES = np.linspace(240, 320, (1 << 16) + 1)


def counts(values, edges=EDGES):
    return np.histogram(values, edges)[0].astype(float)


@pytest.fixture(scope="module")
def samples():
    generator = np.random.default_rng(0)
    return generator.normal(281, 6, 20_000), generator.normal(280, 8, 30_000)


def test_wasserstein_and_ks_agree_with_scipy(samples):
    p, o = samples
    assert distances.wasserstein(counts(p), counts(o), EDGES) == pytest.approx(stats.wasserstein_distance(p, o), abs=2e-3)
    assert distances.kolmogorov_smirnov(counts(p), counts(o)) == pytest.approx(stats.ks_2samp(p, o).statistic, abs=1e-3)


def test_a_shift_is_its_own_distance():
    p = counts(np.full(10, 280.0))
    assert distances.wasserstein(np.roll(p, 8192), p, EDGES) == pytest.approx(10.0)
    assert distances.wasserstein(p, 3 * p, EDGES) == 0


def test_wasserstein_in_bins_of_unequal_width():
    """Rain's bins are even in ln(1 + x): two thirds at 1 mm, a third at 11 mm against all at 1 mm is 10 / 3 mm."""
    edges = np.expm1(np.linspace(0, np.log1p(3000), (1 << 16) + 1))
    p, o = counts([1.0, 1.0, 11.0], edges), counts([1.0], edges)
    assert distances.wasserstein(p, o, edges) == pytest.approx(10 / 3, rel=1e-3)


def test_perkins_by_hand_and_at_its_ends(samples):
    p, o = samples
    coarse = distances.common_edges(counts(o), EDGES, rain=False, units="K")
    assert np.allclose(np.diff(coarse), 0.5)
    low, high = coarse[0], coarse[-1]
    mine = np.histogram(np.clip(p, low, high), coarse)[0] / len(p), np.histogram(np.clip(o, low, high), coarse)[0] / len(o)
    found = distances.perkins(*(distances.rebinned(counts(x), EDGES, coarse) for x in (p, o)))
    assert found == pytest.approx(np.minimum(*mine).sum(), abs=1e-3)
    assert distances.perkins(counts(p), 2 * counts(p)) == pytest.approx(1)
    assert distances.perkins(np.array([1.0, 0]), np.array([0.0, 5])) == 0


def test_rain_has_a_bin_for_dry_days():
    edges = np.expm1(np.linspace(0, np.log1p(3000), (1 << 16) + 1))
    found = distances.rebinned(counts([0.0, 0.1, 0.2, 5.0, 400.0], edges), edges, distances.common_edges(np.ones(3), edges, True, "mm"))
    assert (found[0], found[-1], found.sum()) == (3, 1, 5)
