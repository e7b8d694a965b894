"""RMSE above quantiles in three meanings, against plain numpy and the `scores` package."""

import numpy as np
import pytest
import scores.continuous
import xarray as xr

from orbit2.metrics import quantiles as q


@pytest.fixture
def sample():
    generator = np.random.default_rng(0)
    truth = np.maximum(generator.gamma(0.4, 6, 5000) - 1, 0)  # more than half without rain
    return np.maximum(truth + generator.normal(0, 1, 5000), 0), truth, generator.uniform(0.2, 1, 5000)


def test_weighted_quantiles_are_exact(sample):
    _, truth, weights = sample
    levels = (0.01, 0.3, 0.6827, 0.9545, 0.9999, 1.0)
    order = np.argsort(truth)
    share = np.cumsum(weights[order]) / weights.sum()
    expected = [truth[order][np.searchsorted(share, level - 1e-12)] for level in levels]
    assert q.weighted_quantiles(truth, weights, levels).tolist() == expected
    assert q.weighted_quantiles(truth, np.ones(5000), (0.5,))[0] == np.quantile(truth, 0.5, method="inverted_cdf")
    assert np.isnan(q.weighted_quantiles(truth[:0], weights[:0], levels)).all()
    assert q.weighted_quantiles(np.full(4, 2.0), np.ones(4), (0.1, 0.9)).tolist() == [2, 2]
    single = np.where(np.arange(5000) % 7 == 0, np.nan, truth).astype(np.float32)  # as large fields are kept, some missing
    rain = single >= np.float32(0.25)
    found = q.weighted_quantiles(single.reshape(50, 100), weights.reshape(50, 100), levels, 0.25)
    assert found.tolist() == q.weighted_quantiles(single[rain], weights[rain], levels).tolist()


def test_above_the_days_quantile_a_dry_threshold_leaves_the_dry_out(sample):
    p, o, w = sample
    day = q.day_thresholds(o, w, wet=0.25)
    sums = q.tail_sums(p, o, w, day, dry=0.0)
    assert sums.shape == (len(q.TAILS), len(q.LEVELS), 3) and not sums[2:].any()  # nothing is known of the climate
    for row, chosen in ((0, o >= 0), (1, o >= 0.25)):
        for i, level in enumerate(q.LEVELS):
            threshold = q.weighted_quantiles(o[chosen], w[chosen], (level,))[0]
            use = chosen & ((o >= threshold) if threshold > 0 else (o > 0))
            assert sums[row, i] == pytest.approx([use.sum(), w[use].sum(), (w * (p - o) ** 2)[use].sum()], rel=1e-12)
    nearly_dry = np.where(np.arange(5000) < 4000, 0.0, o)  # 68.27 % of it is 0: sigma 1 of the paper would be every cell
    first = q.tail_sums(p, nearly_dry, w, q.day_thresholds(nearly_dry, w), dry=0.0)[0, 0]
    assert first[0] == (nearly_dry > 0).sum()
    assert q.rmse_of(first) == pytest.approx(np.sqrt(np.average((p - nearly_dry)[nearly_dry > 0] ** 2, weights=w[nearly_dry > 0])))


def test_fixed_thresholds_are_those_of_the_climate(sample):
    p, o, w = sample
    day, fixed = q.day_thresholds(o, w), np.array([1.0, 5.0, 9.0, np.nan])
    sums = q.tail_sums(p, o, w, day, fixed)[2:]
    assert not sums[:, 3].any()
    for i, threshold in enumerate(fixed[:3]):
        for row, of in ((0, o), (1, p)):
            use = of >= threshold
            assert sums[row, i] == pytest.approx([use.sum(), w[use].sum(), (w * (p - o) ** 2)[use].sum()], rel=1e-12)
        assert sums[2, i] == pytest.approx([5000, w.sum(), (w * q.tail_score(p, o, threshold)).sum()], rel=1e-12)
    assert np.isnan(q.rmse_of(sums[:, 3])).all()
    holed = np.where(np.arange(5000) % 7 == 0, np.nan, o)
    known = np.isfinite(holed)
    assert q.tail_sums(p, holed, w, day, fixed) == pytest.approx(q.tail_sums(p[known], o[known], w[known], day, fixed), rel=1e-12)


def test_the_tails_proper_score_equals_the_scores_package(sample):
    p, o, _ = sample
    for threshold in (0.5, 3.0):
        expected = scores.continuous.tw_squared_error(xr.DataArray(p, dims="x"), xr.DataArray(o, dims="x"), (threshold, np.inf))
        assert q.tail_score(p, o, threshold).mean() == pytest.approx(float(expected), rel=1e-10)
    assert q.tail_score(np.array([1.0]), np.array([0.5]), 2.0)[0] == 0


def test_too_much_everywhere_pleases_the_conditional_score_alone(sample):
    """The forecaster's dilemma: of a truth that nobody can know, the mean has the best proper score, more than the mean the best
    score where the truth is high."""
    generator = np.random.default_rng(1)
    mean = generator.gamma(2, 2, 20000)
    truth, w = mean * generator.gamma(2, 0.5, 20000), np.ones(20000)
    day, fixed = q.day_thresholds(truth, w), np.array([8.0, 9.0, 10.0, 12.0])
    honest, too_much = (q.rmse_of(q.tail_sums(mean * factor, truth, w, day, fixed)) for factor in (1.0, 1.4))
    assert (too_much[2] < honest[2]).all()
    assert (too_much[4] > honest[4]).all()


def test_quantiles_over_time_are_each_cells_own():
    generator = np.random.default_rng(0)
    truth, weights = generator.gamma(1, 4, (600, 7)), generator.uniform(0.5, 1, 7)
    prediction = truth * 0.8 + 0.3
    truth[40:60, 2] = np.nan
    rmse, bias = q.over_time(prediction, truth, weights)
    for i, level in enumerate(q.TIME_LEVELS):
        known = np.where(np.isfinite(truth), prediction, np.nan)
        difference = np.nanquantile(known, level, axis=0) - np.nanquantile(truth, level, axis=0)
        assert rmse[i] == pytest.approx(np.sqrt(np.average(difference**2, weights=weights)))
        assert bias[i] == pytest.approx(np.average(difference, weights=weights))
    short = q.over_time(prediction[:100], truth[:100], weights)[0]
    assert np.isnan(short[[0, -1]]).all() and np.isfinite(short[1:4]).all()  # of 100 values, 1 lies beyond 99 %
