"""Precipitation of ERA5's relatives that is no sum of one hour: refused by what the file says, and by its shape over the day."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.sources.era5 import open_era5
from tests.data.era5_files import LAT, LON
from tests.data.grib import message

RAIN = "precipitation_rate"
HOURS = np.datetime64("2020-03-01T01", "ns") + np.arange(72) * np.timedelta64(1, "h")
HOURLY = np.random.default_rng(3).gamma(0.3, 4e-4, (72, len(LAT), len(LON))).astype(np.float32)  # metres of each hour
SINCE_MIDNIGHT = np.concatenate([HOURLY[day : day + 24].cumsum(0) for day in (0, 24, 48)])  # stamps 01 ... 24


def file(path: Path, tp: np.ndarray, times: np.ndarray = HOURS, chunk: int | None = None, **attributes: str) -> Path:
    data = xr.Dataset({"tp": (("valid_time", "latitude", "longitude"), tp, {"units": "m", **attributes})},
                      coords={"valid_time": times, "latitude": LAT, "longitude": LON})
    encoding = {"tp": {"chunksizes": (chunk, len(LAT), len(LON))}} if chunk else {}
    data.to_netcdf(path, engine="netcdf4", encoding=encoding)
    return path


def test_sums_since_midnight_are_told_by_their_shape_and_hourly_ones_pass(tmp_path: Path) -> None:
    good = open_era5([file(tmp_path / "era5.nc", HOURLY)], [RAIN], steps="hourly")
    np.testing.assert_allclose(good[RAIN].values, HOURLY[:, ::-1] * 24000, rtol=1e-5)
    for chunk in (None, 24):
        land = open_era5([file(tmp_path / f"land{chunk}.nc", SINCE_MIDNIGHT, chunk=chunk)], [RAIN], steps="hourly")
        with pytest.raises(OrbitError, match=r"land.*nc: tp: precipitation is accumulated since 00 UTC, as in ERA5-Land.*single levels"):
            land[RAIN].load()


def test_a_dry_box_and_a_single_day_without_a_midnight_prove_nothing(tmp_path: Path) -> None:
    assert (open_era5([file(tmp_path / "dry.nc", HOURLY * 0)], [RAIN])[RAIN].values == 0).all()
    short = file(tmp_path / "short.nc", HOURLY[:3].cumsum(0), HOURS[:3])
    assert np.isfinite(open_era5([short], [RAIN])[RAIN].values).all()


@pytest.mark.parametrize("step", ["avgad", "avgas"])
def test_monthly_means_of_daily_sums_are_named(tmp_path: Path, step: str) -> None:
    months = np.array(["2021-01-01T06", "2021-02-01T06", "2021-03-01T06"], dtype="datetime64[ns]")
    with pytest.raises(OrbitError, match=rf"tp: amounts are not those of an hour: monthly means; got 'step type {step}'"):
        open_era5([file(tmp_path / "m.nc", HOURLY[:3], months, GRIB_stepType=step)], [RAIN], steps="as held")
    with pytest.raises(OrbitError, match=r"amounts are not hourly.*31 days apart \(monthly\)|28 days apart \(monthly\)"):
        open_era5([file(tmp_path / "unsaid.nc", HOURLY[:3], months)], [RAIN], steps="as held")


def test_daily_stamps_do_not_say_over_which_period_an_amount_is(tmp_path: Path) -> None:
    days = np.arange("2020-03-01", "2020-03-04", dtype="datetime64[D]").astype("datetime64[ns]")
    one_by_one = [file(tmp_path / f"{i}.nc", HOURLY[i : i + 1], days[i : i + 1]) for i in range(3)]
    with pytest.raises(OrbitError, match=r"amounts are not hourly.*stamps 1 day apart"):
        open_era5(one_by_one, [RAIN], steps="as held")
    rates = file(tmp_path / "rate.nc", np.full((3, len(LAT), len(LON)), 1e-4, np.float32), days, units="kg m**-2 s**-1")
    np.testing.assert_allclose(open_era5([rates], [RAIN], steps="as held")[RAIN].values, 8.64, rtol=1e-6)  # a rate needs no period


def test_what_a_grib_file_holds_is_listed_with_its_levels(tmp_path: Path) -> None:
    stamp, plane = np.datetime64("2020-01-01T00", "s"), np.full((len(LAT), len(LON)), 280.0)
    content = b"".join(message(code, level, stamp, LAT, LON, plane) for code, level in ((167, None), (151, None), (130, 1000)))
    (tmp_path / "x.grib").write_bytes(content)
    with pytest.raises(OrbitError, match="the files hold: 2t, msl, t at 1000 hPa"):
        open_era5([tmp_path / "x.grib"], [RAIN])
    with pytest.raises(OrbitError, match=r"one of \('t',\) at 850 hPa; the files hold: .*t at 1000 hPa"):
        open_era5([tmp_path / "x.grib"], ["temperature_850"])


def test_preliminary_stamps_of_the_layout_before_2024_are_known_and_replaced(tmp_path: Path) -> None:
    times = np.datetime64("2021-09-30T22", "ns") + np.arange(4) * np.timedelta64(1, "h")
    values = np.full((4, 2, len(LAT), len(LON)), np.nan, np.float32)
    values[:2, 0], values[2:, 1] = 280.0, 290.0
    old = xr.Dataset({"t2m": (("time", "expver", "latitude", "longitude"), values, {"units": "K"})},
                     coords={"time": times, "expver": np.array([1, 5], np.int32), "latitude": LAT, "longitude": LON})
    old.to_netcdf(tmp_path / "old.nc")
    data = open_era5([tmp_path / "old.nc"], ["2m_temperature"], steps="hourly")
    assert data.attrs["expver"] == "preliminary (ERA5T, expver 0005): 2021-10"
    final = old.isel(expver=0, drop=True).isel(time=slice(2, 4)).fillna(285.0)
    final.t2m.attrs["units"] = "K"
    final.to_netcdf(tmp_path / "final.nc")
    mended = open_era5([tmp_path / "old.nc", tmp_path / "final.nc"], ["2m_temperature"], steps="hourly")
    assert mended["2m_temperature"].values[:, 0, 0].tolist() == [280, 280, 285, 285] and "expver" not in mended.attrs
