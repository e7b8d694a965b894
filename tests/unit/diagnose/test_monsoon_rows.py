"""Seasons, seasonality and sections of kept days: rows, climate.nc, reasons. The errors were put in on purpose."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest

from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.diagnose.climate import analyse
from orbit2.diagnose.climate.draws import Draws
from orbit2.diagnose.climate.gathered import Gathered, beside
from orbit2.diagnose.kept import KeptDays
from orbit2.diagnose.kept.days import at_hand
from orbit2.grid import uniform
from orbit2.metrics import registry
from orbit2.metrics.collector import Settings
from orbit2.metrics.netcdf import write_netcdf
from orbit2.metrics.table import Table
from tests.data.rain import days, places

RAIN, YEARS, LATE = "precipitation_rate", 11, 6
GRID = uniform(-20, 35, 60, 155, 11, 19)  # South Asia, Australia, East and Southeast Asia


def _kept(years: int, first: str = "2001-01-01", variable: str = RAIN) -> KeptDays:
    """`reslim` is LATE days late and 10 % too dry; `nearest` has other noise in every cell's dates."""
    times = days(2001, years)
    times = times[times >= np.datetime64(first)]
    year, day = places(times)
    random = np.random.default_rng(0)
    late = random.integers(-10, 11, (years, *GRID.shape))[year - 2001]
    lat, lon = np.meshgrid(GRID.lat, GRID.lon, indexing="ij")
    begin = np.where(lat >= 0, 150 + lat / 2 + (lon - 100) / 4, 330 + lat / 2)
    noise = random.gamma(0.8, 1 / 0.8, (len(times), *GRID.shape))

    def rain(shift: object, factor: float) -> np.ndarray:
        inside = np.mod(day[:, None, None] - begin - late - shift, 365) <= 120 + lat / 3
        return (noise * np.where(inside, 12, 0.5) * factor).astype(np.float32)

    numbers = (times.astype("datetime64[D]") - np.datetime64("1850-01-01")).astype(int)
    return KeptDays([at_hand({
        "about/calendar": np.array(b"standard"), "about/samples_a_day": np.array(1), "about/step": np.array(1),
        "about/lat_edges": GRID.lat_edges, "about/lon_edges": GRID.lon_edges,
        "about/land_fraction": np.ones(GRID.shape, np.float32), "about/land_fraction_of_cells": np.ones(GRID.shape, np.float32),
        f"{variable}/days": numbers, f"{variable}/samples": np.ones(len(numbers), dtype=int), f"{variable}/truth/values": rain(0, 1.0),
        f"{variable}/nearest/values": rain(random.normal(0, 15, GRID.shape), 1.0), f"{variable}/reslim/values": rain(LATE, 0.9),
    })])  # fmt: skip


def _analysed(kept: KeptDays | None, domains: str = "ar6"):
    table = Table("task", "dataset", "standard", "truth", "2001/2011", "0")
    matched = SimpleNamespace(grid=GRID, times=np.arange(3), region="domain", land_fraction=np.ones(GRID.shape))
    return analyse(kept, matched, Settings(EvaluateConfig(bootstrap=200), DiagnoseConfig(domains=domains)), table), table.frame()


@pytest.fixture(scope="module")
def found():
    return _analysed(_kept(YEARS))


def _value(frame, model: str, metric: str, region: str = "monsoon:south_asia", column: str = "value") -> float:
    chosen = frame[(frame["model"] == model) & (frame["metric"] == metric) & (frame["region"] == region)]
    assert len(chosen) == 1, f"{len(chosen)} rows of {metric}"
    return float(chosen[column].iloc[0])


@pytest.mark.parametrize("region", ["monsoon:south_asia", "monsoon:australia"], ids=["north", "south, across the new year"])
def test_a_late_season_is_found_in_days_and_ranked(found, region):
    frame = found[1]
    for event in ("onset", "withdrawal"):
        assert _value(frame, "reslim", f"monsoon_{event}_bias", region) == pytest.approx(LATE, abs=1)
        low, high = (_value(frame, "reslim", f"monsoon_{event}_bias", region, end) for end in ("ci_low", "ci_high"))
        assert low < LATE < high and high - low < 2.5
        assert _value(frame, "reslim", f"monsoon_{event}_pattern_r", region) > 0.9
        assert _value(frame, "nearest", f"monsoon_{event}_mae", region) > 8 > _value(frame, "reslim", f"monsoon_{event}_mae", region)
        assert _value(frame, "reslim", f"climate_score_{event}", region) > _value(frame, "nearest", f"climate_score_{event}", region) + 10
        assert abs(_value(frame, "reslim", f"monsoon_mean_{event}_bias", region) - LATE) <= 2.5  # pentads
    assert abs(_value(frame, "reslim", "monsoon_duration_bias", region)) < 1
    assert _value(frame, "reslim", "monsoon_onset_within_90", region) <= 12
    assert _value(frame, "reslim", "monsoon_seasons_agreement", region) == 1


def test_seasonality_sees_the_lack_of_rain_where_its_index_has_an_amount(found):
    frame = found[1]
    assert _value(frame, "reslim", "seasonality_relative_entropy_bias") == pytest.approx(0, abs=0.03)
    assert _value(frame, "reslim", "seasonality_dsi_bias") < -0.01
    assert _value(frame, "reslim", "seasonality_centroid_bias") == pytest.approx(12 * LATE / 365, abs=0.05)


def test_every_metric_is_registered_and_every_row_says_how(found):
    frame = found[1]
    assert registry.unknown(frame["metric"]) == []
    assert frame["method"].str.len().min() > 40
    domains = {f"monsoon:{name}" for name in ("south_asia", "australia", "east_asia", "southeast_asia")}
    assert {name for name in frame["region"] if ":" in name} == domains


def test_every_region_has_dates_and_seasonality(found):
    frame = found[1]
    regions = {name for name in frame["region"] if ":" not in name}
    assert {"domain", "SAS", "NAU", "EAS", "SEA"} < regions
    of_south_asia = [_value(frame, "reslim", "monsoon_onset_mae", region) for region in ("SAS", "monsoon:south_asia")]
    assert of_south_asia[0] == pytest.approx(of_south_asia[1])  # land everywhere here
    assert _value(frame, "reslim", "monsoon_onset_bias", "domain", "ci_low") < LATE < _value(
        frame, "reslim", "monsoon_onset_bias", "domain", "ci_high")  # fmt: skip
    assert _value(frame, "reslim", "seasonality_dsi_bias", "NAU") < 0


def test_the_input_is_the_nearest_neighbours_and_domains_off_the_grid_are_named(found):
    analysis, frame = found
    assert _value(frame, "input", "climate_score_onset") == _value(frame, "nearest", "climate_score_onset")
    named = {note["diagnostic"]: note["has"] for note in analysis.missing}
    assert named["monsoon domain west_africa"].startswith("0% of its area")
    assert len(named) == 5


def test_the_file_holds_dates_by_cell_and_by_domain(found, tmp_path):
    file = found[0].file
    assert list(file["model"].to_numpy()) == ["truth", "nearest", "reslim", "input"]
    onset = file[f"{RAIN}_onset"].sel(season=1)
    assert abs((onset.sel(model="reslim") - onset.sel(model="truth")).sel(lat=slice(8, 30)).mean() - LATE) < 1
    assert np.isnan(file[f"{RAIN}_onset"].sel(season=2)).all()
    yearly = file[f"{RAIN}_domain_onset"].sel(domain="south_asia")
    assert yearly.shape == (4, YEARS)
    assert file[f"{RAIN}_section_south_asia"].dims == ("model", "south_asia_latitude", "pentad")
    write_netcdf(file, tmp_path / "climate.nc", "climate")


def test_boxes_in_place_of_regions():
    _, frame = _analysed(_kept(3), "sperber")
    assert {name for name in frame["region"] if ":" in name} == {"monsoon:south_asia", "monsoon:australia"}
    assert frame["method"].str.contains("box 7 to 25 N, 65 to 85 E").any()
    seasons = ~frame["metric"].str.startswith("waves_")
    assert frame["ci_low"][seasons].isna().all()  # three years have no interval; waves draw days


def test_short_records_have_a_reason_and_no_number():
    analysis, frame = _analysed(_kept(1, "2001-03-01"))
    assert frame.empty and not analysis.file.data_vars
    assert [note["has"] for note in analysis.missing] == [
        *["306 days of precipitation, 0 complete years"] * 2, "306 days, of which the filter takes 100 at each end"]  # fmt: skip
    analysis, frame = _analysed(_kept(1))
    assert not frame["metric"].str.startswith("monsoon_").any()
    assert frame["metric"].str.startswith("section_").any()
    maps = {str(name) for name in analysis.file.data_vars if "domain" not in str(name)}  # a mean date of one year is none
    assert f"{RAIN}_annual_range" in maps and not {name for name in maps if re.search("onset|withdrawal|duration", name)}
    assert [note for note in analysis.missing if "at least 2 complete years" in note["needs"]]
    assert [len(_analysed(kept)[1]) for kept in (None, _kept(2, variable="2m_temperature"))] == [0, 0]


def _seasons(start: list[float], onset: list[list[float]]) -> Gathered:
    made = Gathered(np.arange(3), np.zeros(3, dtype=bool), 365)
    made.start, made.dates = np.array([start]), {"onset": np.array([onset])}
    return made


def test_seasons_and_years_of_a_model_are_put_beside_the_truths():
    nan = [np.nan] * 3
    truth = _seasons([5, np.nan], [[3.0, 5, 7], nan])
    early = _seasons([360, np.nan], [[358.0, 360, 362], nan])  # of the year before
    np.testing.assert_array_equal(beside(early, truth, early.dates)["onset"][0, 0], [np.nan, 358, 360])
    two = _seasons([80, 280], [[80.0, 81, 82], [280.0, 281, 282]])
    swapped = _seasons([285, 78], [[285.0, 286, 287], [78.0, 79, 80]])
    np.testing.assert_array_equal(beside(swapped, two, swapped.dates)["onset"][0], [[78, 79, 80], [285, 286, 287]])
    one = _seasons([270, np.nan], [[270.0, 271, 272], nan])
    np.testing.assert_array_equal(beside(one, two, one.dates)["onset"][0], [nan, [270, 271, 272]])  # it lacks the first


@pytest.mark.parametrize(("years", "common"), [(10, 0.0), (24, 0.8)])
def test_intervals_hold_the_score_of_other_records_as_long(years, common):
    random, held = np.random.default_rng(1), []
    truth = random.normal(size=60)
    model = 0.9 * truth + 0.4 * random.normal(size=60)
    draws = Draws.of(years, 200, years)
    assert draws is not None
    for _ in range(100):
        o = truth[:, None] + random.normal(size=(60, years))
        p = model[:, None] + np.sqrt(1 - common**2) * random.normal(size=(60, years)) + common * (o - truth[:, None])
        value = np.corrcoef(p.mean(axis=1), o.mean(axis=1))[0, 1]
        held.append((value, *draws.mean_maps(p, o, np.ones(60))[0]))
    values, low, high = np.array(held).T
    assert 0.88 <= np.mean((low <= values.mean()) & (values.mean() <= high)) <= 1
    assert np.median(high - low) < 6 * values.std()
    assert Draws.of(9, 200, 9) is None
    assert Draws.of(30, 0, 30) is None
