"""Grids with 2-D latitudes and longitudes and no axes of their own: only to regrid from, never to train on. Never opens a file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NoReturn

import numpy as np
import xarray as xr

from orbit2.edges import edge_digest
from orbit2.errors import OrbitError
from orbit2.grid.latlon import Grid
from orbit2.grid.places import centres_in
from orbit2.grid.protocol import AnyGrid
from orbit2.grid.sphere import KM_PER_DEGREE, STRAIGHT, Array, Index, areas, bounds, distance_km, flat, latitudes, unit
from orbit2.longitudes import width

_FAR = 50.0  # neighbours this many median spacings apart are none: the grid folds, or is no sheet


@dataclass(frozen=True, eq=False)
class CurvilinearGrid:
    """Cells round centres `lat2d`, `lon2d` [H, W] with corners `lat_vertices`, `lon_vertices` [4, H, W] in order round each cell,
    degrees. Sides are great circles. A cell with a corner that is not finite has no area: it is never read.

    Raises OrbitError for shapes that do not belong together, latitudes outside the globe, or cells that do not lie side by side.
    """

    lat2d: Array
    lon2d: Array
    lat_vertices: Array
    lon_vertices: Array

    def __post_init__(self) -> None:
        shape = self.lat2d.shape
        if self.lat2d.ndim != 2 or self.lon2d.shape != shape or self.lat_vertices.shape != (4, *shape) != self.lon_vertices.shape:
            raise OrbitError("latitudes, longitudes and corners of a curvilinear grid do not fit together", where="grid",
                             got=f"{shape}, {self.lon2d.shape}, {self.lat_vertices.shape}, {self.lon_vertices.shape}",
                             hint="give latitude and longitude [y, x], and corners [y, x, 4]")  # fmt: skip
        known = np.isfinite(self.lat2d) & np.isfinite(self.lon2d)
        if not known.any() or np.abs(self.lat2d[known]).max() > 90 + 1e-6:
            raise OrbitError("2-D latitudes are not degrees on the globe", where="grid",
                             got=f"{np.nanmin(self.lat2d):g} to {np.nanmax(self.lat2d):g}", allowed="-90 to 90 degrees",
                             hint="check which coordinate is the latitude, and its units")  # fmt: skip
        lat, lon = (np.round(v[known] * 1e5).astype(np.int64) for v in (self.lat2d, self.lon2d))  # metres
        twice = len(lat) - len(np.unique(lat * 36_000_000 + lon % 36_000_000))
        steps = self._steps
        if twice or np.nanmax(steps) > _FAR * np.nanmedian(steps):
            far, usual = np.nanmax(steps), np.nanmedian(steps)
            raise OrbitError("the cells of this 2-D grid do not lie side by side: it folds or wraps (as ORCA), or has points in no order",
                             where="grid", got=f"{twice} places twice, neighbours up to {far:.0f} km apart (typically {usual:.3g})",
                             hint="cut the folded or repeated rows and columns off, or regrid it first (cdo remapcon,r360x180)")

    @cached_property
    def _steps(self) -> Array:
        """Kilometres between neighbouring centres, along rows and columns."""
        one = distance_km(self.lon2d[1:], self.lat2d[1:], self.lon2d[:-1], self.lat2d[:-1])
        other = distance_km(self.lon2d[:, 1:], self.lat2d[:, 1:], self.lon2d[:, :-1], self.lat2d[:, :-1])
        return np.concatenate([one.ravel(), other.ravel()])

    @property
    def shape(self) -> tuple[int, int]:
        height, width = self.lat2d.shape
        return height, width

    @property
    def dims(self) -> tuple[str, str]:
        return "y", "x"

    @cached_property
    def area_km2(self) -> Array:
        """Cell areas [H, W]; NaN for a cell without corners."""
        return areas(self.lon_vertices.reshape(4, -1), self.lat_vertices.reshape(4, -1)).reshape(self.shape)

    @property
    def periodic(self) -> bool:
        return False

    @cached_property
    def km(self) -> float:
        return float(np.nanmedian(self._steps[: (self.shape[0] - 1) * self.shape[1]]))

    @property
    def resolution(self) -> float:
        return self.km / KM_PER_DEGREE

    @cached_property
    def digest(self) -> str:
        """12 hex digits that identify centres and corners (rounded to 1e-6 degrees)."""
        return edge_digest(self.lat2d, self.lon2d, self.lat_vertices, self.lon_vertices, decimals=6, more="curvilinear")

    @property
    def field_attributes(self) -> dict[str, str]:
        return {"coordinates": "lat lon"}

    @cached_property
    def boundary(self) -> tuple[Array, Array]:
        """The outer corners, computed from the centres."""
        lon, lat = corners(self.lon2d, self.lat2d)
        ring = [np.concatenate([v[0], v[1:, -1], v[-1, -2::-1], v[-2:0:-1, 0]]) for v in (lon, lat)]
        known = np.isfinite(ring[0]) & np.isfinite(ring[1])
        return ring[0][known], ring[1][known]

    @property
    def points(self) -> int:
        """Points of a cell's outline a side (see `ProjectedGrid.points`)."""
        return int(np.ceil(np.sqrt(1000 * float(np.nanmax(self._steps)) / STRAIGHT)))

    def outlines(self, rows: slice) -> tuple[Array, Array]:
        """Longitudes and latitudes [4 * points, cells] round each cell of `rows`, along great circles."""
        r0, r1, _, _ = bounds(self.shape, rows, slice(None))
        lon, lat = (v[:, r0:r1].reshape(4, -1) for v in (self.lon_vertices, self.lat_vertices))
        points = self.points
        if points == 1:
            return lon, lat
        here = unit(lon, lat)
        after = np.roll(here, -1, axis=1)
        lons, lats = [], []
        for k in range(points):  # the corners themselves stay as they are
            x, y, z = here * (1 - k / points) + after * (k / points)
            lons.append(np.degrees(np.arctan2(y, x)) if k else lon)
            lats.append(np.degrees(np.arctan2(z, np.hypot(x, y))) if k else lat)
        return np.stack(lons, 1).reshape(-1, lon.shape[1]), np.stack(lats, 1).reshape(-1, lon.shape[1])

    def same_as(self, other: AnyGrid) -> bool:
        return isinstance(other, CurvilinearGrid) and self.shape == other.shape and self.digest == other.digest

    def same_place(self, other: AnyGrid) -> bool:
        return self.same_as(other)

    def refine(self, factor: int) -> NoReturn:
        self._refuse()

    def coarsen(self, factor: int) -> NoReturn:
        self._refuse()

    def blocks(self, rows: int, columns: int) -> NoReturn:
        self._refuse()

    def nests_in(self, coarse: AnyGrid) -> NoReturn:
        self._refuse()

    def _refuse(self) -> NoReturn:
        raise OrbitError("a curvilinear grid is only regridded from: it has no axes to refine or to cut into blocks", where="grid",
                         got=self.describe(), allowed="a latitude-longitude grid, a map projection or a rotated pole",
                         hint="name a target grid (global_1.0, us_15, ...), or give the file its grid_mapping")  # fmt: skip

    def crop(self, rows: slice, columns: slice) -> CurvilinearGrid:
        """The grid of the given cell rows and columns (contiguous slices with step 1)."""
        r0, r1, c0, c1 = bounds(self.shape, rows, columns)
        part = np.s_[..., r0:r1, c0:c1]
        return CurvilinearGrid(self.lat2d[part], self.lon2d[part], self.lat_vertices[part], self.lon_vertices[part])

    def cells(self, rows: slice, columns: slice) -> tuple[Index, Index]:
        """Indices (for `np.ix_`) of what `window` gave."""
        return np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop)

    def window(self, box: Sequence[float]) -> tuple[slice, slice]:
        """The smallest block of rows and columns with every cell whose CENTRE lies in `box`. Raises OrbitError when none does."""
        return centres_in(self, box)

    def holds(self, box: Sequence[float]) -> bool:
        """Whether every point of the box's outline has a cell's centre within a cell's diagonal."""
        from scipy.spatial import cKDTree  # half a second to load, for this alone

        south, north, west, east = box
        around = Grid(np.array([south, north], dtype=np.float64), np.array([west, west + width(west, east)], dtype=np.float64)).boundary
        known = np.isfinite(self.lat2d) & np.isfinite(self.lon2d)
        chord, _ = cKDTree(unit(self.lon2d[known], self.lat2d[known]).T).query(unit(*around).T)
        return bool(np.max(chord) <= np.sqrt(0.5) * 1.01 * np.nanmax(self._steps) / KM_PER_DEGREE * np.pi / 180)

    def around(self, target: AnyGrid) -> tuple[slice, slice]:
        """Rows and columns of the cells in the target's range of latitudes and longitudes, with two cells more on each side.

        Raises OrbitError when the two do not meet.
        """
        lon, lat = target.boundary
        known = np.isfinite(lon) & np.isfinite(lat)
        lon, lat = lon[known], lat[known]
        south, north = latitudes(lon, lat)
        more = 2 * float(np.nanmax(self._steps)) / KM_PER_DEGREE
        inside = (self.lat2d > south - more) & (self.lat2d < north + more)
        ring = next(x for _, x, _ in flat(lon[:, None], lat[:, None]))
        highest = max(abs(south), abs(north)) + more
        if np.ptp(ring) < 180 and highest < 85:
            wider = more / np.cos(np.radians(highest))
            inside &= (self.lon2d - ring.min() + wider) % 360 <= np.ptp(ring) + 2 * wider
        rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
        if not len(rows):
            raise OrbitError("the curvilinear grid and the target do not meet", where="grid", got=self.describe(),
                             allowed=target.describe(), hint="choose a target grid within the files' region")  # fmt: skip
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

    def coordinates(self) -> dict[str, xr.Variable]:
        """2-D latitude and longitude with their corners."""
        result: dict[str, xr.Variable] = {}
        both = ("lat", "latitude", self.lat2d, self.lat_vertices), ("lon", "longitude", self.lon2d, self.lon_vertices)
        for axis, kind, centres, ring in both:
            units = "degrees_north" if axis == "lat" else "degrees_east"
            result[axis] = xr.Variable(self.dims, centres, {"units": units, "standard_name": kind, "bounds": f"{axis}_vertices"})
            result[f"{axis}_vertices"] = xr.Variable((*self.dims, "vertices"), np.moveaxis(ring, 0, -1))
        return result

    def to_attributes(self) -> dict[str, Any]:
        arrays = (self.lat2d, self.lon2d, self.lat_vertices, self.lon_vertices)
        names = ("lat2d", "lon2d", "lat_vertices", "lon_vertices")
        return {"kind": "curvilinear", **{name: values.tolist() for name, values in zip(names, arrays, strict=True)}}

    def describe(self) -> str:
        height, width_ = self.shape
        lat, lon = (f"{np.nanmin(v):.4g}..{np.nanmax(v):.4g}" for v in (self.lat2d, self.lon2d))
        return f"{height}x{width_} curvilinear cells of about {self.km:.3g} km, lat {lat}, lon {lon}"


def curvilinear(lat: Array, lon: Array, lat_vertices: Array | None = None, lon_vertices: Array | None = None) -> CurvilinearGrid:
    """Grid from 2-D centres [H, W]; corners [H, W, 4] as CF has them, or [H + 1, W + 1], or computed from the centres.

    Raises OrbitError for fewer than two rows or columns, or a shape that is none of these.
    """
    lat, lon = np.asarray(lat, dtype=np.float64), np.asarray(lon, dtype=np.float64)
    if lat.ndim != 2 or min(lat.shape) < 2 or lon.shape != lat.shape:
        raise OrbitError("2-D coordinates need at least two rows and two columns", where="grid", got=f"{lat.shape} and {lon.shape}",
                         hint="give latitude and longitude [y, x]")  # fmt: skip
    if lat_vertices is None or lon_vertices is None:
        lon_vertices, lat_vertices = corners(lon, lat)
    given = [np.asarray(v, dtype=np.float64) for v in (lat_vertices, lon_vertices)]
    if given[0].shape == (lat.shape[0] + 1, lat.shape[1] + 1) == given[1].shape:
        given = [np.stack([v[:-1, :-1], v[:-1, 1:], v[1:, 1:], v[1:, :-1]]) for v in given]
    elif given[0].shape == (*lat.shape, 4) == given[1].shape:
        given = [np.moveaxis(v, -1, 0) for v in given]
    else:
        raise OrbitError("corners of a curvilinear grid do not fit its centres", where="grid", got=f"{given[0].shape}, {given[1].shape}",
                         allowed=f"{(*lat.shape, 4)}", hint="give corners of each cell, or none: they are found halfway between centres")
    return CurvilinearGrid(lat, lon, *given)


def corners(lon: Array, lat: Array) -> tuple[Array, Array]:
    """Longitudes and latitudes [H + 1, W + 1] of the corners between centres [H, W]: means on the sphere, the outer ones carried on."""
    return _degrees(_between(_between(unit(lon, lat), 1), 2))


def rows_between(lon: Array, lat: Array) -> tuple[Array, Array]:
    """Corners [H + 1, W] from points [H, W] that lie on the western and eastern sides of cells already (WRF's U points)."""
    return _degrees(_between(unit(lon, lat), 1))


def _between(points: Array, axis: int) -> Array:
    """Points half-way between neighbours along `axis`, one more at either end."""
    first, second, before, last = (points.take([k], axis) for k in (0, 1, -2, -1))
    padded = np.concatenate([2 * first - second, points, 2 * last - before], axis)
    length = padded.shape[axis]
    middle: Array = (padded.take(range(length - 1), axis) + padded.take(range(1, length), axis)) / 2
    return middle


def _degrees(points: Array) -> tuple[Array, Array]:
    x, y, z = points
    return np.degrees(np.arctan2(y, x)), np.degrees(np.arctan2(z, np.hypot(x, y)))
