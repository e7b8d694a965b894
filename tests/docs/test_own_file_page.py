"""Every command of the page on a user's own file works, or refuses as it says."""

from __future__ import annotations

import shlex
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2.cli import main
from tests.data.small_downscaling import random_model
from tests.docs.blocks import ROOT, blocks

REFUSED = " && exit 1 || test $? = 2"


def run(line: str) -> None:
    """A line of a bash block, in this process: seconds instead of a minute."""
    words = shlex.split(line.replace(REFUSED, ""), comments=True)
    assert words[0] == "orbit2"
    with pytest.raises(SystemExit) as stop:
        main(words[1:])
    assert stop.value.code == (2 if REFUSED in line else 0), line


def test_the_page_on_a_file_of_your_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    about = {
        "step_hours": 1, "statics_from": {"tiny": {"source": "packaged", "relief": None, "fields": ["orography"], "carried": False}},
        "datasets": {"tiny": {"coarse_grid": "global_15.0"}},
    }  # fmt: skip
    random_model(tmp_path / "model", about=about)
    random_model(tmp_path / "noisy", about=about, noise={"channels": 2})
    lat, lon = np.arange(-82.5, 90, 15.0), np.arange(7.5, 360, 15.0)
    warm = np.full((1, len(lat), len(lon)), 280.0, "float32") + 20 * np.cos(np.radians(lat))[None, :, None].astype("float32")
    data = xr.Dataset(
        {"t2m": (("time", "lat", "lon"), warm, {"units": "K"}), "rr": (("time", "lat", "lon"), np.ones_like(warm), {"units": "mm/day"})},
        {"time": np.array(["2020-01-31T12"], "datetime64[ns]"), "lat": ("lat", lat, {"units": "degrees_north"}),
         "lon": ("lon", lon, {"units": "degrees_east"})},
    )  # fmt: skip
    data.rename(t2m="temp").to_netcdf(tmp_path / "mine.nc")
    data.isel(time=0, drop=True).to_netcdf(tmp_path / "no_time.nc")
    data.assign(rr=data["rr"].assign_attrs(units="mm")).to_netcdf(tmp_path / "amounts.nc")
    data.isel(lat=slice(2, 9), lon=slice(2, 9)).to_netcdf(tmp_path / "box.nc")
    (tmp_path / "archive").mkdir()
    for file, name in (("tas_2020.nc", "t2m"), ("pr_2020.nc", "rr")):
        data[[name]].to_netcdf(tmp_path / file)
        data[[name]].to_netcdf(tmp_path / "archive" / file)
    before = (tmp_path / "box.nc").read_bytes()
    monkeypatch.chdir(tmp_path)
    for language, text in blocks(ROOT / "docs/own_file.md"):
        if language == "python":
            exec(compile(text, "own_file.md", "exec"), {})
        else:
            for line in filter(None, text.splitlines()):
                run(line)
    captured = capsys.readouterr()
    printed = captured.out + captured.err + caplog.text
    for said in ("temp 20", "<Model random-00000000", "no time is given", "near the rim of a box",
                 "another prediction is already there", "the output is the input", "has no noise", "units that do not fit",
                 "('member', 'time', 'lat', 'lon')"):  # fmt: skip
        assert said in printed, said
    assert (tmp_path / "box.nc").read_bytes() == before
    assert xr.open_zarr(tmp_path / "g.zarr").sizes["member"] == 4 and not (tmp_path / "j.nc").exists()
    assert xr.open_dataset(tmp_path / "h.nc")["2m_temperature"].dims[0] == "quantile"
    assert "probability_of_2m_temperature_at_or_below_0_degC" in xr.open_dataset(tmp_path / "i.nc")
    assert xr.open_dataset(tmp_path / "b.nc")["precipitation_rate"].shape == (1, 48, 96)
    assert xr.open_zarr(tmp_path / "c.zarr")["2m_temperature"].shape == (1, 28, 28)
