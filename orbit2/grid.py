"""Rectilinear and projected grids: centres AND edges, areas, periodicity, names. The only place that knows geometry.

The Earth is a sphere here: geodetic latitudes, also those of WGS84 and NAD83 products, are taken as spherical ones, as CDO
and ESMF do. Areas are exact on that sphere; the choice moves relative cell areas by at most 0.7 % between equator and pole.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt
from pyproj import CRS, Transformer
from pyproj.exceptions import CRSError

from orbit2 import longitudes
from orbit2.edges import Array, brief, edge_digest, exact_edges, midpoints, subdivide
from orbit2.errors import OrbitError

EARTH_RADIUS_KM = 6371.0
_TOLERANCE = 1e-6  # degrees
_SNAP = 1e-4  # degrees: how near a box written in decimals must come to a cell edge


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
                raise OrbitError(f"{axis} edges must be strictly increasing", got=brief(edges))
        if self.lat_edges[0] < -90 - _TOLERANCE or self.lat_edges[-1] > 90 + _TOLERANCE:
            raise OrbitError("latitude outside the globe", got=brief(self.lat_edges), allowed="-90 to 90 degrees")
        if self.lon_edges[-1] - self.lon_edges[0] > 360 + _TOLERANCE:
            raise OrbitError("longitudes span more than 360 degrees", got=brief(self.lon_edges))

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

    def same_as(self, other: Grid) -> bool:
        return self.shape == other.shape and bool(
            np.allclose(self.lat_edges, other.lat_edges, atol=_TOLERANCE) and np.allclose(self.lon_edges, other.lon_edges, atol=_TOLERANCE)
        )

    def same_place(self, other: Grid) -> bool:
        """Whether the cells are the same, in whatever turn either counts its longitudes."""
        turns = round((self.lon_edges[0] - other.lon_edges[0]) / 360.0)
        return self.same_as(Grid(other.lat_edges, other.lon_edges + 360.0 * turns))

    def refine(self, factor: int) -> Grid:
        """The grid whose `factor` x `factor` cells nest in each of these."""
        return Grid(subdivide(self.lat_edges, factor), subdivide(self.lon_edges, factor))

    def coarsen(self, factor: int) -> Grid:
        """The grid of `factor` x `factor` blocks. Raises OrbitError where the shape does not divide."""
        height, width = self.shape
        if height % factor or width % factor:
            raise OrbitError("grid does not divide into whole blocks", got=f"{height}x{width} by {factor}")
        return Grid(self.lat_edges[::factor], self.lon_edges[::factor])

    def blocks(self, rows: int, columns: int) -> Grid:
        """The grid of blocks of `rows` x `columns` cells; the last ones are smaller where the shape does not divide."""
        return Grid(np.append(self.lat_edges[:-1:rows], self.lat_edges[-1]), np.append(self.lon_edges[:-1:columns], self.lon_edges[-1]))

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
        """The grid of the given cell rows and columns (contiguous slices with step 1).

        On a grid that goes round the globe columns may run on past the last one: longitudes then run on past its end.
        """
        if self.periodic and columns.stop is not None and self.shape[1] < columns.stop <= 2 * self.shape[1]:
            edges = np.concatenate([self.lon_edges, self.lon_edges[1:] + 360.0])
            r0, r1, c0, c1 = _bounds((self.shape[0], len(edges) - 1), rows, columns)
            return Grid(self.lat_edges[r0 : r1 + 1], edges[c0 : c1 + 1])
        r0, r1, c0, c1 = _bounds(self.shape, rows, columns)
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
            raise OrbitError(
                "region lies outside the grid", got=list(box), allowed=self.describe(), hint="give south, north, west, east in degrees"
            )
        return slice(int(rows[0]), int(rows[-1]) + 1), columns

    def holds(self, box: Sequence[float]) -> bool:
        """Whether the whole of `box` = (south, north, west, east) lies on this grid."""
        south, north, west, east = box
        end = longitudes.placed(west, east, float(self.lon_edges[0]))[1]
        return bool(south >= self.lat_edges[0] - _SNAP and north <= self.lat_edges[-1] + _SNAP
                    and (self.periodic or end <= self.lon_edges[-1] + _SNAP))  # fmt: skip

    def describe(self) -> str:
        height, width = self.shape
        return (
            f"{height}x{width} cells of {self.resolution:.4g} degrees, lat {self.lat_edges[0]:g}..{self.lat_edges[-1]:g}, "
            f"lon {self.lon_edges[0]:g}..{self.lon_edges[-1]:g}"
        )


@dataclass(frozen=True, eq=False)
class ProjectedGrid:
    """Cells between `y_edges` and `x_edges` (metres, ascending) of a map projection `crs` (WKT or anything pyproj reads).

    Raises OrbitError for edges that are not strictly increasing, or a reference system that is not projected in metres.
    """

    y_edges: Array  # [H + 1]
    x_edges: Array  # [W + 1]
    crs: str

    def __post_init__(self) -> None:
        for axis, edges in (("y", self.y_edges), ("x", self.x_edges)):
            if edges.ndim != 1 or len(edges) < 2 or not np.all(np.diff(edges) > 0):
                raise OrbitError(f"projected {axis} edges must be strictly increasing", got=brief(edges))
        try:
            crs = CRS.from_user_input(self.crs)
        except CRSError as error:
            raise OrbitError("the coordinate reference system cannot be read", got=str(error)[:120]) from None
        units = {axis.unit_name for axis in crs.axis_info}
        if not crs.is_projected or not units <= {"metre", "meter"}:
            raise OrbitError("a projected grid needs a map projection in metres", got=f"{crs.name} in {', '.join(sorted(units))}")

    @property
    def shape(self) -> tuple[int, int]:
        return len(self.y_edges) - 1, len(self.x_edges) - 1

    @property
    def km(self) -> float:
        """Typical spacing of rows in kilometres."""
        return float(np.median(np.diff(self.y_edges))) / 1000

    @cached_property
    def digest(self) -> str:
        """12 hex digits that identify the geometry (edges rounded to a millimetre) and the reference system."""
        return edge_digest(self.y_edges, self.x_edges, decimals=3, more=CRS.from_user_input(self.crs).to_wkt())

    def crop(self, rows: slice, columns: slice) -> ProjectedGrid:
        """The grid of the given cell rows and columns (contiguous slices with step 1)."""
        r0, r1, c0, c1 = _bounds(self.shape, rows, columns)
        return ProjectedGrid(self.y_edges[r0 : r1 + 1], self.x_edges[c0 : c1 + 1], self.crs)

    def lon_lat(self, x: npt.ArrayLike, y: npt.ArrayLike) -> tuple[Array, Array]:
        """Longitude and latitude (degrees) of projected points; not finite where the projection has none."""
        lon, lat = self._transformer.transform(np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64))
        return lon, lat

    def window(self, target: Grid) -> tuple[slice, slice]:
        """Rows and columns of the cells that `target` can need: all that meet it, and one more cell on each side.

        The outline of `target` is followed in the projection; a target that goes half-way round the globe or leaves the
        projection gets the whole grid. Raises OrbitError when the two do not meet.
        """
        lat, lon = (np.interp(np.linspace(0, len(e) - 1, 2000), np.arange(len(e)), e) for e in (target.lat_edges, target.lon_edges))
        x, y = self._transformer.transform(
            np.concatenate([lon, lon, np.full_like(lat, lon[0]), np.full_like(lat, lon[-1])]),
            np.concatenate([np.full_like(lon, lat[0]), np.full_like(lon, lat[-1]), lat, lat]), direction="INVERSE")
        if lon[-1] - lon[0] >= 180 or not (np.isfinite(x).all() and np.isfinite(y).all()):
            return slice(0, self.shape[0]), slice(0, self.shape[1])
        slices = []
        for edges, values in ((self.y_edges, y), (self.x_edges, x)):
            start = max(int(np.searchsorted(edges, values.min(), side="right")) - 2, 0)
            stop = min(int(np.searchsorted(edges, values.max(), side="left")) + 1, len(edges) - 1)
            if values.max() <= edges[0] or values.min() >= edges[-1]:
                raise OrbitError("the projected grid and the target do not meet", got=self.describe(), allowed=target.describe())
            slices.append(slice(start, stop))
        return slices[0], slices[1]

    def describe(self) -> str:
        height, width = self.shape
        size, name = np.median(np.diff(self.x_edges)) / 1000, CRS.from_user_input(self.crs).name
        sides = (self.y_edges[0], self.y_edges[-1], self.x_edges[0], self.x_edges[-1])
        return f"{height}x{width} cells of {size:.4g} km, " + "y {:.0f}..{:.0f} m, x {:.0f}..{:.0f} m".format(*sides) + f" ({name})"

    @cached_property
    def _transformer(self) -> Transformer:
        crs = CRS.from_user_input(self.crs)
        return Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True)


def projected(y: npt.ArrayLike, x: npt.ArrayLike, crs: str) -> ProjectedGrid:
    """Grid from ascending centre coordinates in metres; edges half-way between centres.

    Raises OrbitError when a coordinate is not ascending or not finite.
    """
    axes = []
    for axis, values in (("y", y), ("x", x)):
        centres = np.asarray(values, dtype=np.float64)
        if centres.ndim != 1 or len(centres) < 2:
            raise OrbitError(f"{axis} must be a 1-D coordinate with at least two cells", got=f"shape {centres.shape}")
        if not np.all(np.isfinite(centres)) or not np.all(np.diff(centres) > 0):
            raise OrbitError(f"{axis} must be finite and ascending", got=brief(centres))
        axes.append(midpoints(centres))
    return ProjectedGrid(axes[0], axes[1], crs)


def uniform(south: float, north: float, west: float, east: float, lat_cells: int, lon_cells: int) -> Grid:
    return Grid(np.linspace(south, north, lat_cells + 1), np.linspace(west, east, lon_cells + 1))


def global_grid(degrees: float) -> Grid:
    """The cell-centred global grid with edges at 90 S and 0 E. Raises OrbitError unless 180/degrees is whole."""
    rows = 180 / degrees
    if abs(rows - round(rows)) > 1e-6 or rows < 1:
        raise OrbitError("a global grid needs 180 divided by the spacing to be whole", got=degrees)
    return Grid(exact_edges(Fraction(-90), Fraction(90), round(rows)), exact_edges(Fraction(0), Fraction(360), 2 * round(rows)))


# The paper's continental US box: 24-50 N, 235-295 E (sources.md gives its south-west corner).
US_BOX = (24.0, 50.0, 235.0, 295.0)
# PRISM's cell centres lie on k/24 degree (4 km) and k/120 degree (800 m), so its edges lie half a 4 km cell beside the
# paper's: the same box moved south and west by 1/48 degree. 800 m cells nest five by five in 4 km cells: one shift serves both.
PRISM_SHIFT = Fraction(-1, 48)
_NAMES = "global_<degrees>, us_<arc minutes> or prism_<arc minutes>, each with @south,north,west,east for a part of it"


def named(name: str) -> Grid:
    """The grid of a name, with every edge the nearest double to its exact value.

    - `global_<degrees>`: cell centred, edges at 90 S and 0 E: `global_5.625`, `global_1.40625`, `global_0.25`, `global_0.0625`;
    - `us_<arc minutes>`: the paper's box, edges at 24 N and 235 E, to 50 N and 295 E: `us_15`, `us_3.75`, `us_0.625`;
    - `prism_<arc minutes>`: that box moved by half a PRISM cell (1/48 degree south and west), so that `prism_2.5` is PRISM's
      own 4 km grid, `prism_0.5` its 800 m grid and `prism_10` nests `prism_2.5` four by four;
    - `NAME@south,north,west,east`: the cells of NAME inside a box, e.g. `us_15@36,40,255,262`; west may be negative, the box
      may cross 0 E. For PRISM the box is given before the move, so that one suffix serves the US grids of either kind.

    Raises OrbitError for any other name, a size that does not divide the box, or a box whose sides are no cell edges.
    """
    whole, _, box = name.partition("@")
    match = re.fullmatch(r"(global|us|prism)_([0-9]+(?:\.[0-9]+)?)", whole)
    if not match or float(match[2]) == 0:
        raise OrbitError("unknown grid name", got=name, allowed=_NAMES, hint="e.g. global_1.0, us_15, prism_2.5, us_15@36,40,255,262")
    shift = PRISM_SHIFT if match[1] == "prism" else Fraction(0)
    if match[1] == "global":
        grid = global_grid(float(match[2]))
    else:
        size = Fraction(match[2]) / 60
        south, north, west, east = (Fraction(side) for side in US_BOX)
        rows, columns = (north - south) / size, (east - west) / size
        if rows.denominator != 1 or columns.denominator != 1:
            raise OrbitError("the US box does not divide into cells of this size", got=f"{match[2]} arc minutes")
        grid = Grid(exact_edges(south + shift, north + shift, int(rows)), exact_edges(west + shift, east + shift, int(columns)))
    return _part(grid, box, float(shift), name) if "@" in name else grid


def _part(grid: Grid, box: str, shift: float, name: str) -> Grid:
    """The cells of `grid` inside `box` = "south,north,west,east", whose sides (moved by `shift`) must be cell edges."""
    try:
        south, north, west, east = (float(side) + shift for side in box.split(","))
    except ValueError:
        raise OrbitError("a part of a grid needs four numbers", got=name, allowed="NAME@south,north,west,east") from None
    first, lon = float(grid.lon_edges[0]), grid.lon_edges
    if grid.periodic:  # once more round, so that a box may cross the seam
        lon = np.concatenate([lon, lon[1:] + 360])
    west_ = longitudes.follow(west + _SNAP, first) - _SNAP
    east_ = west_ + longitudes.width(west, east - _SNAP) + _SNAP
    index = []
    for side, edges, value, moved in (("south", grid.lat_edges, south, 0.0), ("north", grid.lat_edges, north, 0.0),
                                      ("west", lon, west_, west - west_), ("east", lon, east_, east - east_)):
        nearest = int(np.abs(edges - value).argmin())
        if not abs(edges[nearest] - value) <= _SNAP:  # also not a number
            around = sorted({float(edges[k]) + moved - shift for k in (nearest - 1, nearest, nearest + 1) if 0 <= k < len(edges)})
            raise OrbitError(f"the box's {side} side is not on a cell edge", where=name, got=f"{value + moved - shift:.6g}",
                             allowed=", ".join(f"{edge:.7g}" for edge in around))
        index.append(nearest)
    if index[0] >= index[1] or index[2] >= index[3]:
        raise OrbitError("a part of a grid needs south < north and west < east", got=name)
    return Grid(grid.lat_edges[index[0] : index[1] + 1], lon[index[2] : index[3] + 1])


def from_centres(lat: npt.ArrayLike, lon: npt.ArrayLike) -> Grid:
    """Grid from ascending centre coordinates; edges half-way between centres, cut at the poles.

    Raises OrbitError when a coordinate is not ascending, not finite or outside the globe.
    """
    lat_array, lon_array = (np.asarray(x, dtype=np.float64) for x in (lat, lon))
    for axis, centres in (("latitude", lat_array), ("longitude", lon_array)):
        if centres.ndim != 1 or len(centres) < 2:
            raise OrbitError(f"{axis} must be a 1-D coordinate with at least two cells", got=f"shape {centres.shape}")
        if not np.all(np.isfinite(centres)) or not np.all(np.diff(centres) > 0):
            raise OrbitError(f"{axis} must be finite and ascending", got=brief(centres))
    if lat_array[0] < -90 - _TOLERANCE or lat_array[-1] > 90 + _TOLERANCE:
        raise OrbitError("latitude outside the globe", got=brief(lat_array), allowed="-90 to 90 degrees")
    lat_edges = np.clip(midpoints(lat_array), -90, 90)
    for i in (0, -1):  # float32 coordinates must not leave a sliver at the pole
        if abs(abs(lat_edges[i]) - 90) < 1e-3:
            lat_edges[i] = np.sign(lat_edges[i]) * 90
    lon_edges = midpoints(lon_array)
    if abs(lon_edges[-1] - lon_edges[0] - 360) < 1e-2:
        lon_edges[-1] = lon_edges[0] + 360
    return Grid(lat_edges, lon_edges)


def _bounds(shape: tuple[int, int], rows: slice, columns: slice) -> tuple[int, int, int, int]:
    r0, r1, _ = rows.indices(shape[0])
    c0, c1, _ = columns.indices(shape[1])
    if r1 <= r0 or c1 <= c0:
        raise OrbitError("empty region of a grid", got=f"rows {r0}:{r1}, columns {c0}:{c1}")
    return r0, r1, c0, c1
