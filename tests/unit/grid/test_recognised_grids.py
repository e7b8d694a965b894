"""Grids of files in the layouts of real archives: corners as their makers publish them, flips, units, figures of the Earth, refusals."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS, Transformer

from orbit2.errors import OrbitError
from orbit2.grid import CurvilinearGrid, Grid, ProjectedGrid, curvilinear, named, of_dataset, projected
from tests.data import layouts


def held(data: xr.Dataset, before: xr.Dataset | None = None) -> None:
    """Every cell's centre is where the file's own 2-D coordinates say, in the grid's order (the field is the cell's number `before`)."""
    layout = of_dataset(data)
    field = layout.take(data["tas"]).values[0].astype(int)
    lat, lon = ((data if before is None else before)[n].values.ravel()[field] for n in ("lat", "lon"))
    np.testing.assert_allclose(layout.grid.lat2d, lat, atol=2e-5)
    np.testing.assert_allclose((layout.grid.lon2d - lon + 180) % 360 - 180, 0, atol=2e-5)


@pytest.mark.parametrize("two", [True, False])
@pytest.mark.parametrize("flip", [(1, 1), (-1, 1), (1, -1)])
def test_cordex_eur11_is_a_rotated_pole(two: bool, flip: tuple[int, int]) -> None:
    """EUR-11's south-west cell has its centre at 21.99 N, 349.94 E (CORDEX domain table)."""
    data = layouts.eur11(two=two).isel(rlat=slice(None, None, flip[0]), rlon=slice(None, None, flip[1]))
    layout = of_dataset(data)
    assert isinstance(layout.grid, ProjectedGrid) and layout.grid.rotated and layout.dims == layout.grid.dims == ("rlat", "rlon")
    assert layout.grid.digest == of_dataset(layouts.eur11(two=two)).grid.digest
    assert (layout.grid.lat2d[0, 0], layout.grid.lon2d[0, 0] % 360) == pytest.approx((21.99, 349.94), abs=6e-3)
    taken = layout.take(data["tas"].chunk())
    np.testing.assert_array_equal(taken.values[0], np.arange(320).reshape(16, 20))
    assert not taken.coords.keys() & {"lat", "lon", "rlat", "rlon"}
    if two:
        held(data, layouts.eur11())


def test_a_rotated_pole_without_its_mapping_is_curvilinear_or_refused() -> None:
    data = layouts.eur11().drop_vars("mapping")
    del data["tas"].attrs["grid_mapping"]
    layout = of_dataset(data)
    assert isinstance(layout.grid, CurvilinearGrid) and layout.grid.dims == ("y", "x") and layout.dims == ("rlat", "rlon")
    np.testing.assert_allclose(layout.grid.area_km2, of_dataset(layouts.eur11()).grid.area_km2, rtol=2e-4)
    with pytest.raises(OrbitError, match="rotated: grid_latitude and grid_longitude are not latitude"):
        of_dataset(data.drop_vars(["lat", "lon"]))


def test_hrrr_has_the_corners_that_noaa_publishes() -> None:
    data = layouts.hrrr()
    grid = of_dataset(data).grid
    held(data)
    corners = [(grid.lat2d[j, i], (grid.lon2d[j, i] + 180) % 360 - 180) for j in (0, -1) for i in (0, -1)]
    np.testing.assert_allclose(corners, [(21.138, -122.720), (21.141, -72.290), (47.838, -134.095), (47.842, -60.917)], atol=2e-3)
    for shape in ({"semi_major_axis": 6371229.0, "semi_minor_axis": 6371229.0}, {"semi_major_axis": 6371229.0, "inverse_flattening": 0.0}):
        other = data.copy()
        other["mapping"] = ((), 0, {k: v for k, v in layouts.HRRR.items() if k != "earth_radius"} | shape)
        np.testing.assert_allclose(of_dataset(other).grid.lat2d, grid.lat2d, atol=1e-9)
    by_wkt = data.drop_vars(["lat", "lon"])
    crs = CRS.from_cf({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in layouts.HRRR.items()})
    by_wkt["mapping"] = ((), 0, {"spatial_ref": crs.to_wkt()})  # as rioxarray and GDAL write it
    np.testing.assert_allclose(of_dataset(by_wkt).grid.lat2d, grid.lat2d, atol=1e-9)


def test_arome_in_kilometres_and_from_north_to_south() -> None:
    """MET Norway's AROME (MEPS, 2.5 km) begins at 50.3196 N, 0.2783 E."""
    y, x = -1332517.875 + 2500.0 * np.arange(12), -1060084.0 + 2500.0 * np.arange(10)
    data = layouts.mapped(y[::-1] / 1000, x / 1000, layouts.AROME, two=True, units="km")
    grid = of_dataset(data).grid
    held(data)
    assert (grid.lat2d[0, 0], grid.lon2d[0, 0]) == pytest.approx((50.3196, 0.2783), abs=1e-3) and grid.km == pytest.approx(2.5, rel=0.03)


@pytest.mark.parametrize(("mapping", "y", "x", "published"), [
    (layouts.NSIDC_NORTH, (-5350, 5850), (-3850, 3750), [(33.92, 279.26), (34.35, 350.03), (30.98, 168.35), (31.37, 102.34)]),
    (layouts.NSIDC_SOUTH, (-3950, 4350), (-3950, 3950), [(-41.45, 225.00), (-41.45, 135.00), (-39.23, 317.76), (-39.23, 42.24)])])
def test_nsidc_polar_grids_have_the_corners_of_their_guide(
    mapping: dict, y: tuple[int, int], x: tuple[int, int], published: list[tuple[float, float]]
) -> None:
    axes = [np.arange(a + 50, b, 100.0) * 1000 for a, b in (y, x)]
    layout = of_dataset(layouts.mapped(axes[0][::-1], axes[1], mapping))
    grid = layout.grid
    assert isinstance(grid, ProjectedGrid) and np.all(layout.rows[:2] == [len(axes[0]) - 1, len(axes[0]) - 2])
    lon, lat = grid.lon_lat(*(v.ravel() for v in np.meshgrid(grid.x_edges[[0, -1]], grid.y_edges[[0, -1]])))
    np.testing.assert_allclose(np.stack([lat, lon % 360], -1), published, atol=0.006)
    # The true area of a cap on the ellipsoid's latitudes read as spherical; the pole's cells are whole.
    assert grid.area_km2.min() > 0 and np.isfinite(grid.area_km2).all() and abs(grid.lat2d).max() > 89


SPHERE = "+R=6370000 +units=m"


@pytest.mark.parametrize(("kind", "truth", "attributes"), [
    (1, f"+proj=lcc +lat_1=30 +lat_2=60 +lat_0=40 +lon_0=-97 {SPHERE}",
     {"TRUELAT1": 30.0, "TRUELAT2": 60.0, "STAND_LON": -97.0, "MOAD_CEN_LAT": 40.0, "CEN_LAT": 40.5, "CEN_LON": -96.0}),
    (2, f"+proj=stere +lat_0=-90 +lat_ts=-71 +lon_0=180 {SPHERE}",
     {"TRUELAT1": -71.0, "TRUELAT2": 1e20, "STAND_LON": 180.0, "MOAD_CEN_LAT": -80.0}),
    (3, f"+proj=merc +lat_ts=10 +lon_0=115 {SPHERE}", {"TRUELAT1": 10.0, "TRUELAT2": 1e20, "STAND_LON": 115.0, "MOAD_CEN_LAT": 0.0})])
def test_wrf_files_lie_on_the_map_of_their_attributes(kind: int, truth: str, attributes: dict) -> None:
    data = layouts.wrf(kind, truth, attributes, origin=(200_000.0, -150_000.0))
    layout = of_dataset(data)
    grid = layout.grid
    assert isinstance(grid, ProjectedGrid) and layout.dims == ("south_north", "west_east") and grid.shape == (12, 16)
    np.testing.assert_allclose(np.diff(grid.y_edges), 9000, atol=1e-6)  # free of single precision
    np.testing.assert_allclose(grid.lat2d, data.XLAT[0], atol=2e-5)
    np.testing.assert_allclose((grid.lon2d - data.XLONG[0].values + 180) % 360 - 180, 0, atol=2e-4)
    assert layout.take(data["T2"]).dims == ("Time", "y", "x")


def rotated_by_hand(pole_lat: float, pole_lon: float, lat: np.ndarray, lon: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Geographic latitude and longitude of points of a rotated grid, by two turns of the sphere."""
    p, turn = np.radians(90 - pole_lat), np.radians(pole_lon)
    x, y, z = np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)
    x, z = -(x * np.cos(p) - z * np.sin(p)), x * np.sin(p) + z * np.cos(p)
    x, y = x * np.cos(turn) + y * np.sin(turn), x * np.sin(turn) - y * np.cos(turn)
    return np.degrees(np.arcsin(z)), np.degrees(np.arctan2(y, x))


def test_wrf_on_latitudes_and_longitudes_rotated_or_not(caplog: pytest.LogCaptureFixture) -> None:
    lat, lon = np.meshgrid(np.radians(np.linspace(-2, 2, 9)), np.radians(np.linspace(-3, 3, 13)), indexing="ij")
    north, east = rotated_by_hand(40.0, 170.0, lat, lon)
    layout = of_dataset(layouts.wrf_file(6, north, east, {"POLE_LAT": 40.0, "POLE_LON": 180.0, "STAND_LON": 10.0}))
    assert isinstance(layout.grid, ProjectedGrid) and layout.grid.rotated and layout.grid.dims == ("rlat", "rlon")
    np.testing.assert_allclose(np.diff(layout.grid.y_edges), 0.5, atol=1e-4)
    np.testing.assert_allclose(layout.grid.lat2d, north, atol=2e-5)
    plain = layouts.wrf_file(6, np.degrees(lat) + 50, np.degrees(lon), {"POLE_LAT": 90.0, "POLE_LON": 0.0, "STAND_LON": 0.0})
    assert isinstance(of_dataset(plain).grid, Grid)
    wrong = layouts.wrf(1, f"+proj=lcc +lat_1=30 +lat_2=60 +lat_0=40 +lon_0=-97 {SPHERE}",
                        {"TRUELAT1": 30.0, "TRUELAT2": 60.0, "STAND_LON": -60.0, "MOAD_CEN_LAT": 40.0})  # fmt: skip
    with caplog.at_level(logging.WARNING):
        assert isinstance(of_dataset(wrong).grid, CurvilinearGrid)
    assert "WRF's attributes does not fit the file's own latitudes and longitudes" in caplog.text
    moving = wrong.assign_coords(XLAT=wrong.XLAT + xr.DataArray([0.0, 0.5], dims="Time"))
    with pytest.raises(OrbitError, match="moves with time"):
        of_dataset(moving)


def grib(truth: CRS, keys: dict, y: np.ndarray, x: np.ndarray) -> xr.Dataset:
    lon, lat = Transformer.from_crs(truth, truth.source_crs if truth.is_derived and truth.is_geographic else truth.geodetic_crs,
                                    always_xy=True).transform(*np.meshgrid(x, y))  # fmt: skip
    return xr.Dataset({"t2m": (("y", "x"), lat.astype(np.float32), {f"GRIB_{k}": v for k, v in keys.items()})},
                      coords={"latitude": (("y", "x"), lat), "longitude": (("y", "x"), lon % 360)})  # fmt: skip


@pytest.mark.parametrize("radius", [6_371_229.0, 6_367_470.0])
def test_grib_keys_give_the_map_and_the_spacing_its_figure_of_the_earth(radius: float) -> None:
    truth = CRS(f"+proj=lcc +lat_1=46.4 +lat_2=46.4 +lat_0=46.4 +lon_0=2 +R={radius} +units=m")
    keys = {"gridType": "lambert", "LaDInDegrees": 46.4, "LoVInDegrees": 2.0, "Latin1InDegrees": 46.4, "Latin2InDegrees": 46.4,
            "DxInMetres": 1300.0, "DyInMetres": 1300.0}  # fmt: skip
    grid = of_dataset(grib(truth, keys, 1300.0 * np.arange(15) - 3e5, 1300.0 * np.arange(20) - 2e5)).grid
    assert isinstance(grid, ProjectedGrid) and CRS(grid.crs).ellipsoid.semi_major_metre == radius
    np.testing.assert_allclose(np.diff(grid.x_edges), 1300, atol=1e-6)
    pole = CRS.from_cf({"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 43.0,
                        "grid_north_pole_longitude": -170.0})  # fmt: skip
    keys = {"gridType": "rotated_ll", "latitudeOfSouthernPoleInDegrees": -43.0, "longitudeOfSouthernPoleInDegrees": 10.0,
            "angleOfRotationInDegrees": 0.0, "iDirectionIncrementInDegrees": 0.02}  # fmt: skip
    rotated = of_dataset(grib(pole, keys, 0.02 * np.arange(12) - 3, 0.02 * np.arange(9) + 1)).grid
    assert isinstance(rotated, ProjectedGrid) and rotated.rotated and rotated.y_edges[0] == pytest.approx(-3.01, abs=1e-6)


def test_regular_grids_gaussian_grids_and_bounds() -> None:
    data = named("us_60").crop(slice(2, 9), slice(3, 20))
    north, east = {"units": "degrees_north"}, {"units": "degrees_east"}
    field = xr.Dataset({"t": (("latitude", "longitude"), data.area_km2[::-1])}, coords={
        "latitude": ("latitude", data.lat[::-1], north), "longitude": ("longitude", data.lon - 360, east)})
    layout = of_dataset(field)
    assert layout.grid.same_as(data)
    np.testing.assert_array_equal(layout.take(field["t"]).values, data.area_km2)
    nodes, weights = np.polynomial.legendre.leggauss(64)
    exact = np.degrees(np.arcsin(np.clip(np.append(-1, -1 + np.cumsum(weights)), -1, 1)))
    gauss = xr.Dataset({"t": (("lat", "lon"), np.zeros((64, 8)), {})}, coords={
        "lat": ("lat", np.degrees(np.arcsin(nodes)), north), "lon": ("lon", np.arange(0, 360, 45.0), east)})
    half_way = of_dataset(gauss).grid
    spacing = half_way.resolution
    off = np.abs(half_way.lat_edges - exact) / spacing
    assert off.max() < 0.04 and off[8:-8].max() < 0.005 and off[32] < 1e-9 and off[0] == 0 == off[-1]
    gauss["lat"].attrs["bounds"] = "lat_bnds"
    gauss["lat_bnds"] = (("lat", "bnds"), np.stack([exact[:-1], exact[1:]], -1))
    for order in (slice(None), slice(None, None, -1)):
        grid = of_dataset(gauss.isel(lat=order)).grid
        np.testing.assert_allclose(grid.lat_edges, exact, atol=1e-12)
        np.testing.assert_allclose(grid.area_km2.sum(1) / grid.area_km2.sum(), weights / 2, rtol=1e-9)
    broken = gauss.copy()
    broken["lat_bnds"] = broken["lat_bnds"] * 0.5  # they leave gaps: not edges
    assert of_dataset(broken).grid.digest == half_way.digest
    mesh = np.meshgrid(data.lat, data.lon, indexing="ij")
    two = xr.Dataset({"t": (("y", "x"), data.area_km2)}, coords={"lat": (("y", "x"), mesh[0]), "lon": (("y", "x"), mesh[1])})
    assert of_dataset(two).grid.same_as(data) and of_dataset(two).dims == ("y", "x")


def test_the_figure_of_the_earth_is_found_where_the_mapping_leaves_it_out(caplog: pytest.LogCaptureFixture) -> None:
    data = layouts.hrrr()
    del data["mapping"].attrs["earth_radius"]
    assert CRS(of_dataset(data).grid.crs).ellipsoid.semi_major_metre == 6371229.0
    held(data)
    data["mapping"].attrs["longitude_of_central_meridian"] = 260.0
    with caplog.at_level(logging.WARNING):
        grid = of_dataset(data).grid
    assert "disagree by" in caplog.text and isinstance(grid, CurvilinearGrid)
    np.testing.assert_allclose(grid.lat2d, data.lat.values)


def two_d(lat: np.ndarray, lon: np.ndarray) -> xr.Dataset:
    return xr.Dataset({"t": (("y", "x"), np.zeros(lat.shape))}, coords={"lat": (("y", "x"), lat), "lon": (("y", "x"), lon)})


def test_curvilinear_cells_have_corners_from_bounds_points_or_centres() -> None:
    there = of_dataset(layouts.eur11()).grid
    ring = [v.reshape(there.points * 4, *there.shape)[:: there.points] for v in there.outlines(slice(0, there.shape[0]))]
    data = two_d(there.lat2d, there.lon2d)
    data["lat_vertices"], data["lon_vertices"] = ((("y", "x", "vertices"), np.moveaxis(v, 0, -1)) for v in ring[::-1])
    grid = of_dataset(data).grid
    np.testing.assert_allclose(grid.area_km2, there.area_km2, rtol=3e-7)
    computed = of_dataset(two_d(there.lat2d, there.lon2d)).grid
    np.testing.assert_allclose(computed.area_km2, there.area_km2, rtol=2e-4)
    assert computed.km == pytest.approx(there.km, rel=1e-3) and computed.digest != grid.digest
    assert {"lat", "lon", "lat_vertices", "lon_vertices"} == set(grid.coordinates())
    box = (there.lat2d[4:8, 4:8].min(), there.lat2d[4:8, 4:8].max(), there.lon2d[4:8, 4:8].min(), there.lon2d[4:8, 4:8].max())
    assert grid.window(box) == there.window(box) and grid.holds(box) and not grid.holds((0, 10, 0, 10))
    rows, columns = grid.around(there.crop(slice(8, 10), slice(9, 11)))
    assert rows.start <= 7 and rows.stop >= 11 and columns.start <= 8 and columns.stop >= 12 and grid.crop(rows, columns).shape < (16, 20)
    for refused in (lambda: grid.refine(2), lambda: grid.coarsen(2), lambda: grid.blocks(2, 2), lambda: grid.nests_in(there)):
        with pytest.raises(OrbitError, match="only regridded from"):
            refused()
    u = xr.Dataset({"XLAT_U": (("y", "xs"), (there.lat2d[:, :-1] + there.lat2d[:, 1:]) / 2),
                    "XLONG_U": (("y", "xs"), (there.lon2d[:, :-1] + there.lon2d[:, 1:]) / 2)})  # fmt: skip
    staggered = xr.merge([two_d(there.lat2d[:, 1:-1], there.lon2d[:, 1:-1]), u])
    np.testing.assert_allclose(of_dataset(staggered, field="t").grid.area_km2, there.area_km2[:, 1:-1], rtol=1e-3)


def test_curvilinear_cells_across_the_date_line_and_round_a_pole() -> None:
    for crs in ("+proj=lcc +lat_1=50 +lat_2=70 +lat_0=60 +lon_0=180", "+proj=laea +lat_0=90 +lon_0=0"):
        there = projected(20_000.0 * np.arange(-15, 16), 20_000.0 * np.arange(-12, 13), f"{crs} +R=6371000 +units=m")
        lon = (there.lon2d + 180) % 360 - 180
        grid = of_dataset(two_d(there.lat2d, lon)).grid
        assert isinstance(grid, CurvilinearGrid)
        np.testing.assert_allclose(grid.area_km2, there.area_km2, rtol=1e-3)
        assert grid.area_km2.sum() == pytest.approx(there.area_km2.sum(), rel=1e-4)


def test_what_has_no_rows_and_columns_is_refused_with_what_to_do() -> None:
    points = xr.Dataset({"t": (("time", "cell"), np.zeros((1, 48)))})
    healpix = points.assign(crs=((), 0, {"grid_mapping_name": "healpix", "healpix_nside": 2}))
    icon = points.assign_attrs(CDI_grid_type="unstructured", number_of_grid_used=42)
    ugrid = points.assign(mesh=((), 0, {"cf_role": "mesh_topology"}))
    reduced = points.copy()
    reduced["t"] = reduced["t"].assign_attrs(GRIB_gridType="reduced_gg")
    for data, words in ((healpix, "HEALPix.*cdo remapcon"), (icon, "ICON mesh.*cdo remapcon"), (ugrid, "unstructured mesh"),
                        (reduced, "reduced gg.*setgridtype,regular"), (points, "no latitude and no longitude")):  # fmt: skip
        with pytest.raises(OrbitError, match=words) as caught:
            of_dataset(data, "a.nc")
        assert "\n" not in str(caught.value) and "a.nc" in str(caught.value)
    lat, lon = np.meshgrid(np.linspace(40, 60, 9) ** 1.01, np.linspace(0, 20, 11), indexing="ij")
    lat = lat + 0.3 * lon / 20
    folded = np.concatenate([lat, lat[-2:, ::-1]]), np.concatenate([lon, lon[-2:, ::-1]])
    with pytest.raises(OrbitError, match=r"folds or wraps.*22 places twice"):
        of_dataset(two_d(*folded))
    scan = xr.Dataset({"t": (("y", "x"), np.zeros((4, 5)), {"grid_mapping": "g"}),
                       "g": ((), 0, {"grid_mapping_name": "geostationary", "perspective_point_height": 35786023.0,
                                     "longitude_of_projection_origin": -75.0, "latitude_of_projection_origin": 0.0,
                                     "sweep_angle_axis": "x", "semi_major_axis": 6378137.0, "semi_minor_axis": 6356752.3})},
                      coords={n: (n, np.linspace(0.01, 0.02, k), {"units": "rad", "standard_name": f"projection_{n}_coordinate"})
                              for n, k in (("y", 4), ("x", 5))})  # fmt: skip
    with pytest.raises(OrbitError, match="geostationary"):
        of_dataset(scan)


def test_files_that_were_refused_or_misplaced_have_their_right_geography(tmp_path: Path) -> None:
    """A rotated pole told by its mapping alone, whose centres lie where a rotation by hand puts them; 2-D latitudes that make no map."""
    rlat, rlon = np.linspace(-9, -0.64, 20), np.linspace(3, 11.36, 20)
    data = layouts.mapped(rlat, rlon, layouts.EUR11, rotated=True)
    data.to_netcdf(tmp_path / "a.nc")
    with xr.open_dataset(tmp_path / "a.nc") as again:
        grid = of_dataset(again, "a.nc").grid
    lat, lon = rotated_by_hand(39.25, -162.0, *np.meshgrid(np.radians(rlat), np.radians(rlon), indexing="ij"))
    np.testing.assert_allclose(grid.lat2d, lat, atol=1e-9)
    np.testing.assert_allclose(grid.lon2d, lon, atol=1e-9)
    assert 39.8 < grid.lat2d.min() < 41 and grid.lat2d.max() < 51 and grid.lon2d.min() > 21 and grid.lon2d.max() < 36
    with pytest.raises(OrbitError, match="do not fit"):
        curvilinear(lat, lon, lat, lon)


@pytest.mark.parametrize("case", ["rotated-pole-silent", "cordex-2d-latlon", "curvilinear-message"])
def test_the_cases_of_users_lie_where_they_are(case: str) -> None:
    folder = Path(__file__).parents[2] / "cases" / case
    with xr.open_dataset(folder / "input.nc") as data:
        layout = of_dataset(data, case)
        grid = layout.grid
        assert isinstance(grid, CurvilinearGrid if case == "curvilinear-message" else ProjectedGrid)
        if "lat" in data.coords:
            np.testing.assert_allclose(grid.lat2d, data.lat.values, atol=1e-5)
            np.testing.assert_allclose(grid.lon2d, data.lon.values, atol=1e-5)
        field = next(iter(data.data_vars.values()))
        np.testing.assert_array_equal(layout.take(field).values, field.values)
    for accepted in json.loads((folder / "expected.json").read_text())["accept"]:
        if "geography" in accepted:  # of block centres of the output: within a cell of the grid's own
            for values, limits in ((grid.lat2d, accepted["geography"]["lat"]), (grid.lon2d, accepted["geography"]["lon"])):
                assert [values.min(), values.max()] == pytest.approx(limits, abs=0.7)
