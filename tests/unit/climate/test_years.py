"""Years of equal length from days of every calendar."""

import numpy as np
import pytest
import xarray as xr

from orbit2.climate.years import Calendar, by_year, climatology, first_day, pentads, rolled
from orbit2.errors import OrbitError
from tests.data.rain import days


def _numbered(times):
    return xr.DataArray(np.arange(len(times), dtype=np.float64), dims="time", coords={"time": times})


def test_29_february_is_averaged_with_the_day_before():
    years = by_year(_numbered(days(2019, 3)))
    assert years.shape == (3, 365)
    assert years["leap"].to_numpy().tolist() == [False, True, False]
    of_2020 = years.sel(year=2020).to_numpy()
    assert of_2020[57] == 365 + 57
    assert of_2020[58] == 365 + 58.5
    assert of_2020[59] == 365 + 60
    assert of_2020[-1] == 2 * 365


@pytest.mark.parametrize(("calendar", "length"), [("noleap", 365), ("360_day", 360), ("all_leap", 365), ("proleptic_gregorian", 365)])
def test_every_calendar_has_years_of_one_length(calendar, length):
    years = by_year(_numbered(days(2019, 2, calendar)))
    assert years.shape == (2, length)
    assert np.isfinite(years).all()
    assert (np.diff(years.to_numpy().ravel()) > 0).all()


def test_missing_days_stay_missing_and_repeated_ones_are_refused():
    series = _numbered(days(2020, 1))
    years = by_year(series.isel(time=np.arange(366) != 100))  # the 10th of April
    assert np.flatnonzero(np.isnan(years.to_numpy()[0])).tolist() == [99]
    with pytest.raises(OrbitError, match="two samples of one day"):
        by_year(xr.concat([series, series.isel(time=[3])], "time"))


def test_lazy_series_stay_lazy_and_give_the_same():
    field = _numbered(days(2019, 2)) * xr.DataArray([1.0, 2.0, 3.0], dims="cell")
    lazy = by_year(field.chunk(cell=2, time=100))
    assert lazy.chunks is not None
    np.testing.assert_array_equal(lazy.to_numpy(), by_year(field).to_numpy())


def test_pentads_weigh_29_february_as_a_day_and_southern_years_begin_in_july():
    years = by_year(_numbered(days(2019, 3)))
    leap = years["leap"].to_numpy()
    found = pentads(years.to_numpy(), leap)
    assert found.shape == (3, 73)
    assert found[1, 11] == pytest.approx(365 + np.mean(np.arange(55, 61)))  # 25 February to 1 March 2020: six days
    assert found[0, 11] == np.mean(np.arange(55, 60))
    south = pentads(years.to_numpy(), leap, first_day(7, 365))
    assert south.shape == (2, 73)
    assert south[0, 0] == np.mean(np.arange(181, 186))
    assert rolled(years.to_numpy(), 181)[1, 0] == 365 + 182  # 1 July 2020


def test_a_day_never_known_has_no_climatology():
    values = np.ones((2, 365))
    values[0, 5] = values[:, 6] = np.nan
    found = climatology(values)
    assert found[5] == 1
    assert np.isnan(found[6])
    assert np.isfinite(np.delete(found, 6)).all()


def test_places_of_days_in_the_calendar():
    calendar = Calendar.of(["2020-02-28T00:00:00", "2020-02-29T00:00:00", "2020-03-01T00:00:00", "2020-12-31T00:00:00"])
    assert calendar.day.tolist() == [58, 58, 59, 364]
    assert calendar.leap.tolist() == [False, True, False, False]
    assert Calendar.of(["2020-02-30T00:00:00", "2020-12-30T00:00:00"], "360_day").day.tolist() == [59, 359]
