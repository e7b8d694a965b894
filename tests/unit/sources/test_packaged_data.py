"""The ERA5 week and the static fields that ship with orbit2: size, attribution and facts published about them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.grid import Grid, from_centres, named
from orbit2.sources.relief import slope
from orbit2.sources.sample import ATTRIBUTION, STATIC, WEEK
from orbit2.sources.static import open_static


def test_files_are_small_and_attributed() -> None:
    assert WEEK.stat().st_size < 8e6 and STATIC.stat().st_size < 1e6
    text = " ".join(ATTRIBUTION.read_text(encoding="utf-8").split())
    for needed in ("Contains modified Copernicus Climate Change Service information 2026", "10.24381/cds.adbb2d47", "Hersbach",
                   "CC BY 4.0", "Neither the European Commission nor ECMWF is responsible", "ETOPO1", "GLOBE", "global-land-mask", "pvlib"):
        assert needed in text


def test_week_has_the_published_mean_temperature_and_precipitation() -> None:
    with xr.open_dataset(WEEK, engine="netcdf4") as week:
        weights = np.cos(np.radians(week.latitude))
        temperature = float(week.t2m.weighted(weights).mean())
        precipitation = float(week.tp.weighted(weights).mean()) * 24000
        assert week.sizes["time"] == 24
        assert str(week.time.values[0])[:13] == "2026-03-25T00" and str(week.time.values[-1])[:13] == "2026-03-31T23"
    assert temperature == pytest.approx(287.55, abs=0.005)
    assert precipitation == pytest.approx(2.85, abs=0.005)


def test_land_covers_29_percent_of_the_globe_and_places_are_where_they_should_be() -> None:
    grid = named("global_0.25")
    land, height = open_static(grid, ["land_sea_mask", "orography"])
    assert (land * grid.area_km2).sum() / grid.area_km2.sum() == pytest.approx(0.29, abs=0.005)
    assert land.min() == 0 and land.max() == 1 and height.min() > -500

    def at(field: np.ndarray, lat: float, lon: float) -> float:
        return float(field[int((lat + 90) / 0.25), int((lon % 360) / 0.25)])

    for lat, lon, is_land in ((48.1, 11.6, 1), (-25, 133, 1), (30, -40, 0), (0, -150, 0), (-23, -60, 1), (-60, 100, 0), (40, -100, 1)):
        assert at(land, lat, lon) == is_land
    assert at(height, 33, 88) == pytest.approx(5000, abs=400)  # Tibet
    assert at(height, -89.9, 10) == pytest.approx(2835, abs=60)  # South Pole
    assert at(height, 39.1, -106.4) > 2800 and at(height, 30, -40) == 0
    assert -60 < at(height, 45, 47) < -10  # the lowland north-west of the Caspian lies below sea level


def test_coarser_statics_are_area_means_of_the_finer_ones() -> None:
    fine, coarse = named("global_1.0"), named("global_4.0")
    names = ["land_sea_mask", "orography"]
    area = fine.area_km2.reshape(45, 4, 90, 4)
    blocks = (open_static(fine, names).reshape(2, 45, 4, 90, 4).astype(float) * area).sum(axis=(2, 4)) / area.sum(axis=(1, 3))
    np.testing.assert_allclose(open_static(coarse, names), blocks, rtol=1e-5, atol=1e-4)


def test_finer_grids_are_interpolated_and_stay_in_range() -> None:
    region = named("us_15").refine(4)
    land, height = open_static(region, ["land_sea_mask", "orography"])
    assert land.min() >= 0 and land.max() <= 1 and np.isfinite(height).all()
    coarse = open_static(named("us_15"), ["orography"])[0]
    assert abs(height.mean() - coarse.mean()) < 5


def test_slope_of_a_tilted_plane_is_its_gradient_everywhere_and_across_the_meridian() -> None:
    grid = named("global_1.0")
    metres = np.radians(1) * 6371e3
    climb = 1e-3 * metres * grid.lat[:, None] + np.zeros(grid.shape)  # 1 m per km northward
    np.testing.assert_allclose(slope(climb, grid), 1e-3, rtol=1e-9)
    wave = 1000 * np.cos(np.radians(grid.lon))[None] + np.zeros(grid.shape)
    step = np.radians(1.0)
    exact = 1000 * np.abs(np.sin(np.radians(grid.lon))) * np.sin(step) / step / 6371e3  # centred difference of a cosine
    row = slope(wave, grid)[90]
    np.testing.assert_allclose(row, exact / np.cos(np.radians(grid.lat[90])), atol=1e-12)


def test_latitude_is_the_cell_centre_and_order_follows_the_names() -> None:
    grid = named("global_4.0")
    fields = open_static(grid, ["latitude", "orography", "latitude"])
    np.testing.assert_array_equal(fields[0], fields[2])
    np.testing.assert_array_equal(fields[0][:, 7], grid.lat.astype(np.float32))


def test_era5_grid_with_pole_rows_gets_finite_statics() -> None:
    grid = from_centres(np.arange(-90, 91.0), np.arange(360.0))
    assert np.isfinite(open_static(grid, ["orography", "land_sea_mask", "slope"])).all()


def user_file(path: Path, **changes: object) -> Path:
    grid = Grid(np.linspace(20, 60, 21), np.linspace(-130, -60, 36))
    data = xr.Dataset({"orography": (("lat", "lon"), np.full(grid.shape, 7.0), {"units": "m", **changes})},
                      coords={"lat": grid.lat, "lon": grid.lon})
    data.to_netcdf(path)
    return path


def test_a_users_static_file_is_used_and_its_mistakes_are_named(tmp_path: Path) -> None:
    inside = named("us_60")
    good = user_file(tmp_path / "own.nc")
    np.testing.assert_allclose(open_static(inside, ["orography", "slope"], good)[0], 7)
    with pytest.raises(OrbitError, match=r"own.nc: static field not in the file.*land_sea_mask"):
        open_static(inside, ["land_sea_mask"], good)
    with pytest.raises(OrbitError, match="does not cover the grid"):
        open_static(named("global_4.0"), ["orography"], good)
    with pytest.raises(OrbitError, match=r"km\.nc: orography: field has wrong units.*'K'"):
        open_static(inside, ["orography"], user_file(tmp_path / "km.nc", units="K"))
    np.testing.assert_allclose(open_static(inside, ["orography"], user_file(tmp_path / "hm.nc", units="hm"))[0], 700)
    with pytest.raises(OrbitError, match="static file not found"):
        open_static(inside, ["orography"], tmp_path / "none.nc")
    with pytest.raises(OrbitError, match="not a static field"):
        open_static(inside, ["2m_temperature"])
