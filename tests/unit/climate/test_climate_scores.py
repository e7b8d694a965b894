"""Scores of maps and of sections, and the domains."""

import numpy as np
import pytest

from orbit2.climate import domains, matrix, scores, sections
from orbit2.climate.years import by_year
from tests.data.rain import days, season


def test_scores_of_dates_with_known_errors():
    truth = np.array([360.0, 3.0, 10.0, np.nan, 100.0])
    model = np.array([5.0, 3.0, 0.0, 50.0, np.nan])  # 10 late, exact, 10 early, no season of the truth's, missed
    found = scores.dates(model, truth, [1, 1, 2, 1, 4])
    assert found.n == 3
    assert found.bias == pytest.approx((10 - 20) / 4)
    assert found.mae == pytest.approx(30 / 4)
    assert found.hits == (0.25, 1.0)
    assert found.missed == pytest.approx(0.5)
    assert found.within == 10
    assert found.phase == pytest.approx(0.25 + 0.75 * 0.5 * (1 + np.cos(2 * np.pi * 10 / 365)))
    assert scores.dates(truth + 182.5, truth, 1.0).phase == pytest.approx(0)


def test_maps_of_dates_are_unwrapped_about_the_truths_mean():
    truth = np.mod(np.linspace(340, 390, 30), 365)
    found = scores.date_pattern(np.mod(truth + 7, 365), truth, np.ones(30))
    assert found.r == pytest.approx(1)
    assert found.bias == pytest.approx(7)
    assert found.points == pytest.approx(100)
    assert found.taylor == pytest.approx(1)
    mirrored = scores.date_pattern(np.mod(730 - truth, 365), truth, np.ones(30))
    assert mirrored.r == pytest.approx(-1)
    assert mirrored.points == 0


def test_pattern_weighs_areas_and_knows_no_correlation_of_constants():
    p, o = np.array([1.0, 2.0, 9.0, np.nan]), np.array([1.0, 3.0, 0.0, 4.0])
    found = scores.pattern(p, o, [1, 3, 0, 1])
    assert found.n == 2
    assert found.bias == pytest.approx(-0.75)
    assert found.rmse == pytest.approx(np.sqrt(0.75))
    assert found.ratio == pytest.approx(0.5)
    assert found.taylor == pytest.approx(4 * 2 / (2.5**2 * 2))
    assert np.isnan(scores.pattern(p, np.ones(4), np.ones(4)).r)
    assert scores.pattern(np.full(3, np.nan), np.ones(3), 1.0).n == 0


def test_threat_score():
    assert scores.threat([1, 1, 0, 0], [1, 0, 1, 0], [1, 2, 1, 9]) == pytest.approx(1 / 4)
    assert np.isnan(scores.threat([0], [0], [1]))


def _marching(lag=0.0):
    """A rain belt that moves with the sun: [rows, pentads], and its latitudes."""
    latitude = np.arange(-18.75, 20, 2.5)
    middle = 12 * np.sin(2 * np.pi * (np.arange(73) - 22 - lag) / 73)
    return 10 * np.exp(-((latitude[:, None] - middle) ** 2) / 50), latitude


def test_sections_see_a_shift_in_time_and_in_space():
    truth, latitude = _marching()
    same = sections.scores(truth, truth, latitude)
    assert (same.r, same.nrmse, same.lag, same.track_rmse) == pytest.approx((1, 0, 0, 0))
    late = sections.scores(np.roll(truth, 4, axis=1), truth, latitude)
    assert late.lag == 4
    assert late.r < 0.95
    north = sections.scores(np.roll(truth, 1, axis=0), truth, latitude)
    assert 1 < north.track_rmse < 4
    assert north.lag == 0


def test_a_mean_frozen_in_time_fails_where_the_belt_moves_and_passes_where_it_stands():
    truth, latitude = _marching()
    assert sections.frozen(truth, latitude) < 0.6
    still = np.repeat(truth[:, :1], 73, axis=1) + 1e-3 * truth
    assert sections.frozen(still, latitude) > sections.DISCRIMINATES


def test_sections_of_cells_by_row_and_by_band():
    lat, lon = np.meshgrid(np.arange(-9.5, 10), np.arange(0.5, 360), indexing="ij")
    lat, lon = lat.ravel(), lon.ravel()
    where = sections.sector(lat, lon, (-5, 5, -10, 10), 1.0)
    assert where.latitude.tolist() == np.arange(-4.5, 5).tolist()
    assert (where.row >= 0).sum() == 10 * 20
    field = np.stack([lat, np.where(lon < 180, lon, np.nan)], axis=1)
    made = sections.section(field, where, np.ones(len(lat)))
    np.testing.assert_allclose(made[:, 0], where.latitude)
    np.testing.assert_allclose(made[:, 1], 5.0)  # missing cells are left out
    bands = sections.sector(lat + 0.01 * np.sin(lon), lon, (-5, 5, -10, 10), 2.0)  # no rows of their own: a projected grid's
    assert len(bands.latitude) == 5
    np.testing.assert_allclose(bands.latitude, [-4, -2, 0, 2, 4], atol=0.05)


def test_pentad_climatology_of_a_series():
    rain = season(days(2001, 10), [(150, 269)], cells=6, shape=20.0)
    made = sections.pentad_climatology(by_year(rain))
    assert made.shape == (6, 73)
    assert made.isel(pentad=slice(31, 53)).min() > 8
    assert made.isel(pentad=slice(0, 29)).max() < 1


def test_nine_domains_and_the_published_matrix_beside_them():
    nine = domains.SETS["ar6"]
    assert len(nine) == 9
    assert [one.name for one in nine if one.southern] == ["south_america", "southeast_africa", "australia"]
    assert all(one.regions and one.box is None and one.land for one in nine)
    assert all(one.box is not None for name in ("sperber", "wang") for one in domains.SETS[name])
    told = matrix.published()
    assert list(told.values) == [one.name for one in nine]
    assert all(len(row) == len(matrix.COLUMNS) for rows in told.values.values() for row in rows.values())
    assert told.values["north_america"]["ERA5 28 km"][1] == 50.63  # the lowest of the published scores
    assert max(v for rows in told.values.values() for row in rows.values() for v in row) == 99.93
    assert "Another data set" in told.note
