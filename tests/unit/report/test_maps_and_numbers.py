"""Coastlines, map sampling and number formatting against what is known about the Earth and about rounding."""

from __future__ import annotations

import math

import numpy as np
import pandas as pd
import pytest

from orbit2.grid import global_grid, uniform
from orbit2.metrics import table
from orbit2.report import text
from orbit2.report.figures import coast, maps
from orbit2.report.pages import climate, verdict
from orbit2.report.style import display
from orbit2.report.tables import Scores, baseline_table, number, plain, rmse_table


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
    pixel_lon, pixel_lat, _ = maps.pixels(maps.WIDTH)
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


def test_box_that_begins_west_of_a_region_is_cut_to_it() -> None:
    region = uniform(38, 40, 253, 256, 8, 12)
    lon = np.broadcast_to(region.lon, region.shape)
    values, lat_edges, lon_edges = maps.cut(lon, region, (37, 39, 252.5, 254))
    assert maps.overlaps(region, (37, 39, 252.5, 254)) and values.shape == (4, 4)
    np.testing.assert_array_equal(lon_edges, region.lon_edges[:5])
    np.testing.assert_array_equal(lat_edges, region.lat_edges[:5])
    np.testing.assert_array_equal(values[0], region.lon[:4])
    assert maps.unwrap(region, (37, 39, 252.5, 254)) == pytest.approx((37, 39, 252.5, 254))
    assert maps.cut(lon, region, (37, 39, 200, 300))[0].shape == (4, 12)  # around all of it
    assert maps.cut(lon, region, (37, 39, -106, -100))[0].shape == (4, 8)
    assert not maps.overlaps(region, (37, 39, 240, 250))


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
    assert "lower RMSE than every baseline for none of its one variable. It loses 2 m temperature (1.50 against 1.00 K with bicubic)" in (
        plain(verdict.reading(lost, ["2m_temperature"])))  # fmt: skip
    tile = verdict.tiles(lost, ["2m_temperature"])[0]
    assert (plain(tile.value), tile.good) == ("+50.0 %", False) and "without a confidence interval" in tile.basis
    mixed = scores_of(
        [
            ("net", "2m_temperature", "physical", 0.8),
            ("bicubic", "2m_temperature", "physical", 1.0),
            ("net", "mean_sea_level_pressure", "physical", 90.0),
            ("bicubic", "mean_sea_level_pressure", "physical", 60.0),
        ]
    )
    words = plain(verdict.reading(mixed, ["2m_temperature", "mean_sea_level_pressure"]))
    assert "for one of two variables" in words and "It loses mean sea level pressure (90.0 against 60.0 Pa with bicubic)" in words
    assert "20.0 %: 2 m temperature (0.800 against 1.00 K with bicubic)" in words


RAIN = [
    ("net", "precipitation_rate", "log1p", 0.45),
    ("bicubic", "precipitation_rate", "log1p", 0.6),
    ("bicubic_log1p", "precipitation_rate", "log1p", 0.5),
    ("net", "precipitation_rate", "physical", 9.0),
    ("bicubic", "precipitation_rate", "physical", 5.0),
]


def test_rain_is_won_only_in_both_spaces() -> None:
    """10 % better in ln(1 + mm), 80 % worse in mm/day: both are shown, and it is no win."""
    rain = scores_of(RAIN)
    shown = {tile.title: plain(tile.value) for tile in verdict.tiles(rain, ["precipitation_rate"])}
    assert shown == {"Precipitation, mm/day": "+80.0 %", "Precipitation, ln(1 + mm/day)": "−10.0 %"}
    words = plain(verdict.reading(rain, ["precipitation_rate"]))
    assert "for none of its one variable" in words and "It loses precipitation (9.00 against 5.00 mm/day with bicubic)" in words
    better = scores_of([*RAIN[:3], ("net", "precipitation_rate", "physical", 4.0), RAIN[4]])
    assert "for its one variable" in verdict.reading(better, ["precipitation_rate"])
    assert "lower RMSE than its parent" not in words


def test_fitted_baselines_and_the_parent_are_in_the_verdict() -> None:
    rows = [("net", "2m_temperature", "physical", 0.7), ("bicubic", "2m_temperature", "physical", 1.1),
            ("delta", "2m_temperature", "physical", 0.6), ("foundation", "2m_temperature", "physical", 0.65)]  # fmt: skip
    words = plain(verdict.reading(scores_of(rows), ["2m_temperature"]))
    assert "It loses 2 m temperature (0.700 against 0.600 K with delta). Against interpolation alone it wins its one variable." in words
    assert "than its parent foundation for none of its one variable; it loses 2 m temperature (0.700 against 0.650 K with" in words
    table = rmse_table(scores_of(rows), "net", ["2m_temperature"])
    assert table.columns[2:] == ("best interpolation", "best baseline", "model / best", "parent foundation", "model / parent")
    assert [cell.text for cell in table.rows[0][1:]] == ["0.700", "1.10", "0.600", "1.167", "0.650", "1.077"]
    assert [row[0].text for row in baseline_table(scores_of(rows), "net", ["2m_temperature"], "t").rows] == [
        "net", "foundation", "bicubic", "delta"]  # fmt: skip


def tails(own: float, wet: float) -> Scores:
    built = table.Table("t", "d", "standard", "truth", "2026-03-30T18:00/2026-03-31T16:00", "v")
    for model, value, share in (("net", own, wet), ("(truth)", 64.6, 0.63)):
        built.add(model, "precipitation_rate", "physical", "global", "quantile_0.999", "m", value)
        built.add(model, "precipitation_rate", "physical", "global", "wet_share_0.1", "m", share)
    return Scores(built.frame(), "t")


def test_words_about_extremes_follow_the_numbers() -> None:
    strong, weak, right = (plain(" ".join(verdict.extremes(tails(own, 0.72), "net", ["precipitation_rate"]))) for own in (73.5, 40.0, 64.0))
    assert "73.5 mm/day against 64.6 of the truth (1.14 times: heavy rain is too strong)" in strong
    assert "72 % against 63 % of the area has at least 0.1 mm/day" in strong
    assert "too weak" in weak and "about right" in right
    facts = {"frames": 4, "first": "a", "last": "b", "days": 7, "refinement": 4, "intervals": False, "copies": [], "others": []}
    limits = " ".join(text.limits({**facts, "extremes": [strong]}))
    assert "too strong" in limits and "too weak" not in limits


def hovmoller(nearest: float) -> str:
    built = table.Table("t", "d", "standard", "truth", "2026-03-30T18:00/2026-03-31T16:00", "v")
    built.add("(any)", "(any)", "physical", "global", "n_samples", "m", 4)
    for model, r, nrmse in (("net", 0.999, 0.05), ("bicubic", 0.99, 0.1), ("nearest", nearest, 0.2)):
        built.add(model, "2m_temperature", "physical", "5S-5N", "hovmoller_longitude_pattern_r", "m", r)
        built.add(model, "2m_temperature", "physical", "5S-5N", "hovmoller_longitude_nrmse", "m", nrmse)
    return plain(climate._hovmoller_verdict(Scores(built.frame(), "t"), "net", ["2m_temperature"], "5S-5N"))


def test_a_hovmoller_diagram_that_nearest_neighbour_solves_gives_no_verdict() -> None:
    words = hovmoller(0.97)
    assert "cannot discriminate: on 4 frames within 22 hours" in words and "0.97" in words and "No verdict" in words
    assert "nearer to the truth than every baseline for 1 of 1" in hovmoller(0.8)


def test_limits_grow_with_what_is_missing() -> None:
    facts = {"frames": 4, "first": "a", "last": "b", "days": 7, "refinement": 4, "intervals": False}
    facts |= {"copies": ["precipitation"], "others": []}
    short = text.limits(facts)
    assert any("4 test frames" in line and "no confidence interval" in line for line in short) and any("7 days" in line for line in short)
    long = text.limits({**facts, "frames": 3650, "days": 7300, "intervals": True})
    assert len(long) == len(short) - 1 and any("other days of the same weather" in line for line in long)
    unasked = text.limits({**facts, "frames": 3650, "days": 7300})
    assert len(unasked) == len(long) and "No score has a confidence interval" in unasked[0]
    assert any(line.startswith("The coarse input is an area average of the truth itself (4 × 4 cells)") for line in short)
    mixed = text.limits({**facts, "others": ["2m_temperature"]})
    assert any(line.startswith("Among the inputs are area averages of the truth itself: precipitation (4") for line in mixed)
    assert any(line.endswith("nothing of trends.") for line in short)
    assert any(line.endswith("nothing of rainy seasons nor of trends.") for line in text.limits({**facts, "untold": ["rainy seasons"]}))
    named = text.limits({**facts, "finer": {"fine: era5": "0.1 degrees against 0.25"}, "gap": "36 hours"})
    assert any("fine: era5: 0.1 degrees against 0.25" in line for line in named) and any("as close as 36 hours" in line for line in named)
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
