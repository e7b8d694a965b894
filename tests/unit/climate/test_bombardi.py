"""Dates by half years with outliers mended: exact without weather in both hemispheres, and what the rule of the quartiles does."""

from __future__ import annotations

import numpy as np
import pytest

from orbit2.climate import bombardi

YEARS, LENGTH = 12, 365
FIRST, LAST = np.array([150, 330, 95]), np.array([269, 430, 200])  # summer in the north, across the new year, and early


def rain(shift: np.ndarray, wet: float = 10.0, dry: float = 0.5) -> np.ndarray:
    """[cells, Y, L]: wet from FIRST to LAST, `shift` [cells, Y] days later."""
    values = np.full((len(FIRST), YEARS * LENGTH), dry)
    for cell in range(len(FIRST)):
        for year in range(-1, YEARS):
            move = shift[cell, max(year, 0)]
            begin, end = (year * LENGTH + day[cell] + move for day in (FIRST, LAST))
            values[cell, max(0, begin) : max(0, end + 1)] = wet
    return values.reshape(len(FIRST), YEARS, LENGTH)


@pytest.fixture(scope="module")
def shift() -> np.ndarray:
    return np.random.default_rng(0).integers(-12, 13, (len(FIRST), YEARS))


def test_every_date_is_found_to_the_day_where_there_is_no_weather(shift: np.ndarray) -> None:
    start, onset, withdrawal = bombardi.turns(rain(shift))
    for found, day in ((onset, FIRST), (withdrawal, LAST)):
        for cell in range(len(FIRST)):
            later = int(start[cell] > FIRST[cell])  # the dry season's middle lies in the year before
            expected = day[cell] + shift[cell, later:] + LENGTH * later
            error = found[cell, : YEARS - later] - expected
            assert np.nanmax(np.abs(error)) == 0 and np.isfinite(error).sum() >= YEARS - 2


def test_weather_moves_dates_by_days_only(shift: np.ndarray) -> None:
    values = rain(shift) * np.random.default_rng(1).gamma(0.8, 1 / 0.8, (len(FIRST), YEARS, LENGTH))
    _, onset, _ = bombardi.turns(values)
    assert np.nanmean(np.abs(onset[0] - FIRST[0] - shift[0])) < 2


def test_the_half_years_of_the_truth_are_used_where_given(shift: np.ndarray) -> None:
    start, onset, _ = bombardi.turns(rain(shift))
    other = bombardi.turns(rain(shift + 4), start)
    np.testing.assert_array_equal(other[0], start)
    assert set(np.unique((other[1] - onset)[np.isfinite(onset) & np.isfinite(other[1])])) == {4.0}


def test_a_false_start_is_an_outlier_and_is_mended_by_the_smoothed_sum(shift: np.ndarray) -> None:
    """A week of storms long before the season, then a dry month, moves no lowest sum; a year without a season does: it is left out."""
    values = rain(0 * shift)
    values[0, 5, 150:270] = 0.5  # the season of one year fails
    _, onset, _ = bombardi.turns(values)
    assert np.isnan(onset[0, 5]) and np.isfinite(np.delete(onset[0], 5)).all()
    dates = np.array([[100.0, 101, 102, 103, 104, 105, 106, 190], [100, 101, 102, 103, 104, 105, 106, 107]])
    assert bombardi.beyond(dates, 1.5).sum(axis=1).tolist() == [1, 0]
    assert not bombardi.beyond(dates[:, :3], 1.5).any()


def test_two_seasons_as_large_as_one_have_no_date(shift: np.ndarray) -> None:
    days = np.arange(LENGTH)
    twice = np.tile(5 + 4 * np.cos(4 * np.pi * days / LENGTH) + np.cos(2 * np.pi * days / LENGTH), (1, YEARS, 1))
    once = np.tile(5 + np.cos(4 * np.pi * days / LENGTH) + 4 * np.cos(2 * np.pi * days / LENGTH), (1, YEARS, 1))
    assert all(np.isnan(x).all() for x in bombardi.turns(twice)) and np.isfinite(bombardi.turns(once)[0]).all()


def test_missing_days_and_the_ends_of_a_record_give_no_date(shift: np.ndarray) -> None:
    values = rain(0 * shift)
    values[0, 3, 60:100] = np.nan
    _, onset, withdrawal = bombardi.turns(values)
    assert np.isnan(onset[0, 3]) and np.isfinite(withdrawal[0, 3])
    assert np.isnan(withdrawal[0, -1])  # its half year would end in the next year
    assert np.isnan(bombardi.turns(np.full((1, 3, LENGTH), np.nan))[1]).all()


def test_quartiles_are_those_of_numpy() -> None:
    random = np.random.default_rng(0)
    dates = random.uniform(0, 365, (200, YEARS))
    dates[random.random(dates.shape) < 0.4] = np.nan
    dates = dates[np.isfinite(dates).sum(axis=1) >= 4]
    np.testing.assert_allclose(bombardi.quartiles(dates), np.nanquantile(dates, [0.25, 0.75], axis=1), rtol=1e-12)
