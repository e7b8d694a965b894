"""Outlines of regions and coasts as SVG paths on an equal-area map of the world. Never decides what a region is."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files

import cartopy.crs as ccrs
import geopandas
import numpy as np
import shapely
import shapely.affinity

from orbit2.report.figures import coast

UNIT = 20_000.0  # metres of the map for one unit of the drawing
STEP = 2.0  # degrees between points of a straight side: it is bent on the map
TOLERANCE = 1.0  # units: what is straighter than this loses its points
_PLAIN, _WORLD = ccrs.PlateCarree(), ccrs.EqualEarth()  # equal-area: a region's share of the map is its share of the Earth


def view_box() -> str:
    """Of the whole globe, for an SVG: `0 0 1724 839`."""
    return f"0 0 {_half(0) * 2:.0f} {_half(1) * 2:.0f}"


def _half(axis: int) -> float:
    return float((_WORLD.x_limits, _WORLD.y_limits)[axis][1]) / UNIT


@cache
def ar6() -> dict[str, str]:
    """Abbreviation -> path of the AR6 reference regions that diagnose scores."""
    with as_file(files("orbit2").joinpath("diagnose/data/IPCC-WGI-reference-regions-v4.zip")) as archive:
        frame = geopandas.read_file(f"zip://{archive}")
    return {str(name): path(polygon) for name, polygon in zip(frame["Acronym"], frame.geometry, strict=True)}


def path(polygon: shapely.Geometry) -> str:
    """The SVG path of a polygon in degrees of any turn, cut at the map's edge."""
    parts = []
    for turn in (-360.0, 0.0, 360.0):
        moved = shapely.affinity.translate(polygon, turn)
        inside = shapely.intersection(moved, shapely.box(-180.0, -90.0, 180.0, 90.0))
        if inside.area > 0:
            parts.append(inside)
    whole = shapely.segmentize(shapely.union_all(parts), STEP)
    drawn = shapely.simplify(shapely.transform(whole, _project), TOLERANCE)
    rings = [ring for part in shapely.get_parts(drawn) if part.geom_type == "Polygon" for ring in (part.exterior, *part.interiors)]
    return "".join(_line(shapely.get_coordinates(ring)[:-1]) + "Z" for ring in rings)


@cache
def coasts() -> str:
    """The coastlines of the world as one path."""
    lines = [shapely.simplify(shapely.LineString(_project(line)), TOLERANCE / 2) for line in coast.coastlines()]
    return "".join(_line(shapely.get_coordinates(line)) for line in lines)


@cache
def globe() -> str:
    """The outline of the map."""
    lat = np.linspace(-90.0, 90.0, 61)
    side = np.full(61, 180.0)
    return _line(_project(np.column_stack([np.append(side, -side), np.append(lat, lat[::-1])]))) + "Z"


def _project(points: np.ndarray) -> np.ndarray:
    """[N, 2] of longitude and latitude to units of the drawing, downwards from its upper left corner."""
    x, y = _WORLD.transform_points(_PLAIN, points[:, 0], points[:, 1])[:, :2].T / UNIT
    return np.column_stack([_half(0) + x, _half(1) - y])


def _line(points: np.ndarray) -> str:
    """`M1 2L3 4...` in whole tenths of a unit."""
    rounded = np.round(points, 1)
    kept = np.append(True, (np.diff(rounded, axis=0) != 0).any(axis=1))
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in rounded[kept])
