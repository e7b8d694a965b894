"""Deterministic scores against analytic values, `scores` and float64 numpy; mergeability; missing data (evaluation.md 6.1, 8.1)."""

import numpy as np
import pytest
import scores.continuous
import scores.functions
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit2.errors import OrbitError
from orbit2.grid import Grid, global_grid
from orbit2.metrics import deterministic as d
from orbit2.metrics.binning import Bins, band_bins, domain_bins, region_bins
from orbit2.metrics.statistics import PairStatistic, QuantileStatistic, SeriesStatistic, combine, moments
from orbit2.metrics.weighting import area_weights

GRID = global_grid(6.0)


def pair(seed=0, grid=GRID):
    g = np.random.default_rng(seed)
    o = 280 + 10 * g.normal(size=grid.shape)
    return o + g.normal(size=grid.shape), o


def one(p, o, weights=None, bins=None):
    weights = np.ones_like(o) if weights is None else weights
    bins = bins or Bins(("all",), np.zeros(o.shape, dtype=np.int64))
    return moments(p, o, weights, bins)


def table(m):
    return {metric.name: metric.of(m) for metric in d.METRICS}


def test_r2_is_not_pearson_squared():  # oracle 2 and T2: the test that catches the paper's "R2"
    t = np.random.default_rng(0).normal(size=(50, 50))
    m = one(0.5 * t + 3, t)
    assert d.r2_cod(m)[0] == pytest.approx(-8.385351643, abs=5e-10)
    assert d.pearson_r2(m)[0] == pytest.approx(1.0, abs=1e-12)


def test_perfect_prediction():  # T1
    _, o = pair()
    values = table(one(o, o, area_weights(GRID)))
    assert values["rmse"][0] == values["mae"][0] == values["bias"][0] == 0
    assert values["pearson_r"][0] == pytest.approx(1, abs=1e-12) and values["r2_cod"][0] == 1


@given(st.floats(-50, 50))
@settings(max_examples=20, deadline=None)
def test_constant_error_is_the_rmse_under_weights(error):  # T6
    _, o = pair()
    values = table(one(o + error, o, area_weights(GRID)))
    assert values["rmse"][0] == pytest.approx(abs(error), abs=1e-9)
    assert values["bias"][0] == pytest.approx(error, abs=1e-9) and values["mae"][0] == pytest.approx(abs(error), abs=1e-9)


def test_agrees_with_the_scores_package():
    p, o = (xr.DataArray(x, dims=("lat", "lon"), coords={"lat": GRID.lat, "lon": GRID.lon}) for x in pair())
    weights = scores.functions.create_latitude_weights(p.lat)
    m = one(p.values, o.values, area_weights(GRID))
    assert d.rmse(m)[0] == pytest.approx(float(scores.continuous.rmse(p, o, weights=weights)), rel=1e-12)
    assert d.mae(m)[0] == pytest.approx(float(scores.continuous.mae(p, o, weights=weights)), rel=1e-12)
    assert d.bias(m)[0] == pytest.approx(float(scores.continuous.additive_bias(p, o, weights=weights)), rel=1e-9)
    plain = one(p.values, o.values)
    assert d.r2_cod(plain)[0] == pytest.approx(float(scores.continuous.nse(p, o)), rel=1e-12)
    assert d.pearson_r(plain)[0] == pytest.approx(np.corrcoef(p.values.ravel(), o.values.ravel())[0, 1], rel=1e-12)


def test_weighted_pearson_agrees_with_numpy_cov():
    p, o = pair()
    w = area_weights(GRID)
    c = np.cov(p.ravel(), o.ravel(), aweights=w.ravel())
    assert d.pearson_r(one(p, o, w))[0] == pytest.approx(c[0, 1] / np.sqrt(c[0, 0] * c[1, 1]), rel=1e-12)


def statistic(order, pieces, days, bins, weights):
    """Days split into `pieces` row blocks, added to two statistics alternately, then merged."""
    parts = [PairStatistic(bins), PairStatistic(bins)]
    jobs = [(day, block) for day in range(len(days)) for block in range(pieces)]
    for position, (day, block) in enumerate(jobs[i] for i in order(len(jobs))):
        p, o = days[day]
        own = np.zeros(p.shape, dtype=bool)
        own[np.array_split(np.arange(p.shape[0]), pieces)[block]] = True
        parts[position % 2].update(day, np.where(own, p, np.nan), o, weights)
    parts[1].merge(parts[0])
    return parts[1]


def test_chunks_and_merge_order_do_not_matter():  # T4
    days, weights = [pair(seed) for seed in range(3)], area_weights(GRID)
    bins = band_bins(GRID, [(-90, -30), (-30, 30), (30, 90)])
    whole = PairStatistic(bins)
    for day, (p, o) in enumerate(days):
        whole.update(day, p, o, weights)
    shuffled = statistic(lambda n: np.random.default_rng(3).permutation(n), 4, days, bins, weights)
    for name, expected in table(whole.finalise()).items():
        assert table(shuffled.finalise())[name] == pytest.approx(expected, rel=1e-10, abs=1e-12), name
    assert d.rmse_mean_of_daily(shuffled) == pytest.approx(d.rmse_mean_of_daily(whole), rel=1e-12)


def test_latitude_flip_and_longitude_roll_do_not_matter():  # T4
    p, o = pair()
    w, bins = area_weights(GRID), domain_bins(GRID)
    expected = table(one(p, o, w, bins))
    for change in (lambda x: x[::-1], lambda x: np.roll(x, 17, axis=1)):
        for name, value in table(one(change(p), change(o), change(w), bins)).items():
            assert value == pytest.approx(expected[name], rel=1e-10), name


def test_missing_ocean_and_truth_in_ocean_never_change_land_scores():  # T5
    p, o = pair()
    land = np.random.default_rng(5).random(GRID.shape) < 0.3
    regions = region_bins(np.where(land, 0, np.nan), ["land"])
    expected = table(one(p, o, area_weights(GRID), regions))
    for ocean in (np.nan, 0.0, o):
        changed = table(one(np.where(land, p, ocean), o, area_weights(GRID), regions))
        assert all(np.array_equal(changed[name], expected[name]) for name in expected)


def test_a_missing_cell_is_left_out_not_scored_as_zero():
    p, o = pair()
    holed = p.copy()
    holed[:5, :7] = np.nan
    m = one(holed, o)
    keep = np.isfinite(holed)
    assert m.n[0] == keep.sum() and d.rmse(m)[0] == pytest.approx(np.sqrt(np.mean((p - o)[keep] ** 2)), rel=1e-12)


def test_empty_bin_is_nan_not_perfect():
    p, o = pair()
    bins = Bins(("some", "none"), np.zeros(o.shape, dtype=np.int64))
    assert all(np.isnan(value[1]) for value in table(one(p, o, None, bins)).values())


def test_pressure_in_pascal_keeps_its_digits():
    g = np.random.default_rng(1)
    o = 1e5 + 1e-3 * g.normal(size=(40, 40))
    p = o + 1e-3 * g.normal(size=o.shape)
    m = combine([one(p[:20], o[:20]), one(p[20:], o[20:])])
    expected = np.corrcoef((p - 1e5).ravel(), (o - 1e5).ravel())[0, 1]
    assert d.pearson_r(m)[0] == pytest.approx(expected, abs=1e-6)


def test_rmse_is_pooled_and_the_mean_of_daily_is_lower():
    o = np.zeros(GRID.shape)
    s = PairStatistic(domain_bins(GRID))
    for day, error in enumerate((1.0, 3.0)):
        s.update(day, o + error, o, area_weights(GRID))
    assert d.rmse(s.finalise())[0] == pytest.approx(np.sqrt(5)) and d.rmse_mean_of_daily(s)[0] == pytest.approx(2.0)


def test_weights_are_exact_areas_normalised_over_valid_cells():
    polar = Grid(np.array([-90.0, -89.5, 0.0, 89.5, 90.0]), np.array([0.0, 120.0, 240.0, 360.0]))  # half cells at the poles
    w = area_weights(polar)
    assert w.sum() == pytest.approx(12) and w[0, 0] / w[1, 0] == pytest.approx((1 - np.sin(np.radians(89.5))) / np.sin(np.radians(89.5)))
    valid = np.zeros((4, 3), dtype=bool)
    valid[1, :2] = True
    assert area_weights(polar, valid).sum() == pytest.approx(2) and area_weights(polar, valid)[~valid].sum() == 0


def test_wrong_shapes_and_bins_are_refused():
    s = PairStatistic(domain_bins(GRID))
    with pytest.raises(OrbitError, match="do not match"):
        s.update(0, np.zeros((2, 2)), np.zeros((2, 2)), np.ones((2, 2)))
    with pytest.raises(OrbitError, match="different bins"):
        s.merge(PairStatistic(domain_bins(GRID, "other")))
    with pytest.raises(OrbitError, match="overlap"):
        band_bins(GRID, [(-30, 30), (0, 60)])
    series = SeriesStatistic()
    series.update("a", [1.0])
    with pytest.raises(OrbitError, match="already added"):
        series.merge(series)


def test_streamed_quantiles_agree_with_numpy():
    x = np.random.default_rng(0).normal(280, 10, 20000)
    parts = [QuantileStatistic(150, 350), QuantileStatistic(150, 350)]
    parts[0].update(x[:5000])
    parts[1].update(np.append(x[5000:], np.nan))
    parts[1].merge(parts[0])
    for q in (0.001, 0.5, 0.999):
        assert parts[1].quantile(q) == pytest.approx(np.quantile(x, q, method="inverted_cdf"), abs=1e-3)
    assert parts[1].quantile(1.0) == pytest.approx(x.max(), abs=1e-3) and parts[1].maximum == x.max()
