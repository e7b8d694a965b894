"""Maps of cells' own days and the record's extreme days, of kept days in which both are known; bounded by stretches of rows."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from orbit2.diagnose import areas, cells, events
from orbit2.diagnose.afterwards import CLIMATE, fields
from orbit2.diagnose.kept import KeptDays
from orbit2.diagnose.kept.days import at_hand
from orbit2.grid import uniform
from orbit2.metrics import registry
from orbit2.metrics.netcdf import write_netcdf
from orbit2.metrics.table import Table

GRID = uniform(-40, 60, 0, 160, 20, 32)
RAIN, HOT, LOW, WIND = "precipitation_rate", "2m_temperature_max", "mean_sea_level_pressure", "10m_u_component_of_wind"
COUNT = 600


def kept(count: int = COUNT, only: tuple[str, ...] = (RAIN, HOT, LOW, WIND)) -> KeptDays:
    """`reslim` is the truth times 1.2 less noise; one storm, one heat wave, one low and one easterly gale lie on days and places known."""
    random = np.random.default_rng(0)
    lat, lon = np.meshgrid(GRID.lat, GRID.lon, indexing="ij")

    def near(south: float, north: float, west: float, east: float) -> np.ndarray:
        return (lat > south) & (lat < north) & (lon > west) & (lon < east)

    truth = {RAIN: random.gamma(0.3, 5.0, (count, *GRID.shape)), HOT: 290 + 5 * random.normal(size=(count, *GRID.shape)),
             LOW: 101_000 + 500 * random.normal(size=(count, *GRID.shape)), WIND: 4 * random.normal(size=(count, *GRID.shape))}  # fmt: skip
    at = min(20, count - 1)
    truth[RAIN][at, near(7, 30, 60, 100)] += 60.0  # South Asia
    truth[HOT][min(40, count - 1), near(15, 36, 0, 42)] += 30.0  # Sahara
    truth[LOW][min(7, count - 1), near(-40, -20, 110, 155)] -= 9000.0  # Australia
    truth[WIND][min(9, count - 1), near(-12, 12, 40, 60)] = -60.0
    numbers = (np.datetime64("2001-01-01") - np.datetime64("1850-01-01")).astype(int) + np.arange(count)
    land = np.ones(GRID.shape, np.float32)
    arrays = {"about/calendar": np.array(b"standard"), "about/samples_a_day": np.array(1), "about/step": np.array(1),
              "about/lat_edges": GRID.lat_edges, "about/lon_edges": GRID.lon_edges, "about/land_fraction": land,
              "about/land_fraction_of_cells": land}  # fmt: skip
    for name in only:
        arrays |= {f"{name}/days": numbers, f"{name}/samples": np.ones(count, dtype=int)}
        field = truth[name].astype(np.float32)
        mean = 0 if name == RAIN else field.mean()
        for model, values in {"truth": field, "nearest": field.mean(axis=0, keepdims=True) + 0 * field,
                              "reslim": mean + 1.2 * (field - mean)}.items():  # fmt: skip
            values[:, 0, 0] = np.nan  # a cell that is never observed
            arrays[f"{name}/{model}/values"] = values.astype(np.float32)
    return KeptDays([at_hand(arrays)])


def told(days: KeptDays) -> tuple[xr.Dataset, pd.DataFrame, list[dict[str, str]]]:
    table = Table("task", "dataset", "standard", "truth", "2001/2002", "0")
    matched = SimpleNamespace(region="domain", model="reslim", models=lambda name: ["reslim", "nearest"])
    files, notes = fields(days, matched, None, table)  # type: ignore[arg-type]
    return files[CLIMATE], table.frame(), notes  # type: ignore[return-value]


@pytest.fixture(scope="module")
def found() -> tuple[xr.Dataset, pd.DataFrame, list[dict[str, str]]]:
    return told(kept())


def test_maps_are_those_of_the_days(found: tuple[xr.Dataset, pd.DataFrame, list[dict[str, str]]], tmp_path) -> None:
    file, days = found[0], kept()
    truth = days.values(RAIN).to_numpy()
    for model in ("reslim", "nearest"):
        p = days.values(RAIN, model).to_numpy()
        r, bias, wet = (file[f"{RAIN}_{what}"].sel(model=model).to_numpy() for what in ("r", "quantile_bias", "wet_share"))
        assert np.isnan([r[0, 0], bias[0, 0], wet[0, 0]]).all()
        np.testing.assert_allclose(bias[3], np.quantile(p[:, 3], 0.99, axis=0) - np.quantile(truth[:, 3], 0.99, axis=0), rtol=1e-5)
        np.testing.assert_allclose(wet[3], (p[:, 3] >= 1).mean(axis=0), rtol=1e-5)
        if model == "nearest":
            assert np.isnan(r).all()  # it never changes
        else:
            np.testing.assert_allclose(r[3, 4], np.corrcoef(p[:, 3, 4], truth[:, 3, 4])[0, 1], rtol=1e-5)
    assert file[f"{RAIN}_quantile_bias"].attrs["quantile"] == 0.99 and f"{HOT}_wet_share" not in file
    assert np.isfinite(file[f"{RAIN}_wet_share"].sel(model="truth")[1:]).all()
    write_netcdf(file, tmp_path / "climate.nc", "x")


def test_extreme_days_are_found_with_date_and_place(found: tuple[xr.Dataset, pd.DataFrame, list[dict[str, str]]]) -> None:
    file, frame, _ = found
    by = {str(kind): i for i, kind in enumerate(file["event_kind"].values)}
    assert list(by) == ["heaviest_rain", "hottest", "strongest_wind", "lowest_pressure"]
    for kind, region, date in (("heaviest_rain", "SAS", "2001-01-21"), ("hottest", "SAH", "2001-02-10"),
                               ("lowest_pressure", "EAU", "2001-01-08"), ("strongest_wind", None, "2001-01-10")):  # fmt: skip
        one = file.isel(event=by[kind])
        assert str(one["event_date"].values) == date and region in (None, str(one["event_region"].values)), kind
        assert GRID.lat[0] <= float(one["event_lat"]) <= GRID.lat[-1]
    rows = frame[frame["metric"] == "event_heaviest_rain"].set_index("model")["value"]
    assert rows["(truth)"] > 55 and rows["reslim"] == pytest.approx(1.2 * rows["(truth)"], rel=1e-4) and rows["nearest"] < 5
    assert registry.unknown(frame["metric"]) == []


def test_a_short_record_has_extremes_and_no_maps_and_says_so() -> None:
    file, frame, notes = told(kept(12, (RAIN,)))
    assert list(file["event_kind"].values) == ["heaviest_rain"] and "12 days" in frame["method"].iloc[0]
    assert [note["has"] for note in notes] == ["12 whole days"] * 2 and not any(str(name).endswith("_r") for name in file)
    file, _, notes = told(kept(150, (HOT,)))
    assert file[f"{HOT}_quantile_bias"].attrs["quantile"] == 0.95 and notes == []


def test_what_a_day_can_be_extreme_in_follows_from_cf_names() -> None:
    assert [kind.name for kind in events.kinds_of("2m_temperature")] == ["hottest", "coldest"]
    assert [kind.name for kind in events.kinds_of("2m_temperature_min")] == ["coldest"]
    names = ("2m_temperature", "2m_temperature_max", "2m_temperature_min", RAIN)
    assert {kind.name: name for kind, name in events.chosen(names).items()} == {
        "heaviest_rain": RAIN, "hottest": "2m_temperature_max", "coldest": "2m_temperature_min"}  # fmt: skip
    assert events.kinds_of("land_sea_mask") == () and cells.level_of(499) == 0.95 and cells.level_of(99) is None


def test_a_day_counts_only_where_half_of_a_region_is_known() -> None:
    days = kept(12, (RAIN,))
    wanted = areas.given(days, "domain")
    one = areas.Areas(wanted.names[:1], np.zeros_like(wanted.weights[:1]))
    one.weights[0, 0, 0] = 1.0  # the cell that is never observed
    assert np.isnan(events.means(days, RAIN, "truth", one)).all()
