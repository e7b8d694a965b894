"""Maps with vendored coastlines: global (Equal Earth) and a zoomed box. Never downloads, never interpolates fields (nearest cell)."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cartopy.crs as ccrs
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import AsinhNorm, BoundaryNorm, Colormap, Normalize, TwoSlopeNorm
from matplotlib.image import AxesImage
from matplotlib.ticker import FuncFormatter, MaxNLocator

from orbit2 import longitudes
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, ProjectedGrid
from orbit2.report.figures import coast, mapped
from orbit2.report.style import INK, MUTED

Array = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]  # south, north, west, east
MISSING = "#e0e4e8"
WIDTH = 900  # pixels across a global map: what its panel has room for
_PLAIN = ccrs.PlateCarree()
_WORLD = ccrs.EqualEarth()  # equal-area: a region's share of the map is its share of the Earth


@lru_cache(maxsize=4)
def pixels(width: int) -> tuple[Array, Array, Box]:
    """Longitude and latitude of every pixel of the Equal Earth map [h, width] (NaN outside the globe) and the map's extent."""
    x0, x1 = _WORLD.x_limits
    y0, y1 = _WORLD.y_limits
    height = round(width * (y1 - y0) / (x1 - x0))
    x = np.linspace(x0, x1, width + 1)[:-1] + (x1 - x0) / width / 2
    y = np.linspace(y0, y1, height + 1)[:-1] + (y1 - y0) / height / 2
    xx, yy = np.meshgrid(x, y)
    points = _PLAIN.transform_points(_WORLD, xx, yy)
    back = _WORLD.transform_points(_PLAIN, points[..., 0], points[..., 1])
    outside = ~np.isfinite(points[..., 0]) | (np.hypot(back[..., 0] - xx, back[..., 1] - yy) > 1e3)
    lon, lat = (np.where(outside, np.nan, points[..., i]) for i in (0, 1))
    return lon, lat, (x0, x1, y0, y1)


@lru_cache(maxsize=1)
def world_coast() -> tuple[list[Array], Array]:
    """Coastlines and the globe's outline on the Equal Earth map."""
    lines = [_WORLD.transform_points(_PLAIN, line[:, 0], line[:, 1])[:, :2] for line in coast.coastlines()]
    edge_lat = np.linspace(-90, 90, 181)
    lat = np.concatenate([edge_lat, edge_lat[::-1]])
    lon = np.concatenate([np.full(181, 180.0), np.full(181, -180.0)])
    outline = _WORLD.transform_points(_PLAIN, lon, lat)[:, :2]
    return lines, np.vstack([outline, outline[:1]])


Cells = tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.bool_]]  # of every point: row, column, whether there is one


@lru_cache(maxsize=8)
def _world_cells(grid: AnyGrid, width: int) -> Cells:
    return cells_at(grid, *pixels(width)[:2])


def on_world(field: npt.NDArray[Any], grid: AnyGrid, width: int = WIDTH) -> Array:
    """`field` [H, W] sampled by nearest cell on the Equal Earth pixels; NaN outside the grid's own area."""
    return in_cells(field, _world_cells(grid, width))


def cells_at(grid: AnyGrid, lon: Array, lat: Array) -> Cells:
    """The cells of `grid` that hold the points `lon`, `lat` [...] (degrees, any turn)."""
    inside = np.isfinite(lon)
    along, down = np.where(inside, lon, 0.0), np.where(inside, lat, 0.0)
    if isinstance(grid, Grid):
        along = longitudes.follow(along, float(grid.lon_edges[0]))
    elif isinstance(grid, ProjectedGrid):
        along, down = grid.x_y(along, down)
        inside &= np.isfinite(along) & np.isfinite(down)
    column = np.searchsorted(axes_of(grid)[1], along, side="right") - 1
    row = np.searchsorted(axes_of(grid)[0], down, side="right") - 1
    inside &= (row >= 0) & (row < grid.shape[0]) & (column >= 0) & (column < grid.shape[1])
    return np.clip(row, 0, grid.shape[0] - 1), np.clip(column, 0, grid.shape[1] - 1), inside


def in_cells(field: npt.NDArray[Any], cells: Cells) -> Array:
    """`field` [H, W] in those cells; NaN where there is none, and for NaN."""
    row, column, inside = cells
    return np.where(inside, np.asarray(field, dtype=np.float64)[row, column], np.nan)


def axes_of(grid: AnyGrid) -> tuple[Array, Array]:
    """Edges of rows and columns on the axes that a map of `grid` has: degrees, or those of the projection."""
    if isinstance(grid, ProjectedGrid):
        return grid.y_edges, grid.x_edges
    if not isinstance(grid, Grid):
        raise OrbitError("no map is drawn of this grid", where="map", got=grid.describe(),
                         hint="regrid it to latitude and longitude or to a map first")  # fmt: skip
    return grid.lat_edges, grid.lon_edges


def extent(grid: AnyGrid) -> Box:
    """South, north, west, east of all cells."""
    if isinstance(grid, ProjectedGrid):
        return mapped.extent(grid)
    lat, lon = axes_of(grid)
    return float(lat[0]), float(lat[-1]), float(lon[0]), float(lon[-1])


def aspect(grid: AnyGrid, box: Box) -> float:
    """Width over height of the map of a box."""
    if not isinstance(grid, Grid):
        down, along = cut(np.zeros(grid.shape), grid, box)[1:]
        return float(np.ptp(along) / np.ptp(down))
    south, north, west, east = unwrap(grid, box)
    return float((east - west) * np.cos(np.radians((south + north) / 2)) / (north - south))


def world(ax: Axes, field: npt.NDArray[Any], grid: AnyGrid, cmap: Colormap, norm: Normalize, frame: Box | None = None) -> AxesImage:
    """Draw a global map of `field` [H, W]; `frame` marks the zoomed box."""
    x0, x1, y0, y1 = pixels(WIDTH)[2]
    image = ax.imshow(on_world(field, grid), origin="lower", extent=(x0, x1, y0, y1), cmap=cmap, norm=norm, interpolation="nearest")
    lines, outline = world_coast()
    ax.add_collection(LineCollection(lines, colors=INK, linewidths=0.45, alpha=0.75))
    ax.fill(outline[:, 0], outline[:, 1], color=MISSING, linewidth=0, zorder=-1)  # shows where a field is missing
    ax.plot(outline[:, 0], outline[:, 1], color=MUTED, linewidth=0.7, clip_on=False)
    if frame is not None:
        south, north, west, east = frame
        east = west + longitudes.width(west, east)
        lon = np.concatenate([np.linspace(west, east, 40), np.full(40, east), np.linspace(east, west, 40), np.full(40, west)])
        lat = np.concatenate([np.full(40, south), np.linspace(south, north, 40), np.full(40, north), np.linspace(north, south, 40)])
        lon = longitudes.signed(lon)
        points = _WORLD.transform_points(_PLAIN, lon, lat)[:, :2]
        pieces = np.split(points, np.flatnonzero(np.abs(np.diff(lon)) > 180) + 1)
        ax.add_collection(LineCollection([p for p in pieces if len(p) > 1], colors="#111111", linewidths=1.3))
    ax.set_xlim(x0 * 1.005, x1 * 1.005)
    ax.set_ylim(y0 * 1.01, y1 * 1.01)
    ax.set_aspect("equal")
    ax.set_axis_off()
    return image


def zoom(ax: Axes, field: npt.NDArray[Any], grid: AnyGrid, box: Box, cmap: Colormap, norm: Normalize) -> AxesImage:
    """Draw the cells of `field` [H, W] inside `box` (degrees; may cross the grid's seam) with labelled axes."""
    if isinstance(grid, ProjectedGrid):
        rows, columns = grid.window(box)
        return mapped.draw(ax, np.asarray(field)[rows, columns], grid.crop(rows, columns), cmap, norm)
    values, lat_edges, lon_edges = cut(field, grid, box)
    west, east = float(lon_edges[0]), float(lon_edges[-1])
    south, north = float(lat_edges[0]), float(lat_edges[-1])
    image = ax.imshow(values, origin="lower", extent=(west, east, south, north), cmap=cmap, norm=norm, interpolation="nearest")
    lines = LineCollection(coast.in_window(west, east), colors=INK, linewidths=0.9)
    ax.add_collection(lines, autolim=False)
    s, n, w, e = unwrap(grid, box)
    ax.set_xlim(max(west, w), min(east, e))
    ax.set_ylim(max(south, s), min(north, n))
    ax.set_aspect(1 / max(0.2, float(np.cos(np.radians((south + north) / 2)))))
    ax.set_facecolor(MISSING)
    ax.grid(False)
    ax.xaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.yaxis.set_major_locator(MaxNLocator(5, steps=[1, 2, 5, 10]))
    ax.xaxis.set_major_formatter(FuncFormatter(lambda x, _: degrees(longitudes.signed(x), "E", "W")))
    ax.yaxis.set_major_formatter(FuncFormatter(lambda y, _: degrees(y, "N", "S")))
    return image


def degrees(value: float, positive: str, negative: str) -> str:
    """`10°E`, `0°`."""
    if abs(value) < 1e-6 or abs(abs(value) - 180) < 1e-6:
        return f"{abs(value):g}°"
    return f"{abs(value):g}°{positive if value > 0 else negative}"


def describe_box(box: Box) -> str:
    """`30°N–48°N, 5°W–20°E`."""
    south, north, west, east = box
    lon = [degrees(longitudes.signed(x), "E", "W") for x in (west, east)]
    return f"{degrees(south, 'N', 'S')}–{degrees(north, 'N', 'S')}, {lon[0]}–{lon[1]}"


def unwrap(grid: AnyGrid, box: Box) -> Box:
    """`box` with its longitudes moved to where `cut` puts them: west in the grid's own turn, east beyond it; of a region, west of the
    region where the box begins outside and runs into it."""
    south, north, west, east = box
    if not isinstance(grid, Grid):
        return south, north, west, west + longitudes.width(west, east)
    begin, end = longitudes.placed(west, east, float(grid.lon_edges[0]))
    turn = 360.0 if begin > grid.lon_edges[-1] - 1e-6 and end - 360.0 > grid.lon_edges[0] + 1e-6 else 0.0
    return south, north, begin - turn, end - turn


def cut(field: npt.NDArray[Any], grid: AnyGrid, box: Box) -> tuple[Array, Array, Array]:
    """Cells that overlap `box`: values [h, w], latitude edges [h + 1], longitude edges [w + 1] (increasing, may pass 360).

    Of a map the block around the cells whose centres lie in it, and edges on the map's axes.
    """
    if not isinstance(grid, Grid):
        chosen, (down, along) = grid.window(box), axes_of(grid)
        return np.asarray(field, dtype=np.float64)[chosen], down[chosen[0].start : chosen[0].stop + 1], along[
            chosen[1].start : chosen[1].stop + 1]  # fmt: skip
    south, north, west, east = unwrap(grid, box)
    rows = np.flatnonzero((grid.lat_edges[1:] > south + 1e-6) & (grid.lat_edges[:-1] < north - 1e-6))
    turns = (0.0, 360.0) if grid.periodic else (0.0,)
    left, right = (np.concatenate([edges + turn for turn in turns]) for edges in (grid.lon_edges[:-1], grid.lon_edges[1:]))
    columns = np.flatnonzero((right > west + 1e-6) & (left < east - 1e-6))
    values = np.asarray(field, dtype=np.float64)[rows[0] : rows[-1] + 1][:, columns % grid.shape[1]]
    return values, grid.lat_edges[rows[0] : rows[-1] + 2], np.append(left[columns], right[columns[-1]])


def overlaps(grid: AnyGrid, box: Box) -> bool:
    """Whether any cell of `grid` lies in `box`."""
    if not isinstance(grid, Grid):
        try:
            grid.window(box)
        except OrbitError:
            return False
        return True
    south, north, west, east = unwrap(grid, box)
    turns = (0.0, 360.0) if grid.periodic else (0.0,)
    rows = (grid.lat_edges[1:] > south + 1e-6) & (grid.lat_edges[:-1] < north - 1e-6)
    columns = [(grid.lon_edges[1:] + t > west + 1e-6) & (grid.lon_edges[:-1] + t < east - 1e-6) for t in turns]
    return bool(rows.any() and np.any(columns))


def colourbar(ax: Axes, image: AxesImage, label: str) -> None:
    """A thin horizontal colour bar in `ax`."""
    norm = image.norm
    bar = ax.figure.colorbar(image, cax=ax, orientation="horizontal", extend="both")
    if isinstance(norm, BoundaryNorm):
        bar.set_ticks(list(norm.boundaries))
        bar.set_ticklabels([f"{x:g}" for x in norm.boundaries])
    elif isinstance(norm, AsinhNorm):
        limit = float(norm.vmax or 1.0)
        marks = [m for m in (1, 3, 10, 30, 100, 300) if m <= limit]
        bar.set_ticks([*(-m for m in reversed(marks)), 0, *marks])
        bar.set_ticklabels([*(f"−{m}" for m in reversed(marks)), "0", *(f"{m}" for m in marks)])
    elif isinstance(norm, TwoSlopeNorm):
        below, above = (np.asarray(MaxNLocator(3).tick_values(*ends), dtype=np.float64) for ends in ((norm.vmin, 0), (0, norm.vmax)))
        bar.set_ticks([t for t in (*below[below < 0], *above) if norm.vmin <= t <= norm.vmax])
    elif type(norm) is Normalize:
        bar.locator = MaxNLocator(7)
        bar.update_ticks()
    bar.minorticks_off()
    bar.outline.set_linewidth(0.5)
    ax.tick_params(labelsize=9, length=2, pad=2)
    ax.set_xlabel(label, fontsize=9, labelpad=2)
    ax.grid(False)
