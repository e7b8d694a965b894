"""Recipes in small, from `retrieve` to the report in this process: climate models in calendars of their own and in months (CMIP6's layout),
E-OBS beside hourly ERA5, HRRR's GRIB. What each becomes, cell by cell, is in `tests/unit/regrid`; here every stage goes through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from orbit2 import times
from orbit2.baselines.interpolation import block_mean
from orbit2.config.load import from_mapping
from orbit2.grid import named
from tests.data import calendar_archive, eobs_archive, map_archive
from tests.data.own_archive import COARSE_LAT, COARSE_LON, Walked, call, walk
from tests.unit.regrid import test_own_calendars as calendars
from tests.unit.regrid import test_own_hours as hours
from tests.unit.regrid import test_own_maps as maps
from tests.workflow.test_own_maps_walk import NETWORK

HRRR = ["2m_temperature", *maps.WINDS]


def small(raw: dict[str, Any], factor: int = 4) -> dict[str, Any]:
    """With a network of a few thousand parameters, a few steps and few figures."""
    few = {"steps": 4, "batch_size": 2, "validate_every": 2}
    raw["models"]["reslim"] |= {"architecture": {**NETWORK, "refinement": factor}, "train": few}
    return {**raw, "evaluate": {"bootstrap": 20, "spectra_bands": [], "spectra_boxes": {}}}


def rmse(done: Walked) -> pd.Series:
    """By variable and method, over the test block."""
    scores = pd.read_parquet(done.home / "evaluate/metrics.parquet")
    rows = scores[(scores.metric == "rmse") & (scores.space == "physical") & (scores.season == "all") & (scores.region == "domain")]
    return rows.set_index(["variable", "model"])["value"]


def walked(raw: dict[str, Any], write: Callable[[], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Walked:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    write()
    done = walk(from_mapping(raw))
    page = (done.home / "report/index.html").read_text(encoding="utf-8")
    assert str(raw["datasets"]["mine"]["files"]["credit"]) in page
    return done


@pytest.mark.slow
@pytest.mark.parametrize(("calendar", "monthly"), [("noleap", False), ("360_day", False), ("360_day", True), ("all_leap", True)])
def test_a_climate_model_is_walked_in_its_calendar(
    calendar: str, monthly: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = small(calendars.raw(calendar, monthly))
    done = walked(raw, lambda: calendar_archive.write(Path(), calendar, monthly), tmp_path, monkeypatch)
    calendars.check(done.pairs, calendar, monthly)
    made = xr.open_zarr(str(done.home / "downscale/test.zarr"), consolidated=False)
    assert made["time"].encoding["calendar"] == calendar
    block, first = raw["datasets"]["mine"]["split"]["test"], times.stamps(times.normal(made["time"].values))
    assert first[0][:10] == block["start"] and first[-1][:7] == block["end"][:7] and len(first) == (11 if monthly else 12)
    scores = rmse(done)
    assert scores["2m_temperature", "bilinear"] < 0.1 < scores["2m_temperature", "nearest"]  # the fields are linear
    given = calendar_archive.product(COARSE_LAT, COARSE_LON, calendar, monthly, "middle").isel(time=slice(0, 2))
    given.to_netcdf("given.nc", engine="h5netcdf")
    call("downscale", "given.nc", "--model", str(done.model), "-o", "out.nc")
    with xr.open_dataset("out.nc", decode_times=False) as out:
        assert out["time"].attrs["calendar"] == calendar


@pytest.mark.slow
def test_e_obs_and_era5_are_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = walked(small(hours.raw()), lambda: eobs_archive.write(Path()), tmp_path, monkeypatch)
    hours.check(done.pairs)
    fine, scores = done.pairs.grid("fine"), rmse(done)
    made = xr.open_zarr(str(done.home / "downscale/test.zarr"), consolidated=False)
    land = ~eobs_archive.sea(fine.lat2d, fine.lon2d)
    for name, element in zip(hours.NAMES, ("tg", "tx", "tn", "rr"), strict=True):
        truth = np.stack([eobs_archive.observed(day, fine.lat2d, fine.lon2d)[element] for day in range(40, 44)])
        off = (made[name].values - truth)[:, land]
        own = np.sqrt(np.average(off**2, weights=np.broadcast_to(fine.area_km2[land], off.shape)))  # of the cells that were observed
        assert scores[name, "reslim"] == pytest.approx(own, rel=2e-2, abs=5e-3)
    assert scores["2m_temperature", "bilinear"] < 0.6 * scores["2m_temperature", "nearest"]


@pytest.mark.slow
def test_hrrr_is_walked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    split = {part: {"start": f"2001-01-{day}T00:00", "end": f"2001-01-{day}T11:00"}
             for part, day in (("train", "01"), ("validation", "02"), ("test", "03"))}  # fmt: skip
    raw = small(maps.raw({"fine": "hrrr/*.grib2", "credit": "NOAA"}, HRRR, coarse_grid="coarsen_4", split={**split, "gap_days": 0.5},
                         statics=["land_sea_mask", "orography"]))  # fmt: skip
    done = walked(raw, lambda: map_archive.write_hrrr(Path("hrrr")), tmp_path, monkeypatch)
    fine = named(done.run.datasets["mine"].fine_grid)
    made = xr.open_zarr(str(done.home / "downscale/test.zarr"), consolidated=False, decode_coords="all")
    assert made["2m_temperature"].dims == ("time", "y", "x") and made.sizes["time"] == 12
    truth = np.stack([map_archive.hrrr_fields(48 + hour, fine.lat2d, (fine.lon2d + 180) % 360 - 180)[0] for hour in range(12)])
    scores = rmse(done)["2m_temperature"]
    # Of 2 x 3 blocks; beyond their centres there is no slope.
    between = np.clip((np.arange(12) - 1.5) / 4, 0, 2), np.clip((np.arange(8) - 1.5) / 4, 0, 1)
    blocks = np.stack([block_mean(field[None], fine.area_km2, 4)[0] for field in truth])
    rows = np.stack([[np.interp(between[0], range(3), row) for row in field] for field in blocks])
    bilinear = rows[:, :1] + between[1][:, None] * (rows[:, 1:] - rows[:, :1])
    nearest = np.repeat(np.repeat(blocks, 4, axis=1), 4, axis=2)
    for method, field in (("reslim", made["2m_temperature"].values), ("bilinear", bilinear), ("nearest", nearest)):
        own = np.sqrt(np.average((field - truth) ** 2, weights=np.broadcast_to(fine.area_km2, truth.shape)))
        assert scores[method] == pytest.approx(own, rel=2e-2, abs=5e-3), method
