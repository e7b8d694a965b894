"""Grids of a map projection (x, y in metres) or of a rotated pole (degrees): cells between straight edges of their own axes.

Never opens a file. Latitudes, longitudes and areas come through PROJ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from orbit2 import longitudes
from orbit2.edges import brief, edge_digest, midpoints, subdivide
from orbit2.errors import OrbitError
from orbit2.grid.latlon import Grid
from orbit2.grid.places import centres_in
from orbit2.grid.protocol import AnyGrid
from orbit2.grid.sphere import EARTH_RADIUS_KM, KM_PER_DEGREE, STRAIGHT, Array, Index, areas, bounds, distance_km, flat

MAPPING = "crs"  # the name of the grid mapping variable
_BLOCK = 1 << 18  # points of cells' outlines in memory at once
_SIDE = 2000  # points of one side of an outline
_METRES, _DEGREES = {"metre", "meter"}, {"degree"}


@dataclass(frozen=True, eq=False)
class ProjectedGrid:
    """Cells between `y_edges` and `x_edges` (ascending) of `crs` (WKT or anything pyproj reads): metres of a map projection, or degrees
    of grid latitude and longitude of a rotated pole (a derived geographic system).

    Raises OrbitError for edges that are not strictly increasing, or a reference system that is neither.
    """

    y_edges: Array  # [H + 1]
    x_edges: Array  # [W + 1]
    crs: str

    def __post_init__(self) -> None:
        for axis, edges in (("y", self.y_edges), ("x", self.x_edges)):
            if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
                raise OrbitError(f"projected {axis} edges must be strictly increasing", where="grid", got=brief(edges),
                                 hint="sort the axis, and give each edge once")  # fmt: skip
        try:
            crs = self._crs
        except CRSError as error:
            raise OrbitError("the coordinate reference system cannot be read", where="grid", got=str(error)[:120],
                             hint="give an EPSG code, WKT or CF's grid_mapping attributes") from None  # fmt: skip
        units = {axis.unit_name for axis in crs.axis_info}
        if not (crs.is_projected and units <= _METRES) and not (self.rotated and units <= _DEGREES):
            raise OrbitError("a projected grid needs a map projection in metres, or a rotated pole in degrees", where="grid",
                             got=f"{crs.name} in {', '.join(sorted(units))}", hint="give the projection's own x and y in metres")

    @property
    def rotated(self) -> bool:
        """Whether the axes are degrees of a rotated pole."""
        return bool(self._crs.is_geographic and self._crs.is_derived)

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.y_edges) - 1, len(self.x_edges) - 1

    @property
    def dims(self) -> tuple[str, str]:
        return ("rlat", "rlon") if self.rotated else ("y", "x")

    @property
    def y(self) -> Array:
        """Centres of the rows [H]."""
        return np.asarray((self.y_edges[:-1] + self.y_edges[1:]) / 2, dtype=np.float64)

    @property
    def x(self) -> Array:
        """Centres of the columns [W]."""
        return np.asarray((self.x_edges[:-1] + self.x_edges[1:]) / 2, dtype=np.float64)

    @cached_property
    def _centres(self) -> tuple[Array, Array]:
        """Longitude and latitude [H, W]; longitudes within half a turn of the middle cell's, which lies in [0, 360)."""
        lon, lat = self.lon_lat(*np.meshgrid(self.x, self.y))
        middle = float(lon[self.shape[0] // 2, self.shape[1] // 2])
        first = middle % 360.0 - 180.0 if np.isfinite(middle) else 0.0
        lon = longitudes.follow(lon, first)
        for values in (lon, lat):
            values.setflags(write=False)
        return lon, lat

    @property
    def lat2d(self) -> Array:
        return self._centres[1]

    @property
    def lon2d(self) -> Array:
        return self._centres[0]

    @cached_property
    def area_km2(self) -> Array:
        """Cell areas [H, W]: exact for a rotated pole, else to 1e-7."""
        if self.rotated:
            sines = np.diff(np.sin(np.radians(self.y_edges)))
            return np.asarray(np.outer(sines, np.radians(np.diff(self.x_edges))) * EARTH_RADIUS_KM**2, dtype=np.float64)
        height, width = self.shape
        rows = max(1, _BLOCK // (4 * self.points * width))
        return np.concatenate([areas(*self.outlines(slice(k, min(k + rows, height)))).reshape(-1, width) for k in range(0, height, rows)])

    @property
    def periodic(self) -> bool:
        return False

    @cached_property
    def km(self) -> float:
        """Spacing of rows in the middle of the grid in kilometres on the ground (a map's scale is not 1 everywhere)."""
        step, (height, width) = float(np.median(np.diff(self.y_edges))), self.shape
        y, x = float(self.y_edges[height // 2]), float(self.x_edges[width // 2])
        lon, lat = self.lon_lat([x, x], [y - step / 2, y + step / 2])
        found = float(distance_km(lon[0], lat[0], lon[1], lat[1]))
        return found if np.isfinite(found) else step * (KM_PER_DEGREE if self.rotated else 1e-3)

    @property
    def resolution(self) -> float:
        return self.km / KM_PER_DEGREE

    @cached_property
    def digest(self) -> str:
        """12 hex digits that identify the geometry (edges rounded to a millimetre, or 1e-6 degrees) and the reference system."""
        return edge_digest(self.y_edges, self.x_edges, decimals=6 if self.rotated else 3, more=self._crs.to_wkt())

    @property
    def field_attributes(self) -> dict[str, str]:
        return {"grid_mapping": MAPPING}

    @cached_property
    def boundary(self) -> tuple[Array, Array]:
        """Longitudes and latitudes of 2000 points along each side."""
        y, x = (np.interp(np.linspace(0, len(e) - 1, _SIDE), np.arange(len(e)), e) for e in (self.y_edges, self.x_edges))
        return self.lon_lat(np.concatenate([x, np.full_like(y, x[-1]), x[::-1], np.full_like(y, x[0])]),
                            np.concatenate([np.full_like(x, y[0]), y, np.full_like(x, y[-1]), y[::-1]]))  # fmt: skip

    @property
    def points(self) -> int:
        """Points of a cell's outline a side: one of length L, straight in the projection, strays from its chord by about L^2/8R."""
        size = max(float(np.diff(self.x_edges).max()), float(np.diff(self.y_edges).max())) * (KM_PER_DEGREE * 1000 if self.rotated else 1)
        return int(np.ceil(np.sqrt(size / STRAIGHT)))

    def outlines(self, rows: slice) -> tuple[Array, Array]:
        """Longitudes and latitudes [4 * points, cells] round each cell of `rows`, counter-clockwise from the south-west."""
        points, x, y = self.points, self.x_edges, self.y_edges[rows.start : rows.stop + 1]
        height, width = len(y) - 1, len(x) - 1
        between = np.delete(_refined(y, points), np.arange(height + 1) * points)  # on the sides that run north; corners are in `level`
        along = self.lon_lat(*np.broadcast_arrays(_refined(x, points)[None], y[:, None]))
        upward = self.lon_lat(*np.broadcast_arrays(x[None], between[:, None])) if points > 1 else (np.empty(0), np.empty(0))
        result = []
        for level, inner in zip(along, (side.reshape(height, points - 1, width + 1) for side in upward), strict=True):
            vertices = [level[:-1, k : k + width * points : points] for k in range(points)]  # south side, eastward
            vertices += [level[:-1, points::points], *(inner[:, k, 1:] for k in range(points - 1))]  # east side, northward
            vertices += [level[1:, k : k + width * points : points] for k in range(points, 0, -1)]  # north side, westward
            vertices += [level[1:, :-1:points], *(inner[:, k, :-1] for k in range(points - 2, -1, -1))]  # west side, southward
            result.append(np.stack([vertex.ravel() for vertex in vertices]))
        return result[0], result[1]

    def same_map(self, other: ProjectedGrid) -> bool:
        """Whether x and y of both mean the same."""
        return self.crs == other.crs or bool(self._crs == other._crs)

    def same_as(self, other: AnyGrid) -> bool:
        if not isinstance(other, ProjectedGrid) or self.shape != other.shape:
            return False
        near = 1e-6 if self.rotated else 1e-3
        return self.same_map(other) and bool(np.allclose(self.y_edges, other.y_edges, rtol=0, atol=near)
                                                and np.allclose(self.x_edges, other.x_edges, rtol=0, atol=near))  # fmt: skip

    def same_place(self, other: AnyGrid) -> bool:
        return self.same_as(other)

    def refine(self, factor: int) -> ProjectedGrid:
        """The grid whose `factor` x `factor` cells nest in each of these."""
        return ProjectedGrid(subdivide(self.y_edges, factor), subdivide(self.x_edges, factor), self.crs)

    def coarsen(self, factor: int) -> ProjectedGrid:
        """The grid of `factor` x `factor` blocks. Raises OrbitError where the shape does not divide."""
        height, width = self.shape
        if height % factor or width % factor:
            raise OrbitError("grid does not divide into whole blocks", where="grid", got=f"{height}x{width} by {factor}",
                             hint="choose a factor that divides both sides")  # fmt: skip
        return ProjectedGrid(self.y_edges[::factor], self.x_edges[::factor], self.crs)

    def blocks(self, rows: int, columns: int) -> ProjectedGrid:
        """The grid of blocks of `rows` x `columns` cells; the last ones are smaller where the shape does not divide."""
        y, x = np.append(self.y_edges[:-1:rows], self.y_edges[-1]), np.append(self.x_edges[:-1:columns], self.x_edges[-1])
        return ProjectedGrid(y, x, self.crs)

    def nests_in(self, coarse: AnyGrid) -> int:
        """The integer factor s by which this grid refines `coarse`. Raises OrbitError when it does not nest."""
        factor = self.shape[0] // coarse.shape[0]
        if factor < 1 or not coarse.refine(factor).same_as(self):
            raise OrbitError("fine cells do not nest in coarse cells", where="grid", got=f"{self.describe()} in {coarse.describe()}",
                             hint="choose grids with common edges and an integer refinement")  # fmt: skip
        return factor

    def crop(self, rows: slice, columns: slice) -> ProjectedGrid:
        """The grid of the given cell rows and columns (contiguous slices with step 1)."""
        r0, r1, c0, c1 = bounds(self.shape, rows, columns)
        return ProjectedGrid(self.y_edges[r0 : r1 + 1], self.x_edges[c0 : c1 + 1], self.crs)

    def cells(self, rows: slice, columns: slice) -> tuple[Index, Index]:
        """Indices (for `np.ix_`) of what `window` gave."""
        return np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop)

    def window(self, box: Sequence[float]) -> tuple[slice, slice]:
        """The smallest block of rows and columns with every cell whose CENTRE lies in `box` = (south, north, west, east), degrees.

        Its corners reach out of the box where the grid's axes are not north and east. Raises OrbitError when no centre is inside.
        """
        return centres_in(self, box)

    def holds(self, box: Sequence[float]) -> bool:
        """Whether the whole of `box` = (south, north, west, east) lies on this grid."""
        south, north, west, east = box
        end = west + longitudes.width(west, east)
        x, y = self._back(*Grid(np.array([south, north], dtype=np.float64), np.array([west, end], dtype=np.float64)).boundary)
        near = 1e-4 * float(np.median(np.diff(self.y_edges)))
        return bool(np.isfinite(x).all() and x.min() >= self.x_edges[0] - near and x.max() <= self.x_edges[-1] + near
                    and y.min() >= self.y_edges[0] - near and y.max() <= self.y_edges[-1] + near)  # fmt: skip

    def around(self, target: AnyGrid) -> tuple[slice, slice]:
        """Rows and columns of the cells that `target` can need: all that meet it, and one more cell on each side.

        The outline of `target` is followed in the projection; a target that goes half-way round the globe, round a pole, or leaves the
        projection gets the whole grid. Raises OrbitError when the two do not meet.
        """
        lon, lat = target.boundary
        x, y = self._back(lon, lat)
        turned = [np.ptp(ring[:, 0]) for _, ring, _ in flat(lon[:, None], lat[:, None])]
        if not turned or turned[0] >= 180 or not (np.isfinite(x).all() and np.isfinite(y).all()):
            return slice(0, self.shape[0]), slice(0, self.shape[1])
        slices = []
        for edges, values in ((self.y_edges, y), (self.x_edges, x)):
            start = max(int(np.searchsorted(edges, values.min(), side="right")) - 2, 0)
            stop = min(int(np.searchsorted(edges, values.max(), side="left")) + 1, len(edges) - 1)
            if values.max() <= edges[0] or values.min() >= edges[-1]:
                raise OrbitError("the projected grid and the target do not meet", where="grid", got=self.describe(),
                                 allowed=target.describe(), hint="choose a target grid within the files' region")  # fmt: skip
            slices.append(slice(start, stop))
        return slices[0], slices[1]

    def lon_lat(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, Array]:
        """Longitude and latitude (degrees) of points on the grid's axes; not finite where the projection has none."""
        lon, lat = self._transformer.transform(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        return lon, lat

    def x_y(self, lon: Array, lat: Array) -> tuple[Array, Array]:
        """Points on the grid's axes, grid longitudes in the turn of the axis; not finite where the projection has none."""
        return self._back(lon, lat)

    def _back(self, lon: Array, lat: Array) -> tuple[Array, Array]:
        """x and y of points; grid longitudes of a rotated pole in the turn of the axis."""
        x, y = self._transformer.transform(lon, lat, direction="INVERSE")
        if self.rotated:
            middle = float(self.x_edges[0] + self.x_edges[-1]) / 2
            x = np.where(np.isfinite(x), longitudes.follow(x, middle - 180.0), x)
        return x, y

    def coordinates(self) -> dict[str, xr.Variable]:
        """The axes with bounds, latitude and longitude of the centres (2-D) and the grid mapping, a scalar named `crs`."""
        down, along = self.dims
        kinds = ("grid_latitude", "grid_longitude") if self.rotated else ("projection_y_coordinate", "projection_x_coordinate")
        result: dict[str, xr.Variable] = {}
        axes = (down, "Y", kinds[0], self.y, self.y_edges), (along, "X", kinds[1], self.x, self.x_edges)
        for axis, letter, kind, centres, edges in axes:
            about = {"units": "degrees" if self.rotated else "m", "standard_name": kind, "axis": letter, "bounds": f"{axis}_bnds"}
            result[axis] = xr.Variable(axis, centres, about)
            result[f"{axis}_bnds"] = xr.Variable((axis, "bnds"), np.stack([edges[:-1], edges[1:]], -1))
        result["lat"] = xr.Variable(self.dims, self.lat2d, {"units": "degrees_north", "standard_name": "latitude"})
        result["lon"] = xr.Variable(self.dims, self.lon2d, {"units": "degrees_east", "standard_name": "longitude"})
        result[MAPPING] = xr.Variable((), np.int32(0), self._crs.to_cf())
        return result

    def to_attributes(self) -> dict[str, Any]:
        return {"kind": "projected", "y_edges": self.y_edges.tolist(), "x_edges": self.x_edges.tolist(), "crs": self._crs.to_wkt()}

    def describe(self) -> str:
        height, width = self.shape
        sides, name = (self.y_edges[0], self.y_edges[-1], self.x_edges[0], self.x_edges[-1]), self._crs.name
        if name in ("unknown", "undefined") and self._crs.coordinate_operation is not None:
            name = self._crs.coordinate_operation.method_name
        step = float(np.median(np.diff(self.x_edges)))
        if self.rotated:
            pole = self._crs.to_cf()
            about = f"pole at {pole['grid_north_pole_latitude']:g} N, {pole['grid_north_pole_longitude']:g} E" if len(pole) > 2 else name
            return f"{height}x{width} cells of {step:.4g} degrees, " + "rlat {:g}..{:g}, rlon {:g}..{:g}".format(*sides) + f" ({about})"
        return f"{height}x{width} cells of {step / 1000:.4g} km, " + "y {:.0f}..{:.0f} m, x {:.0f}..{:.0f} m".format(*sides) + f" ({name})"

    @cached_property
    def _crs(self) -> CRS:
        return CRS.from_user_input(self.crs)

    @cached_property
    def _transformer(self) -> Transformer:
        return Transformer.from_crs(self._crs, self._crs.source_crs if self.rotated else self._crs.geodetic_crs, always_xy=True)


def projected(y: npt.ArrayLike, x: npt.ArrayLike, crs: str) -> ProjectedGrid:
    """Grid from ascending centre coordinates (metres, or degrees of a rotated pole); edges half-way between centres.

    Raises OrbitError when a coordinate is not ascending or not finite.
    """
    axes = []
    for axis, values in (("y", y), ("x", x)):
        centres = np.asarray(values, dtype=np.float64)
        if centres.ndim != 1 or len(centres) < 2:
            raise OrbitError(f"{axis} must be a 1-D coordinate with at least two cells", where="grid", got=f"shape {centres.shape}",
                             hint="give at least two rows and two columns")  # fmt: skip
        if not np.all(np.isfinite(centres)) or not np.all(np.diff(centres) > 0):
            raise OrbitError(f"{axis} must be finite and ascending", where="grid", got=brief(centres),
                             hint="sort the axis, and give each centre once")  # fmt: skip
        axes.append(midpoints(centres))
    return ProjectedGrid(axes[0], axes[1], crs)


def _refined(edges: Array, points: int) -> Array:
    return np.interp(np.arange((len(edges) - 1) * points + 1) / points, np.arange(len(edges)), edges)
