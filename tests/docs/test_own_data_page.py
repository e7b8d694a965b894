"""Every command of the page on one's own data works, or refuses as it says, on an archive in small."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import yaml

from orbit2.config.dataset import DatasetConfig
from orbit2.config.files import FilesConfig
from orbit2.config.variables import VariableConfig, known_to_all
from orbit2.door.ingest import Reading, read_inputs
from orbit2.errors import OrbitError
from orbit2.variables import cell_methods, forgetting, variable
from tests.data import own_archive
from tests.data.quick_sizes import quick
from tests.docs.blocks import ROOT, blocks
from tests.docs.test_own_file_page import run

PAGE = ROOT / "docs/own_data.md"


def test_the_commands_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(ROOT / "config", tmp_path / "config")
    own_archive.write(tmp_path / "my_data")
    (tmp_path / "archive").mkdir()
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    quick(monkeypatch)
    lines = [line for language, text in blocks(PAGE) for line in text.splitlines() if language == "bash" and line.startswith("orbit2")]
    assert len(lines) == 5
    for line in lines:
        run(f"{line} --device h200" if line.startswith("orbit2 new") else line)  # instead of this machine, which would be measured first
    printed = capsys.readouterr()
    assert "wrote my_run.yaml" in printed.out and "wrote alps.yaml" in printed.out and "queue each" in printed.out
    assert "files: 5 files" in printed.out and "nothing is fetched" in printed.out and "no provider's file" in printed.err


def test_the_declarations_of_the_page_hold(tmp_path: Path) -> None:
    """Each key does what the page says: names, units, periods, levels and directions of a file's fields are found by it."""
    (section,) = [yaml.safe_load(text) for language, text in blocks(PAGE) if language == "yaml" and text.startswith("variables:")]
    said = {key for row in section["variables"].values() for key in row}
    assert said == set(VariableConfig.model_fields)
    day = np.arange(np.datetime64("2001-01-01", "ns"), np.datetime64("2001-01-03", "ns"), np.timedelta64(1, "D"))
    place = {"time": day, "plev": ("plev", [85000.0, 50000.0], {"units": "Pa", "standard_name": "air_pressure"}),
             "lat": ("lat", [40.0, 41.0], {"units": "degrees_north"}), "lon": ("lon", [5.0, 6.0], {"units": "degrees_east"})}
    flat, deep = ("time", "lat", "lon"), ("time", "plev", "lat", "lon")
    data = xr.Dataset({
        "SNOWH": (flat, np.full((2, 2, 2), 150.0), {"units": "cm"}), "u100": (flat, np.full((2, 2, 2), 3.0), {"units": "m s-1"}),
        "v100": (flat, np.full((2, 2, 2), 4.0), {"units": "m s-1"}),
        "rsds": (flat, np.full((2, 2, 2), 3.6e5), {"units": "J m-2", "standard_name": "surface_downwelling_shortwave_flux_in_air"}),
        "o3": (deep, np.stack([np.full((2, 2, 2), 9e-5), np.full((2, 2, 2), 1e-7)], 1),
               {"units": "kg kg-1", "standard_name": "mass_fraction_of_ozone_in_air"}),
    }, place)  # fmt: skip
    with forgetting():
        known_to_all(section["variables"], "the page")
        names = ("snow_depth", "shortwave", "wind_east_100m", "wind_north_100m", "ozone_500")
        found = read_inputs(data, names, "a file", Reading(accumulated="1h"))
        assert [float(field[0, 0]) for field in found.frame(1)] == pytest.approx([1.5, 100.0, 3.0, 4.0, 1e-7])
        assert variable("wind_north_100m").parity == -1 and variable("snow_depth").long_name == "Depth of snow"
        assert cell_methods("shortwave", 1) == "time: mean (interval: 1 hour)" and variable("ozone_500").level == 500
        beyond = data.assign(SNOWH=data["SNOWH"] * 100)
        with pytest.raises(OrbitError, match=r"not plausible for snow_depth.*0 to 20 m"):
            read_inputs(beyond, names, "a file", Reading(accumulated="1h")).frame(0)


def test_every_key_that_the_page_names_exists() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for key in ("rename", "accumulated", "statics", "day_starts", "stamps"):
        assert f"files.{key}" in page and key in FilesConfig.model_fields
    assert {"coarse_grid", "fine_grid", "input_sources", "files"} <= set(DatasetConfig.model_fields)
    shipped = yaml.safe_load((ROOT / "config/runs/own_data.yaml").read_text(encoding="utf-8"))
    assert set(shipped["datasets"]["mine"]["files"]) <= set(FilesConfig.model_fields)
