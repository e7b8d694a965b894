"""Intervals from per-day sums: against `scores`' block bootstrap, against truth on autoregressions, and what they say of short records."""

import time

import numpy as np
import pytest
from arch.bootstrap import optimal_block_length as arch
from scipy.stats import norm

from orbit2.metrics import deterministic as d
from orbit2.metrics.bootstrap import LEAST_DAYS, DailySums, block_counts, block_length, bootstrap, optimal_length, widening
from orbit2.metrics.significance import chance, diebold_mariano, discoveries
from orbit2.metrics.statistics import Moments, combine
from tests.data.scripts import script

coverage = script("benchmarks/interval_coverage.py")
RMSE = {"rmse": lambda m: d.rmse(m["a"])}


def series(phi, days, records=1, seed=3, places=8):
    return coverage.autoregression(np.random.default_rng(seed), days, records, phi, places)


def sums(phi=0.5, days=120, records=3, scale=1.0, seed=3):
    """Two models' daily moments: their errors correlate, the second's are 1.3 times as large."""
    truth, first, other = (series(phi, days, records, seed + k) for k in range(3))
    second = 1.3 * (0.9 * first + np.sqrt(0.19) * other)
    return {name: coverage.daily(scale * e, 280 + scale * truth) for name, e in (("a", first), ("b", second))}


def of(moments, days=None):
    return {name: DailySums.of(m, days) for name, m in moments.items()}


def rows(moments):
    names = Moments.__dataclass_fields__
    return [Moments(*(getattr(moments, name)[t] for name in names)) for t in range(len(moments.n))]


def test_sums_of_days_give_the_moments_of_any_days_without_cancellation():
    m = sums(days=30)["a"]
    one = DailySums.of(m)
    for chosen in ([0], [3, 3, 7], list(range(30))):
        told, direct = one.moments(one.values[chosen].sum(axis=0)), combine(rows(m)[t] for t in chosen)
        for name in Moments.__dataclass_fields__:
            np.testing.assert_allclose(getattr(told, name), getattr(direct, name), rtol=1e-9, atol=1e-9)
    three_a_day = DailySums.of(m, np.arange(30) // 3)
    assert three_a_day.values.shape == (10, 9, 3)
    np.testing.assert_allclose(three_a_day.moments(three_a_day.values.sum(axis=0)).oo, combine(rows(m)).oo, rtol=1e-12)


def test_draws_are_whole_blocks_that_wrap_and_do_not_depend_on_how_many_are_drawn_at_once(monkeypatch):
    whole = np.concatenate(list(block_counts(50, 7, 40, seed=0)))
    assert whole.shape == (40, 50) and (whole.sum(axis=1) == 8 * 7).all() and whole.min() == 0
    monkeypatch.setattr("orbit2.metrics.bootstrap.AT_ONCE", 150)
    np.testing.assert_array_equal(np.concatenate(list(block_counts(50, 7, 40, seed=0))), whole)
    often = np.concatenate(list(block_counts(50, 7, 4000, seed=1))).mean(axis=0)
    assert abs(often - 56 / 50).max() < 0.1  # every day as often, the ends too


def test_intervals_hold_the_score_are_paired_and_do_not_depend_on_what_stands_beside():
    moments = sums()
    scores = {**RMSE, "b": lambda m: d.rmse(m["b"]), "less": lambda m: d.rmse(m["a"]) - d.rmse(m["b"])}
    found = bootstrap(of(moments), scores, 300, positive=("rmse", "b"))
    for one in found.values():
        assert (one.low < one.value).all() and (one.value < one.high).all() and (one.days == 120).all()
    width = {name: one.high - one.low for name, one in found.items()}
    assert (width["less"] < 0.8 * np.hypot(width["rmse"], width["b"])).all()  # errors that are alike cancel in the difference
    alone = bootstrap({"a": of(moments)["a"][1:2]}, RMSE, 300, positive=("rmse",))["rmse"]
    np.testing.assert_allclose([alone.low[0], alone.high[0]], [found["rmse"].low[1], found["rmse"].high[1]], rtol=1e-12)
    assert alone.at(0) == (float(alone.low[0]), float(alone.high[0]))


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e5])
def test_units_do_not_matter(scale):
    one, other = (bootstrap(of(sums(scale=s)), RMSE, 200)["rmse"] for s in (1.0, scale))
    np.testing.assert_allclose(other.low / scale, one.low, rtol=1e-6)
    np.testing.assert_array_equal(other.block, one.block)
    p = [diebold_mariano(s * (series(0.3, 200, seed=9)[:, 0, 0] + 0.2)) for s in (1.0, scale)]
    assert p[1] == pytest.approx(p[0], rel=1e-3) and 0.001 < p[0] < 0.2


def test_a_short_record_has_no_interval_and_an_incomplete_bin_counts_its_own_days():
    moments = sums(days=LEAST_DAYS)
    for m in moments.values():
        m.n[5, 1] = m.w[5, 1] = m.se[5, 1] = 0.0
    found = bootstrap(of(moments), RMSE, 100)["rmse"]
    assert found.days.tolist() == [LEAST_DAYS, LEAST_DAYS - 1, LEAST_DAYS]
    assert np.isfinite(found.low).tolist() == [True, False, True] and found.at(1) is None and np.isfinite(found.value).all()
    six_hourly = of(sums(days=4 * LEAST_DAYS - 4), np.arange(4 * LEAST_DAYS - 4) // 4)  # many frames, one day too few
    assert bootstrap(six_hourly, RMSE, 100)["rmse"].at(0) is None
    with pytest.raises(ValueError, match="needs draws"):
        bootstrap(of(moments), RMSE, 1)


def test_a_perfect_prediction_has_an_interval_of_no_width():
    truth = series(0.5, 90)
    found = bootstrap({"a": DailySums.of(coverage.daily(0 * truth, truth))}, RMSE, 50, positive=("rmse",))["rmse"]
    assert found.at(0) == (0.0, 0.0) and chance(found)[0] == 1.0


def test_the_mean_of_independent_days_has_the_textbook_interval():
    e = series(0.0, 2000, records=20, places=1)
    found = bootstrap({"a": DailySums.of(coverage.daily(e, 0 * e))}, {"bias": lambda m: d.bias(m["a"])}, 1000)["bias"]
    expected = 2 * norm.ppf(0.975) * e[:, :, 0].std(axis=0) / np.sqrt(2000)
    assert np.median((found.high - found.low) / expected) == pytest.approx(1.05, abs=0.05)  # two standard errors of phi on the safe side


def test_blocks_and_widening_grow_with_persistence():
    lengths = [np.mean([block_length(series(phi, 365, seed=s)[:, 0, 0]) for s in range(10)]) for phi in (0.0, 0.6, 0.9)]
    assert lengths[0] < 4 < lengths[1] < 14 < lengths[2] < 45
    assert block_length(np.ones(90)) == 1 and widening(np.ones(90), 1) == 1.0
    x = series(0.9, 3650)[:, 0, 0]
    short, long = (widening(x, block) for block in (1, 120))
    assert short == pytest.approx(np.sqrt((1 + 0.91) / (1 - 0.91)), rel=0.1) and 1.0 < long < 1.2


@pytest.mark.parametrize("days", [61, 365, 3653])
def test_optimal_lengths_are_those_of_arch(days):
    generator = np.random.default_rng(days)
    year = np.cos(2 * np.pi * np.arange(days) / 365.25)
    for phi in (0.0, 0.5, 0.95):
        x = series(phi, days, seed=days)[:, 0, 0]
        for one in (x, x**2, np.exp(3 * x), x + 5 * year, np.where(generator.random(days) < 0.02, 50.0, x)):
            assert optimal_length(one) == pytest.approx(float(arch(one)["circular"].iloc[0]), rel=1e-9)


@pytest.mark.parametrize("days, phi", [(90, 0.9), *(pytest.param(*case, marks=pytest.mark.slow) for case in [(90, 0.0), (365, 0.6)])])
def test_intervals_hold_the_truth_as_often_as_they_say(days, phi):
    """A short version of benchmarks/interval_coverage.py; plain percentile intervals hold it 70 to 80 times in 100 at 90 days, phi 0.9."""
    row = coverage.measure(days, phi, records=160, draws=150, tests=0)
    for name in coverage.TRUE:  # of 160 records: one standard error is 2
        assert 88 <= row[name] <= 99.5, (name, row)
    if phi == 0.9:
        assert row["rmse_difference_unwidened"] < 86 < row["rmse_difference"]


def test_a_thousand_draws_of_ten_years_take_about_a_second():
    moments = sums(days=3650, records=4)
    scores = {metric.name: lambda m, of=metric.of: of(m["a"]) for metric in d.METRICS}
    bootstrap(of(moments), RMSE, 2)  # imports
    began = time.process_time()
    bootstrap(of(moments), {**scores, "less": lambda m: d.rmse(m["a"]) - d.rmse(m["b"])}, 1000)
    assert time.process_time() - began < 5  # 1.2 s; shared cores


def test_chance_agrees_with_the_interval_and_discoveries_with_benjamini_and_hochberg():
    found = bootstrap(of(sums(phi=0.3, records=40)), {"less": lambda m: d.rmse(m["a"]) - 0.77 * d.rmse(m["b"])}, 300)["less"]
    p = chance(found)
    outside = (found.low > 0) | (found.high < 0)
    np.testing.assert_array_equal(p < 0.05, outside)
    assert 0 < outside.sum() < 40
    by_hand = [0.001, 0.008, 0.039, 0.041, 0.042, 0.06, 0.074, 0.205, 0.212, np.nan]  # Benjamini & Hochberg: p_(k) <= k / m * share
    assert discoveries(by_hand).tolist() == [True] * 7 + [False, False, False]
    assert discoveries(by_hand, 0.05).tolist() == [True] * 2 + [False] * 8
    assert not discoveries([np.nan, np.nan]).any()


def test_diebold_mariano_traps():
    """`scores`: no p-value but a one-sided confidence, a fit that depends on the units, an error where a record is as short as the lag."""
    x = series(0.2, 150, seed=4)[:, 0, 0]
    assert diebold_mariano(x + 2) < 1e-6 and diebold_mariano(-x - 2) < 1e-6  # either side
    assert diebold_mariano(np.where(np.arange(150) == 3, np.nan, x + 2)) < 1e-6
    assert np.isnan(diebold_mariano(x[: LEAST_DAYS - 1])) and np.isnan(diebold_mariano(np.zeros(90))) and diebold_mariano(np.ones(90)) == 0
