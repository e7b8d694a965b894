"""What every kind of grid can say: areas against the analytic sphere, poles, nesting, windows, what others need, CF and JSON."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS

from orbit2.errors import OrbitError
from orbit2.grid import (
    EARTH_RADIUS_KM,
    AnyGrid,
    Grid,
    ProjectedGrid,
    from_attributes,
    from_centres,
    global_grid,
    named,
    projected,
    spelled,
    uniform,
)
from orbit2.grid.sphere import areas

LAMBERT = "+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +datum=WGS84 +units=m"
SPHERE = "+R=6371000 +units=m"
ROTATED = CRS.from_cf({"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25,
                       "grid_north_pole_longitude": -162.0}).to_wkt()  # fmt: skip


def lambert(step: float = 12_000.0, rows: int = 40, columns: int = 60, crs: str = LAMBERT) -> ProjectedGrid:
    return projected(*((np.arange(n) - (n - 1) / 2) * step for n in (rows, columns)), crs)


def rotated(step: float = 0.44, rows: int = 24, columns: int = 32) -> ProjectedGrid:
    return projected(*((np.arange(n) - (n - 1) / 2) * step for n in (rows, columns)), ROTATED)


KINDS = {"latlon": named("us_60"), "projected": lambert(), "rotated": rotated()}


@pytest.fixture(params=list(KINDS))
def grid(request: pytest.FixtureRequest) -> AnyGrid:
    return KINDS[request.param]


def test_refining_blocking_and_nesting_are_inverse(grid: AnyGrid) -> None:
    assert len(grid.dims) == 2 and grid.lat2d.shape == grid.lon2d.shape == grid.area_km2.shape == grid.shape
    fine = grid.refine(3)
    assert fine.nests_in(grid) == 3 and fine.coarsen(3).same_as(grid) and fine.coarsen(3).digest == grid.digest != fine.digest
    sums = fine.area_km2.reshape(grid.shape[0], 3, grid.shape[1], 3).sum((1, 3))
    np.testing.assert_allclose(sums, grid.area_km2, rtol=1e-6)
    assert fine.blocks(3, 3).same_as(grid) and grid.blocks(7, 50).shape == (-(-grid.shape[0] // 7), -(-grid.shape[1] // 50))
    for other in KINDS.values():
        assert grid.same_as(other) == grid.same_place(other) == (other is grid)
    with pytest.raises(OrbitError, match="whole blocks"):
        grid.coarsen(7)
    with pytest.raises(OrbitError, match="do not nest"):
        grid.refine(2).nests_in(KINDS["latlon"] if grid is not KINDS["latlon"] else KINDS["rotated"])
    assert grid.resolution == pytest.approx(grid.km / 111.19, rel=1e-3) and fine.km == pytest.approx(grid.km / 3, rel=2e-3)


def test_a_grid_comes_back_from_json_to_the_bit(grid: AnyGrid) -> None:
    again = from_attributes(json.loads(json.dumps(grid.to_attributes())))
    assert type(again) is type(grid) and again.digest == grid.digest and again.same_as(grid) and again.describe() == grid.describe()
    part = grid.crop(slice(2, 9), slice(3, 5))
    assert from_attributes(part.to_attributes()).digest == part.digest
    with pytest.raises(OrbitError, match="unknown kind of grid; got 'cubed'"):
        from_attributes({"kind": "cubed"})
    with pytest.raises(OrbitError, match="not whole"):
        from_attributes({"kind": "projected", "y_edges": [0.0, 1.0]})


def test_a_window_holds_the_centres_of_its_box(grid: AnyGrid) -> None:
    south, north = (np.quantile(grid.lat2d, q) for q in (0.3, 0.6))
    west, east = (np.quantile(grid.lon2d, q) - 360 for q in (0.3, 0.6))
    rows, columns = grid.window((south, north, west, east))
    inside = (grid.lat2d >= south) & (grid.lat2d <= north) & (grid.lon2d >= west + 360) & (grid.lon2d <= east + 360)
    part = inside[np.ix_(*grid.cells(rows, columns))]
    assert part.sum() == inside.sum() > 10 and part.shape == grid.crop(rows, columns).shape
    assert all(part[edge].any() and part[:, edge].any() for edge in (0, -1))  # the smallest block
    with pytest.raises(OrbitError, match="outside the grid"):
        grid.window((-50, -40, 100, 120))
    assert grid.holds((south, north, west, east)) and not grid.holds((-50, north, west, east)) and not grid.holds((south, north, west, 100))


def test_cf_coordinates_are_read_again_by_others(grid: AnyGrid) -> None:
    data = xr.Dataset({"t": (grid.dims, grid.area_km2, grid.field_attributes)}, coords=grid.coordinates())
    for axis in grid.dims:
        bounds = data[data[axis].attrs["bounds"]].values
        np.testing.assert_allclose(bounds.mean(-1), data[axis].values, atol=1e-9)
        np.testing.assert_array_equal(bounds[1:, 0], bounds[:-1, 1])
    if isinstance(grid, Grid):
        return
    mapping = data[data.t.attrs["grid_mapping"]].attrs
    assert mapping["grid_mapping_name"] in ("lambert_conformal_conic", "rotated_latitude_longitude")
    again = projected(data[grid.dims[0]].values, data[grid.dims[1]].values, CRS.from_cf(mapping).to_wkt())
    np.testing.assert_allclose(again.lon2d, data.lon.values, atol=1e-9)
    assert data.lat.attrs["standard_name"] == "latitude" and data.lat.dims == grid.dims


def test_areas_of_a_rotated_pole_are_those_of_the_sphere() -> None:
    """Every outline is measured on the true sphere, where a rotation changes nothing; the whole rotated globe is the Earth."""
    grid = rotated()
    np.testing.assert_allclose(areas(*grid.outlines(slice(0, 24))).reshape(grid.shape), grid.area_km2, rtol=2e-6)
    globe = ProjectedGrid(np.linspace(-90, 90, 19), np.linspace(-180, 180, 37), ROTATED)
    measured = areas(*globe.outlines(slice(0, 18)))
    assert measured.sum() == pytest.approx(4 * np.pi * EARTH_RADIUS_KM**2, rel=1e-9)
    np.testing.assert_allclose(measured.reshape(globe.shape)[1:-1], globe.area_km2[1:-1], rtol=2e-4)  # cells of 1100 km beside the pole
    assert globe.lat2d.max() <= 90 and grid.km == pytest.approx(0.44 * 111.195, rel=1e-3)
    assert "rlat -5.28..5.28" in grid.describe() and "pole at 39.25 N, -162 E" in grid.describe()
    np.testing.assert_allclose([grid.lat2d.min(), grid.lat2d.max()], [45.0, 55.4], atol=0.6)  # round 50.75 N, 18 E, as EUR-44


@pytest.mark.parametrize("crs", [
    "+proj=laea +lat_0=45 +lon_0=-100", "+proj=laea +lat_0=90 +lon_0=20", "+proj=laea +lat_0=-90 +lon_0=0",
    "+proj=cea +lat_ts=30 +lon_0=180", "+proj=aea +lat_1=20 +lat_2=60 +lat_0=40 +lon_0=-96"])  # fmt: skip
@pytest.mark.parametrize("rows", [8, 9])
def test_areas_of_an_equal_area_map_are_those_of_its_plane(crs: str, rows: int) -> None:
    """Also round a pole that lies on a corner, in a cell's middle and on a side, and across the date line."""
    for columns in (8, 9):
        grid = lambert(50_000.0, rows, columns, f"{crs} {SPHERE}")
        np.testing.assert_allclose(grid.area_km2, 2500.0, rtol=1e-7)


def test_areas_of_conformal_maps_are_their_scale_factors() -> None:
    """Mercator and polar stereographic on the sphere: scale 1/cos(lat) and 2/(1 + sin(lat)), exactly."""
    mercator = lambert(10_000.0, 30, 30, f"+proj=merc +lon_0=0 +lat_ts=0 {SPHERE}").crop(slice(2, 30), slice(0, 30))
    north = projected(5e6 + 10_000.0 * np.arange(20), 10_000.0 * np.arange(20), mercator.crs)
    latitude = [np.degrees(2 * np.arctan(np.exp(y / 6_371_000)) - np.pi / 2) for y in north.y_edges]
    exact = np.diff(np.sin(np.radians(latitude))) * (10_000 / 6_371_000) * EARTH_RADIUS_KM**2
    np.testing.assert_allclose(north.area_km2, np.repeat(exact[:, None], 20, axis=1), rtol=1e-8)
    assert north.km == pytest.approx(10 * np.cos(np.radians(north.lat2d[10, 10])), rel=2e-3) and "of 10 km" in north.describe()
    polar = lambert(25_000.0, 20, 20, f"+proj=stere +lat_0=-90 +lon_0=0 {SPHERE}")
    factor = 2 / (1 + np.sin(np.radians(np.abs(polar.lat2d))))
    np.testing.assert_allclose(polar.area_km2, 625 / factor**2, rtol=5e-6)  # the scale at the centre


def test_a_source_gives_what_a_target_needs() -> None:
    source, target = named("global_1.0"), lambert()
    rows, columns = source.around(target)
    assert columns == slice(0, 360)
    assert source.lat_edges[rows.start] <= target.lat2d.min() - 0.06 and source.lat_edges[rows.stop] >= target.lat2d.max() + 0.06
    arctic = lambert(50_000.0, crs="+proj=stere +lat_0=90 +lon_0=0 +datum=WGS84 +units=m")
    assert source.around(arctic)[0].stop == 180 and source.around(arctic)[0].start > 140
    assert arctic.around(source) == arctic.around(arctic.refine(2)) == (slice(0, 40), slice(0, 60))
    rows, columns = rotated().around(lambert(20_000.0, 6, 8, "+proj=lcc +lat_1=48 +lat_2=52 +lat_0=50 +lon_0=18 +datum=WGS84 +units=m"))
    part = rotated().crop(rows, columns)
    assert 4 <= part.shape[0] < 8 and 5 <= part.shape[1] < 9
    with pytest.raises(OrbitError, match="do not meet"):
        rotated().around(lambert())
    with pytest.raises(OrbitError, match="do not touch"):
        uniform(-60, -20, 0, 360, 4, 36).around(lambert())


@pytest.mark.parametrize("grid", [
    global_grid(2.5), from_centres(np.float32(np.arange(40.05, 46, 0.1)), np.float32(np.arange(-4.95, 8, 0.1))),
    from_centres(np.array([-80.0, -40.0, -10.0, 10.0, 40.0, 80.0]), np.arange(0.0, 360, 30.0)),
    projected(np.arange(0, 9000.0, 1000), np.arange(-5000.0, 5000, 1000), "EPSG:3035"),
])  # fmt: skip
def test_a_grid_without_a_name_is_spelled_out(grid: AnyGrid) -> None:
    name = spelled(grid)
    assert named(name).same_as(grid) and spelled(named(name)) == name and "\n" not in name
    if isinstance(grid, Grid) and np.ptp(np.diff(grid.lat_edges)) < 1e-3:
        assert name.startswith("cells_")


@pytest.mark.parametrize("name", ["cells_1,2,3", "cells_40,46,x,5,13,8", "cells_40,46,0,5,13,8", "{", "cells_46,40,6,5,13,8"])
def test_a_word_that_is_no_grid_is_refused(name: str) -> None:
    with pytest.raises(OrbitError):
        named(name)
