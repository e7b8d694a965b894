"""Outlines of regions and coasts as SVG paths on an equal-area map, of the world or of a box. Never decides what a region is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import as_file, files

import cartopy.crs as ccrs
import geopandas
import numpy as np
import numpy.typing as npt
import shapely
import shapely.affinity

from orbit2.report.figures import coast
from orbit2.report.figures.maps import Box

Array = npt.NDArray[np.float64]
WIDTH, TALLEST = 1724.0, 1400.0  # units of the drawing across, and down
STEP = 2.0  # degrees between points of a straight side: it is bent on the map
TOLERANCE = 1.0  # units: what is straighter than this loses its points
TURNS = (-720.0, -360.0, 0.0, 360.0, 720.0)
_PLAIN = ccrs.PlateCarree()


@dataclass(frozen=True)
class Drawing:
    """A map whose areas are those on the Earth: of the world (no box), or of a box (south, north, west, east) around its middle."""

    box: Box | None = None

    @cached_property
    def _window(self) -> tuple[float, float, float, float]:
        """West, south, east, north in degrees, east beyond west."""
        if self.box is None:
            return -180.0, -90.0, 180.0, 90.0
        south, north, west, east = self.box
        return west, south, west + ((east - west) % 360 or 360.0), north

    @cached_property
    def _crs(self) -> ccrs.Projection:
        if self.box is None:
            return ccrs.EqualEarth()
        west, south, east, north = self._window
        return ccrs.LambertAzimuthalEqualArea(central_longitude=(west + east) / 2, central_latitude=(south + north) / 2)

    @cached_property
    def _frame(self) -> tuple[float, float, float, float]:
        """Left and upper end in metres, metres for a unit, height in units."""
        edge = self._metres(self._edge)
        (left, low), (right, high) = edge.min(axis=0), edge.max(axis=0)
        unit = max((right - left) / WIDTH, (high - low) / TALLEST)
        return float(left), float(high), float(unit), float((high - low) / unit)

    @cached_property
    def _edge(self) -> Array:
        """The outline in degrees, closed."""
        return np.asarray(shapely.get_coordinates(shapely.segmentize(shapely.box(*self._window), STEP)))

    @property
    def view_box(self) -> str:
        """For an SVG: `0 0 1724 839`."""
        left, _, unit, height = self._frame
        right = float(self._metres(self._edge)[:, 0].max())
        return f"0 0 {(right - left) / unit:.0f} {height:.0f}"

    @cached_property
    def outline(self) -> str:
        return _line(self._project(self._edge)[:-1]) + "Z"

    @cached_property
    def coasts(self) -> str:
        """The coastlines inside, as one path; as fine as the map needs."""
        west, south, east, north = self._window
        found = [shapely.LineString(line) for line in coast.in_window(west, east)]
        inside = [part for part in shapely.get_parts(shapely.clip_by_rect(found, west, south, east, north)) if part.length > 0]
        drawn = [shapely.simplify(shapely.transform(part, self._project), TOLERANCE / 2) for part in inside]
        return "".join(_line(shapely.get_coordinates(part)) for part in drawn)

    def path(self, polygon: shapely.Geometry) -> str:
        """The SVG path of what lies inside of a polygon in degrees of any turn; empty where nothing does."""
        frame = shapely.box(*self._window)
        moved = [shapely.intersection(shapely.affinity.translate(polygon, turn), frame) for turn in TURNS]
        inside = [part for part in moved if part.area > 0]
        if not inside:
            return ""
        whole = shapely.segmentize(shapely.union_all(inside), STEP)
        drawn = shapely.simplify(shapely.transform(whole, self._project), TOLERANCE)
        rings = [ring for part in shapely.get_parts(drawn) if part.geom_type == "Polygon" for ring in (part.exterior, *part.interiors)]
        return "".join(_line(shapely.get_coordinates(ring)[:-1]) + "Z" for ring in rings)

    def _metres(self, points: Array) -> Array:
        return np.asarray(self._crs.transform_points(_PLAIN, points[:, 0], points[:, 1])[:, :2])

    def _project(self, points: Array) -> Array:
        """[N, 2] of longitude and latitude to units of the drawing, downwards from its upper left corner."""
        left, high, unit, _ = self._frame
        x, y = self._metres(points).T
        return np.column_stack([(x - left) / unit, (high - y) / unit])


@cache
def world() -> Drawing:
    return Drawing()


@cache
def ar6() -> Mapping[str, shapely.Geometry]:
    """Abbreviation -> polygon of the AR6 reference regions that diagnose scores."""
    with as_file(files("orbit2").joinpath("diagnose/data/IPCC-WGI-reference-regions-v4.zip")) as archive:
        frame = geopandas.read_file(f"zip://{archive}")
    return {str(name): polygon for name, polygon in zip(frame["Acronym"], frame.geometry, strict=True)}


def _line(points: Array) -> str:
    """`M1 2L3 4...` in whole tenths of a unit."""
    rounded = np.round(points, 1)
    kept = np.append(True, (np.diff(rounded, axis=0) != 0).any(axis=1))
    return "M" + "L".join(f"{x:g} {y:g}" for x, y in rounded[kept])
