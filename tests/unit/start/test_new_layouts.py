"""`orbit2 new` on what archives really look like: GRIB with levels, WRF's nested domains, CMIP's levels, records with gaps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2.config.load import load
from orbit2.errors import OrbitError, Unsaid
from orbit2.start.look import look
from orbit2.start.split import blocks
from tests.data import map_archive
from tests.data.grib import message
from tests.data.own_archive import call, warmth
from tests.data.quick_sizes import quick

QUICK = ("--device", "a100", "--hours", "1")
HOUR = 3600


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    quick(monkeypatch)
    return tmp_path


def written(name: str, lat: np.ndarray, lon: np.ndarray) -> None:
    """A GRIB file of sixteen days, every six hours: temperature on two levels and at 2 m."""
    with open(name, "wb") as file:
        for step in range(64):
            time = np.datetime64("2001-01-01T00:00") + np.timedelta64(6 * step, "h")
            for code, level, lower in ((130, 850, 5), (130, 500, 30), (167, None, 0)):
                file.write(message(code, level, time, lat, lon, warmth(step / 4, lat[:, None], lon[None, :]) - lower))


def test_grib_with_levels_on_both_sides(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    written("coarse.grib", np.arange(47.0, 39, -1), np.arange(4.0, 13))
    written("fine.grib", np.arange(45.0, 40.9, -0.25), np.arange(6.0, 10.1, 0.25))
    call("new", "levels", "--coarse", "coarse.grib", "--fine", "fine.grib", "--outputs", "2m_temperature", *QUICK)
    printed = capsys.readouterr().out
    assert "fine: 1 file, 17x17 cells of 0.25 degrees" in printed and "temperature_500              t (K)" in printed
    dataset = load(here / "levels.yaml").datasets["mine"]
    assert set(dataset.inputs) == {"2m_temperature", "temperature_500", "temperature_850"} and dataset.outputs == ("2m_temperature",)
    assert dataset.refinement == 4 and dataset.step_hours == 6


def test_nested_domains_of_wrf(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    map_archive.write_wrf(here / "wrf")
    days = ("--coarse-day", "0", "--fine-day", "0")
    call("new", "nested", "--coarse", "wrf/wrfout_d01*", "--fine", "wrf/wrfout_d02*", *days, *QUICK)
    printed = capsys.readouterr().out
    assert "Lambert Conic Conformal" in printed and "factor 3: fine cells fill coarse ones" in printed
    assert load(here / "nested.yaml").datasets["mine"].refinement == 3


def test_levels_in_cmip_names_and_names_without_a_level(here: Path) -> None:
    dims = ("time", "plev", "lat", "lon")
    axes = {"time": np.arange("2001-01-01", "2001-01-04", dtype="datetime64[D]").astype("datetime64[ns]"),
            "plev": ("plev", [85000.0, 50000.0], {"units": "Pa", "standard_name": "air_pressure"}),
            "lat": ("lat", [40.5, 41.5], {"units": "degrees_north"}), "lon": ("lon", [5.5, 6.5], {"units": "degrees_east"})}
    warm = np.full((3, 2, 2, 2), 280.0, dtype="float32") - np.array([0, 25], dtype="float32")[:, None, None]
    data = xr.Dataset({"ta": (dims, warm, {"units": "K"})}, axes)
    data.to_netcdf("ta.nc", engine="h5netcdf")
    found = {field.name: field for field in look("fine", ["ta.nc"], {}, None).fields}
    assert set(found) == {"temperature_500", "temperature_850"}
    assert (found["temperature_500"].least, found["temperature_850"].least) == (255, 280)
    data.isel(plev=0, drop=True).rename(ta="t").to_netcdf("t.nc", engine="h5netcdf")
    with pytest.raises(Unsaid, match=r"no field of the fine files has a name that orbit2 knows.*got 't'"):
        look("fine", ["t.nc"], {}, None)
    assert look("fine", ["t.nc"], {"t": "temperature_850"}, None).names == ("temperature_850",)


def test_the_gap_is_not_rounded_up_and_nights_without_data_are_refused() -> None:
    month = np.arange(744) * HOUR
    assert blocks(month, HOUR, "standard").gap_days == 1.5416  # 37 hours are 1.541667 days
    with pytest.raises(OrbitError, match=r"--fine: the record has too many gaps.*name files of whole days"):
        blocks(month[month // HOUR % 24 < 9], HOUR, "standard")
