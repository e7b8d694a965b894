"""docs/uncertainty.md: its commands run on a small model with noise, and its configuration is one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from orbit2.config.load import from_mapping, read_yaml
from tests.data.small_downscaling import random_model
from tests.docs.blocks import ROOT, blocks
from tests.docs.test_own_file_page import run

PAGE = ROOT / "docs/uncertainty.md"


def test_the_commands_of_the_page_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    random_model(tmp_path / "noisy", about={
        "step_hours": 1, "statics_from": {"tiny": {"source": "packaged", "relief": None, "fields": ["orography"], "carried": False}},
        "datasets": {"tiny": {"coarse_grid": "global_15.0"}},
    }, noise={"channels": 2})  # fmt: skip
    lat, lon = np.arange(-82.5, 90, 15.0), np.arange(7.5, 360, 15.0)
    warm = np.full((1, len(lat), len(lon)), 280.0, "float32")
    xr.Dataset(
        {"temp": (("time", "lat", "lon"), warm, {"units": "K"}), "rr": (("time", "lat", "lon"), np.ones_like(warm), {"units": "mm/day"})},
        {"time": np.array(["2020-01-31T12"], "datetime64[ns]"), "lat": ("lat", lat, {"units": "degrees_north"}),
         "lon": ("lon", lon, {"units": "degrees_east"})},
    ).to_netcdf(tmp_path / "mine.nc")  # fmt: skip
    monkeypatch.chdir(tmp_path)
    for language, text in blocks(PAGE):
        if language == "bash":
            for line in filter(None, text.splitlines()):
                run(line)
        elif language == "python":
            exec(compile(text, "uncertainty.md", "exec"), {})
    assert "('time', 'lat', 'lon')" in capsys.readouterr().out
    assert xr.open_zarr("members.zarr", consolidated=False).sizes["member"] == 8


def test_the_configuration_shown_extends_the_demo() -> None:
    (text,) = [text for language, text in blocks(PAGE) if language == "yaml"]
    shown, demo = yaml.safe_load(text), read_yaml(ROOT / "config/runs/demo.yaml")
    for section, entries in shown.items():
        demo[section].update(entries)
    run_ = from_mapping(demo)
    assert run_.architecture_of("members").noise.channels == 2 and run_.downscale["test_members"].members == 16
