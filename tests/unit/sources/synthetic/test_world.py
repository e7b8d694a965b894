"""The test world is what it says it is: what was drawn agrees with the closed expressions, and the seasons lie where they are said to."""

from __future__ import annotations

import numpy as np
import pytest

from orbit2.grid import Grid, named
from orbit2.sources.synthetic import World
from orbit2.sources.synthetic.noise import DAYS, DECAY, SCALES, Noise
from orbit2.sources.synthetic.seasons import MOST_SHIFT, place
from orbit2.sources.synthetic.world import COLDEST, RAIN, WARMEST, WET

YEARS = np.arange("2003-01-01", "2005-01-01", dtype="datetime64[D]")  # 2004 is a leap year


@pytest.fixture(scope="module")
def world() -> World:
    return World(named("global_6"), seed=3)


@pytest.fixture(scope="module")
def fields(world: World) -> dict[str, np.ndarray]:
    return world.fields(YEARS)


@pytest.fixture(scope="module")
def area(world: World) -> np.ndarray:
    """Weights [H, W] that sum to one."""
    return np.asarray(world.grid.area_km2 / world.grid.area_km2.sum())


def test_noise_has_mean_0_and_variance_1_in_every_cell_and_forgets_within_days() -> None:
    made = np.stack(list(Noise(named("global_2.5"), 1, 0).days(range(250))))
    assert abs(made.mean()) < 0.02 and made.var(axis=0).mean() == pytest.approx(1.0, abs=0.02)
    rows = made.var(axis=(0, 2))
    assert rows.min() > 0.93 and rows.max() < 1.07  # at the edges as elsewhere
    weights = DECAY ** np.arange(DAYS)
    weights /= np.sqrt((weights**2).sum())
    for lag in (1, 3, DAYS):
        found = (made[lag:] * made[:-lag]).mean()
        assert found == pytest.approx((weights[lag:] * weights[:-lag]).sum() if lag < DAYS else 0.0, abs=0.02)
    for columns in (1, 4, 72):
        alike = sum(share * np.exp(-2 * (2.5 * columns / length) ** 2) for length, share in SCALES)
        assert (made * np.roll(made, columns, axis=2)).mean() == pytest.approx(alike, abs=0.03)  # round the globe
        assert (made[:, :, 0] * made[:, :, -columns]).mean() == pytest.approx(alike, abs=0.06)


def test_a_day_is_the_same_alone_in_another_order_and_on_another_day_of_asking(world: World, fields: dict[str, np.ndarray]) -> None:
    for day in (425, 3):
        alone = World(world.grid, seed=3).fields(YEARS[day : day + 1])
        for name, values in fields.items():
            np.testing.assert_array_equal(alone[name][0], values[day])
    assert not np.array_equal(World(world.grid, seed=4).fields(YEARS[3:4])[RAIN][0], fields[RAIN][3])


def test_wet_days_means_and_heavy_rain_are_as_the_formula_says(world: World, fields: dict[str, np.ndarray], area: np.ndarray) -> None:
    laws = [world.law(day) for day in YEARS]
    rain = fields[RAIN].astype(np.float64)
    assert not ((rain > 0) & (rain < WET - 1e-4)).any()

    def share(condition: np.ndarray) -> float:
        return float((condition.mean(axis=0) * area).sum())

    def expected(what: list[np.ndarray]) -> float:
        return float((np.mean(what, axis=0) * area).sum())

    assert share(rain >= WET) == pytest.approx(expected([law.share for law in laws]), rel=0.02)
    assert share(rain) == pytest.approx(expected([law.mean for law in laws]), rel=0.03)
    for mm in (5.0, 20.0, 50.0):
        assert share(rain >= mm) == pytest.approx(expected([law.exceeds(mm) for law in laws]), rel=0.06)
    wet, truth = (rain >= WET).mean(axis=0), np.mean([law.share for law in laws], axis=0)
    assert np.sqrt(np.mean((wet - truth) ** 2)) < 0.032  # cell by cell: 731 days with their autocorrelation leave 0.025 open


def test_quantile_and_exceedance_are_each_others_inverse(world: World) -> None:
    law = world.law(np.datetime64("2003-07-20"))
    level = 0.95
    there = law.share > 1 - level
    for row, column in np.argwhere(there)[::400]:
        assert law.exceeds(float(law.quantile(level)[row, column]))[row, column] == pytest.approx(1 - level, rel=1e-9)
    assert (law.quantile(level)[~there] == 0).all() and (law.exceeds(0.0) == 1).all()


def test_temperatures_are_normal_colder_in_rain_and_in_order(world: World, fields: dict[str, np.ndarray], area: np.ndarray) -> None:
    warmest = fields[WARMEST].astype(np.float64)
    mean = np.mean([world.warmth(day)[0] for day in YEARS], axis=0)
    assert np.abs(((warmest.mean(axis=0) - mean) * area).sum()) < 0.1
    hot = np.mean([world.hotter(day, 273.15 + 30) for day in YEARS], axis=0)
    assert ((warmest > 273.15 + 30).mean(axis=0) * area).sum() == pytest.approx((hot * area).sum(), rel=0.02)
    assert (fields[COLDEST] < fields[WARMEST]).all()
    wet = fields[RAIN] >= WET
    departure = warmest - np.stack([world.warmth(day)[0] for day in YEARS])
    assert departure[wet].mean() < -0.5 < departure[~wet].mean()


def test_seasons_begin_and_end_on_their_days_also_across_the_end_of_a_year(world: World) -> None:
    seasons, year = world.seasons, 2002
    for row, column in ((17, 15), (10, 20), (15, 40)):  # 12-18 N, 24-30 S, the equator
        assert world.monsoon[row, column]
        south = bool(seasons.south[row, column])
        first, after = int(seasons.onset(year)[row, column]), int(seasons.withdrawal(year)[row, column])
        assert (after > 365) == south
        inside = [bool(seasons.rains(year + day // 365, day % 365)[row, column]) for day in range(first - 40, after + 40)]
        assert inside == [False] * 40 + [True] * (after - first) + [False] * 40


def test_years_differ_by_up_to_half_a_month_and_seeds_differ(world: World) -> None:
    onsets = np.stack([world.seasons.onset(year) for year in range(1990, 2020)])
    apart = onsets - world.seasons.first
    assert np.abs(apart).max() <= MOST_SHIFT and apart.std() > 4
    assert not np.array_equal(World(world.grid, seed=4).seasons.onset(2001), world.seasons.onset(2001))


def test_east_africa_has_two_seasons(world: World) -> None:
    row, column = 15, 6  # 0-6 N, 36-42 E
    assert world.seasons.bimodal[row, column] and not world.monsoon[row, column]
    rains = [bool(world.seasons.rains(2002, day)[row, column]) for day in range(365)]
    assert np.count_nonzero(np.diff(np.array(rains, dtype=int))) == 4


def test_29_february_is_another_28th() -> None:
    assert place(np.datetime64("2004-02-29")) == place(np.datetime64("2004-02-28")) == (2004, 58)
    assert place(np.datetime64("2004-03-01")) == (2004, 59) == (2004, place(np.datetime64("2003-03-01"))[1])
    assert place(np.datetime64("2004-12-31")) == (2004, 364) and place(np.datetime64("1900-12-31")) == (1900, 364)


def test_a_band_of_latitudes_has_the_climate_of_the_globe(world: World) -> None:
    rows = slice(12, 20)
    band = World(world.grid.crop(rows, slice(0, world.grid.shape[1])), seed=3)
    day = np.datetime64("2002-07-20")
    np.testing.assert_allclose(band.law(day).mean, world.law(day).mean[rows], rtol=1e-6)
    box = World(Grid(world.grid.lat_edges[rows.start : rows.stop + 1], world.grid.lon_edges[3:12]), seed=3)
    assert box.fields(YEARS[:40])[RAIN].shape == (40, 8, 8)
