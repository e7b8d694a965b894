"""Conservative weights between grids of which neither is latitude-longitude, and from latitude-longitude to the others.

From latitude-longitude: the overlaps of the opposite direction, turned round (they are areas, the same both ways). Else cells are
polygons in Lambert's azimuthal equal-area projection round the target, where GEOS intersects those that meet, a block at a time.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import shapely
from pyproj import Transformer
from scipy import sparse

from orbit2.grid import EARTH_RADIUS_KM, AnyGrid, Grid
from orbit2.grid.sphere import Array, Index, flat, unit
from orbit2.remap.projected import overlap_weights

_CELLS = 1 << 14  # polygons in memory at once, of either grid
_PAIRS = 1 << 16  # intersected at once
_SLIVER = 1e-9  # share of a target cell below which an overlap is rounding
_SMALL_KM = 15.0  # cells up to this size are their corners: a chord of 15 km strays by 4 m, and neighbours share it


def reversed_weights(source: Grid, target: AnyGrid) -> sparse.csr_matrix:
    """[H'W', HW]: share of each cell of `target` that each latitude-longitude cell covers."""
    shares = overlap_weights(target, source)  # [HW, H'W'] of the source cells
    areas = sparse.diags(source.area_km2.ravel()) @ shares
    whole = _plane_areas(target)
    inverse = np.divide(1.0, whole, out=np.zeros_like(whole), where=np.isfinite(whole) & (whole > 0))
    matrix = sparse.csr_matrix(sparse.diags(inverse) @ areas.T)
    matrix.sort_indices()
    return matrix


def polygon_weights(source: AnyGrid, target: AnyGrid) -> sparse.csr_matrix:
    """[H'W', HW]: share of each target cell's area that each source cell covers. Cells with corners that are not finite have no part."""
    shape = (target.shape[0] * target.shape[1], source.shape[0] * source.shape[1])
    towards, reach = _middle(target)
    lon, lat = np.degrees(np.arctan2(towards[1], towards[0])), np.degrees(np.arcsin(towards[2]))
    plane = Transformer.from_crs(f"+proj=longlat +R={EARTH_RADIUS_KM * 1000}",
                                 f"+proj=laea +lat_0={lat} +lon_0={lon} +R={EARTH_RADIUS_KM * 1000} +units=km", always_xy=True)  # fmt: skip
    to, fro, share = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0)]
    for cells, polygons in _blocks(target, plane, towards, reach):
        tree, sizes = shapely.STRtree(polygons), shapely.area(polygons)
        box = shapely.total_bounds(polygons)
        for others, shapes in _blocks(source, plane, towards, reach):
            west, south, east, north = shapely.bounds(shapes).T
            near = np.flatnonzero((west < box[2]) & (east > box[0]) & (south < box[3]) & (north > box[1]))
            one, other = tree.query(shapes[near])
            for start in range(0, len(one), _PAIRS):
                i, j = near[one[start : start + _PAIRS]], other[start : start + _PAIRS]
                part = shapely.area(shapely.intersection(shapes[i], polygons[j])) / sizes[j]
                keep = part > _SLIVER
                to.append(cells[j[keep]])
                fro.append(others[i[keep]])
                share.append(part[keep])
    matrix = sparse.csr_matrix((np.concatenate(share), (np.concatenate(to), np.concatenate(fro))), shape=shape)
    matrix.sort_indices()
    return matrix


def _middle(target: AnyGrid) -> tuple[Array, float]:
    """Unit vector of the grid's middle, and the cosine of its reach from there (with a tenth more, at most 120 degrees)."""
    points = unit(target.lon2d, target.lat2d).reshape(3, -1)
    points = points[:, np.isfinite(points).all(0)]
    middle = points.mean(axis=1)
    middle = middle / np.linalg.norm(middle) if np.linalg.norm(middle) > 1e-3 else np.array([0.0, 0.0, 1.0])
    angle = float(np.arccos(np.clip(middle @ points, -1, 1)).max()) + 2 * target.km / EARTH_RADIUS_KM
    return middle, float(np.cos(min(1.1 * angle, np.radians(170))))


def _blocks(grid: AnyGrid, plane: Transformer, towards: Array, reach: float) -> Iterator[tuple[Index, Array]]:
    """(numbers of cells, their polygons) of some rows at a time; cells far from the target are left out."""
    height, width = grid.shape
    rows = max(1, _CELLS // width)
    for start in range(0, height, rows):
        stop = min(start + rows, height)
        centres = unit(grid.lon2d[start:stop], grid.lat2d[start:stop]).reshape(3, -1)
        slack = 3 * grid.km / EARTH_RADIUS_KM
        if not np.nanmax(towards @ centres, initial=-1.0) >= reach - slack:
            continue
        lon, lat = grid.outlines(slice(start, stop))
        corners = lon.shape[0] // 4
        if grid.km <= _SMALL_KM:
            lon, lat = lon[::corners], lat[::corners]
        inside = np.flatnonzero((towards @ centres >= reach - slack) & np.isfinite(lon).all(0) & np.isfinite(lat).all(0))
        if not len(inside):
            continue
        x, y = plane.transform(lon[:, inside], lat[:, inside])
        polygons = shapely.polygons(np.stack([x, y], axis=-1).swapaxes(0, 1))
        crossed = ~shapely.is_valid(polygons)
        polygons[crossed] = shapely.make_valid(polygons[crossed])
        yield inside + start * width, polygons


def _plane_areas(grid: AnyGrid) -> Array:
    """Areas [HW], km2, of the cells' outlines as `overlap_weights` clips them: straight lines in (longitude, sin latitude)."""
    height, width = grid.shape
    rows = max(1, _CELLS // width)
    result = np.full(height * width, np.nan)
    for start in range(0, height, rows):
        for index, lon, sine in flat(*grid.outlines(slice(start, min(start + rows, height)))):
            x, y = lon - lon[:1], sine - sine[:1]
            twice = (x * np.roll(y, -1, axis=0) - np.roll(x, -1, axis=0) * y).sum(axis=0)
            result[index + start * width] = np.abs(twice) / 2 * np.radians(1.0) * EARTH_RADIUS_KM**2
    return result
