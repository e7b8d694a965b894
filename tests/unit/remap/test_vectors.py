"""Winds along a grid turned to east and north: a solid-body rotation of the Earth about any axis, told along the axes of each grid."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import xarray as xr
from pyproj import CRS, Proj

from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Layout, ProjectedGrid, curvilinear, named, of_dataset, projected
from orbit2.grid.sphere import unit
from orbit2.remap.vectors import along_grid, axes_of, told_by, turned
from tests.data import layouts

SPHERE = "+R=6370000 +units=m"
U, V = "10m_u_component_of_wind", "10m_v_component_of_wind"
POLE = (0.3, -0.5, 0.8)  # the axis of rotation


def solid_body(lon: np.ndarray, lat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """East and north components [m/s] of a rotation about POLE with 20 m/s."""
    velocity = 20 * np.cross(np.broadcast_to(POLE, (*lon.shape, 3)), np.moveaxis(unit(lon, lat), 0, -1))
    a, b = np.radians(lon), np.radians(lat)
    east = np.stack([-np.sin(a), np.cos(a), 0 * a], -1)
    north = np.stack([-np.sin(b) * np.cos(a), -np.sin(b) * np.sin(a), np.cos(b)], -1)
    return (velocity * east).sum(-1), (velocity * north).sum(-1)


def rotated_pole() -> tuple[ProjectedGrid, np.ndarray]:
    """A grid of EUR-11's kind, and the angle from east to its x axis: less the bearing of the rotated pole, by spherical trigonometry."""
    grid = of_dataset(layouts.eur11()).grid
    assert isinstance(grid, ProjectedGrid)
    p, away = np.radians(39.25), np.radians(-162.0 - grid.lon2d)
    rlat = np.radians(np.broadcast_to(grid.y[:, None], grid.shape))
    lat = np.radians(grid.lat2d)
    sine = np.sin(away) * np.cos(p) / np.cos(rlat)
    cosine = (np.sin(p) - np.sin(rlat) * np.sin(lat)) / (np.cos(rlat) * np.cos(lat))
    return grid, -np.arctan2(sine, cosine)


def mapped(truth: str) -> tuple[ProjectedGrid, np.ndarray]:
    """A conformal map, and the angle from east to its x axis by PROJ's own meridian convergence."""
    y, x = 25_000.0 * (np.arange(10) - 30), 25_000.0 * (np.arange(14) + 12)
    grid = projected(y, x, truth)
    return grid, -np.radians(Proj(CRS(truth)).get_factors(grid.lon2d, grid.lat2d).meridian_convergence)


GRIDS = {
    "rotated": rotated_pole,
    "lambert": lambda: mapped(f"+proj=lcc +lat_1=30 +lat_2=60 +lat_0=40 +lon_0=-97 {SPHERE}"),
    "lambert-wgs84": lambda: mapped("+proj=lcc +lat_1=30 +lat_2=60 +lat_0=40 +lon_0=-97 +datum=WGS84 +units=m"),
    "polar": lambda: mapped(f"+proj=stere +lat_0=90 +lat_ts=70 +lon_0=-45 {SPHERE}"),
    "south": lambda: mapped("+proj=stere +lat_0=-90 +lat_ts=-70 +lon_0=0 +datum=WGS84 +units=m"),
    "mercator": lambda: mapped(f"+proj=merc +lat_ts=20 +lon_0=110 {SPHERE}"),
}


def fields(grid: AnyGrid, u: np.ndarray, v: np.ndarray, standard: tuple[str, str] = ("x_wind", "y_wind")) -> dict[str, xr.DataArray]:
    return {name: xr.DataArray(values[None], dims=("time", *grid.dims), name=short, attrs={"units": "m s-1", "standard_name": kind})
            for name, short, values, kind in ((U, "u", u, standard[0]), (V, "v", v, standard[1]))}  # fmt: skip


def layout_of(grid: AnyGrid) -> Layout:
    return Layout(grid, grid.dims, np.arange(grid.shape[0]), np.arange(grid.shape[1]))


@pytest.mark.parametrize("name", GRIDS)
def test_a_solid_body_rotation_is_recovered(name: str) -> None:
    grid, angle = GRIDS[name]()
    assert np.ptp(angle) > 0.02 or name == "mercator"
    east, north = solid_body(grid.lon2d, grid.lat2d)
    u, v = east * np.cos(angle) + north * np.sin(angle), -east * np.sin(angle) + north * np.cos(angle)
    found = turned(fields(grid, u, v), xr.Dataset(), layout_of(grid))
    for one, exact, kind in ((found[U], east, "eastward_wind"), (found[V], north, "northward_wind")):
        np.testing.assert_allclose(one.values[0], exact, atol=1e-4)
        assert one.attrs == {"units": "m s-1", "standard_name": kind} and one.dims == ("time", *grid.dims)
    bent = curvilinear(grid.lat2d, grid.lon2d)
    if "wgs84" not in name and name != "south":  # its centres know no ellipsoid
        found = turned(fields(bent, u, v), xr.Dataset(), layout_of(bent))
        np.testing.assert_allclose(found[U].values[0], east, atol=2e-2)
        np.testing.assert_allclose(found[U].values[0, 1:-1, 1:-1], east[1:-1, 1:-1], atol=5e-3)
        np.testing.assert_allclose(found[V].values[0, 1:-1, 1:-1], north[1:-1, 1:-1], atol=5e-3)


@pytest.mark.parametrize("flip", [1, -1])
def test_angles_of_the_file_come_first(flip: int) -> None:
    truth = f"+proj=lcc +lat_1=30 +lat_2=60 +lat_0=40 +lon_0=-97 {SPHERE}"
    attributes = {"TRUELAT1": 30.0, "TRUELAT2": 60.0, "STAND_LON": -97.0, "MOAD_CEN_LAT": 40.0}
    data = layouts.wrf(1, truth, attributes, origin=(-300_000.0, 700_000.0))
    lat, lon = data.XLAT.values[0].astype(float), data.XLONG.values[0].astype(float)
    angle = -np.radians(Proj(CRS(truth)).get_factors(lon, lat).meridian_convergence)
    east, north = solid_body(lon, lat)
    dims = ("Time", "south_north", "west_east")
    data["COSALPHA"], data["SINALPHA"] = ((dims, np.repeat(f(angle)[None], 2, 0).astype(np.float32)) for f in (np.cos, np.sin))
    data["U10"] = (dims, np.repeat((east * np.cos(angle) + north * np.sin(angle))[None], 2, 0))
    data["V10"] = (dims, np.repeat((-east * np.sin(angle) + north * np.cos(angle))[None], 2, 0))
    data = data.isel(south_north=slice(None, None, flip))
    layout = of_dataset(data)
    taken = {name: layout.take(data[short]) for name, short in ((U, "U10"), (V, "V10"))}
    found = turned({name: one.chunk({"Time": 1}) for name, one in taken.items()}, data, layout)
    assert found[U].chunks is not None
    np.testing.assert_allclose(found[U].values[1], east, atol=2e-5)
    np.testing.assert_allclose(turned(taken, data.drop_vars(["COSALPHA", "SINALPHA"]), layout)[V].values[1], north, atol=2e-4)
    told = data.drop_vars(["COSALPHA", "SINALPHA"]).assign(
        angle=(dims[1:], np.degrees(angle)[::flip], {"units": "degrees", "standard_name": "angle_of_rotation_from_east_to_x"}))
    np.testing.assert_allclose(turned(taken, told, layout)[V].values[1], north, atol=1e-9)
    del told["angle"].attrs["units"]
    told["angle"] = told["angle"] * 60
    with pytest.raises(OrbitError, match="angle has no units"):
        told_by(told, layout)


def test_what_lies_east_and_north_already_stays(caplog: pytest.LogCaptureFixture) -> None:
    grid, _ = rotated_pole()
    u, v = solid_body(grid.lon2d, grid.lat2d)
    given = fields(grid, u, v, ("eastward_wind", "northward_wind"))
    found = turned(given, xr.Dataset(), layout_of(grid))
    assert found[U] is given[U] and found[V] is given[V]
    flag = "GRIB_uvRelativeToGrid"
    for name, attributes, said in (("uas", {}, False), ("u10", {flag: 1}, True), ("u10", {flag: 0}, False),
                                   ("u10", {"standard_name": "grid_eastward_wind"}, True)):  # fmt: skip
        assert along_grid(xr.DataArray(u, name=name, attrs=attributes), xr.Dataset(), grid) is said
    assert not caplog.records
    with caplog.at_level(logging.WARNING):
        assert not along_grid(xr.DataArray(u, name="u10"), xr.Dataset(), grid)
    assert "does not say whether it lies along the grid" in caplog.text
    assert not along_grid(given[U].assign_attrs(standard_name="x_wind"), xr.Dataset(), named("us_60"))
    assert np.all(axes_of(named("us_60")).x_east == 1)
    with pytest.raises(OrbitError, match="its partner is needed too"):
        turned({U: given[U].assign_attrs(standard_name="x_wind")}, xr.Dataset(), layout_of(grid))
