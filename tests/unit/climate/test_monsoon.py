"""Onset and withdrawal on rain whose seasons are known (acceptance test T9)."""

import numpy as np
import pytest
import xarray as xr

from orbit2.climate import circular, monsoon
from orbit2.climate.years import by_year
from tests.data.rain import days, season

FIRST, LAST = 150, 269  # days of the year from 0
YEARS = 22


@pytest.fixture(scope="module")
def shifts():
    return np.random.default_rng(5).integers(-15, 16, (YEARS, 40))


def _moved(shifts, turn=0, cells=40):
    times = days(1998, YEARS)
    return by_year(season(times, [(FIRST, LAST)], shifts=shifts + turn, cells=cells))


def test_a_fixed_season_is_recovered_from_the_climatology():
    found = monsoon.cumulative_anomaly(by_year(season(days(1998, YEARS), [(FIRST, LAST)], cells=40)))
    assert not found["bimodal"].any()
    assert found["start"].sel(season=1).median() == FIRST
    assert found["end"].sel(season=1).median() == LAST
    assert abs(circular.difference(found["start"].sel(season=1), FIRST)).max() <= 2
    assert np.isnan(found["start"].sel(season=2)).all()


@pytest.mark.parametrize("turn", [0, 180], ids=["north", "across the new year"])
def test_yearly_dates_follow_the_shifts(shifts, turn):
    found = monsoon.cumulative_anomaly(_moved(shifts, turn))
    onset = found["onset"].sel(season=1).to_numpy()  # [cells, years], of the year in which the season begins
    error = circular.difference(onset, FIRST + turn + shifts.T)
    known = np.isfinite(error)
    assert known.mean() > 0.94
    assert known[:, -1].any() == (turn == 0)  # a season that leaves the record has no date
    assert abs(error[known].mean()) < 2.5
    assert error[known].std() < 4.5
    assert np.corrcoef(onset[known], shifts.T[known])[0, 1] > 0.9
    mean = circular.difference(circular.mean(onset, axis=1), FIRST + turn + shifts[:-1].mean(axis=0))
    assert abs(mean).max() <= 5
    assert abs(found["duration"].sel(season=1).mean() - 120) < 5


@pytest.mark.parametrize("turn", [0, 180], ids=["north", "south"])
def test_fractional_accumulation_per_year_in_both_hemispheres(shifts, turn):
    found = monsoon.fractional_accumulation(_moved(shifts, turn), southern=bool(turn))
    # the shares of rain of 10 mm/day in the season and 0.5 otherwise at 20 and 80 %
    inside, before = 120 * 10.0, (FIRST if not turn else 149) * 0.5
    late = (shifts[:-1] if turn else shifts).mean(axis=0)
    expected = FIRST + turn + late + (0.2 * (inside + 245 * 0.5) - before - 0.5 * late) / 10
    assert abs(circular.difference(found["onset"], expected)).max() <= 5
    yearly = found["yearly_onset"].to_numpy()
    known = np.isfinite(yearly)
    assert known.mean() == (1.0 if not turn else (YEARS - 1) / YEARS)
    assert np.corrcoef(circular.difference(yearly, FIRST + turn)[known], shifts.T[known])[0, 1] > 0.7
    assert (np.mod(found["withdrawal"] - found["onset"], 365) == found["duration"] - 5).all()  # middles of the first and last pentad


def test_fractional_accumulation_of_an_even_year_is_exact():
    even = by_year(xr.DataArray(np.full(3 * 365, 2.0), dims="time", coords={"time": days(2001, 3)}))
    found = monsoon.fractional_accumulation(even)
    assert float(found["onset"]) == 5 * 14 + 2  # the 15th of 73 pentads is the first with 20 %
    assert float(found["withdrawal"]) == 5 * 58 + 2
    assert float(found["slope"]) == pytest.approx(1 / 365)
    assert np.isnan(monsoon.fractional_accumulation(even * 0)["onset"])


def test_wang_and_linho_needs_five_millimetres_in_summer():
    times = days(1998, YEARS)
    found = monsoon.wang_linho(by_year(season(times, [(FIRST, LAST)])))
    assert abs(found["onset"] - FIRST).max() <= 7.5
    assert abs(found["withdrawal"] - LAST).max() <= 7.5
    assert ((found["peak"] > FIRST) & (found["peak"] < LAST)).all()
    south = monsoon.wang_linho(by_year(season(times, [(330, 84)])), southern=True)
    assert abs(circular.difference(south["onset"], 330)).max() <= 7.5
    assert abs(circular.difference(south["withdrawal"], 84)).max() <= 7.5
    assert np.isnan(monsoon.wang_linho(by_year(season(times, [(FIRST, LAST)], wet=4.0)))["onset"]).all()  # a dry monsoon
    assert np.isnan(monsoon.wang_linho(by_year(season(times, [(330, 40)])))["onset"]).all()  # winter rain in the north is no monsoon


def test_hemispheres_side_by_side():
    times = days(1998, 8)
    both = xr.concat([season(times, [(150, 269)], cells=5), season(times, [(330, 84)], cells=5)], "cell")
    southern = xr.DataArray(np.arange(10) >= 5, dims="cell")
    found = monsoon.wang_linho(by_year(both), southern)
    assert np.isfinite(found["onset"]).all()
    assert (monsoon.annual_range(by_year(both), southern) > monsoon.RANGE).all()
    assert (monsoon.annual_range(by_year(both), ~southern) < 0).all()


def test_two_rainy_seasons_the_wetter_one_first():
    times = days(1998, 12)
    rain = season(times, [(60, 119)], cells=30, wet=12.0) + season(times, [(280, 339)], cells=30, wet=7.0, seed=1)
    found = monsoon.cumulative_anomaly(by_year(rain))
    assert found["bimodal"].all()
    for number, (first, last) in {1: (60, 119), 2: (280, 339)}.items():
        one = found.sel(season=number)
        assert abs(one["start"].mean() - first) < 12  # the climatology is smoothed
        assert abs(one["onset"].mean() - first) < 5
        assert abs(one["withdrawal"].mean() - last) < 5
        assert np.isfinite(one["onset"]).mean() > 0.9
    assert (monsoon.semiannual_range(by_year(rain)) > monsoon.RANGE).all()


def test_a_season_that_fails_and_a_year_with_gaps_have_no_date():
    times = days(2001, 6)
    rain = season(times, [(FIRST, LAST)], cells=10, shape=50.0)
    rain[{"time": slice(2 * 365, 3 * 365)}] = 0.0  # 2003
    rain[{"time": slice(365 + 200, 365 + 220)}] = np.nan  # 20 days of 2002
    onset = monsoon.cumulative_anomaly(by_year(rain))["onset"].sel(season=1)
    assert onset["year"].to_numpy()[np.isnan(onset).all("cell")].tolist() == [2002, 2003]
    assert np.isfinite(onset.sel(year=[2001, 2004, 2005, 2006])).all()
    yearly = monsoon.fractional_accumulation(by_year(rain))["yearly_onset"]
    assert yearly["year"].to_numpy()[np.isnan(yearly).all("cell")].tolist() == [2002, 2003]


def test_timing_ignores_a_bias_by_a_factor_but_not_the_mean_of_another():
    rain = by_year(season(days(1998, 8), [(FIRST, LAST)], cells=20))
    own, doubled = monsoon.cumulative_anomaly(rain), monsoon.cumulative_anomaly(2 * rain)
    xr.testing.assert_allclose(own["onset"], doubled["onset"])
    mean = monsoon.mean_year(rain).mean("day")
    xr.testing.assert_allclose(monsoon.cumulative_anomaly(rain, mean)["onset"], own["onset"])
    assert (monsoon.cumulative_anomaly(2 * rain, 3 * mean)["onset"] - own["onset"]).mean() > 0.5


@pytest.mark.parametrize("calendar", ["360_day", "noleap"])
def test_other_calendars(calendar):
    length = 360 if calendar == "360_day" else 365
    rain = by_year(season(days(2001, 6, calendar), [(FIRST, LAST)], cells=10, length=length))
    found = monsoon.cumulative_anomaly(rain)
    assert abs(found["onset"].sel(season=1).mean() - FIRST) < 3
    assert abs(monsoon.wang_linho(rain)["onset"] - FIRST).max() <= 7.5
    assert np.isfinite(monsoon.fractional_accumulation(rain, southern=True)["onset"]).all()


def test_lazy_fields_give_the_same_dates():
    rain = season(days(2001, 4), [(FIRST, LAST)], cells=9)
    eager, lazy = (by_year(x) for x in (rain, rain.chunk(cell=4, time=200)))
    for of in (monsoon.cumulative_anomaly, monsoon.fractional_accumulation, monsoon.wang_linho):
        made = of(lazy)
        assert all(x.chunks is not None for x in made.data_vars.values())
        xr.testing.assert_identical(made.compute(), of(eager))
