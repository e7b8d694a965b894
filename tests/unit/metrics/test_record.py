"""A field's record by sample: seasons, the best baseline of each bin, intervals of scores, differences and skills."""

import numpy as np
import pytest

from orbit2.evaluate.beside import Beside
from orbit2.metrics import deterministic as d
from orbit2.metrics.binning import Bins
from orbit2.metrics.bootstrap import DailySums
from orbit2.metrics.fields import fields_of
from orbit2.metrics.record import BEST, Record, difference, own, skill
from orbit2.metrics.statistics import Moments, PairStatistic
from orbit2.metrics.table import Table
from tests.data.scripts import script

coverage = script("benchmarks/interval_coverage.py")
SIZE = {"model": 1.0, "nearest": np.array([1.03, 1.4]), "bicubic": np.array([1.3, 1.01])}  # of errors, by bin
FIELD = fields_of(["2m_temperature"])[0]


def record(days=400, start="2019-12-01", step=1, phi=0.3):
    """Two bins (records of the benchmark), errors of all that correlate."""
    generator = np.random.default_rng(1)
    truth, common, *rest = (coverage.autoregression(generator, days, 2, phi) for _ in range(5))
    stamps = [str(t) for t in np.datetime64(start, "s") + np.arange(days) * np.timedelta64(86400 * step, "s")]
    statistics = {}
    for (name, size), noise in zip(SIZE.items(), rest, strict=True):
        error = (0.98 * common + 0.2 * noise) * np.reshape(size, (1, -1, 1))
        stack = coverage.daily(error, 280 + truth).stacked()
        bins = Bins(("a", "b"), np.array([[0, 1]]))
        statistics[name] = PairStatistic(bins, {stamp: stack[:, t] for t, stamp in enumerate(stamps)})
    return Record.of(statistics)


def rows(found, *, season="all", draws=150):
    table = Table("t", "x", "standard", "truth", "2020/2021", "0")
    beside = Beside(FIELD, found, ("a", "b"), "model", ["nearest", "bicubic"], draws, season)
    for model in beside.models:
        beside.scores_of(table, model)
    beside.differences(table)
    beside.tests(table)
    beside.blocks(table)
    return table.frame().set_index(["model", "region", "metric"])


def test_seasons_are_parts_of_the_whole_and_need_a_year():
    whole = record()
    seasons = whole.seasons()
    assert list(seasons) == ["DJF", "MAM", "JJA", "SON"] and sum(len(s.samples) for s in seasons.values()) == 400
    assert {stamp[5:7] for stamp in seasons["DJF"].samples} == {"12", "01", "02"}
    square = sum(s.pooled()["model"].se for s in seasons.values())
    np.testing.assert_allclose(square, whole.pooled()["model"].se, rtol=1e-12)
    assert record(days=350).seasons() == {} and record(days=13, step=28, start="2020-01-15").seasons() == {}
    assert record(days=366).seasons() != {} and record(days=365, start="2021-03-15").seasons() != {}
    months = [f"2020-{m:02d}-{d:02d}T12:00:00" for m in range(1, 13) for d in range(1, 31)]  # 30 February: a year of the 360-day calendar
    assert len(Record(tuple(months), record(days=360).moments).seasons()["DJF"].samples) == 90


def test_a_season_of_few_days_has_scores_without_intervals():
    seasons = record(days=80, step=5).seasons()
    found = rows(seasons["JJA"], season="JJA")
    assert np.isfinite(found["value"]).all() and found["ci_low"].isna().all() and (found["season"] == "JJA").all()
    assert not any(name.startswith(("diebold", "interval")) for name in found.index.get_level_values("metric"))


def test_the_best_baseline_is_that_of_each_bin_and_is_named():
    whole = record()
    assert whole.best(["nearest", "bicubic"]) == ["nearest", "bicubic"]
    found = rows(whole)
    for region, best in (("a", "nearest"), ("b", "bicubic")):
        row = found.loc[("model", region, f"rmse_difference_vs_{BEST}")]
        own_rmse, other = (found.loc[(m, region, "rmse"), "value"] for m in ("model", best))
        assert row["value"] == pytest.approx(own_rmse - other, rel=1e-9) and row["method"] == f"rmse minus rmse of {best}"
        same = found.loc[("model", region, f"rmse_difference_vs_{best}")]
        assert (row["ci_low"], row["ci_high"]) == (same["ci_low"], same["ci_high"])
        for metric in ("rmse", "mae"):
            value = found.loc[("model", region, f"{metric}_skill_vs_{BEST}")]
            lowest = min(found.loc[(m, region, metric), "value"] for m in ("nearest", "bicubic"))
            assert value["value"] == pytest.approx(1 - found.loc[("model", region, metric), "value"] / lowest, rel=1e-9)
            assert value["ci_low"] < value["value"] < value["ci_high"]


def test_a_difference_that_errors_share_is_told_where_two_intervals_overlap():
    found = rows(record())
    model, nearest = (found.loc[(m, "a", "rmse")] for m in ("model", "nearest"))
    assert model["ci_high"] > nearest["ci_low"]  # alone, either could be the better
    difference_row = found.loc[("model", "a", "rmse_difference_vs_nearest")]
    assert difference_row["ci_high"] < 0 and found.loc[("model", "a", "diebold_mariano_p_vs_nearest"), "value"] < 0.01
    assert found.loc[("model", "b", "rmse_difference_vs_bicubic"), "ci_high"] > 0  # 1 % of 1: not in 400 days
    block = found.loc[("model", "a", "interval_block_days")]
    assert 1 <= block["value"] <= 20 and block["n"] == 400


def test_many_frames_of_a_day_are_one_day():
    six_hourly = Record(tuple(f"2020-01-{1 + i // 4:02d}T{6 * (i % 4):02d}:00:00" for i in range(40)), record(days=40).moments)
    assert all(sums.values.shape[0] == 10 for sums in six_hourly.sums().values())
    assert isinstance(six_hourly.sums()["model"], DailySums)


def test_scores_beside_a_perfect_baseline_and_models_of_other_samples():
    whole = record(days=70)
    perfect = Moments(*np.where(np.arange(9)[:, None, None] >= 7, 0.0, whole.moments["nearest"].stacked()))
    beside = Record(whole.samples, {**whole.moments, "perfect": perfect})
    found = beside.intervals({**skill("rmse", "model", "perfect"), **difference("model", "perfect"), **own("rmse", "perfect")}, 50)
    assert np.isnan(found["rmse_skill", "model", "perfect"].value).all() and found["rmse_skill", "model", "perfect"].at(0) is None
    assert found["rmse", "perfect", ""].at(0) == (0.0, 0.0)
    np.testing.assert_allclose(found["rmse_difference", "model", "perfect"].value, d.rmse(whole.pooled()["model"]))
    assert beside.intervals(own("rmse", "model"), 0) == {}
    bins = Bins(("a",), np.zeros((1, 1), dtype=np.int64))
    with pytest.raises(ValueError, match="same samples"):
        Record.of({name: PairStatistic(bins, {name: np.ones((9, 1))}) for name in ("x", "y")})
