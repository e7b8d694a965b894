"""Coastlines, map sampling and number formatting against what is known about the Earth and about rounding."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from orbit2.grid import global_grid, uniform
from orbit2.metrics import table
from orbit2.report import coast, maps, text
from orbit2.report.style import display
from orbit2.report.tables import Scores, number, reading, tiles


def ring_area(line: np.ndarray) -> float:
    """Area in km2 inside a closed ring: integral of sin(lat) d(lon)."""
    lon, sin = np.radians(line[:, 0]), np.sin(np.radians(line[:, 1]))
    return float(abs(np.sum((sin[1:] + sin[:-1]) / 2 * np.diff(lon))) * 6371.0**2)


def test_coastlines_are_the_earths() -> None:
    lines = coast.coastlines()
    points = np.concatenate(lines)
    assert points[:, 0].min() >= -180 and points[:, 0].max() <= 180.001
    assert points[:, 1].max() == pytest.approx(83.6, abs=0.5)  # northern tip of Greenland
    assert all(np.abs(np.diff(line[:, 0])).max() < 180 for line in lines)
    closed = [line for line in lines if np.allclose(line[0], line[-1])]
    australia = [line for line in closed if 113 < line[:, 0].min() < 114.5 and 153 < line[:, 0].max() < 154]
    assert len(australia) == 1
    assert ring_area(australia[0]) == pytest.approx(7.6e6, rel=0.02)  # mainland, Geoscience Australia


def test_coastlines_wrap_into_a_window_east_of_the_date_line() -> None:
    lines = coast.in_window(232, 296)  # North America in 0..360
    inside = [line for line in lines if ((line[:, 0] > 232) & (line[:, 0] < 296) & (line[:, 1] > 25) & (line[:, 1] < 50)).any()]
    assert len(inside) >= 1


def test_world_map_puts_cells_where_they_are() -> None:
    grid = global_grid(1.0)
    lon, lat = np.meshgrid(grid.lon, grid.lat)
    lon_map, lat_map = maps.on_world(lon, grid), maps.on_world(lat, grid)
    pixel_lon, pixel_lat, _ = maps._pixels(maps.WIDTH)
    known = np.isfinite(lon_map)
    assert known.mean() > 0.6  # the globe fills most of its rectangle, corners stay empty
    assert np.abs(lat_map - pixel_lat)[known].max() <= 0.5 + 1e-6
    assert np.abs((lon_map - pixel_lon + 180) % 360 - 180)[known].max() <= 0.5 + 1e-6
    assert not known[0, 0] and not known[-1, -1]


def test_equal_area_map_keeps_shares() -> None:
    grid = global_grid(1.0)
    tropics = (np.abs(grid.lat) < 30)[:, None] * np.ones(grid.shape)
    sampled = maps.on_world(tropics, grid)
    assert np.nanmean(sampled) == pytest.approx(0.5, abs=0.005)  # sin 30 degrees


def test_region_is_empty_outside_its_grid() -> None:
    grid = uniform(24, 52, 232, 296, 28, 64)
    sampled = maps.on_world(np.ones(grid.shape), grid)
    share = np.nansum(sampled) / np.isfinite(maps.on_world(np.ones((180, 360)), global_grid(1.0))).sum()
    exact = (math.sin(math.radians(52)) - math.sin(math.radians(24))) / 2 * 64 / 360
    assert share == pytest.approx(exact, rel=0.02)


def test_box_across_the_prime_meridian_is_cut_whole() -> None:
    grid = global_grid(1.0)
    lon, _ = np.meshgrid(grid.lon, grid.lat)
    values, lat_edges, lon_edges = maps.cut(lon, grid, (30, 48, 355, 20))
    assert values.shape == (18, 25)
    assert lon_edges[0] == 355 and lon_edges[-1] == 380
    np.testing.assert_allclose(values[0] % 360, (lon_edges[:-1] + 0.5) % 360)
    assert (lat_edges[0], lat_edges[-1]) == (30, 48)
    assert maps.describe_box((30, 48, 355, 20)) == "30°N–48°N, 5°W–20°E"
    assert not maps.overlaps(uniform(24, 52, 232, 296, 28, 64), (30, 48, 355, 20))


@pytest.mark.parametrize(
    ("value", "digits", "shown"),
    [
        (1.2345, 3, "1.23"),
        (-0.00123, 2, "−0.0012"),
        (101325.0, 3, "101,325"),
        (0.0, 3, "0"),
        (float("nan"), 3, "n/a"),
        (None, 3, "n/a"),
        (float("inf"), 3, "n/a"),
        (0.99994, 4, "0.9999"),
        (6.31e-6, 3, "6.3 × 10⁻⁶"),
        (74.26, 3, "74.3"),
    ],
)
def test_numbers_keep_their_digits(value: float | None, digits: int, shown: str) -> None:
    assert number(value, digits) == shown


def scores_of(rows: list[tuple[str, str, str, float]]) -> Scores:
    built = table.Table("t", "d", "standard", "truth", "a/b", "v")
    for model, name, space, value in rows:
        built.add(model, name, space, "global", "rmse", "m", value)
    return Scores(built.frame(), "t")


def test_reading_says_so_when_the_model_loses() -> None:
    lost = scores_of([("net", "2m_temperature", "physical", 1.5), ("bicubic", "2m_temperature", "physical", 1.0)])
    assert "does not beat the best interpolation for any variable" in reading(lost, "net", ["2m_temperature"], 4)
    assert [tile.value for tile in tiles(lost, "net", ["2m_temperature"])] == ["+50.0 %"]
    assert not tiles(lost, "net", ["2m_temperature"])[0].good
    mixed = scores_of(
        [
            ("net", "2m_temperature", "physical", 0.8),
            ("bicubic", "2m_temperature", "physical", 1.0),
            ("net", "mean_sea_level_pressure", "physical", 90.0),
            ("bicubic", "mean_sea_level_pressure", "physical", 60.0),
        ]
    )
    words = reading(mixed, "net", ["2m_temperature", "mean_sea_level_pressure"], 1)
    assert words.startswith("On 1 test frame, ") and "one of two variables (not for mean sea level pressure)" in words
    assert "20.0 % for 2 m temperature (0.800 against 1.00 K with bicubic)" in words and "−50.0 %" in words


def test_precipitation_is_judged_by_the_better_interpolation_in_log_space() -> None:
    rain = scores_of(
        [
            ("net", "precipitation_rate", "log1p", 0.45),
            ("bicubic", "precipitation_rate", "log1p", 0.6),
            ("bicubic_log1p", "precipitation_rate", "log1p", 0.5),
            ("net", "precipitation_rate", "physical", 9.0),
            ("bicubic", "precipitation_rate", "physical", 5.0),
        ]
    )
    assert [tile.value for tile in tiles(rain, "net", ["precipitation_rate"])] == ["−10.0 %"]
    assert "bicubic of ln(1+x)" in reading(rain, "net", ["precipitation_rate"], 4)


def test_limits_grow_with_what_is_missing() -> None:
    facts = {"frames": 4, "first": "a", "last": "b", "days": 7, "refinement": 4, "intervals": False}
    facts |= {"copies": ["precipitation"], "others": []}
    short = text.limits(facts)
    assert any("4 test frames" in line and "no confidence interval" in line for line in short) and any("7 days" in line for line in short)
    assert len(text.limits({**facts, "frames": 3650, "days": 7300})) == len(short) - 2
    assert any(line.startswith("The coarse input is an area average of the truth itself (4 × 4 cells)") for line in short)
    mixed = text.limits({**facts, "others": ["2m_temperature"]})
    assert any(line.startswith("Among the inputs are area averages of the truth itself: precipitation (4") for line in mixed)
    assert any("from another product than the truth" in line for line in text.limits({**facts, "copies": []}))


def test_colours_show_zero_and_missing() -> None:
    wind = display("10m_u_component_of_wind").norm(np.array([-3.0, 7.0]))
    assert (wind.vmin, wind.vmax) == pytest.approx((-6.95, 6.95), abs=0.1)
    rain = display("precipitation_rate")
    assert rain.cmap.get_under()[:3] == pytest.approx((1, 1, 1))  # dry is white
    assert display("2m_temperature").field(np.array([273.15]))[0] == pytest.approx(0)
    assert display("mean_sea_level_pressure").units == "hPa"


def test_scores_pick_the_domain() -> None:
    built = table.Table("t", "d", "standard", "truth", "a/b", "v")
    built.add("net", "2m_temperature", "physical", "domain", "rmse", "m", 1.0)
    scores = Scores(built.frame(), "t")
    assert scores.domain == "domain" and scores.value("net", "2m_temperature", "rmse") == 1.0
    assert scores.value("net", "2m_temperature", "mae") is None
    assert Scores(pd.DataFrame(built.frame()), "other").value("net", "2m_temperature", "rmse") is None
