"""Winds along a grid's own axes turned to east and north: by the file's angles, else by the geometry. Never regrids.

Components are those along unit vectors of the axes; the two are not perpendicular where the map is not conformal.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
import xarray as xr
from pyproj import CRS

from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, Layout, ProjectedGrid
from orbit2.grid.sphere import Array, unit
from orbit2.units import linear
from orbit2.variables import variable

log = logging.getLogger(__name__)
_ALONG = ("x_wind", "y_wind", "grid_eastward_wind", "grid_northward_wind", "x_velocity", "y_velocity")
_EARTH = ("eastward", "northward")
_CMIP = ("uas", "vas", "ua", "va", "uasmax", "vasmax", "tauu", "tauv")  # eastward and northward by CMIP's and CORDEX's tables
_ANGLE = "angle_of_rotation_from_east_to_x"
_ANGLES = ("angle", "anglet")  # ROMS, CICE: from east to the grid's x axis
_COSINES = (("COSALPHA", "SINALPHA"), ("cosalpha", "sinalpha"), ("gcost", "gsint"), ("COSROT", "SINROT"))


class Axes(NamedTuple):
    """East and north parts [H, W] of the unit vectors along x and y."""

    x_east: Array
    x_north: Array
    y_east: Array
    y_north: Array


def axes_of(grid: AnyGrid) -> Axes:
    """The directions of the axes at each cell's centre: of the coordinates of a map or a rotated pole (by PROJ, on its own figure of the
    Earth), of the rows and columns of a curvilinear grid (by its centres)."""
    if isinstance(grid, Grid):
        one, none = np.ones(grid.shape), np.zeros(grid.shape)
        return Axes(one, none, none, one)
    if isinstance(grid, ProjectedGrid):
        return Axes(*_direction(grid, 1.0, 0.0), *_direction(grid, 0.0, 1.0))
    return _by_centres(grid)


def told_by(dataset: xr.Dataset, layout: Layout) -> Axes | None:
    """The directions that the file itself tells (WRF's COSALPHA and SINALPHA, `angle`, CF's angle of rotation); None where it does not."""
    here = {str(n): v for n, v in dataset.variables.items() if set(layout.dims) <= set(v.dims) and v.ndim <= 3}

    def values(name: str) -> Array:
        field = dataset[name]
        field = field.isel({d: 0 for d in field.dims if d not in layout.dims}, drop=True)
        return np.asarray(layout.take(field).to_numpy(), dtype=np.float64)

    for cosine, sine in _COSINES:
        if cosine in here and sine in here:
            return _turned_by(values(cosine), values(sine))
    named = [n for n, v in here.items() if v.attrs.get("standard_name") == _ANGLE] or [n for n in here if n.lower() in _ANGLES]
    if not named:
        return None
    angle, units = values(named[0]), str(dataset[named[0]].attrs.get("units", ""))
    scale = linear(units, "radian") if units else None
    if scale is None:
        if np.nanmax(np.abs(angle)) > 2 * np.pi + 1e-6:
            raise OrbitError("the grid's angle has no units", where=named[0], got=units or "none", allowed="radians or degrees",
                             hint="set the units attribute of the angle")  # fmt: skip
        return _turned_by(np.cos(angle), np.sin(angle))
    return _turned_by(np.cos(angle * scale.factor), np.sin(angle * scale.factor))


def along_grid(field: xr.DataArray, dataset: xr.Dataset, grid: AnyGrid) -> bool:
    """Whether a component lies along the grid's axes: by its standard name, GRIB's flag, or WRF's layout; else it is east or north."""
    if isinstance(grid, Grid):
        return False
    standard = str(field.attrs.get("standard_name", "")).lower()
    if any(word in standard for word in _ALONG) and not standard.startswith(_EARTH):
        return True
    if standard.startswith(_EARTH):
        return False
    flag = field.attrs.get("GRIB_uvRelativeToGrid")
    if flag is not None:
        return bool(int(flag))
    if "MAP_PROJ" in dataset.attrs or any(set(pair) <= set(map(str, dataset.variables)) for pair in _COSINES):
        return True
    if str(field.name) not in _CMIP:
        log.warning("'%s' does not say whether it lies along the grid (x_wind) or to the east (eastward_wind): taken as east and north",
                    field.name)  # fmt: skip
    return False


def east_north(u: xr.DataArray, v: xr.DataArray, axes: Axes) -> tuple[xr.DataArray, xr.DataArray]:
    """Components along the grid, on its last two dimensions [..., H, W], as components to east and north; lazy ones stay lazy."""
    turn = [xr.DataArray(part.astype(np.float32) if u.dtype == np.float32 else part, dims=u.dims[-2:]) for part in axes]
    east, north = u * turn[0] + v * turn[2], u * turn[1] + v * turn[3]
    for one, old, standard in ((east, u, "eastward_wind"), (north, v, "northward_wind")):
        one.name = old.name
        one.attrs = {**old.attrs, **({"standard_name": standard} if "wind" in str(old.attrs.get("standard_name", "")) else {})}
        one.attrs.pop("GRIB_uvRelativeToGrid", None)
    return east, north


def turned(fields: Mapping[str, xr.DataArray], dataset: xr.Dataset, layout: Layout) -> dict[str, xr.DataArray]:
    """`fields` by canonical name, as `Layout.take` gives them, with every vector along the grid turned to east and north.

    Which are vectors is the table of variables' to say (component and partner). Raises OrbitError for a component without its partner.
    """
    result = dict(fields)
    axes: Axes | None = None
    for name, field in fields.items():
        row = variable(name)
        if not row.component or not along_grid(field, dataset, layout.grid):
            continue
        if row.partner not in fields:
            raise OrbitError(f"'{field.name}' lies along the grid: to turn it to {row.component} its partner is needed too",
                             where=str(field.name), got=", ".join(str(f.name) for f in fields.values()),
                             allowed=f"{name} and {row.partner}", hint="give a file that holds both components")  # fmt: skip
        if row.component != "east":
            continue
        if axes is None:
            axes = told_by(dataset, layout) or axes_of(layout.grid)
        result[name], result[row.partner] = east_north(field, fields[row.partner], axes)
    return result


def _turned_by(cosine: Array, sine: Array) -> Axes:
    return Axes(cosine, sine, -sine, cosine)


def _direction(grid: ProjectedGrid, along: float, across: float) -> tuple[Array, Array]:
    """East and north parts of a step of a thousandth of a cell along x or y."""
    x, y = np.meshgrid(grid.x, grid.y)
    step = 1e-3 * float(np.median(np.diff(grid.x_edges)))
    (lon0, lat0), (lon1, lat1) = (grid.lon_lat(x + s * along * step, y + s * across * step) for s in (-0.5, 0.5))
    east = ((lon1 - lon0 + 180) % 360 - 180) * np.cos(np.radians((lat0 + lat1) / 2))
    north = (lat1 - lat0) * (1.0 if grid.rotated else _meridian_to_normal(grid, (lat0 + lat1) / 2))
    length = np.hypot(east, north)
    return east / length, north / length


def _meridian_to_normal(grid: ProjectedGrid, lat: Array) -> Array:
    """Radius of curvature along the meridian over that across it: a degree north and a degree east differ on an ellipsoid."""
    ellipsoid = CRS.from_user_input(grid.crs).ellipsoid
    flat = 0.0 if ellipsoid is None or not ellipsoid.inverse_flattening else 1 / ellipsoid.inverse_flattening
    squared = flat * (2 - flat)
    ratio: Array = (1 - squared) / (1 - squared * np.sin(np.radians(lat)) ** 2)
    return ratio


def _by_centres(grid: AnyGrid) -> Axes:
    """By differences between neighbouring centres on the sphere, one-sided at the rim."""
    points = unit(grid.lon2d, grid.lat2d)
    lon, lat = np.radians(grid.lon2d), np.radians(grid.lat2d)
    east = np.stack([-np.sin(lon), np.cos(lon), np.zeros_like(lon)])
    north = np.stack([-np.sin(lat) * np.cos(lon), -np.sin(lat) * np.sin(lon), np.cos(lat)])
    parts = []
    for axis in (2, 1):
        step = np.gradient(points, axis=axis, edge_order=2 if points.shape[axis] > 2 else 1)
        one, other = (step * east).sum(0), (step * north).sum(0)
        length = np.hypot(one, other)
        parts += [one / length, other / length]
    return Axes(*parts)
