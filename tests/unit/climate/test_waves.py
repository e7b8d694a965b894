"""Waves by longitude: known period, speed and direction come out, and what is not a wave of 20 to 100 days is left out."""

from __future__ import annotations

import numpy as np
import pytest

from orbit2.climate import waves
from orbit2.climate.scores import pattern

LON = np.arange(2.5, 360.0, 5.0)
DAYS = np.arange(1600)


def wave(number: int, period: float, east: bool = True, size: float = 1.0) -> np.ndarray:
    """[X, T]; wavenumber round the globe, period in days."""
    sign = 1 if east else -1
    return size * np.cos(number * np.radians(LON)[:, None] - sign * 2 * np.pi * DAYS / period)


def passed(field: np.ndarray) -> np.ndarray:
    return waves.filtered(waves.anomalies(field, DAYS, 365.25))


def regression(field: np.ndarray) -> np.ndarray:
    near = np.abs(LON - 90) <= 10
    return waves.regressed(field, field[near].mean(axis=0))


@pytest.mark.parametrize(("period", "response"), [(10, 0.0), (15, 0.0), (20, 0.5), (30, 1.0), (45, 1.0), (100, 0.5), (365.25, 0.0)])
def test_the_filter_passes_20_to_100_days(period: float, response: float) -> None:
    weights = waves.lanczos()
    k = np.arange(-waves.HALF, waves.HALF + 1)
    assert weights.sum() == pytest.approx(0, abs=1e-12)
    assert weights @ np.cos(2 * np.pi * k / period) == pytest.approx(response, abs=0.01)


@pytest.mark.parametrize(("number", "period", "east"), [(1, 45.0, True), (2, 45.0, True), (1, 60.0, True), (2, 30.0, False)])
def test_speed_and_period_of_a_wave_are_those_that_it_was_made_with(number: int, period: float, east: bool) -> None:
    field = passed(5 + wave(number, period, east) + 3 * np.cos(2 * np.pi * DAYS / 365.25))
    metres_a_second = (1 if east else -1) * 360 / number / period * waves.METRES / waves.DAY
    assert waves.speed(regression(field), LON, 90.0) == pytest.approx(metres_a_second, abs=0.15)
    assert waves.period(field) == pytest.approx(period, rel=0.01)
    assert np.nanstd(field) == pytest.approx(np.sqrt(0.5), rel=0.01)
    assert np.isnan(field[:, : waves.HALF]).all() and np.isnan(field[:, -waves.HALF :]).all()
    ratio = waves.east_west(field)
    assert ratio > 100 if east else ratio < 0.01


def test_power_eastward_over_westward_is_the_ratio_of_squares() -> None:
    assert waves.east_west(passed(wave(2, 45.0, size=2.0) + wave(2, 45.0, east=False))) == pytest.approx(4, rel=0.02)
    standing = passed(wave(2, 45.0) + wave(2, 45.0, east=False))
    assert waves.east_west(standing) == pytest.approx(1, rel=1e-6)


def test_a_late_wave_is_told_in_days_and_a_wave_that_travels_the_wrong_way_does_not_correlate() -> None:
    truth = passed(wave(1, 45.0))
    assert waves.lag_of(passed(np.roll(wave(1, 45.0), 6, axis=1)), truth) == 6
    assert waves.lag_of(truth, truth) == 0
    assert abs(pattern(passed(wave(1, 45.0, east=False)), truth, 1.0).r) < 0.02
    assert pattern(regression(passed(wave(1, 45.0, east=False))), regression(truth), 1.0).r < 0.3


def test_a_few_missing_days_do_no_harm_and_many_leave_a_gap() -> None:
    field = wave(1, 45.0)
    few, many = field.copy(), field.copy()
    few[:, ::101], many[:, 700:730] = np.nan, np.nan
    assert np.nanmax(np.abs(passed(few) - passed(field))) < 0.1
    gap = np.isnan(passed(many)[:, waves.HALF : -waves.HALF]).any(axis=0)
    assert gap.any() and not gap.all()
    assert np.isnan(waves.filtered(field[:, :150])).all()


def test_the_year_is_taken_away_even_where_a_record_has_two() -> None:
    season = np.cos(2 * np.pi * DAYS[:800] / 365.25) + 0.5 * np.sin(4 * 2 * np.pi * DAYS[:800] / 365.25)
    left = waves.anomalies(np.tile(7 + season, (3, 1)), DAYS[:800], 365.25)
    assert np.abs(left).max() < 1e-9


def test_bins_hold_the_cells_of_the_band_across_0_east() -> None:
    lat, lon = (x.ravel() for x in np.meshgrid(np.arange(-9.0, 10, 2), np.arange(1.0, 360, 2), indexing="ij"))
    line = waves.columns(lat, lon, 340.0, 60.0, 5.0)
    assert len(line.at) == 12 and np.mod(line.at[[0, -1]], 360).tolist() == [342.5, 37.5]
    inside = line.of >= 0
    assert np.abs(lat[inside]).max() <= 5 and (np.mod(lon[inside] - 340, 360) <= 60).all()
    assert np.abs(np.mod(lon[inside] - line.at[line.of[inside]] + 180, 360) - 180).max() <= 2.5
    across = waves.rows(lat, lon, (350.0, 10.0), 2.0)
    assert len(across.at) == 10 and across.at[0] == pytest.approx(-9, abs=1)
