"""Fill values that a file does not declare: told when read, in every source, before an average can hide them."""

from __future__ import annotations

import re
from pathlib import Path

import netCDF4
import numpy as np
import pytest
import xarray as xr

from orbit2.config.sources import SourcesConfig
from orbit2.door.plausible import checked
from orbit2.errors import OrbitError
from orbit2.sources import manifest
from orbit2.sources.catalogue import open_source
from tests.data.era5_files import cds2024

WINDOW = (np.datetime64("2020-01-01T00", "s"), np.datetime64("2020-01-01T02", "s"))


@pytest.mark.parametrize(("name", "fill"), [
    ("total_precipitation_24hr", -99.9), ("total_precipitation_24hr", -9999.0), ("2m_temperature", -9999.0), ("2m_temperature", 1e20),
    ("2m_temperature_min", -99.9), ("10m_u_component_of_wind", -999.0), ("mean_sea_level_pressure", -32767.0),
    ("precipitation_rate", 99999.0),
])
def test_a_fill_value_is_named_with_its_number_of_cells_and_missing_cells_pass(name: str, fill: float) -> None:
    good = {"2m_temperature": 280.0, "2m_temperature_min": 270.0, "mean_sea_level_pressure": 1e5}.get(name, 2.0)
    values = np.full((2, 4, 4), good, np.float32)
    values[0, 0, 0] = np.nan
    data = xr.Dataset({name: (("time", "lat", "lon"), values)}).chunk(time=1)
    np.testing.assert_array_equal(checked(data, "prism")[name].values, values)
    values[1, :2, 0] = fill
    told = rf"prism: {name}: values outside the physical range.*fill value.*{re.escape(f'{fill:g} in 2 cells')}"
    with pytest.raises(OrbitError, match=told):
        checked(xr.Dataset({name: (("time", "lat", "lon"), values)}).chunk(time=1), "prism")[name].load()
    assert checked(data, "prism")[name][0].shape == (4, 4)  # lazily: nothing was read


def test_it_is_told_where_every_source_is_opened(tmp_path: Path) -> None:
    folder = tmp_path / "era5" / manifest.VERSION
    folder.mkdir(parents=True)
    path = cds2024(folder / "x.nc")
    with netCDF4.Dataset(path, "a") as file:
        file["t2m"][1, 2, 3] = -9999.0
    manifest.write(folder, "era5", [manifest.entry(path, origin="o", licence="l", doi=None, attribution="a")])
    data = open_source("era5", tmp_path, SourcesConfig(), {"2m_temperature": WINDOW})
    with pytest.raises(OrbitError, match=r"era5: 2m_temperature: values outside.*-9999 in 1 cells"):
        data["2m_temperature"].load()
