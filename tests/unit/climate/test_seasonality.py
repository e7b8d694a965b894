"""Seasonality indices: the oracles of the specification."""

import numpy as np
import pytest
import xarray as xr

from orbit2.climate.seasonality import R_MAX, driest_month, indices, monthly_totals, seasonality, walsh_lawler_class
from orbit2.climate.years import by_year
from tests.data.rain import days, season


def test_oracles():
    even, one, six = indices(np.full(12, 80.0)), indices([0, 0, 0, 900, *[0] * 8]), indices([100] * 6 + [0] * 6)
    assert even["relative_entropy"] == pytest.approx(0, abs=1e-12)
    assert even["walsh_lawler"] == pytest.approx(0, abs=1e-12)
    assert np.isnan(even["centroid"])  # even rain has no middle
    assert one["relative_entropy"] == pytest.approx(np.log2(12)) == pytest.approx(3.585, abs=1e-3)
    assert one["walsh_lawler"] == pytest.approx(11 / 6) == pytest.approx(1.8333, abs=1e-4)
    assert one["centroid"] == pytest.approx(4)  # April
    assert one["spread"] == pytest.approx(0, abs=1e-9)
    assert six["relative_entropy"] == pytest.approx(1)
    assert six["walsh_lawler"] == pytest.approx(1)
    assert six["centroid"] == pytest.approx(3.5)
    assert six["spread"] == pytest.approx(np.sqrt(np.mean(np.arange(-2.5, 3) ** 2)))
    assert six["dsi"] == pytest.approx(600 / R_MAX)


def test_a_season_round_the_new_year_has_its_centroid_there():
    found = indices([100, 50, *[0] * 9, 50])
    assert found["centroid"] == pytest.approx(1)
    assert indices([50, *[0] * 10, 50])["centroid"] == pytest.approx(12.5)
    assert found["spread"] == pytest.approx(np.sqrt(0.5))


def test_no_rain_or_a_missing_month_has_no_index():
    assert all(np.isnan(x) for x in indices(np.zeros(12)).values())
    assert all(np.isnan(x) for x in indices([np.nan, *[10.0] * 11]).values())


def test_monthly_totals_stand_for_a_few_missing_days_only():
    values = np.full((1, 365), 2.0)
    values[0, 3:8] = np.nan  # five days of January
    values[0, 40:46] = np.nan  # six of February
    found = monthly_totals(values)[0]
    assert found[0] == pytest.approx(62)
    assert np.isnan(found[1])
    assert found[2:].tolist() == [2.0 * n for n in (31, 30, 31, 30, 31, 31, 30, 31, 30, 31)]


def test_yearly_mean_is_above_that_of_the_mean_year():
    shifts = np.random.default_rng(3).integers(-40, 41, (24, 30))
    years = by_year(season(days(1998, 24), [(150, 239)], shifts=shifts, cells=30))
    found = seasonality(years)
    assert (found["relative_entropy"] > found["relative_entropy_climatological"] + 0.05).all()
    np.testing.assert_allclose(found["relative_entropy"], found["yearly_relative_entropy"].mean("year"))
    np.testing.assert_allclose(found["dsi_climatological"], found["relative_entropy_climatological"] * found["amount"] / R_MAX)
    assert abs(found["centroid"] - 7).max() < 0.6  # July: the season is June to August


def test_hydrological_years_begin_in_the_driest_month_and_the_last_is_not_whole():
    years = by_year(season(days(2001, 5), [(330, 84)], cells=10))
    start = driest_month(years)
    assert start.isin(np.arange(3, 11)).all()
    found = seasonality(years)
    assert np.isnan(found["yearly_dsi"].isel(year=-1)).all()
    assert np.isfinite(found["yearly_dsi"].isel(year=slice(-1))).all()
    calendar = seasonality(years, xr.zeros_like(start))
    assert np.isfinite(calendar["yearly_dsi"]).all()
    assert abs(found["centroid"] - calendar["centroid"]).max() < 0.3  # a date is a date, wherever the year begins


def test_dry_cells_are_left_out():
    years = by_year(season(days(2001, 3), [(150, 239)], cells=5, wet=0.3, dry=0.0))
    found = seasonality(years)
    assert (found["amount"] < 50).all()
    assert np.isnan(found["dsi"]).all() and np.isnan(found["relative_entropy_climatological"]).all()


def test_classes_of_walsh_and_lawler():
    assert walsh_lawler_class(0.1) == "very equable"
    assert walsh_lawler_class(0.7) == "seasonal"
    assert walsh_lawler_class(1.5).startswith("extreme")
