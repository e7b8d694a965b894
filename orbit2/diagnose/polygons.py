"""Regions of the user's own: polygons from GeoJSON or shapefiles, and how much of each cell of a grid lies in them. Never the network."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import shapely

from orbit2.errors import OrbitError
from orbit2.grid import EARTH_RADIUS_KM, AnyGrid, Grid
from orbit2.grid.sphere import flat

if TYPE_CHECKING:
    import geopandas

Array = npt.NDArray[np.float64]
NAMES = ("name", "name_en", "region", "basin", "river_basin", "country", "admin", "acronym", "id", "fid")  # of columns, in small letters
LONGEST = 0.5  # degrees: an edge is straight in longitude and latitude; in the equal-area map it is so between points this far apart
KINDS = (".geojson", ".json", ".shp", ".zip", ".gpkg")


@dataclass(frozen=True, eq=False)
class Polygons:
    """A set of regions: `names` (`basins:Danube`), their polygons in longitude and latitude, and areas on a sphere of 6371 km."""

    names: tuple[str, ...]
    shapes: tuple[shapely.Geometry, ...]

    @property
    def area_km2(self) -> Array:
        return np.array([equal_area(shape).area for shape in self.shapes])


def read(path: Path, label: str) -> Polygons:
    """Regions of a file in any reference system (a file that names none is taken as degrees), each named by the first of NAMES that is
    a column of different values, else numbered. Features of one name are one region.

    Raises OrbitError for a file that is missing or cannot be read, without polygons, or beyond the globe.
    """
    import geopandas  # a second, for whoever has such files

    if not path.exists():
        raise OrbitError("file of regions not found", where=f"diagnose.regions.{label}", got=path, allowed=", ".join(KINDS),
                         hint="give the path of a file that is there")  # fmt: skip
    try:
        frame = geopandas.read_file(path)
    except Exception as error:
        raise OrbitError(f"file of regions cannot be read ({' '.join(str(error).split())[:120]})", where=path,
                         allowed="GeoJSON, a shapefile, or one in a zip", hint="look at it with geopandas.read_file or ogrinfo") from None
    if not isinstance(frame, geopandas.GeoDataFrame) or not len(frame):
        raise OrbitError("file of regions holds no polygon", where=path, hint="give a file with one polygon or more")
    if frame.crs is not None:
        frame = frame.to_crs(4326)
    shapes = shapely.make_valid(frame.geometry.to_numpy())
    polygons = [_polygons(shape) for shape in shapes]
    names = _names(frame)
    kept = [i for i, shape in enumerate(polygons) if not shape.is_empty]
    if not kept:
        kinds = sorted({str(shape.geom_type) for shape in shapes if shape is not None})
        raise OrbitError("file of regions holds no polygon", where=path, got=", ".join(kinds) or "nothing",
                         hint="give polygons, not points or lines")  # fmt: skip
    west, south, east, north = shapely.total_bounds([polygons[i] for i in kept])
    if south < -90 - 1e-6 or north > 90 + 1e-6 or west < -360 or east > 720:
        raise OrbitError("regions lie beyond the globe", where=path, got=f"{west:g}..{east:g}, {south:g}..{north:g}",
                         allowed="degrees", hint="does the file say which reference system it is in?")  # fmt: skip
    order = list(dict.fromkeys(names[i] for i in kept))
    joined = {name: shapely.union_all([polygons[i] for i in kept if names[i] == name]) for name in order}
    return Polygons(tuple(f"{label}:{name}" for name in order), tuple(joined.values()))


def _names(frame: geopandas.GeoDataFrame) -> list[str]:
    columns = {str(column).lower(): column for column in frame.columns if column != frame.geometry.name}
    for wanted in NAMES:
        if wanted in columns:
            values = [" ".join(str(value).split()) for value in frame[columns[wanted]]]
            if len(set(values)) > 1 or len(values) == 1:
                return values
    return [str(i + 1) for i in range(len(frame))]


def _polygons(shape: shapely.Geometry | None) -> shapely.Geometry:
    """What of a shape has an area."""
    parts = [] if shape is None else shapely.get_parts(shape)
    return shapely.union_all([part for part in parts if part.geom_type in ("Polygon", "MultiPolygon")])


def equal_area(shape: shapely.Geometry) -> shapely.Geometry:
    """In (longitude, sin latitude) times the Earth's radius: areas there are those on the sphere, km2."""
    return shapely.transform(shapely.segmentize(shape, LONGEST), _projected)


def _projected(points: Array) -> Array:
    return EARTH_RADIUS_KM * np.stack([np.radians(points[:, 0]), np.sin(np.radians(points[:, 1]))], axis=1)


def fractions(shape: shapely.Geometry, grid: AnyGrid) -> npt.NDArray[np.float32]:
    """[H, W]: the share of each cell's area that lies in a polygon, exact to its edges; longitudes in any turn, over the date line too."""
    if not isinstance(grid, Grid):
        return _of_outlines(shape, grid)
    found = np.zeros(grid.shape, dtype=np.float64)
    first, last = float(grid.lon_edges[0]), float(grid.lon_edges[-1])
    for turn in (-720.0, -360.0, 0.0, 360.0, 720.0):
        west, _, east, _ = shapely.bounds(shape)
        if east + turn <= first or west + turn >= last:
            continue
        _add(found, equal_area(_turned(shape, turn)), grid)
    return np.clip(found, 0.0, 1.0).astype(np.float32)


def _turned(shape: shapely.Geometry, degrees: float) -> shapely.Geometry:
    return shapely.transform(shape, lambda points: points + np.array([degrees, 0.0]))


def _add(found: Array, shape: shapely.Geometry, grid: Grid) -> None:
    """Add the shares of the cells that meet a shape of the equal-area map."""
    x = EARTH_RADIUS_KM * np.radians(grid.lon_edges)
    y = EARTH_RADIUS_KM * np.sin(np.radians(grid.lat_edges))
    west, south, east, north = shapely.bounds(shape)
    rows = np.flatnonzero((y[:-1] < north) & (y[1:] > south))
    columns = np.flatnonzero((x[:-1] < east) & (x[1:] > west))
    if not len(rows) or not len(columns):
        return
    i, j = (one.ravel() for one in np.meshgrid(rows, columns, indexing="ij"))
    cells = shapely.box(x[j], y[i], x[j + 1], y[i + 1])
    shapely.prepare(shape)
    inside = shapely.covers(shape, cells)
    found[i[inside], j[inside]] += 1.0
    cut = ~inside & shapely.intersects(shape, cells)
    found[i[cut], j[cut]] += shapely.area(shapely.intersection(cells[cut], shape)) / shapely.area(cells[cut])


def _of_outlines(shape: shapely.Geometry, grid: AnyGrid) -> npt.NDArray[np.float32]:
    """`fractions` of cells that are no boxes of latitude and longitude: of their outlines in the equal-area map, some rows at a time."""
    cells, areas = _outlines(grid)
    found = np.zeros(len(cells))
    west, _, east, _ = shapely.bounds(shape)
    first, last = shapely.total_bounds(cells)[[0, 2]] / (EARTH_RADIUS_KM * np.radians(1.0))
    for turn in np.arange(-1080.0, 1081.0, 360.0):
        if east + turn <= first or west + turn >= last:
            continue
        turned = equal_area(_turned(shape, turn))
        shapely.prepare(turned)
        met = np.flatnonzero(shapely.intersects(turned, cells))
        inside = shapely.covers(turned, cells[met])
        found[met[inside]] += 1.0
        cut = met[~inside]
        found[cut] += shapely.area(shapely.intersection(cells[cut], turned)) / areas[cut]
    return np.clip(found, 0.0, 1.0).astype(np.float32).reshape(grid.shape)


@lru_cache(maxsize=4)
def _outlines(grid: AnyGrid) -> tuple[npt.NDArray[np.object_], Array]:
    """The cells as polygons of the equal-area map, in row order, and their areas there, km2."""
    lon, lat = grid.outlines(slice(0, grid.shape[0]))
    cells = np.full(grid.shape[0] * grid.shape[1], shapely.Polygon(), dtype=np.object_)
    for index, x, sine in flat(lon, lat):
        cells[index] = shapely.make_valid(shapely.polygons(EARTH_RADIUS_KM * np.stack([np.radians(x), sine], axis=-1).swapaxes(0, 1)))
    areas = shapely.area(cells)
    return cells, np.where(areas > 0, areas, np.inf)
