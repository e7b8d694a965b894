"""Return levels, Taylor's scores, autocorrelation and wet-dry changes."""

from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import genextreme

from orbit2.metrics.binning import Bins
from orbit2.metrics.return_levels import gev, l_moments, periods, return_level
from orbit2.metrics.statistics import moments
from orbit2.metrics.taylor import sigma_ratio, skill
from orbit2.metrics.temporal import PairsOfDays


@pytest.mark.parametrize("xi", [-0.2, 0.0, 0.15, 0.4])
def test_gev_of_quantiles_is_the_distribution_they_are_of(xi):
    """A dense set of a distribution's own quantiles has its L-moments."""
    sample = genextreme.ppf((np.arange(50_000) + 0.5) / 50_000, -xi, loc=30, scale=8)
    mu, sigma, shape = (float(x[0]) for x in gev(sample[:, None]))
    assert (mu, sigma, shape) == (pytest.approx(30, abs=0.01), pytest.approx(8, abs=0.03), pytest.approx(xi, abs=4e-3))
    for period in (5, 20, 50):
        found = float(return_level(gev(sample[:, None]), period)[0])
        assert found == pytest.approx(genextreme.ppf(1 - 1 / period, -xi, loc=30, scale=8), rel=2e-3)


def test_l_moments_by_hand():
    """Of 1, 2, 4, 9: b0 = 4, b1 = (2 + 2 * 4 + 3 * 9) / 12, b2 = (2 * 4 + 6 * 9) / 24 (Hosking 1990)."""
    b0, b1, b2 = 4.0, 37 / 12, 62 / 24
    location, scale, skewness = (float(x) for x in l_moments(np.array([9.0, 1, np.nan, 4, 2])))
    assert (location, scale) == (pytest.approx(b0), pytest.approx(2 * b1 - b0))
    assert skewness == pytest.approx((6 * b2 - 6 * b1 + b0) / (2 * b1 - b0))


def test_return_periods_end_at_twice_the_record():
    assert [periods(n) for n in (1, 19, 20, 24, 25)] == [(), (), (5, 10, 20), (5, 10, 20), (5, 10, 20, 50)]
    assert np.isnan(gev(np.full((30, 1), 4.0))[0]).all()  # nothing varies


def test_taylor_scores():
    generator = np.random.default_rng(0)
    truth, weights, bins = generator.normal(size=(20, 30)), np.ones((20, 30)), Bins(("all",), np.zeros((20, 30), dtype=np.int64))
    perfect, doubled, opposite = (moments(p, truth, weights, bins) for p in (truth + 3, 2 * truth, -truth))
    assert (skill(perfect, 1)[0], skill(perfect, 4)[0]) == (pytest.approx(1), pytest.approx(1))
    assert (sigma_ratio(doubled)[0], skill(doubled, 1)[0]) == (pytest.approx(2), pytest.approx(4 / 2.5**2))  # R = 1: only the amplitude
    assert skill(opposite, 4)[0] == pytest.approx(0)


def test_autocorrelation_and_changes():
    generator = np.random.default_rng(0)
    x = np.zeros((4000, 1, 1))
    for t in range(1, 4000):
        x[t] = 0.7 * x[t - 1] + generator.normal()
    pairs = PairsOfDays(1, 1, about=-3.0)
    for before, after in pairwise(x.astype(np.float32)):
        pairs.update(before, after)
    assert pairs.autocorrelation()[0, 0] == pytest.approx(np.corrcoef(x[:-1, 0, 0], x[1:, 0, 0])[0, 1], abs=1e-6)
    rain = np.array([0, 2, 2, 0, np.nan, 3, 3, 0.5, 4] * 60, dtype=np.float32).reshape(-1, 1, 1)
    pairs = PairsOfDays(1, 1, rain=True)
    for before, after in pairwise(rain):
        pairs.update(before, after)
    # a round: dry->wet twice (0->2, .5->4), wet->wet twice, wet->dry twice; wet 4 -> dry 0 of the next round but for the last
    found = pairs.transitions()
    assert found["p01"][0, 0] == pytest.approx(1)
    assert found["p11"][0, 0] == pytest.approx(120 / (120 + 120 + 59))
    few = PairsOfDays(1, 1, rain=True)
    few.update(rain[0], rain[1])
    assert np.isnan(few.transitions()["p01"]).all() and np.isnan(few.autocorrelation()).all()
