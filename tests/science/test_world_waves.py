"""What the test world of the climate demo has beyond the plain one: bands that its coarse cells cannot show, and a wave that is known."""

from __future__ import annotations

import numpy as np
import pytest

from orbit2.climate import sections, waves
from orbit2.climate.domains import SECTORS
from orbit2.climate.scores import pattern
from orbit2.config.sources import SyntheticConfig
from orbit2.grid import named
from orbit2.sources.synthetic import World
from orbit2.sources.synthetic.provider import Synthetic
from orbit2.sources.synthetic.world import RAIN, WAVE

BANDS, WAVES = 0.5, 0.4  # as config/runs/demo_climate.yaml has them
PENTADS = np.arange("2001-01-01", "2002-01-01", 5, dtype="datetime64[D]")


def controls(world: World) -> dict[str, tuple[float, float]]:
    """Sector -> correlation with the section of the law's mean year of its means over cells of 7.5 degrees, and of its mean in time."""
    grid = world.grid
    mean = np.stack([world.law(day).mean for day in PENTADS], axis=-1)
    height, width = grid.shape
    area = grid.area_km2.reshape(height // 3, 3, width // 3, 3, 1)
    blocks = (mean.reshape(height // 3, 3, width // 3, 3, -1) * area).sum(axis=(1, 3)) / area.sum(axis=(1, 3))
    nearest = blocks.repeat(3, axis=0).repeat(3, axis=1)
    lat, lon = (x.ravel() for x in np.meshgrid(grid.lat, grid.lon, indexing="ij"))
    made = {}
    for name, box in SECTORS.items():
        where = sections.sector(lat, lon, box, grid.resolution)
        truth, coarse = (sections.section(x.reshape(lat.size, -1), where, grid.area_km2.ravel()) for x in (mean, nearest))
        made[name] = sections.scores(coarse, truth, where.latitude).r, sections.frozen(truth, where.latitude)
    return made


def test_sections_can_judge_in_the_world_of_the_demo_and_cannot_in_the_plain_one() -> None:
    grid = named("global_2.5")
    plain = World(grid, 0)
    assert min(nearest for nearest, _ in controls(plain).values()) > sections.DISCRIMINATES
    found = controls(World(grid, 0, plain.land, plain.altitude, bands=BANDS, waves=WAVES))
    assert len(found) == 9 and max(max(both) for both in found.values()) < sections.DISCRIMINATES


@pytest.fixture(scope="module")
def tropics() -> World:
    globe = named("global_5")
    rows = globe.crop(slice(15, 21), slice(0, 72))  # 15 S to 15 N
    return World(rows, 0, np.ones(rows.shape), np.zeros(rows.shape), waves=WAVES)


def test_the_wave_is_found_in_the_law_and_under_the_weather(tropics: World) -> None:
    number, period, _ = WAVE
    speed = 360 / number / period * waves.METRES / waves.DAY
    days = np.arange("2001-01-01", "2004-01-01", dtype="datetime64[D]")
    band = np.abs(tropics.grid.lat) < 5
    near = (tropics.grid.lon >= 80) & (tropics.grid.lon <= 100)
    of_law = np.stack([tropics.law(day).mean[band].mean(axis=0) for day in days], axis=1)
    weather = tropics.fields(days)[RAIN][:, band].mean(axis=1).T.astype(np.float64)
    for series, away, ratio in ((of_law, 0.3, 5.0), (weather, 3.0, 1.5)):  # three years of weather have waves of their own
        passed = waves.filtered(waves.anomalies(series, np.arange(len(days)), 365.25))
        assert waves.speed(waves.regressed(passed, passed[near].mean(axis=0)), tropics.grid.lon, 90.0) == pytest.approx(speed, abs=away)
        assert waves.east_west(passed) > ratio
    assert waves.period(waves.filtered(waves.anomalies(of_law, np.arange(len(days)), 365.25))) == pytest.approx(period, rel=0.05)
    correlation = pattern(*(waves.filtered(waves.anomalies(x, np.arange(len(days)), 365.25)) for x in (weather, of_law)), 1.0).r
    assert 0.1 < correlation < 0.95  # weather of 20 to 100 days is in it too


def test_the_plain_world_is_what_it_was(tropics: World) -> None:
    plain, day = World(tropics.grid, 0, tropics.land, tropics.altitude), np.datetime64("2001-07-15")
    assert SyntheticConfig().values() == {"degrees": 2.5, "seed": 0}
    assert SyntheticConfig(bands=BANDS).values() == {"degrees": 2.5, "seed": 0, "bands": BANDS}
    assert Synthetic(SyntheticConfig())._request(2001).file == "world1_2.5deg_seed0_2001.nc"
    assert Synthetic(SyntheticConfig(bands=BANDS, waves=WAVES))._request(2001).file == "world1_2.5deg_seed0_bands0.5_waves0.4_2001.nc"
    assert not np.array_equal(plain.law(day).share, tropics.law(day).share) and np.array_equal(plain.law(day).scale, tropics.law(day).scale)
