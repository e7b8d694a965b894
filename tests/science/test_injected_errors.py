"""Errors put into the test world on purpose: each is seen by the diagnostic made for it, by the right amount, and ranked by its size."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import xarray as xr

from orbit2.climate import monsoon, sections
from orbit2.climate.scores import date_pattern, dates, pattern
from orbit2.climate.seasonality import driest_month, seasonality
from orbit2.climate.years import by_year
from orbit2.sources.synthetic import World
from tests.data import world as made


@dataclass(frozen=True)
class Judged:
    """What the diagnostics say of a product beside the truth: dates in days, the rest as shares; scores as in the climate matrix."""

    onset_bias: float
    onset_mae: float
    hits: float
    amount: float
    wet_days: float
    entropy: float
    dsi: float
    displacement: float  # degrees
    lag: int  # pentads
    points: dict[str, float]


@dataclass(frozen=True)
class Truth:
    world: World
    rain: xr.DataArray
    found: xr.Dataset
    seasons: xr.Dataset
    first_month: xr.DataArray
    section: np.ndarray

    def judged(self, product: xr.DataArray) -> Judged:
        years, cells, area = by_year(product), self.world.monsoon, np.asarray(self.world.grid.area_km2)
        found, seasons = monsoon.cumulative_anomaly(years), seasonality(years, self.first_month)
        (p, o) = (np.asarray(x["onset"].sel(season=1).transpose("year", "lat", "lon"))[:, cells] for x in (found, self.found))
        scores, weights = dates(p, o, area[cells]), area / area.sum()
        mean, wet, known = (float((weights * np.asarray(x)).sum()) for x in (
            product.mean("time") / self.rain.mean("time"), (product >= 1).mean("time"), (self.rain >= 1).mean("time")))  # fmt: skip
        entropy, dsi = (pattern(np.asarray(seasons[name]), np.asarray(self.seasons[name]), area) for name in ("relative_entropy", "dsi"))
        place = sector(self.world)
        there = sections.scores(section(years, self.world), self.section, place.latitude)
        starts = (np.asarray(x["start"].sel(season=1))[cells] for x in (found, self.found))
        return Judged(
            scores.bias, scores.mae, scores.hits[0], mean - 1, wet - known,
            entropy.bias / float((weights * np.asarray(self.seasons["relative_entropy"])).sum()),
            dsi.bias / float((weights * np.asarray(self.seasons["dsi"])).sum()), there.track_rmse, there.lag,
            {"onset": date_pattern(*starts, area[cells]).points, "entropy": entropy.points, "dsi": dsi.points,
             "hovmoller": 100 * max(0.0, there.r)},
        )  # fmt: skip


def sector(world: World) -> sections.Sector:
    lat, lon = (x.ravel() for x in np.meshgrid(world.grid.lat, world.grid.lon, indexing="ij"))
    return sections.sector(lat, lon, (-30, 30, 70, 90), 4.0)


def section(years: xr.DataArray, world: World) -> np.ndarray:
    area = np.asarray(world.grid.area_km2).ravel()
    return sections.section(np.asarray(sections.pentad_climatology(years)).reshape(area.size, -1), sector(world), area)


@pytest.fixture(scope="module")
def truth() -> Truth:
    world = World(made.grid(), made.SEED)
    rain = made.drawn(world)
    years = by_year(rain)
    month = driest_month(years)
    return Truth(world, rain, monsoon.cumulative_anomaly(years), seasonality(years, month), month, section(years, world))


@pytest.fixture(scope="module")
def judged(truth: Truth) -> dict[str, Judged]:
    return {"none": truth.judged(truth.rain), **{name: truth.judged(spoil(truth.rain)) for name, spoil in made.ERRORS.items()}}


def test_no_error_is_no_error(judged: dict[str, Judged]) -> None:
    none = judged["none"]
    sizes = (none.onset_mae, none.amount, none.wet_days, none.entropy, none.dsi, none.displacement, none.lag)
    assert sizes == pytest.approx((0,) * 7, abs=1e-12) and none.hits == pytest.approx(1)
    assert all(points == pytest.approx(100) for points in none.points.values())


def test_each_error_is_seen_by_its_amount(judged: dict[str, Judged]) -> None:
    assert judged["late"].onset_bias == pytest.approx(10, abs=1) and judged["late"].lag == 2  # pentads: ten days
    assert judged["wetter"].amount == pytest.approx(0.3, abs=0.01) and judged["wetter"].dsi == pytest.approx(0.3, abs=0.02)
    assert judged["drizzle"].wet_days == pytest.approx(0.3 * 0.69, abs=0.06) and abs(judged["drizzle"].amount) < 0.02
    assert judged["displaced"].displacement > 3  # two rows of 4 degrees; what leaves the section in the north is lost to it
    assert judged["flat"].entropy < -0.3 and abs(judged["flat"].wet_days) < 0.01 and abs(judged["flat"].amount) < 0.05


def test_each_diagnostic_ranks_its_own_error_worst(judged: dict[str, Judged]) -> None:
    def worst(of: Callable[[Judged], float], *names: str) -> str:
        return max(names or judged, key=lambda name: abs(of(judged[name])))

    calm = ("none", "wetter", "drizzle")  # leave the seasons where they are
    assert worst(lambda x: x.wet_days) == "drizzle" and worst(lambda x: x.amount, *calm, "late", "flat") == "wetter"
    assert worst(lambda x: x.lag) == "late" and worst(lambda x: x.onset_bias) == "late"
    assert worst(lambda x: 1 - x.hits, *calm, "late") == "late"
    assert worst(lambda x: x.entropy) == "flat" and worst(lambda x: x.displacement, *calm, "displaced") == "displaced"


def test_diagnostics_are_blind_to_what_does_not_concern_them(judged: dict[str, Judged]) -> None:
    """Timing from each product's own mean does not see a factor; entropy does not either; a delay moves no amounts."""
    assert judged["wetter"].onset_mae < 0.2 and abs(judged["wetter"].entropy) < 1e-4 and judged["wetter"].points["hovmoller"] > 99.9
    assert abs(judged["late"].amount) < 1e-3 and abs(judged["late"].wet_days) < 1e-3
    assert judged["drizzle"].onset_mae < 4 and judged["drizzle"].points["onset"] > 99


@pytest.mark.slow
@pytest.mark.parametrize(("spoil", "sizes", "of"), [
    (made.late, (3, 6, 12), lambda x: x.onset_mae), (made.late, (5, 15, 30), lambda x: -x.points["hovmoller"]),
    (made.flat, (0.1, 0.2, 0.4), lambda x: -x.entropy), (made.wetter, (1.1, 1.2, 1.4), lambda x: x.dsi),
    (made.drizzle, (0.1, 0.2, 0.4), lambda x: x.wet_days), (made.displaced, (1, 2, 3), lambda x: x.displacement),
])  # fmt: skip
def test_twice_the_error_is_ranked_worse(
    truth: Truth, spoil: Callable[[xr.DataArray, float], xr.DataArray], sizes: tuple[float, ...], of: Callable[[Judged], float]
) -> None:  # fmt: skip
    found = [of(truth.judged(spoil(truth.rain, size))) for size in sizes]
    assert found[0] < found[1] < found[2]


def test_another_weather_of_the_same_climate_is_nearly_perfect_and_the_coarse_input_is_not(truth: Truth) -> None:
    """Climate scores do not ask for the right day. Block means rain on too many days, too little on each."""
    other, coarse = truth.judged(made.drawn(truth.world, weather=77)), truth.judged(made.coarse(truth.rain))
    daily = float(xr.corr(truth.rain, made.drawn(truth.world, weather=77)))
    assert daily < 0.35 and other.points["hovmoller"] > 92 and other.points["onset"] > 99 and abs(other.onset_bias) < 2
    assert coarse.wet_days > 0.02 > abs(other.wet_days) and coarse.amount == pytest.approx(0, abs=0.05)
