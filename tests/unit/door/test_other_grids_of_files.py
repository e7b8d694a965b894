"""Input on a rotated, projected or curvilinear grid is averaged to latitudes and longitudes: where it lies, and what it says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS, Transformer

from orbit2.door.ingest import Reading, read_inputs
from orbit2.errors import OrbitError

NAME = ("2m_temperature",)
LCC = CRS.from_cf({"grid_mapping_name": "lambert_conformal_conic", "standard_parallel": [43.0, 47.0], "longitude_of_central_meridian": 8.0,
                   "latitude_of_projection_origin": 45.0, "semi_major_axis": 6370000.0, "semi_minor_axis": 6370000.0})  # fmt: skip
ROTATED = {"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0}


def warmth(lat: Any, lon: Any) -> Any:
    return 280 + 0.7 * (lat - 45) + 0.4 * (lon - 8)


def on_lcc() -> xr.Dataset:
    y, x = np.arange(-300e3, 301e3, 20e3), np.arange(-400e3, 401e3, 20e3)
    lon, lat = Transformer.from_crs(LCC, LCC.geodetic_crs, always_xy=True).transform(*np.meshgrid(x, y))
    return xr.Dataset({"tas": (("time", "y", "x"), warmth(lat, lon)[None].repeat(2, 0), {"units": "K", "grid_mapping": "crs"}),
                       "crs": ((), 0, LCC.to_cf())},
                      {"time": np.array(["2001-01-01", "2001-01-02"], "datetime64[ns]"),
                       "y": ("y", y, {"units": "m", "standard_name": "projection_y_coordinate"}),
                       "x": ("x", x, {"units": "m", "standard_name": "projection_x_coordinate"})})  # fmt: skip


def on_rotated() -> xr.Dataset:
    rlat, rlon = np.arange(-6.0, -0.9, 0.2), np.arange(-8.0, -1.9, 0.2)
    crs = CRS.from_cf(ROTATED)
    lon, lat = Transformer.from_crs(crs, crs.source_crs, always_xy=True).transform(*np.meshgrid(rlon, rlat))
    return xr.Dataset({"tas": (("time", "rlat", "rlon"), warmth(lat, lon)[None].repeat(2, 0), {"units": "K", "grid_mapping": "rp"}),
                       "rp": ((), 0, ROTATED)},
                      {"time": np.array(["2001-01-01", "2001-01-02"], "datetime64[ns]"),
                       "rlat": ("rlat", rlat, {"units": "degrees", "standard_name": "grid_latitude"}),
                       "rlon": ("rlon", rlon, {"units": "degrees", "standard_name": "grid_longitude"})})  # fmt: skip


def on_curves() -> xr.Dataset:
    a, b = np.meshgrid(np.linspace(0, 1, 40), np.linspace(0, 1, 30))
    lat, lon = 42 + 6 * b + 0.8 * np.sin(2 * a), 4 + 8 * a + 0.5 * b**2
    return xr.Dataset({"tas": (("time", "y", "x"), warmth(lat, lon)[None].repeat(2, 0), {"units": "K"})},
                      {"time": np.array(["2001-01-01", "2001-01-02"], "datetime64[ns]"),
                       "lat": (("y", "x"), lat, {"units": "degrees_north"}),
                       "lon": (("y", "x"), lon, {"units": "degrees_east"})})  # fmt: skip


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.mark.parametrize(("make", "spacing"), [(on_lcc, 0.18), (on_rotated, 0.2), (on_curves, 0.2)])
def test_the_field_lies_where_it_is(make: Any, spacing: float) -> None:
    inputs = read_inputs(make(), NAME, "input", Reading())
    grid = inputs.grid
    assert grid.resolution == pytest.approx(spacing, rel=0.1) and len(inputs.times) == 2
    frame = inputs.frame(1)[0]
    known = np.isfinite(frame)
    assert 0.6 < known.mean() <= 1
    expected = warmth(*np.meshgrid(grid.lat, grid.lon, indexing="ij"))
    np.testing.assert_allclose(frame[known], expected[known], atol=0.12)  # at the rim a cell's covered part has another centre
    assert float(np.sqrt(np.mean((frame - expected)[known] ** 2))) < 0.03
    window = inputs.cells(0, np.array([3, 4]), np.array([7, 6, 5]))[0]
    np.testing.assert_array_equal(window, inputs.frame(0)[0][3:5][:, [7, 6, 5]])
    (line,) = [line for line in inputs.warnings if line.startswith("grid: ")]
    assert "averaged (conservatively)" in line and inputs.attrs["history"] == line


def test_one_time_is_read_for_one_time() -> None:
    data = on_lcc()
    inputs = read_inputs(data, NAME, "input", Reading())
    whole = inputs.frame(0)
    again = read_inputs(data.isel(time=[0]), NAME, "input", Reading()).frame(0)
    np.testing.assert_array_equal(whole, again)


def test_a_fill_value_is_not_averaged_away() -> None:
    data = on_lcc()
    data["tas"][0, 10, 10:13] = -9999.0
    with pytest.raises(OrbitError, match="fill value that the file does not declare"):
        read_inputs(data, NAME, "input", Reading()).frame(0)


def test_winds_along_the_grid_are_turned_to_east_and_north() -> None:
    """A uniform westerly, written along the rotated grid's axes; both components are read though one is asked for."""
    data = on_rotated()
    crs = CRS.from_cf(ROTATED)
    back = Transformer.from_crs(crs.source_crs, crs, always_xy=True)
    lon, lat = Transformer.from_crs(crs, crs.source_crs, always_xy=True).transform(*np.meshgrid(data["rlon"], data["rlat"]))
    one, other = (np.array(back.transform(lon + step, lat)) for step in (-1e-4, 1e-4))
    east = (other - one) / (2e-4 * np.cos(np.radians(lat)))  # in rotated degrees
    along = east * np.stack([np.cos(np.radians(data["rlat"].values))[:, None] * np.ones_like(lon), np.ones_like(lon)])
    for name, values, standard in (("uas", along[0], "grid_eastward_wind"), ("vas", along[1], "grid_northward_wind")):
        data[name] = (("time", "rlat", "rlon"), 10 * values[None].repeat(2, 0),
                      {"units": "m s-1", "standard_name": standard, "grid_mapping": "rp"})  # fmt: skip
    assert np.abs(data["vas"].values).max() > 1
    u, v = "10m_u_component_of_wind", "10m_v_component_of_wind"
    inputs = read_inputs(data, (u, v), "input", Reading())
    frame = inputs.frame(1)
    np.testing.assert_allclose(frame[0][np.isfinite(frame[0])], 10, atol=0.02)
    np.testing.assert_allclose(frame[1][np.isfinite(frame[1])], 0, atol=0.02)
    assert "winds along it were turned" in inputs.warnings[0]
    alone = read_inputs(data, (v,), "input", Reading()).frame(1)
    np.testing.assert_allclose(alone[0], frame[1], atol=1e-5)
    with pytest.raises(OrbitError, match="10m_v_component_of_wind") as caught:
        read_inputs(data.drop_vars("vas"), (u,), "input", Reading())
    assert "\n" not in str(caught.value)


def test_a_grid_that_nobody_can_place_is_refused() -> None:
    data = on_lcc().drop_vars("crs")
    del data["tas"].attrs["grid_mapping"]
    with pytest.raises(OrbitError) as caught:
        read_inputs(data, NAME, "input", Reading())
    assert "\n" not in str(caught.value) and "projection" in str(caught.value)
