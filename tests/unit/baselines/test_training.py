"""What a training block says of its truth: quantiles, monthly climatology and wet days against numpy, and never from another block."""

from types import SimpleNamespace

import numpy as np
import pytest

from orbit2 import evaluate
from orbit2.baselines.training import Training, month_position
from orbit2.baselines.truth import QUANTILES, Truth
from orbit2.data.packing import packing_of, unpack
from orbit2.errors import OrbitError
from orbit2.evaluate.fitting import seasons
from orbit2.grid import global_grid
from orbit2.metrics.lattice import Lattice
from orbit2.metrics.weighting import area_weights
from tests.data import scored as make

RAIN, WARMTH = "precipitation_rate", "2m_temperature"
TRAIN, TEST = slice(0, 26), slice(27, 30)
EVERY_MONTH = np.datetime64("2000-01-10T12:00", "s") + np.arange(30) * np.timedelta64(30 * 24 * 3600, "s")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """Thirty samples 30 days apart; some fine cells are never observed."""
    hole = slice(10, 20), slice(40, 60)
    return make.make_store(tmp_path_factory.mktemp("told") / "pairs.zarr", degrees=15.0, samples=30, hole=hole, times=EVERY_MONTH)


@pytest.fixture(scope="module")
def file(store, tmp_path_factory):
    folder = tmp_path_factory.mktemp("told")
    evaluate.fit(config=make.write_dataset(folder / "d.json", store, TRAIN, TEST), store=store.path, out=folder / "b.nc")
    return folder / "b.nc"


@pytest.fixture(scope="module")
def training(store, file):
    return Training(file, slice(None), slice(None), store.grid("fine"))


@pytest.fixture(scope="module")
def truth(store):
    """[T, V, H, W] of the training block."""
    return np.stack([store.read("fine", i) for i in range(30)[TRAIN]]).astype(np.float64)


@pytest.mark.parametrize("name", [RAIN, WARMTH])
def test_pooled_quantiles_are_those_of_every_cell_by_area(store, training, truth, name):
    values = truth[:, make.VARIABLES.index(name)]
    weights = np.broadcast_to(area_weights(store.grid("fine")), values.shape)
    known = np.isfinite(values)
    order = np.argsort(values[known], kind="stable")
    ordered, share = values[known][order], np.cumsum(weights[known][order])
    for q in QUANTILES[1:-1]:
        expected = ordered[np.searchsorted(share, q * share[-1])]
        assert training.quantile(name, q) == pytest.approx(expected, rel=2e-6, abs=1e-6), q
    assert training.limits(name) == pytest.approx((ordered[0], ordered[-1]))
    assert training.span(name) == pytest.approx(training.quantile(name, 0.999) - training.quantile(name, 0.001))
    if name == RAIN:
        assert training.quantile(name, 0.99, "log1p") == pytest.approx(np.log1p(training.quantile(name, 0.99)))
    assert "26 of 26 training samples" in training.told and training.years == 2


def test_climatology_is_the_monthly_mean_in_the_middle_of_a_month_and_linear_between(store, file, training, truth):
    month = np.array([str(t)[5:7] for t in EVERY_MONTH[TRAIN]]).astype(int)
    values = truth[:, 0]
    means = np.stack([values[month == m].mean(0) for m in range(1, 13)])
    middle_of_april = training.climatology(WARMTH, np.datetime64("2031-04-16"))
    np.testing.assert_allclose(middle_of_april, means[3], atol=1e-3)
    assert np.isnan(middle_of_april[12, 50])  # never observed
    new_year = training.climatology(WARMTH, np.datetime64("2031-01-01"))
    np.testing.assert_allclose(new_year, (means[11] + means[0]) / 2, atol=1e-3)
    assert training.climatology("10m_u_component_of_wind", np.datetime64("2031-01-01")) is None
    part = Training(file, slice(4, 9), slice(30, 44), store.grid("fine"))
    np.testing.assert_array_equal(part.climatology(WARMTH, np.datetime64("2031-01-01")), new_year[4:9, 30:44])


def test_the_position_in_the_year_is_of_the_calendar_that_the_time_has():
    year_of_360 = SimpleNamespace(month=2, day=30, hour=12, daysinmonth=30)  # as cftime's 30 February
    assert month_position(year_of_360) == pytest.approx(1 + 29.5 / 30)
    assert month_position(np.datetime64("2024-02-29T12:00")) == pytest.approx(1 + 28.5 / 29)
    assert month_position(np.datetime64("2023-12-31T00:00")) == pytest.approx(11 + 30 / 31)


def test_wet_days_of_a_cell_are_numpys_quantiles(store, training, truth):
    rain = truth[:, 1]
    wet = np.where(rain >= 1, rain, np.nan)
    some = np.isfinite(wet).any(0)
    for q in (0.95, 0.99):
        found = training.wet_quantile(RAIN, q)
        np.testing.assert_allclose(found[some], np.nanquantile(wet[:, some], q, axis=0), rtol=1e-5)
        assert np.isnan(found[~some]).all() and some.any() and not some.all()
    assert training.wet_quantile(WARMTH, 0.95) is None
    with pytest.raises(OrbitError, match=r"got 0\.5; allowed: 0\.95, 0\.99"):
        training.wet_quantile(RAIN, 0.5)
    with pytest.raises(OrbitError, match=r"got 0\.42"):
        training.quantile(RAIN, 0.42)


def test_on_a_large_grid_wet_days_are_kept_on_a_lattice(store, tmp_path, training, monkeypatch):
    monkeypatch.setattr(Lattice, "of", lambda shape: Lattice(shape, 3))  # rows and columns 0, 3, 6, ...
    evaluate.fit(config=make.write_dataset(tmp_path / "d.json", store, TRAIN, TEST), store=store.path, out=tmp_path / "b.nc")
    part = Training(tmp_path / "b.nc", slice(4, 21), slice(7, 40), store.grid("fine"))
    every = training.wet_quantile(RAIN, 0.95)
    found = part.wet_quantile(RAIN, 0.95, np.array([2, 5]), np.array([2, 3, 5]))  # rows 6, 9; columns 9, 10, 12 of the whole
    np.testing.assert_array_equal(found, every[np.ix_([6, 9], [9, 9, 12])])


def test_months_that_were_never_seen_give_no_climatology(store, tmp_path):
    config = make.write_dataset(tmp_path / "d.json", store, slice(0, 6), TEST)
    evaluate.fit(config=config, store=store.path, out=tmp_path / "b.nc")
    short = Training(tmp_path / "b.nc", slice(None), slice(None), store.grid("fine"))
    assert short.years == 0 and short.climatology(WARMTH, np.datetime64("2000-03-01")) is None
    assert short.quantile(WARMTH, 0.5) is not None


def test_seasons_count_the_years_of_the_rarest_month():
    days = np.arange(np.datetime64("2000-01-01"), np.datetime64("2003-01-01"))
    assert seasons(days) == 3 and seasons(days[31:]) == 2 and seasons(days[:200]) == 0


def test_what_is_missing_everywhere_is_not_told():
    grid = global_grid(30.0)
    packing = packing_of(WARMTH)
    nothing = np.full((1, *grid.shape), -32768, dtype=np.int16)
    truth = Truth([packing], grid, area_weights(grid), 1)
    truth.update(nothing, unpack(nothing, [packing]))
    truth.close(1)
    assert np.isnan(truth.quantiles(WARMTH)).all() and np.isnan(truth.data()[f"{WARMTH}_climatology"]).all()
