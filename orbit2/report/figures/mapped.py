"""Maps of grids that are no latitudes and longitudes: drawn on their own axes, so that cells are the boxes they are, with the coast and
labelled meridians and parallels bent to them. Never interpolates fields."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.image import AxesImage
from matplotlib.ticker import MaxNLocator

from orbit2 import longitudes
from orbit2.grid import ProjectedGrid
from orbit2.grid.sphere import latitudes
from orbit2.report.figures import coast
from orbit2.report.style import INK, MUTED

Array = npt.NDArray[np.float64]
Box = tuple[float, float, float, float]
MARGIN = 3.0  # degrees round a map that its coast is taken from
STEPS = 181  # points of a meridian or parallel


def extent(grid: ProjectedGrid) -> Box:
    """South, north, west, east of all cells, to hundredths of a degree."""
    lon, lat = grid.boundary
    south, north = latitudes(lon, lat)
    if max(-south, north) > 90 - 1e-9:
        return round(south, 2), round(north, 2), 0.0, 360.0
    middle = float(grid.lon2d[grid.shape[0] // 2, grid.shape[1] // 2])
    turned = (lon - middle + 180.0) % 360.0 - 180.0
    return round(south, 2), round(north, 2), round(middle + float(turned.min()), 2), round(middle + float(turned.max()), 2)


def draw(ax: Axes, values: npt.NDArray[Any], grid: ProjectedGrid, cmap: Colormap, norm: Normalize) -> AxesImage:
    """All cells of `values` [H, W] on `grid`, its axes labelled in degrees where meridians and parallels meet the frame."""
    y, x = grid.y_edges, grid.x_edges
    sides = float(x[0]), float(x[-1]), float(y[0]), float(y[-1])
    image = ax.imshow(np.asarray(values, dtype=np.float64), origin="lower", extent=sides, cmap=cmap, norm=norm, interpolation="nearest")
    ax.add_collection(LineCollection(list(coastline(grid)), colors=INK, linewidths=0.9), autolim=False)
    _graticule(ax, grid)
    ax.set(xlim=sides[:2], ylim=sides[2:])
    ax.set_aspect("equal")
    ax.set_facecolor("#e0e4e8")
    ax.grid(False)
    return image


@lru_cache(maxsize=8)
def coastline(grid: ProjectedGrid) -> tuple[Array, ...]:
    """The coast near `grid` as lines [N, 2] on its axes."""
    south, north, west, east = extent(grid)
    found: list[Array] = []
    for line in coast.in_window(west - MARGIN, east + MARGIN):
        near = (line[:, 1] >= south - MARGIN) & (line[:, 1] <= north + MARGIN)
        near &= (line[:, 0] >= west - MARGIN) & (line[:, 0] <= east + MARGIN)
        found += _bent(line[:, 0], line[:, 1], near, grid)
    return tuple(found)


def _bent(lon: Array, lat: Array, near: npt.NDArray[np.bool_], grid: ProjectedGrid) -> list[Array]:
    """A line's pieces where `near`, on the grid's axes; none that jumps across the map."""
    x, y = grid.x_y(lon, lat)
    good = near & np.isfinite(x) & np.isfinite(y)
    points = np.stack([np.where(good, x, np.nan), np.where(good, y, np.nan)], axis=-1)
    size = max(float(np.ptp(grid.x_edges)), float(np.ptp(grid.y_edges)))
    gone = ~good[1:] | ~good[:-1] | (np.abs(np.diff(points, axis=0)).max(axis=1) > size)
    return [piece[good_] for piece, good_ in zip(np.split(points, np.flatnonzero(gone) + 1), np.split(good, np.flatnonzero(gone) + 1),
                                                 strict=True) if good_.sum() > 1]  # fmt: skip


def _graticule(ax: Axes, grid: ProjectedGrid) -> None:
    """Meridians and parallels; those that meet the lower and the left side are named there."""
    from orbit2.report.figures.maps import degrees

    south, north, west, east = extent(grid)
    locate, lines = MaxNLocator(5, steps=[1, 2, 5, 10]), []
    ticks: tuple[dict[float, str], dict[float, str]] = ({}, {})
    for meridian in locate.tick_values(west, east):
        lat = np.linspace(max(south - MARGIN, -89.9), min(north + MARGIN, 89.9), STEPS)
        for piece in _bent(np.full(STEPS, meridian), lat, np.ones(STEPS, dtype=bool), grid):
            lines.append(piece)
            _meet(piece, 1, float(grid.y_edges[0]), grid.x_edges, ticks[0], degrees(longitudes.signed(float(meridian)), "E", "W"))
    for parallel in locate.tick_values(south, north):
        if abs(parallel) >= 90:
            continue
        lon = np.linspace(west - MARGIN, east + MARGIN, STEPS)
        for piece in _bent(lon, np.full(STEPS, parallel), np.ones(STEPS, dtype=bool), grid):
            lines.append(piece)
            _meet(piece, 0, float(grid.x_edges[0]), grid.y_edges, ticks[1], degrees(float(parallel), "N", "S"))
    ax.add_collection(LineCollection(lines, colors=MUTED, linewidths=0.4, linestyles=(0, (4, 4)), alpha=0.7), autolim=False)
    ax.set_xticks(list(ticks[0]), list(ticks[0].values()))
    ax.set_yticks(list(ticks[1]), list(ticks[1].values()))


def _meet(piece: Array, axis: int, side: float, along: Array, ticks: dict[float, str], name: str) -> None:
    """Note where a line first crosses a side of the frame (`axis` 1: y = `side`; 0: x = `side`)."""
    away = piece[:, axis] - side
    for k in np.flatnonzero(away[:-1] * away[1:] <= 0):
        share = away[k] / (away[k] - away[k + 1]) if away[k] != away[k + 1] else 0.0
        place = float(piece[k, 1 - axis] + share * (piece[k + 1, 1 - axis] - piece[k, 1 - axis]))
        if along[0] <= place <= along[-1]:
            ticks[place] = name
            return


def borders(ids: npt.NDArray[Any], down: Array, along: Array) -> LineCollection:
    """Lines between cells [H, W] of different `ids`, edges `down` [H + 1] and `along` [W + 1]."""
    rows, columns = np.nonzero(ids[:, 1:] != ids[:, :-1])
    upright = [((along[j + 1], down[i]), (along[j + 1], down[i + 1])) for i, j in zip(rows, columns, strict=True)]
    rows, columns = np.nonzero(ids[1:] != ids[:-1])
    level = [((along[j], down[i + 1]), (along[j + 1], down[i + 1])) for i, j in zip(rows, columns, strict=True)]
    return LineCollection([*upright, *level], colors=INK, linewidths=1.2, alpha=0.85, zorder=3)
