"""Waves of kept days: rows of a world in which they are known, what climate.nc holds, and reasons where there can be none."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from orbit2.climate import waves as formulas
from orbit2.config.schema import DiagnoseConfig, EvaluateConfig
from orbit2.diagnose.climate import analyse, waves
from orbit2.diagnose.kept import KeptDays
from orbit2.diagnose.kept.days import at_hand
from orbit2.grid import Grid, uniform
from orbit2.metrics import registry
from orbit2.metrics.collector import Settings
from orbit2.metrics.netcdf import write_netcdf
from orbit2.metrics.table import Table

RAIN, PERIOD, LATE, COUNT = "precipitation_rate", 45.0, 4, 900
WORLD = uniform(-30, 30, 0, 360, 12, 72)
SPEED = 360 / PERIOD * formulas.METRES / formulas.DAY  # of wavenumber 1


def kept(grid: Grid, count: int = COUNT, slow: bool = False, land: tuple[float, float] | None = None) -> KeptDays:
    """A wave round the globe at the equator, cells' own noise of five days beside it; `reslim` LATE days late, `west` the other way round.

    `nearest` has the noise of the truth's 20 degree means only; where `slow`, it has the truth itself.
    """
    days, lon = np.arange(count), np.radians(grid.lon)
    shape = np.exp(-((grid.lat / 12) ** 2))[:, None]
    random = np.random.default_rng(0)
    noise = sum(random.normal(0, 1, (count // 5 + 1, *grid.shape)).repeat(5, axis=0)[:count] for _ in range(2))

    def wave(late: int, sign: int = 1) -> np.ndarray:
        return 6 + 3 * shape * np.cos(lon - sign * 2 * np.pi * (days[:, None, None] - late) / PERIOD)

    other = noise.mean(axis=(1, 2), keepdims=True) + 0.3 * random.normal(0, 1, noise.shape)
    fields = {"truth": wave(0) + 2 * noise, "nearest": wave(0) + 2 * (noise if slow else other),
              "reslim": np.roll(wave(0) + 2 * noise, LATE, axis=0),
              "west": wave(0, -1) + 2 * noise}  # fmt: skip
    if land is not None:
        for field in fields.values():
            field[:, :, (grid.lon < land[0]) | (grid.lon > land[1])] = np.nan
    numbers = (np.datetime64("2001-01-01") + days - np.datetime64("1850-01-01")).astype(int)
    ones = np.ones(grid.shape, np.float32)
    return KeptDays([at_hand({
        "about/calendar": np.array(b"standard"), "about/samples_a_day": np.array(1), "about/step": np.array(1),
        "about/lat_edges": grid.lat_edges, "about/lon_edges": grid.lon_edges, "about/land_fraction": ones,
        "about/land_fraction_of_cells": ones, f"{RAIN}/days": numbers, f"{RAIN}/samples": np.ones(count, dtype=int),
        **{f"{RAIN}/{model}/values": field.astype(np.float32) for model, field in fields.items()},
    })])  # fmt: skip


def rows(days: KeptDays) -> tuple[xr.Dataset, pd.DataFrame]:
    table = Table("task", "dataset", "standard", "truth", "2001/2003", "0")
    return waves.rows(table, days, RAIN, 100), table.frame()


@pytest.fixture(scope="module")
def found() -> tuple[xr.Dataset, pd.DataFrame]:
    return rows(kept(WORLD))


def value(frame: pd.DataFrame, model: str, metric: str, column: str = "value") -> float:
    chosen = frame[(frame["model"] == model) & (frame["metric"] == f"waves_{metric}")]
    assert len(chosen) == 1 and chosen["region"].iloc[0] == "5S-5N"
    return float(chosen[column].iloc[0])


def test_speed_period_and_direction_are_those_of_the_wave(found: tuple[xr.Dataset, pd.DataFrame]) -> None:
    frame = found[1]
    for model in ("(truth)", "reslim"):
        assert value(frame, model, "speed") == pytest.approx(SPEED, rel=0.05)
        assert value(frame, model, "period") == pytest.approx(PERIOD, rel=0.1)
        assert value(frame, model, "east_west") > 5
    assert value(frame, "west", "speed") == pytest.approx(-SPEED, rel=0.05) and value(frame, "west", "east_west") < 0.2


def test_a_late_wave_and_one_the_wrong_way_are_ranked(found: tuple[xr.Dataset, pd.DataFrame]) -> None:
    frame = found[1]
    assert value(frame, "reslim", "lag_days") == LATE and value(frame, "nearest", "lag_days") == 0
    assert value(frame, "reslim", "pattern_r") > value(frame, "west", "pattern_r") + 0.4
    assert value(frame, "west", "regression_longitude_r") < 0.5 < 0.95 < value(frame, "reslim", "regression_longitude_r")
    assert value(frame, "reslim", "regression_latitude_r") > 0.9
    low, high = (value(frame, "reslim", "pattern_r", end) for end in ("ci_low", "ci_high"))
    assert low < value(frame, "reslim", "pattern_r") < high


def test_waves_are_judged_only_where_nearest_neighbour_does_not_do_as_well(found: tuple[xr.Dataset, pd.DataFrame]) -> None:
    assert value(found[1], "(any)", "discriminate") == 1
    frame = rows(kept(WORLD, slow=True))[1]
    assert value(frame, "(any)", "discriminate") == 0 and value(frame, "nearest", "pattern_r") == 1


def test_rows_are_registered_and_the_file_holds_sections_and_regressions(found: tuple[xr.Dataset, pd.DataFrame], tmp_path) -> None:
    file, frame = found
    assert registry.unknown(frame["metric"]) == [] and frame["method"].str.len().min() > 40
    assert file[f"{RAIN}_waves"].dims == ("model", "wave_day", "wave_longitude") and file.sizes["wave_longitude"] == 72
    assert file[f"{RAIN}_waves_by_longitude"].shape[1:] == (72, 51) and file[f"{RAIN}_waves_by_latitude"].dims[1] == "wave_latitude"
    assert list(file["model"].values) == ["truth", "nearest", "reslim", "west", "input"]
    write_netcdf(file, tmp_path / "climate.nc", "climate")


@pytest.mark.parametrize(("grid", "count", "has"), [
    (uniform(20, 60, 0, 360, 10, 36), COUNT, "latitudes 22 to 58"), (uniform(-30, 30, 0, 40, 12, 8), COUNT, "40 degrees of longitude"),
    (WORLD, 400, "400 days, of which the filter takes 100 at each end"),
], ids=["outside the tropics", "a narrow box", "a short record"])  # fmt: skip
def test_no_waves_and_the_reason(grid: Grid, count: int, has: str) -> None:
    table = Table("task", "dataset", "standard", "truth", "2001/2003", "0")
    matched = SimpleNamespace(grid=grid, times=np.arange(3), region="domain", land_fraction=np.ones(grid.shape))
    settings = Settings(EvaluateConfig(bootstrap=100), DiagnoseConfig(domains="sperber"))
    analysis, frame = analyse(kept(grid, count), matched, settings, table), table.frame()  # type: ignore[arg-type]
    assert not frame["metric"].str.startswith("waves_").any() and not any("waves" in str(name) for name in analysis.file)
    (note,) = [note for note in analysis.missing if note["diagnostic"] == waves.WHAT]
    assert note["has"].startswith(has) and "565 days" in note["needs"] and note["status"].startswith("not computed")


def test_a_box_without_the_published_sector_takes_its_own_middle() -> None:
    box = waves.lines(kept(uniform(-15, 15, 200, 290, 6, 18), 600))
    assert box.sector == (237.5, 257.5) and not box.round_the_globe and waves.lines(kept(WORLD, 600)).sector == (80, 100)


def test_of_land_alone_what_is_known_is_told_and_nothing_more() -> None:
    frame = rows(kept(WORLD, land=(10.0, 120.0)))[1]
    assert value(frame, "reslim", "lag_days") == LATE and value(frame, "reslim", "regression_longitude_r") > 0.9
    assert np.isfinite(value(frame, "reslim", "pattern_r", "ci_low"))
    assert not frame["metric"].isin(["waves_east_west", "waves_speed"]).any()  # not round the globe
    without = rows(kept(WORLD, land=(200.0, 320.0)))[1]  # no land in the reference longitudes: no index, no regression
    assert not without["metric"].str.startswith(("waves_regression", "waves_speed")).any() and value(without, "reslim", "pattern_r") > 0.3
