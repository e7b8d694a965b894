"""Static fields of ERA5 and of a relief: analytic truths, ranges, and what is missing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from orbit2.config.sources import SourcesConfig, StaticConfig
from orbit2.errors import OrbitError
from orbit2.grid import named, uniform
from orbit2.retrieve import stage
from orbit2.sources import manifest, relief
from orbit2.sources.sample import STATIC
from orbit2.sources.source import Need
from orbit2.sources.static import Static, open_static
from tests.data.servers.base import Files
from tests.data.servers.cds import CdsServer

ALWAYS = (np.datetime64("2000-01-01"), np.datetime64("2000-01-01"))


def invariant(name: str, times: np.ndarray, lat: np.ndarray, lon: np.ndarray) -> np.ndarray:
    """Analytic stand-ins: land in the northern hemisphere, a dome of orography, vegetation that overlaps."""
    north = np.broadcast_to(lat[:, None], (len(lat), len(lon)))
    fields = {
        "land_sea_mask": np.where(north > 0, 1.0, 0.0), "geopotential": 9.80665 * (1000 + 10 * north),
        "high_vegetation_cover": np.full(north.shape, 0.7), "low_vegetation_cover": np.where(north > 0, 0.6, 0.1),
        "lake_cover": np.where(north > 60, 1.0001, 0.0), "standard_deviation_of_orography": 50 + 0 * north}
    return np.broadcast_to(fields[name], (len(times), *north.shape))


@pytest.fixture(scope="module")
def retrieved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`resources/static/v1` filled through retrieve from a local store."""
    folder = tmp_path_factory.mktemp("static")
    with pytest.MonkeyPatch.context() as patch, CdsServer(invariant, polls=0, spacing=2.0) as server:
        patch.setenv("CDSAPI_KEY", server.key)
        settings = SourcesConfig.model_validate({"era5": {"url": server.api}, "static": {"source": "era5"}})
        source = Static(settings.static)
        job = stage._Job(source, source.plan(Need(("landcover",), *ALWAYS)), settings)
        stage._run(job, folder, None, False, False)
        (sent,) = server.submitted
    assert sent.request["time"] == ["00:00"] and len(sent.request["variable"]) == 6
    return folder


def test_invariant_fields_of_era5_become_canonical(retrieved: Path) -> None:
    grid = named("global_4.0")
    names = ["land_sea_mask", "orography", "landcover", "high_vegetation_cover", "lake_cover", "subgrid_orography_deviation", "slope"]
    land, height, cover, tall, lakes, deviation, steep = open_static(grid, names, retrieved, StaticConfig(source="era5"))
    middle = np.abs(grid.lat) < 60
    np.testing.assert_allclose(height[middle], (1000 + 10 * grid.lat[middle])[:, None] + 0 * height[middle], atol=0.5)
    assert np.average(height, weights=np.broadcast_to(grid.lat_weights[:, None], grid.shape)) == pytest.approx(1000, rel=1e-6)
    assert land[grid.lat > 4].min() == 1 and land[grid.lat < -4].max() == 0
    assert cover[grid.lat > 4].max() == 1 and cover[grid.lat < -4] == pytest.approx(0.8)  # 0.7 + 0.6 is cut to 1
    assert tall == pytest.approx(0.7) and lakes.max() == 1 and deviation == pytest.approx(50)
    metres = np.radians(1) * 6371e3
    np.testing.assert_allclose(steep[middle], 10 / metres, rtol=1e-2)


def test_the_configuration_says_which_files_count(retrieved: Path, tmp_path: Path) -> None:
    with pytest.raises(OrbitError, match=r"static files were not retrieved.*static_0.25deg.nc"):
        open_static(named("global_4.0"), ["orography"], retrieved, StaticConfig())
    np.testing.assert_array_equal(open_static(named("global_4.0"), ["landcover"], retrieved),
                                  open_static(named("global_4.0"), ["landcover"], retrieved, StaticConfig(source="era5")))
    with pytest.raises(OrbitError, match=r"not in these sources; got 'landcover'"):
        Static(StaticConfig()).plan(Need(("landcover",), *ALWAYS))
    copy = tmp_path / STATIC.name
    copy.write_bytes(STATIC.read_bytes())
    manifest.write(tmp_path, "static", [manifest.entry(copy, origin="here", licence="x", doi=None, attribution="x")])
    names = ["orography", "land_sea_mask"]
    np.testing.assert_array_equal(open_static(named("us_60"), names, tmp_path, StaticConfig()), open_static(named("us_60"), names))


def make_relief(path: Path, height, *, step: float = 0.5, west: float = -180.0, units: str = "meters", north_first: bool = False) -> Path:  # type: ignore[no-untyped-def]
    """Cell-registered like ETOPO: longitudes from -180."""
    lat, lon = np.arange(-90 + step / 2, 90, step), np.arange(west + step / 2, west + 360, step)
    lat = lat[::-1] if north_first else lat
    xr.Dataset({"z": (("lat", "lon"), height(lat[:, None], lon[None]).astype(np.float32), {"units": units})},
               coords={"lat": lat, "lon": lon}).to_netcdf(path)
    return path


def test_a_relief_is_averaged_and_its_roughness_is_the_spread_inside_each_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relief, "BAND_BYTES", 7 * 720 * 8)  # seven rows at a time
    path = make_relief(tmp_path / "relief_x.nc", lambda lat, lon: 2000 + 300 * np.sign(np.sin(2 * np.pi * (lon + 180))) + 0 * lat)
    grid = named("global_4.0")
    height, rough = open_static(grid, ["orography", "subgrid_orography_deviation"], path)
    np.testing.assert_allclose(height, 2000, rtol=1e-6)
    np.testing.assert_allclose(rough, 300, rtol=1e-5)  # half of each cell 300 above, half below
    tilted = make_relief(tmp_path / "relief_y.nc", lambda lat, lon: 3000 + 10 * lat + 5 * np.cos(np.radians(lon)), north_first=True)
    box = uniform(20, 40, 250, 290, 10, 20)
    sines = np.sin(np.radians(np.linspace(20, 40, 11)))
    (height,) = open_static(box, ["orography"], tilted)
    exact = np.array([np.average(np.arange(a + 0.25, b, 0.5), weights=np.cos(np.radians(np.arange(a + 0.25, b, 0.5))))
                      for a, b in zip(np.arange(20, 40, 2), np.arange(22, 42, 2), strict=True)])
    wave = 5 * np.array([np.cos(np.radians(np.arange(a + 0.25, a + 2, 0.5))).mean() for a in np.arange(250, 290, 2)])
    np.testing.assert_allclose(height, 3000 + 10 * exact[:, None] + wave[None], rtol=2e-6)
    assert len(sines) == 11


def test_the_sea_floor_is_at_zero_and_low_land_is_kept(tmp_path: Path) -> None:
    path = make_relief(tmp_path / "relief_x.nc", lambda lat, lon: -4000 + 0 * lat + 0 * lon)
    grid = uniform(-10, 60, -60, 60, 70, 120)
    (height,) = open_static(grid, ["orography"], path)
    sahara = height[(grid.lat > 20) & (grid.lat < 28)][:, (grid.lon > 5) & (grid.lon < 20)]
    atlantic = height[(grid.lat > 20) & (grid.lat < 40)][:, (grid.lon > -50) & (grid.lon < -30)]
    assert (atlantic == 0).all() and (sahara == -430).all()


def test_what_is_no_relief_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OrbitError, match=r"wrong or no units; got 'km'"):
        open_static(named("us_60"), ["orography"], make_relief(tmp_path / "relief_k.nc", lambda lat, lon: lat + lon, units="km"))
    (tmp_path / "relief_p.nc").write_text("<html>")
    with pytest.raises(OrbitError, match="cannot be read as a relief"):
        open_static(named("us_60"), ["orography"], tmp_path / "relief_p.nc")
    with pytest.raises(OrbitError, match="static field not in the files"):
        open_static(named("us_60"), ["land_sea_mask"], make_relief(tmp_path / "relief_z.nc", lambda lat, lon: 100 + lat + 0 * lon))


def test_a_relief_is_fetched_beside_the_packaged_fields_and_comes_first(tmp_path: Path) -> None:
    content = make_relief(tmp_path / "etopo.nc", lambda lat, lon: 123.0 + 0 * lat + 0 * lon).read_bytes()
    with Files({"/etopo.nc": content}) as server:
        settings = SourcesConfig.model_validate({"static": {"relief": f"{server.url}/etopo.nc"}})
        source = Static(settings.static)
        assert "subgrid_orography_deviation" in source.offers()
        job = stage._Job(source, source.plan(Need(("orography",), *ALWAYS)), settings)
        stage._run(job, tmp_path / "v1", None, False, False)
    height, land = open_static(named("us_60"), ["orography", "land_sea_mask"], tmp_path / "v1", settings.static)
    assert height == pytest.approx(123) and 0 <= land.min() < land.max() == 1
