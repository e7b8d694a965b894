"""Conservative regridding between any two kinds of grid: integrals, constants, missing cells, an independent count of random points."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS

from orbit2.grid import AnyGrid, CurvilinearGrid, Grid, ProjectedGrid, curvilinear, named, projected, uniform
from orbit2.grid.sphere import unit
from orbit2.remap import Regridder
from orbit2.remap.nested import nested_weights
from orbit2.remap.polygons import polygon_weights

LAMBERT = "+proj=lcc +lat_1=40 +lat_2=55 +lat_0=50 +lon_0=15 +datum=WGS84 +units=m"
POLAR = "+proj=stere +lat_0=90 +lat_ts=70 +lon_0=-45 +datum=WGS84 +units=m"
ROTATED = CRS.from_cf({"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25,
                       "grid_north_pole_longitude": -162.0}).to_wkt()  # fmt: skip


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ORBIT2_CACHE", str(tmp_path / "cache"))


def square(step: float, count: int, crs: str, middle: tuple[float, float] = (0.0, 0.0)) -> ProjectedGrid:
    return projected(*(m + step * (np.arange(count) - (count - 1) / 2) for m in middle), crs)


def bent(grid: AnyGrid) -> CurvilinearGrid:
    """The same cells by their 2-D coordinates alone, in [-180, 180)."""
    return curvilinear(grid.lat2d, (grid.lon2d + 180) % 360 - 180)


GRIDS: dict[str, tuple[AnyGrid, AnyGrid]] = {  # an inner source, and a target that covers it all
    "latlon-lambert": (uniform(47, 53, 11, 19, 12, 14), square(60_000, 20, LAMBERT)),
    "latlon-rotated": (uniform(47, 53, 11, 19, 12, 14), square(0.5, 24, ROTATED)),
    "latlon-polar": (uniform(72, 90, 0, 360, 9, 36), square(200_000, 24, POLAR)),
    "rotated-lambert": (square(0.22, 20, ROTATED), square(60_000, 16, LAMBERT)),
    "lambert-rotated": (square(25_000, 20, LAMBERT), square(0.6, 16, ROTATED)),
    "lambert-polar": (square(25_000, 16, LAMBERT), square(70_000, 14, POLAR, (-2260000.0, 3910000.0))),
    "polar-polar": (square(100_000, 13, POLAR), square(140_000, 14, "+proj=laea +lat_0=90 +lon_0=0 +datum=WGS84 +units=m")),
    "curvilinear-lambert": (bent(square(0.22, 20, ROTATED)), square(60_000, 16, LAMBERT)),
    "curvilinear-latlon": (bent(square(0.22, 20, ROTATED)), uniform(45, 56, 10, 26, 20, 30)),
    "curvilinear-date-line": (bent(square(30_000, 12, LAMBERT.replace("lon_0=15", "lon_0=180"))), uniform(45, 55, 170, 190, 18, 25)),
    "curvilinear-pole": (bent(square(100_000, 12, POLAR)), uniform(78, 90, 0, 360, 8, 24)),
}


@pytest.fixture(params=list(GRIDS))
def pair(request: pytest.FixtureRequest) -> tuple[AnyGrid, AnyGrid]:
    return GRIDS[request.param]


def test_the_area_integral_is_kept_and_constants_stay(pair: tuple[AnyGrid, AnyGrid]) -> None:
    source, target = pair
    regridder = Regridder(source, target, min_valid_fraction=1e-9)
    field = np.random.default_rng(0).gamma(0.5, 4.0, size=source.shape)
    assert regridder.coverage.max() < 1 + 1e-9
    integral = np.nansum(regridder(field) * regridder.coverage * target.area_km2)
    assert integral == pytest.approx((field * source.area_km2).sum(), rel=1e-6)
    constant = regridder(np.full(source.shape, 273.15))
    assert np.isfinite(constant).sum() == (regridder.coverage > 1e-9).sum() > 20
    assert np.nanmax(np.abs(constant / 273.15 - 1)) < 1e-12
    inner = Regridder(target, source)  # the other way round the source is covered whole
    np.testing.assert_allclose(inner.coverage, 1, atol=1e-4)  # at its rim by chords
    assert np.median(np.abs(inner.coverage - 1)) < 1e-6


@pytest.mark.parametrize("name", ["rotated-lambert", "latlon-lambert", "curvilinear-latlon"])
def test_every_weight_is_a_share_of_random_points(name: str) -> None:
    """Two million points thrown evenly on the sphere over some target cells; which cell holds each is asked of PROJ and of bisection."""
    source, target = GRIDS[name]
    target = target.crop(slice(6, 11), slice(7, 11))
    rng = np.random.default_rng(1)
    south, north, west, east = (f(v) for v in (target.lat2d, target.lon2d % 360) for f in (np.min, np.max))
    sine = rng.uniform(*np.sin(np.radians([south - 1, north + 1])), 2_000_000)
    lon, lat = rng.uniform(west - 1, east + 1, 2_000_000), np.degrees(np.arcsin(sine))
    there, here = where(target, lon, lat), where(GRIDS["rotated-lambert"][0] if isinstance(source, CurvilinearGrid) else source, lon, lat)
    inside = there >= 0
    counts = np.zeros((20, source.shape[0] * source.shape[1] + 1))
    np.add.at(counts, (there[inside], here[inside]), 1)
    matrix = Regridder(source, target)._apply.matrix.toarray()  # type: ignore[attr-defined]
    shares = counts[:, :-1] / counts.sum(1, keepdims=True)
    assert counts.sum(1).min() > 5_000
    error = np.abs(matrix - shares)
    assert error.max() < 5 * np.sqrt(0.25 / counts.sum(1).min()) and error.mean() < 2e-4


def where(grid: AnyGrid, lon: np.ndarray, lat: np.ndarray) -> np.ndarray:
    """The number of the cell that holds each point, -1 outside."""
    if isinstance(grid, Grid):
        y, x, edges = lat, lon, (grid.lat_edges, grid.lon_edges)
    else:
        assert isinstance(grid, ProjectedGrid)
        (x, y), edges = grid._back(lon, lat), (grid.y_edges, grid.x_edges)
    row, column = (np.searchsorted(e, v) - 1 for e, v in zip(edges, (y, x), strict=True))
    outside = (row < 0) | (row >= grid.shape[0]) | (column < 0) | (column >= grid.shape[1])
    return np.where(outside, -1, row * grid.shape[1] + column)


def test_missing_cells_by_area_fraction_and_smooth_fields_by_their_values(pair: tuple[AnyGrid, AnyGrid]) -> None:
    source, target = pair
    x, y, z = unit(source.lon2d, source.lat2d)
    smooth = x + 2 * y - z
    X, Y, Z = unit(target.lon2d, target.lat2d)
    regridder = Regridder(source, target, min_valid_fraction=0.999)
    found = regridder(smooth)
    assert np.isfinite(found).sum() > 10
    assert np.nanmax(np.abs(found - (X + 2 * Y - Z))) < 0.6 * (source.km + target.km) / 6371
    holes = smooth.copy()
    holes[: source.shape[0] // 2] = np.nan
    with_holes = Regridder(source, target, min_valid_fraction=0.5)(holes)
    valid = Regridder(source, target, min_valid_fraction=1e-9)(np.where(np.isnan(holes), 0.0, 1.0)) * regridder.coverage
    np.testing.assert_array_equal(np.isfinite(with_holes), valid >= 0.5 - 1e-9)


def test_lazy_fields_take_the_targets_dimensions_and_coordinates() -> None:
    source, target = GRIDS["latlon-rotated"]
    field = xr.DataArray(np.random.default_rng(2).normal(size=(3, *source.shape)).astype(np.float32), dims=("time", "lat", "lon"),
                         coords={"time": np.arange(3), "lat": source.lat, "lon": source.lon}, attrs={"units": "K"})  # fmt: skip
    regridder = Regridder(source, target)
    lazy = regridder(field.chunk({"time": 1}))
    assert lazy.dims == ("time", "rlat", "rlon") and lazy.chunks is not None and lazy.dtype == np.float32
    assert lazy.attrs == {"units": "K", "grid_mapping": "crs"} and {"lat", "lon", "crs", "rlat", "rlon", "time"} == set(lazy.coords)
    np.testing.assert_array_equal(lazy.values, regridder(field.values))
    back = Regridder(target, named("global_1.0").crop(slice(138, 142), slice(12, 17)))(lazy)
    assert back.dims == ("time", "lat", "lon") and "grid_mapping" not in back.attrs and set(back.coords) == {"time", "lat", "lon", "crs"}
    again = Regridder(bent(target), target)(lazy.rename(rlat="y", rlon="x").drop_vars(["y", "x"]))
    np.testing.assert_allclose(again.values, lazy.values, atol=2e-2, equal_nan=True)


@pytest.mark.parametrize("grid", [square(12_500, 24, POLAR), square(0.11, 24, ROTATED)], ids=["polar", "rotated"])
def test_cells_of_one_map_that_fill_others_are_not_cut(grid: ProjectedGrid) -> None:
    """The same as by polygons, and block means by true areas; a grid onto itself changes nothing; a shifted one is cut."""
    field = np.random.default_rng(3).normal(size=grid.shape)
    np.testing.assert_array_equal(Regridder(grid, ProjectedGrid(grid.y_edges, grid.x_edges, grid.crs))(field), field)
    coarse = grid.coarsen(4)
    found = Regridder(grid, coarse)(field)
    blocks = [(v.reshape(6, 4, 6, 4)).sum((1, 3)) for v in (field * grid.area_km2, grid.area_km2)]
    np.testing.assert_allclose(found, blocks[0] / blocks[1], rtol=1e-12)
    np.testing.assert_allclose((polygon_weights(grid, coarse) @ field.ravel()).reshape(6, 6), found, atol=1e-6)
    part = grid.crop(slice(2, 22), slice(0, 21))
    some = Regridder(part, coarse, min_valid_fraction=1e-9)
    cut = polygon_weights(part, coarse)
    np.testing.assert_allclose(some.coverage.ravel(), cut.sum(1).A1 if hasattr(cut.sum(1), "A1") else cut.sum(1), atol=1e-3)
    np.testing.assert_allclose(some.coverage[0], np.where(np.arange(6) < 5, 0.5, 0.125), atol=1e-12)
    step = grid.y_edges[1] - grid.y_edges[0]
    assert nested_weights(grid, ProjectedGrid(coarse.y_edges + step / 2, coarse.x_edges, grid.crs)) is None
    assert nested_weights(coarse, grid) is None and nested_weights(grid, square(50_000, 6, LAMBERT)) is None
