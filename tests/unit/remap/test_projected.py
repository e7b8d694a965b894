"""Conservative regridding from map projections: partition, GEOS areas, analytic fields, masks, seams, refusals."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import shapely
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.grid import Grid, ProjectedGrid, named, projected, uniform
from orbit2.remap import Regridder
from tests.data.cdo import DAYMET_CRS as LAMBERT

EQUAL_AREA = "+proj=laea +lat_0=45 +lon_0=-100 +datum=WGS84 +units=m"  # Lambert azimuthal equal area
POLAR = "+proj=stere +lat_0=90 +lon_0=0 +datum=WGS84 +units=m"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))


def lambert(step: float, half_width: float = 600_000, half_height: float = 400_000, crs: str = LAMBERT) -> ProjectedGrid:
    """Cells of `step` metres round the projection's origin (42.5 N, 100 W)."""
    y, x = (np.arange(-half + step / 2, half, step) for half in (half_height, half_width))
    return projected(y, x, crs)


def polygons(source: ProjectedGrid, points: int) -> np.ndarray:
    """The cells as GEOS polygons in (longitude, sin latitude), from their own corners and points on their sides."""
    result = []
    for j in range(source.shape[0]):
        for i in range(source.shape[1]):
            (y0, y1), (x0, x1) = source.y_edges[j : j + 2], source.x_edges[i : i + 2]
            ring = shapely.segmentize(shapely.box(x0, y0, x1, y1), (x1 - x0) / points * 1.000001).exterior
            lon, lat = source.lon_lat(*np.asarray(ring.coords).T)
            result.append(shapely.Polygon(np.stack([lon, np.sin(np.radians(lat))], axis=1)))
    return np.array(result)


@pytest.mark.parametrize(("step", "target"), [
    (40_000.0, named("us_60")), (90_000.0, named("us_15@40,45,257,264")), (2_000.0, named("us_10@42,43,259.5,260.5"))])
def test_constants_stay_constant_and_inner_cells_are_covered(step: float, target: Grid) -> None:
    source = lambert(step)
    source = source.crop(*source.around(target))
    regridder = Regridder(source, target)
    inside = regridder.coverage > 1 - 1e-9
    assert inside.any() and regridder.coverage.max() < 1 + 1e-9
    result = regridder(np.full(source.shape, 273.15))
    assert np.abs(result[regridder.coverage >= 0.5] / 273.15 - 1).max() < 1e-12
    np.testing.assert_array_equal(np.isnan(result), regridder.coverage < 0.5)
    single = regridder(np.full(source.shape, 273.15, dtype=np.float32))
    assert single.dtype == np.float32 and np.all(single[inside] == np.float32(273.15))  # to the bit


@pytest.mark.parametrize("step", [50_000.0, 23_000.0])
def test_the_area_integral_is_conserved(step: float) -> None:
    """Against cell areas from GEOS polygons with many points on each side."""
    source = lambert(step, 500_000, 300_000)
    target = uniform(36, 49, 250, 270, 39, 61)  # the whole source lies inside
    field = np.random.default_rng(0).gamma(0.5, 4.0, size=source.shape)
    regridder = Regridder(source, target, min_valid_fraction=1e-12)
    integral = np.nansum(regridder(field) * regridder.coverage * target.area_km2)
    areas = shapely.area(polygons(source, 64)).reshape(source.shape) * np.radians(1) * 6371.0**2
    assert integral == pytest.approx((field * areas).sum(), rel=1e-6)
    ours = (regridder.coverage * target.area_km2).sum()
    assert ours == pytest.approx(areas.sum(), rel=1e-6)


@pytest.mark.parametrize("target", [uniform(40, 45, 255, 265, 7, 9), uniform(41, 44, -103, -97, 31, 29)], ids=["coarser", "finer"])
def test_every_cell_is_the_mean_over_its_geos_overlaps(target: Grid) -> None:
    source = lambert(45_000.0, 300_000, 250_000)
    field = np.random.default_rng(1).normal(size=source.shape)
    shapes = polygons(source, 40)
    offset = 0.0 if target.lon_edges[0] < 0 else 360.0
    edges, sines = target.lon_edges - offset, np.sin(np.radians(target.lat_edges))
    boxes = shapely.box(edges[None, :-1], sines[:-1, None], edges[None, 1:], sines[1:, None])
    overlap = shapely.area(shapely.intersection(boxes[..., None], shapes))  # [H', W', HW]
    expected = (overlap @ field.ravel()) / np.maximum(overlap.sum(-1), 1e-30)
    regridder = Regridder(source, target, min_valid_fraction=0.01)
    np.testing.assert_allclose(regridder.coverage, overlap.sum(-1) / shapely.area(boxes), atol=2e-5)
    covered = regridder.coverage > 0.05
    assert covered.sum() > 20
    np.testing.assert_allclose(regridder(field)[covered], expected[covered], atol=1e-4)


def test_a_spherical_harmonic_converges() -> None:
    """Cell means of sin^2(lat) + cos^2(lat) cos(2 lon): the error falls with the source's spacing."""
    target = uniform(40, 45, 256, 264, 5, 8)
    s, lon = np.sin(np.radians(target.lat_edges)), np.radians(target.lon_edges)
    zonal, wave = np.diff(s**3) / 3 / np.diff(s), np.diff(s - s**3 / 3) / np.diff(s)
    exact = zonal[:, None] + wave[:, None] * (np.diff(np.sin(2 * lon)) / 2 / np.diff(lon))[None]
    errors = []
    for step in (40_000.0, 20_000.0, 10_000.0, 5_000.0):
        source = lambert(step, 480_000, 480_000)
        y, x = ((e[:-1] + e[1:]) / 2 for e in (source.y_edges, source.x_edges))
        lon_, lat_ = (np.radians(v) for v in source.lon_lat(*np.meshgrid(x, y)))
        values = np.sin(lat_) ** 2 + np.cos(lat_) ** 2 * np.cos(2 * lon_)  # the centre's value: the cell's mean to O(step^2)
        errors.append(np.sqrt(np.mean((Regridder(source, target)(values) - exact) ** 2)))
    assert errors[-1] < 1e-4 and all(b < 0.75 * a for a, b in pairwise(errors)) and errors[-1] < errors[0] / 8


def test_missing_cells_by_exact_area_fraction() -> None:
    """West of 100 W (the projection's straight central meridian) is missing: the valid part of each cell is known exactly."""
    source = lambert(1_000.0, 60_000, 60_000)
    target = Grid(np.array([42.2, 42.5, 42.8]), np.array([259.7, 259.85, 260.1, 260.3]))  # 100 W cuts the middle column 3 : 2
    field = np.full(source.shape, 7.0, dtype=np.float32)
    field[:, : source.shape[1] // 2] = np.nan
    part = np.nansum(Regridder(source, target)(np.where(np.isnan(field), 0.0, 1.0)), axis=0) / 2
    np.testing.assert_allclose(part, [0, 0.4, 1], atol=1e-6)
    for fraction, columns in ((0.39, (False, True, True)), (0.41, (False, False, True))):
        result = Regridder(source, target, min_valid_fraction=fraction)(field)
        np.testing.assert_array_equal(np.isfinite(result), np.broadcast_to(columns, (2, 3)))
        assert np.all(result[np.isfinite(result)] == 7.0)


def test_a_mask_that_changes_from_day_to_day_is_followed() -> None:
    source, target = lambert(10_000.0), named("us_60@41,44,258,262")
    field = np.random.default_rng(2).normal(size=(5, *source.shape))
    field[1, 30:50, 20:80] = np.nan
    field[2, 30:50, 20:80] = np.nan
    field[3, 10:40] = np.nan
    together = Regridder(source, target)(field)
    for day in range(5):
        np.testing.assert_array_equal(Regridder(source, target)(field[day]), together[day])
    assert np.isfinite(together[[0, 4]]).all() and np.isnan(together[3]).any()


@pytest.mark.parametrize("centre", [0.0, 180.0])
def test_cells_across_a_seam_of_longitude(centre: float) -> None:
    """The same map round another meridian gives the same values, whether or not it meets 0 E or the date line."""
    here = lambert(30_000.0)
    there = ProjectedGrid(here.y_edges, here.x_edges, LAMBERT.replace("lon_0=-100", f"lon_0={centre}"))
    field = np.random.default_rng(3).normal(size=here.shape)
    target, world = named("global_1.0@38,46,255,265"), named("global_1.0")
    expected = Regridder(here, target)(field)
    start = int(centre - 5) % 360
    columns = np.arange(start, start + 10) % 360
    np.testing.assert_allclose(Regridder(there, world)(field)[128:136][:, columns], expected, atol=1e-9)


def test_other_projections_and_the_pole() -> None:
    equal_area = lambert(25_000.0, crs=EQUAL_AREA)
    target = uniform(40, 50, 252, 268, 40, 64)
    regridder = Regridder(equal_area, target, min_valid_fraction=1e-9)
    total = (regridder.coverage * target.area_km2).sum()
    # On the ellipsoid every cell has 625 km2; latitudes read as spherical on 6371 km move that by a few parts in a thousand.
    assert total == pytest.approx(625 * equal_area.shape[0] * equal_area.shape[1], rel=5e-3)
    for grid in (np.arange(-950_000.0, 1_000_000, 100_000), np.arange(-900_000.0, 1_000_000, 100_000)):  # at a corner, inside a cell
        polar = projected(grid, grid, POLAR)
        cap = uniform(84, 90, 0, 360, 6, 48)
        regridder = Regridder(polar, cap)
        np.testing.assert_allclose(regridder.coverage, 1, atol=1e-9)
        beside = polar.crop(slice(12, 15), slice(12, 15))  # whatever the longitudes do there
        assert Regridder(beside, cap).coverage.max() > 0.9
        whole = Regridder(polar, uniform(72, 90, -180, 180, 6, 36), min_valid_fraction=1e-12)
        field = np.random.default_rng(5).gamma(0.5, 4.0, size=polar.shape)
        integral = np.nansum(whole(field) * whole.coverage * whole.target.area_km2)
        assert integral == pytest.approx((field * polar.area_km2).sum(), rel=1e-7)


def test_the_window_is_all_that_a_target_needs() -> None:
    source, target = lambert(5_000.0), named("us_15@41,43.5,257,261")
    rows, columns = source.around(target)
    part = source.crop(rows, columns)
    assert part.shape[0] < source.shape[0] and part.shape[1] < source.shape[1]
    field = np.random.default_rng(4).normal(size=source.shape)
    np.testing.assert_allclose(Regridder(part, target)(field[rows, columns]), Regridder(source, target)(field), atol=1e-12)
    assert Regridder(part, target).coverage.min() > 1 - 1e-9
    smaller = part.crop(slice(2, -2), slice(2, -2))  # without its margin it no longer covers the target
    assert Regridder(smaller, target).coverage.min() < 1 - 1e-6
    assert source.around(named("global_1.0")) == (slice(0, source.shape[0]), slice(0, source.shape[1]))
    with pytest.raises(OrbitError, match="do not meet"):
        source.around(named("us_15@24,26,235,240"))


def test_lazy_arrays_become_latitude_longitude(tmp_path: Path) -> None:
    source, target = lambert(20_000.0), named("us_60@40,45,256,264")
    values = np.random.default_rng(5).normal(size=(3, *source.shape)).astype(np.float32)
    y, x = ((e[:-1] + e[1:]) / 2 for e in (source.y_edges, source.x_edges))
    lon, lat = source.lon_lat(*np.meshgrid(x, y))
    field = xr.DataArray(values, dims=("time", "y", "x"), attrs={"units": "mm day-1", "grid_mapping": "lambert_conformal_conic"},
                         coords={"time": np.arange(3), "y": y, "x": x, "lat": (("y", "x"), lat), "lon": (("y", "x"), lon)})
    regridder = Regridder(source, target)
    lazy = regridder(field.chunk({"time": 1, "y": 16}))
    assert lazy.chunks is not None and lazy.dims == ("time", "lat", "lon") and lazy.dtype == np.float32
    assert lazy.attrs == {"units": "mm day-1"} and set(lazy.coords) == {"time", "lat", "lon"}
    np.testing.assert_array_equal(lazy.lon, target.lon)
    np.testing.assert_array_equal(lazy.values, regridder(values))
    with pytest.raises(OrbitError, match="y must ascend"):
        regridder(field.isel(y=slice(None, None, -1)))
    with pytest.raises(OrbitError, match=r"must be \(y, x\)"):
        regridder(field.transpose("time", "x", "y"))
    (file,) = (tmp_path / "cache" / "weights").glob("projected-*.npz")
    file.write_bytes(file.read_bytes()[:1000])  # damaged: rebuilt
    np.testing.assert_array_equal(Regridder(source, target)(values), lazy.values)


def test_what_is_not_offered_is_said() -> None:
    source, target = lambert(50_000.0), named("us_60")
    for method in ("bilinear", "nearest"):
        with pytest.raises(OrbitError, match=rf"only offered between latitude-longitude grids.*{method}"):
            Regridder(source, target, method)  # type: ignore[arg-type]
    with pytest.raises(OrbitError, match="only offered"):
        Regridder(source, target, backend="xesmf")
