"""Climate diagnostics find what is known of the test world: exactly where there is no weather, within stated limits where there is."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from orbit2.climate import monsoon, sections
from orbit2.climate.scores import date_pattern, dates, pattern
from orbit2.climate.seasonality import seasonality
from orbit2.climate.years import by_year
from orbit2.metrics.extremes import DailyStatistic, Day
from orbit2.sources.synthetic import World
from orbit2.sources.synthetic.seasons import LONG_RAINS, SHORT_RAINS
from orbit2.sources.synthetic.world import RAIN
from tests.data import world as made

BIAS, SPREAD = 5.0, 12.0  # days: T9's tolerance of a mean, and what nine tenths of single dates keep to


@pytest.fixture(scope="module")
def world() -> World:
    return World(made.grid(), made.SEED)


@pytest.fixture(scope="module")
def rain(world: World) -> xr.DataArray:
    return made.drawn(world)


@pytest.fixture(scope="module")
def years(rain: xr.DataArray) -> xr.DataArray:
    return by_year(rain)


@pytest.fixture(scope="module")
def truth(world: World) -> xr.DataArray:
    """Rain without weather, by year."""
    return by_year(made.expected(world))


@pytest.fixture(scope="module")
def area(world: World) -> np.ndarray:
    return np.asarray(world.grid.area_km2)


def first_season(found: xr.DataArray) -> np.ndarray:
    return np.asarray(found.sel(season=1).transpose("lat", "lon", "year"))


def southern(world: World) -> xr.DataArray:
    return xr.DataArray(world.seasons.south, dims=("lat", "lon"))


def test_every_onset_and_withdrawal_is_found_to_the_day_where_there_is_no_weather(world: World, truth: xr.DataArray) -> None:
    """Both hemispheres, seasons across the new year, years with a 29 February; the last southern season leaves the record."""
    found = monsoon.cumulative_anomaly(truth)
    for name in ("onset", "withdrawal"):
        error = (first_season(found[name]) - made.onsets(world, name))[world.monsoon]
        south = world.seasons.south[world.monsoon]
        assert np.isfinite(error[~south]).all() and np.isfinite(error[south, :-1]).all() and np.isnan(error[south, -1]).all()
        assert np.nanmax(np.abs(error)) == 0


def test_onset_and_withdrawal_of_weather_are_within_five_days(world: World, years: xr.DataArray, area: np.ndarray) -> None:
    found, cells = monsoon.cumulative_anomaly(years), world.monsoon
    for name in ("onset", "withdrawal"):
        single, known = first_season(found[name])[cells], made.onsets(world, name)[cells]
        scores = dates(single.T, known.T, area[cells])
        assert abs(scores.bias) < BIAS and scores.mae < BIAS and scores.within <= SPREAD + 3 and scores.hits[0] > 0.7, (name, scores)
        for south in (False, True):  # the mean of each year over a domain follows the years
            domain = world.seasons.south[cells] == south
            kept = slice(None, -1 if south else None)
            there, is_so = (np.average(x[domain][:, kept], axis=0, weights=area[cells][domain]) for x in (np.nan_to_num(single), known))
            assert np.corrcoef(there, is_so)[0, 1] > 0.9 and np.abs(there - is_so).max() < 2 * BIAS


def test_east_africa_and_nothing_else_has_two_seasons(world: World, years: xr.DataArray) -> None:
    found = monsoon.cumulative_anomaly(years)
    np.testing.assert_array_equal(np.asarray(found["bimodal"]), world.seasons.bimodal)
    there = xr.DataArray(world.seasons.bimodal, dims=("lat", "lon"))
    start, end = (np.sort(np.asarray(found[name].where(there, drop=True)).reshape(-1, 2), axis=1) for name in ("start", "end"))
    for column, (first, after) in enumerate((LONG_RAINS, SHORT_RAINS)):
        assert abs(np.nanmean(start[:, column]) - first) < 10 and abs(np.nanmean(end[:, column]) - (after - 1)) < 10


@pytest.mark.parametrize("method", [monsoon.fractional_accumulation, monsoon.wang_linho])
def test_the_other_methods_find_the_same_dates_with_and_without_weather(
    world: World, years: xr.DataArray, truth: xr.DataArray, area: np.ndarray, method: object
) -> None:  # fmt: skip
    assert callable(method)
    with_weather, without = method(years, southern(world)), method(truth, southern(world))
    for name in ("onset", "withdrawal"):
        found = date_pattern(np.asarray(with_weather[name])[world.monsoon], np.asarray(without[name])[world.monsoon], area[world.monsoon])
        assert abs(found.bias) < 3 and found.rmse < 10 and found.r > 0.98 and found.n > 0.85 * world.monsoon.sum()


def test_threshold_methods_lie_inside_the_season_as_they_must(world: World, truth: xr.DataArray) -> None:
    """A fifth of the rain has fallen a fifth of the season after its begin, four fifths a fifth before its end (rain is even within it)."""
    found = monsoon.fractional_accumulation(truth, southern(world))
    first, after = (made.onsets(world, name).mean(axis=-1) + extra for name, extra in (("onset", 0), ("withdrawal", 1)))
    for name, expected in (("onset", first + 0.2 * (after - first)), ("withdrawal", after - 0.2 * (after - first))):
        error = np.mod(np.asarray(found[name]) - expected + 182.5, 365) - 182.5
        assert np.abs(error[world.monsoon].mean()) < 5 and np.abs(error[world.monsoon]).max() < 15


def test_seasonality_is_that_of_the_formula(years: xr.DataArray, truth: xr.DataArray, area: np.ndarray) -> None:
    """Of the mean year. Of single years entropy is higher, as weather is uneven too: on both sides of a comparison alike."""
    found, known = seasonality(years), seasonality(truth)
    for name, spread in (("relative_entropy", 0.2), ("dsi", 0.03), ("walsh_lawler", 0.1), ("centroid", 1.0), ("spread", 0.15)):
        scores = pattern(np.asarray(found[f"{name}_climatological"]), np.asarray(known[f"{name}_climatological"]), area)
        assert scores.r > 0.94 and abs(scores.bias) < spread / 3 and scores.rmse < spread, (name, scores)
    assert float((found["relative_entropy"] - known["relative_entropy"]).mean()) > 0.1
    assert pattern(np.asarray(found["relative_entropy"]), np.asarray(known["relative_entropy"]), area).r > 0.9


def test_a_section_with_weather_is_that_without(world: World, years: xr.DataArray, truth: xr.DataArray, area: np.ndarray) -> None:
    lat, lon = (x.ravel() for x in np.meshgrid(world.grid.lat, world.grid.lon, indexing="ij"))
    where = sections.sector(lat, lon, (-30, 30, 70, 90), 4.0)
    pentads = [np.asarray(sections.pentad_climatology(x)).reshape(lat.size, -1) for x in (years, truth)]
    made_of = [sections.section(x, where, area.ravel()) for x in pentads]
    scores = sections.scores(*made_of, where.latitude)
    assert scores.r > 0.95 and scores.lag == 0 and scores.track_rmse < 3 and sections.frozen(made_of[1], where.latitude) < 0.5


def test_wet_days_and_heavy_rain_are_those_of_the_formula(world: World, rain: xr.DataArray, area: np.ndarray) -> None:
    statistic = DailyStatistic(RAIN, 1, area.size)
    first = {year: int(np.datetime64(f"{year}-01-01").astype(np.int64)) for year in range(made.YEARS[0], made.YEARS[-1] + 2)}
    for date, field in zip(made.DAYS, rain.values.reshape(len(made.DAYS), -1), strict=True):
        year = int(str(date)[:4])
        statistic.update(Day(int(date.astype(np.int64)), year, first[year], first[year + 1] - 1), field[None])
    climate = statistic.climate()
    assert climate is not None
    laws = [world.law(day) for day in made.DAYS]
    known = {"wet_days": sum(law.share for law in laws), "prcptot": sum(law.mean for law in laws)}
    known |= {f"r{mm}mm": sum(law.exceeds(mm) for law in laws) for mm in (10, 20, 50)}
    for name, total in known.items():
        found, expected = climate.means[name][0], np.asarray(total).ravel() / len(made.YEARS)
        weights = area.ravel() / area.sum()
        assert weights @ found == pytest.approx(weights @ expected, rel=0.03), name
        assert np.corrcoef(found, expected)[0, 1] > (0.97 if name != "r50mm" else 0.94), name  # two days a year of these
    intensity = np.asarray(known["prcptot"] / known["wet_days"]).ravel()
    assert pattern(climate.means["sdii"][0], intensity, area.ravel()).r > 0.95
