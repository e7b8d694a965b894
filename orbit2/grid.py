"""Rectilinear latitude-longitude grids: centres AND edges, areas, periodicity. The only place that knows geometry."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError

Array = npt.NDArray[np.float64]
EARTH_RADIUS_KM = 6371.0
_TOLERANCE = 1e-6  # degrees


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
                raise OrbitError(f"{axis} edges must be strictly increasing", got=_brief(edges))
        if self.lat_edges[0] < -90 - _TOLERANCE or self.lat_edges[-1] > 90 + _TOLERANCE:
            raise OrbitError("latitude outside the globe", got=_brief(self.lat_edges), allowed="-90 to 90 degrees")
        if self.lon_edges[-1] - self.lon_edges[0] > 360 + _TOLERANCE:
            raise OrbitError("longitudes span more than 360 degrees", got=_brief(self.lon_edges))

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.lat_edges) - 1, len(self.lon_edges) - 1

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

    @cached_property
    def lat_weights(self) -> Array:
        """sin(north edge) - sin(south edge) per row [H]: exact relative cell areas on a uniform longitude grid."""
        weights: Array = np.diff(np.sin(np.radians(self.lat_edges)))
        return weights

    @cached_property
    def area_km2(self) -> Array:
        """Cell areas [H, W] on a sphere of radius 6371 km."""
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
        blob = np.round(self.lat_edges, 6).tobytes() + b"|" + np.round(self.lon_edges, 6).tobytes()
        return hashlib.sha256(blob).hexdigest()[:12]

    def same_as(self, other: Grid) -> bool:
        return self.shape == other.shape and bool(
            np.allclose(self.lat_edges, other.lat_edges, atol=_TOLERANCE) and np.allclose(self.lon_edges, other.lon_edges, atol=_TOLERANCE)
        )

    def refine(self, factor: int) -> Grid:
        """The grid whose `factor` x `factor` cells nest in each of these."""
        return Grid(_subdivide(self.lat_edges, factor), _subdivide(self.lon_edges, factor))

    def coarsen(self, factor: int) -> Grid:
        """The grid of `factor` x `factor` blocks. Raises OrbitError where the shape does not divide."""
        height, width = self.shape
        if height % factor or width % factor:
            raise OrbitError("grid does not divide into whole blocks", got=f"{height}x{width} by {factor}")
        return Grid(self.lat_edges[::factor], self.lon_edges[::factor])

    def nests_in(self, coarse: Grid) -> int:
        """The integer factor s by which this grid refines `coarse`. Raises OrbitError when it does not nest."""
        factor = self.shape[0] // coarse.shape[0] if coarse.shape[0] else 0
        if factor < 1 or not coarse.refine(factor).same_as(self):
            raise OrbitError(
                "fine cells do not nest in coarse cells",
                got=f"{self.describe()} in {coarse.describe()}",
                hint="choose grids with common edges and an integer refinement",
            )
        return factor

    def crop(self, rows: slice, columns: slice) -> Grid:
        """The grid of the given cell rows and columns (contiguous slices with step 1)."""
        r0, r1, _ = rows.indices(self.shape[0])
        c0, c1, _ = columns.indices(self.shape[1])
        if r1 <= r0 or c1 <= c0:
            raise OrbitError("empty region of a grid", got=f"rows {r0}:{r1}, columns {c0}:{c1}")
        return Grid(self.lat_edges[r0 : r1 + 1], self.lon_edges[c0 : c1 + 1])

    def window(self, box: Sequence[float]) -> tuple[slice, slice]:
        """Rows and columns whose CENTRES lie in `box` = (south, north, west, east), degrees; no wrap across the seam.

        Raises OrbitError when no cell centre is inside.
        """
        south, north, west, east = box
        first = float(self.lon_edges[0])
        west, east = ((first + (x - first) % 360) for x in (west, east))
        if east <= west and east == first:
            east = first + 360
        rows = np.flatnonzero((self.lat >= south) & (self.lat <= north))
        columns = np.flatnonzero((self.lon >= west) & (self.lon <= east))
        if not len(rows) or not len(columns):
            raise OrbitError(
                "region lies outside the grid", got=list(box), allowed=self.describe(), hint="give south, north, west, east in degrees"
            )
        return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)

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
        raise OrbitError("a global grid needs 180 divided by the spacing to be whole", got=degrees)
    return uniform(-90, 90, 0, 360, round(rows), 2 * round(rows))


# The paper's continental US box: 24-50 N, 235-295 E (sources.md gives its south-west corner).
US_BOX = (24.0, 50.0, 235.0, 295.0)


def named(name: str) -> Grid:
    """`global_<degrees>` or `us_<arc minutes>` (paper's box 24-50 N, 235-295 E), e.g. `global_1.0`, `us_15`.

    Raises OrbitError for any other name.
    """
    match = re.fullmatch(r"(global|us)_([0-9]+(?:\.[0-9]+)?)", name)
    if not match or float(match[2]) == 0:
        raise OrbitError(
            "unknown grid name", got=name, allowed="global_<degrees> or us_<arc minutes>", hint="e.g. global_1.0, global_0.25, us_15"
        )
    size = float(match[2])
    if match[1] == "global":
        return global_grid(size)
    south, north, west, east = US_BOX
    rows, columns = (north - south) * 60 / size, (east - west) * 60 / size
    if abs(rows - round(rows)) > 1e-6 or abs(columns - round(columns)) > 1e-6:
        raise OrbitError("the US box does not divide into cells of this size", got=f"{size} arc minutes")
    return uniform(south, north, west, east, round(rows), round(columns))


def from_centres(lat: npt.ArrayLike, lon: npt.ArrayLike) -> Grid:
    """Grid from ascending centre coordinates; edges half-way between centres, cut at the poles.

    Raises OrbitError when a coordinate is not ascending, not finite or outside the globe.
    """
    lat_array, lon_array = (np.asarray(x, dtype=np.float64) for x in (lat, lon))
    for axis, centres in (("latitude", lat_array), ("longitude", lon_array)):
        if centres.ndim != 1 or len(centres) < 2:
            raise OrbitError(f"{axis} must be a 1-D coordinate with at least two cells", got=f"shape {centres.shape}")
        if not np.all(np.isfinite(centres)) or not np.all(np.diff(centres) > 0):
            raise OrbitError(f"{axis} must be finite and ascending", got=_brief(centres))
    if lat_array[0] < -90 - _TOLERANCE or lat_array[-1] > 90 + _TOLERANCE:
        raise OrbitError("latitude outside the globe", got=_brief(lat_array), allowed="-90 to 90 degrees")
    lat_edges = np.clip(_midpoints(lat_array), -90, 90)
    for i in (0, -1):  # float32 coordinates must not leave a sliver at the pole
        if abs(abs(lat_edges[i]) - 90) < 1e-3:
            lat_edges[i] = np.sign(lat_edges[i]) * 90
    lon_edges = _midpoints(lon_array)
    if abs(lon_edges[-1] - lon_edges[0] - 360) < 1e-2:
        lon_edges[-1] = lon_edges[0] + 360
    return Grid(lat_edges, lon_edges)


def _midpoints(centres: Array) -> Array:
    inner = (centres[:-1] + centres[1:]) / 2
    edges: Array = np.concatenate([[2 * centres[0] - inner[0]], inner, [2 * centres[-1] - inner[-1]]])
    return edges


def _subdivide(edges: Array, factor: int) -> Array:
    fractions = np.arange(factor) / factor
    inner = edges[:-1, None] + np.diff(edges)[:, None] * fractions[None]
    result: Array = np.append(inner.ravel(), edges[-1])
    return result


def _brief(values: Array) -> str:
    flat = np.asarray(values).ravel()
    return f"{len(flat)} values from {flat[0]:g} to {flat[-1]:g}" if len(flat) else "no values"
