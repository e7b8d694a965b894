"""Rectilinear grids: centres AND edges along latitude and longitude, areas, periodicity. Never opens a file.

The Earth is a sphere here (see `orbit2.grid.sphere`); areas are exact on it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import longitudes
from orbit2.edges import brief, edge_digest, exact_edges, midpoints, subdivide
from orbit2.errors import OrbitError
from orbit2.grid.protocol import AnyGrid
from orbit2.grid.sphere import EARTH_RADIUS_KM, Array, bounds, latitudes

TOLERANCE = 1e-6  # degrees
SNAP = 1e-4  # degrees: how near a box written in decimals must come to a cell edge
_SIDE = 2000  # points of one side of an outline


@dataclass(frozen=True, eq=False)
class Grid:
    """Cells between `lat_edges` (ascending, [-90, 90]) and `lon_edges` (increasing, spanning at most 360 degrees).

    Raises OrbitError for edges that are not strictly increasing or outside the globe.
    """

    lat_edges: Array  # [H + 1]
    lon_edges: Array  # [W + 1]

    def __post_init__(self) -> None:
        for axis, edges in (("latitude", self.lat_edges), ("longitude", self.lon_edges)):
            if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
                raise OrbitError(f"{axis} edges must be strictly increasing", where="grid", got=brief(edges),
                                 hint="sort the axis, and give each edge once")  # fmt: skip
        if self.lat_edges[0] < -90 - TOLERANCE or self.lat_edges[-1] > 90 + TOLERANCE:
            raise OrbitError("latitude outside the globe", where="grid", got=brief(self.lat_edges), allowed="-90 to 90 degrees",
                             hint="check which axis is the latitude, and its units")  # fmt: skip
        if self.lon_edges[-1] - self.lon_edges[0] > 360 + TOLERANCE:
            raise OrbitError("longitudes span more than 360 degrees", where="grid", got=brief(self.lon_edges),
                             hint="cut the repeated columns off")  # fmt: skip

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.lat_edges) - 1, len(self.lon_edges) - 1

    @property
    def dims(self) -> tuple[str, str]:
        return "lat", "lon"

    @cached_property
    def lat(self) -> Array:
        """Cell-centre latitudes [H], degrees north; a cell cut by the pole (ERA5) has its centre there."""
        centres = (self.lat_edges[:-1] + self.lat_edges[1:]) / 2
        if len(centres) > 2:
            step = self.lat_edges[2] - self.lat_edges[1]
            if np.isclose(self.lat_edges[1] - self.lat_edges[0], step / 2) and np.isclose(self.lat_edges[0], -90):
                centres[0] = -90.0
            step = self.lat_edges[-2] - self.lat_edges[-3]
            if np.isclose(self.lat_edges[-1] - self.lat_edges[-2], step / 2) and np.isclose(self.lat_edges[-1], 90):
                centres[-1] = 90.0
        return centres

    @cached_property
    def lon(self) -> Array:
        """Cell-centre longitudes [W], degrees east."""
        centres: Array = (self.lon_edges[:-1] + self.lon_edges[1:]) / 2
        return centres

    @property
    def lat2d(self) -> Array:
        return np.broadcast_to(self.lat[:, None], self.shape)

    @property
    def lon2d(self) -> Array:
        return np.broadcast_to(self.lon[None], self.shape)

    @cached_property
    def lat_weights(self) -> Array:
        """sin(north edge) - sin(south edge) per row [H]: exact relative cell areas on a uniform longitude grid."""
        weights: Array = np.diff(np.sin(np.radians(self.lat_edges)))
        return weights

    @property
    def area_km2(self) -> Array:
        """Cell areas [H, W] on a sphere of radius 6371 km; made when asked for: at 7 km they are 130 MB."""
        areas: Array = np.outer(self.lat_weights, np.radians(np.diff(self.lon_edges))) * EARTH_RADIUS_KM**2
        return areas

    @property
    def periodic(self) -> bool:
        return bool(abs(self.lon_edges[-1] - self.lon_edges[0] - 360) < 1e-4)

    @property
    def resolution(self) -> float:
        """Typical latitude spacing in degrees."""
        return float(np.median(np.diff(self.lat_edges)))

    @property
    def km(self) -> float:
        """Typical latitude spacing in kilometres (what the resolution embedding is given)."""
        return self.resolution * np.pi / 180 * EARTH_RADIUS_KM

    @cached_property
    def digest(self) -> str:
        """12 hex digits that identify the geometry (edges rounded to 1e-6 degrees)."""
        return edge_digest(self.lat_edges, self.lon_edges, decimals=6)

    @property
    def field_attributes(self) -> dict[str, str]:
        return {}

    @property
    def boundary(self) -> tuple[Array, Array]:
        """Longitudes and latitudes of 2000 points along each side: south, north, west, east."""
        lat, lon = (np.interp(np.linspace(0, len(e) - 1, _SIDE), np.arange(len(e)), e) for e in (self.lat_edges, self.lon_edges))
        return (np.concatenate([lon, np.full_like(lat, lon[-1]), lon[::-1], np.full_like(lat, lon[0])]),
                np.concatenate([np.full_like(lon, lat[0]), lat, np.full_like(lon, lat[-1]), lat[::-1]]))  # fmt: skip

    def outlines(self, rows: slice) -> tuple[Array, Array]:
        """The corners [4, cells] of each cell of `rows`: straight in (longitude, latitude) between them."""
        r0, r1, _, _ = bounds(self.shape, rows, slice(None))
        lon, lat = np.meshgrid(self.lon_edges, self.lat_edges[r0 : r1 + 1])
        corners = [tuple(v[slice(j, v.shape[0] - 1 + j), slice(i, v.shape[1] - 1 + i)].ravel() for j, i in ((0, 0), (0, 1), (1, 1), (1, 0)))
                   for v in (lon, lat)]  # fmt: skip
        return np.stack(corners[0]), np.stack(corners[1])

    def same_as(self, other: AnyGrid) -> bool:
        return isinstance(other, Grid) and self.shape == other.shape and bool(
            np.allclose(self.lat_edges, other.lat_edges, atol=TOLERANCE) and np.allclose(self.lon_edges, other.lon_edges, atol=TOLERANCE)
        )  # fmt: skip

    def same_place(self, other: AnyGrid) -> bool:
        """Whether the cells are the same, in whatever turn either counts its longitudes."""
        if not isinstance(other, Grid):
            return False
        turns = round((self.lon_edges[0] - other.lon_edges[0]) / 360.0)
        return self.same_as(Grid(other.lat_edges, other.lon_edges + 360.0 * turns))

    def refine(self, factor: int) -> Grid:
        """The grid whose `factor` x `factor` cells nest in each of these."""
        return Grid(subdivide(self.lat_edges, factor), subdivide(self.lon_edges, factor))

    def coarsen(self, factor: int) -> Grid:
        """The grid of `factor` x `factor` blocks. Raises OrbitError where the shape does not divide."""
        height, width = self.shape
        if height % factor or width % factor:
            raise OrbitError("grid does not divide into whole blocks", where="grid", got=f"{height}x{width} by {factor}",
                             hint="choose a factor that divides both sides")  # fmt: skip
        return Grid(self.lat_edges[::factor], self.lon_edges[::factor])

    def blocks(self, rows: int, columns: int) -> Grid:
        """The grid of blocks of `rows` x `columns` cells; the last ones are smaller where the shape does not divide."""
        return Grid(np.append(self.lat_edges[:-1:rows], self.lat_edges[-1]), np.append(self.lon_edges[:-1:columns], self.lon_edges[-1]))

    def nests_in(self, coarse: AnyGrid) -> int:
        """The integer factor s by which this grid refines `coarse`. Raises OrbitError when it does not nest."""
        factor = self.shape[0] // coarse.shape[0] if coarse.shape[0] else 0
        if factor < 1 or not coarse.refine(factor).same_as(self):
            raise OrbitError("fine cells do not nest in coarse cells", where="grid", got=f"{self.describe()} in {coarse.describe()}",
                             hint="choose grids with common edges and an integer refinement")  # fmt: skip
        return factor

    def crop(self, rows: slice, columns: slice) -> Grid:
        """The grid of the given cell rows and columns (contiguous slices with step 1).

        On a grid that goes round the globe columns may run on past the last one: longitudes then run on past its end.
        """
        if self.periodic and columns.stop is not None and self.shape[1] < columns.stop <= 2 * self.shape[1]:
            edges = np.concatenate([self.lon_edges, self.lon_edges[1:] + 360.0])
            r0, r1, c0, c1 = bounds((self.shape[0], len(edges) - 1), rows, columns)
            return Grid(self.lat_edges[r0 : r1 + 1], edges[c0 : c1 + 1])
        r0, r1, c0, c1 = bounds(self.shape, rows, columns)
        return Grid(self.lat_edges[r0 : r1 + 1], self.lon_edges[c0 : c1 + 1])

    def cells(self, rows: slice, columns: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Indices (for `np.ix_`) of what `window` gave, its columns wrapped round the globe."""
        return np.arange(rows.start, rows.stop), np.arange(columns.start, columns.stop) % self.shape[1]

    def window(self, box: Sequence[float]) -> tuple[slice, slice]:
        """Rows and columns whose CENTRES lie in `box` = (south, north, west, east), degrees, in any turn.

        On a grid that goes round the globe a box across its seam gives columns that run on past the last one (see `crop`, `cells`).
        Raises OrbitError when no cell centre is inside.
        """
        south, north, west, east = box
        rows = np.flatnonzero((self.lat >= south - longitudes.TOLERANCE) & (self.lat <= north + longitudes.TOLERANCE))
        columns = longitudes.columns(self.lon, self.lon_edges, west, east)
        if not len(rows) or columns is None:
            raise OrbitError("region lies outside the grid", where="region", got=list(box), allowed=self.describe(),
                             hint="give south, north, west, east in degrees")  # fmt: skip
        return slice(int(rows[0]), int(rows[-1]) + 1), columns

    def holds(self, box: Sequence[float]) -> bool:
        """Whether the whole of `box` = (south, north, west, east) lies on this grid."""
        south, north, west, east = box
        end = longitudes.placed(west, east, float(self.lon_edges[0]))[1]
        return bool(south >= self.lat_edges[0] - SNAP and north <= self.lat_edges[-1] + SNAP
                    and (self.periodic or end <= self.lon_edges[-1] + SNAP))  # fmt: skip

    def around(self, target: AnyGrid) -> tuple[slice, slice]:
        """The rows that `target` touches, and every column. Raises OrbitError when the two do not meet."""
        south, north = (target.lat_edges[0], target.lat_edges[-1]) if isinstance(target, Grid) else latitudes(*target.boundary)
        touched = np.flatnonzero((self.lat_edges[1:] > south) & (self.lat_edges[:-1] < north))
        if not len(touched):
            raise OrbitError("source and target grid do not touch", where="grid", got=self.describe(), allowed=target.describe(),
                             hint="choose grids of the same region")  # fmt: skip
        more = 0 if isinstance(target, Grid) else 1  # a curved side reaches a little beyond its points
        return slice(max(int(touched[0]) - more, 0), min(int(touched[-1]) + 1 + more, self.shape[0])), slice(0, self.shape[1])

    def coordinates(self) -> dict[str, xr.Variable]:
        """Latitude and longitude with bounds."""
        result: dict[str, xr.Variable] = {}
        for axis, long, centres, edges in (("lat", "latitude", self.lat, self.lat_edges), ("lon", "longitude", self.lon, self.lon_edges)):
            units = "degrees_north" if axis == "lat" else "degrees_east"
            about = {"units": units, "standard_name": long, "axis": "Y" if axis == "lat" else "X", "bounds": f"{axis}_bnds"}
            result[axis] = xr.Variable(axis, centres, about)
            result[f"{axis}_bnds"] = xr.Variable((axis, "bnds"), np.stack([edges[:-1], edges[1:]], -1))
        return result

    def to_attributes(self) -> dict[str, Any]:
        return {"kind": "latlon", "lat_edges": self.lat_edges.tolist(), "lon_edges": self.lon_edges.tolist()}

    def describe(self) -> str:
        height, width = self.shape
        return (
            f"{height}x{width} cells of {self.resolution:.4g} degrees, lat {self.lat_edges[0]:g}..{self.lat_edges[-1]:g}, "
            f"lon {self.lon_edges[0]:g}..{self.lon_edges[-1]:g}"
        )


def uniform(south: float, north: float, west: float, east: float, lat_cells: int, lon_cells: int) -> Grid:
    return Grid(np.linspace(south, north, lat_cells + 1), np.linspace(west, east, lon_cells + 1))


def global_grid(degrees: float) -> Grid:
    """The cell-centred global grid with edges at 90 S and 0 E. Raises OrbitError unless 180/degrees is whole."""
    rows = 180 / degrees
    if abs(rows - round(rows)) > 1e-6 or rows < 1:
        raise OrbitError("a global grid needs 180 divided by the spacing to be whole", where="grid", got=degrees,
                         hint="e.g. 0.25, 0.5, 1 or 2")  # fmt: skip
    return Grid(exact_edges(Fraction(-90), Fraction(90), round(rows)), exact_edges(Fraction(0), Fraction(360), 2 * round(rows)))


def from_centres(lat: npt.ArrayLike, lon: npt.ArrayLike) -> Grid:
    """Grid from ascending centre coordinates; edges half-way between centres, cut at the poles.

    Raises OrbitError when a coordinate is not ascending, not finite or outside the globe.
    """
    lat_array, lon_array = (np.asarray(x, dtype=np.float64) for x in (lat, lon))
    for axis, centres in (("latitude", lat_array), ("longitude", lon_array)):
        if centres.ndim != 1 or len(centres) < 2:
            raise OrbitError(f"{axis} must be a 1-D coordinate with at least two cells", where="grid", got=f"shape {centres.shape}",
                             hint="give at least two rows and two columns")  # fmt: skip
        if not np.all(np.isfinite(centres)) or not np.all(np.diff(centres) > 0):
            raise OrbitError(f"{axis} must be finite and ascending", where="grid", got=brief(centres),
                             hint="sort the axis, and give each centre once")  # fmt: skip
    if lat_array[0] < -90 - TOLERANCE or lat_array[-1] > 90 + TOLERANCE:
        raise OrbitError("latitude outside the globe", where="grid", got=brief(lat_array), allowed="-90 to 90 degrees",
                         hint="check which axis is the latitude, and its units")  # fmt: skip
    lat_edges = np.clip(midpoints(lat_array), -90, 90)
    for i in (0, -1):  # float32 coordinates must not leave a sliver at the pole
        if abs(abs(lat_edges[i]) - 90) < 1e-3:
            lat_edges[i] = np.sign(lat_edges[i]) * 90
    lon_edges = midpoints(lon_array)
    if abs(lon_edges[-1] - lon_edges[0] - 360) < 1e-2:
        lon_edges[-1] = lon_edges[0] + 360
    return Grid(lat_edges, lon_edges)

