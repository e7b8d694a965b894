"""Maps as bare pixels, fast enough for every date: each cell's colour with the coast drawn over it. Never draws axes or words."""

from __future__ import annotations

from functools import lru_cache

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.collections import LineCollection
from matplotlib.colors import Colormap, Normalize, to_rgb

from orbit2.grid import AnyGrid, ProjectedGrid
from orbit2.report.figures import coast, mapped, maps
from orbit2.report.style import INK

Array = npt.NDArray[np.float64]
Pixels = npt.NDArray[np.uint8]
WIDTH = 800  # pixels across
TALLEST = 700


def world(field: Array, grid: AnyGrid, cmap: Colormap, norm: Normalize) -> Pixels:
    """The globe [h, WIDTH, 3], Equal Earth."""
    lon, _, (x0, x1, y0, y1) = maps.pixels(WIDTH)
    return _painted(maps.on_world(field, grid, WIDTH), np.isfinite(lon), _over_world(x0, x1, y0, y1, len(lon)), cmap, norm)


def box(field: Array, grid: AnyGrid, where: maps.Box, cmap: Colormap, norm: Normalize) -> Pixels:
    """The cells inside `where`, in degrees, a degree of latitude as long as on the ground in its middle; of a map on its own axes."""
    if isinstance(grid, ProjectedGrid):
        return _on_map(field[grid.window(where)], _part(grid, where), cmap, norm)
    found = maps.in_cells(field, _cells(grid, where))
    return _painted(found, np.ones(found.shape, dtype=bool), _over_box(*maps.unwrap(grid, where)), cmap, norm)


@lru_cache(maxsize=8)
def _cells(grid: AnyGrid, where: maps.Box) -> maps.Cells:
    """Of every pixel of a box."""
    south, north, west, east = maps.unwrap(grid, where)
    width, height = size(south, north, west, east)
    lon = west + (np.arange(width) + 0.5) * (east - west) / width
    lat = south + (np.arange(height) + 0.5) * (north - south) / height
    return maps.cells_at(grid, *np.meshgrid(lon, lat))


@lru_cache(maxsize=8)
def _part(grid: ProjectedGrid, where: maps.Box) -> ProjectedGrid:
    return grid.crop(*grid.window(where))


def _on_map(field: Array, grid: ProjectedGrid, cmap: Colormap, norm: Normalize) -> Pixels:
    width, height = _fitted(float(np.ptp(grid.x_edges) / np.ptp(grid.y_edges)))
    rows, columns = (
        np.searchsorted(edges, edges[0] + (np.arange(count) + 0.5) * np.ptp(edges) / count, side="right") - 1
        for edges, count in ((grid.y_edges, height), (grid.x_edges, width))
    )
    found = np.asarray(field, dtype=np.float64)[np.ix_(rows, columns)]
    return _painted(found, np.ones(found.shape, dtype=bool), _over_map(grid, width, height), cmap, norm)


@lru_cache(maxsize=8)
def _over_map(grid: ProjectedGrid, width: int, height: int) -> Array:
    sides = float(grid.x_edges[0]), float(grid.x_edges[-1]), float(grid.y_edges[0]), float(grid.y_edges[-1])
    return _drawn(list(mapped.coastline(grid)), sides, width, height, 1.1)


def size(south: float, north: float, west: float, east: float) -> tuple[int, int]:
    """(width, height) in pixels of a box."""
    return _fitted((east - west) * max(0.2, float(np.cos(np.radians((south + north) / 2)))) / (north - south))


def _fitted(aspect: float) -> tuple[int, int]:
    width = min(WIDTH, round(TALLEST * aspect))
    return width, round(width / aspect)


def _painted(values: Array, inside: npt.NDArray[np.bool_], over: Array, cmap: Colormap, norm: Normalize) -> Pixels:
    """`values` [h, w] from south to north, coloured, with `over` [h, w, 4] on top; upright."""
    colours = cmap(norm(values), bytes=True)[..., :3]
    colours[~np.isfinite(values)] = _bytes(maps.MISSING)
    colours[~inside] = 255
    colours = colours[::-1]
    drawn = over[..., 3] > 0  # few pixels
    line = over[drawn]
    colours[drawn] = np.round((1 - line[:, 3:]) * colours[drawn] + 255 * line[:, :3] * line[:, 3:])
    return np.ascontiguousarray(colours)


def _bytes(colour: str) -> Pixels:
    return np.round(255 * np.array(to_rgb(colour))).astype(np.uint8)


@lru_cache(maxsize=2)
def _over_world(x0: float, x1: float, y0: float, y1: float, height: int) -> Array:
    lines, outline = maps.world_coast()
    return _drawn([*lines, outline], (x0, x1, y0, y1), WIDTH, height, 0.7)


@lru_cache(maxsize=8)
def _over_box(south: float, north: float, west: float, east: float) -> Array:
    return _drawn(coast.in_window(west, east), (west, east, south, north), *size(south, north, west, east), 1.1)


def _drawn(lines: list[Array], extent: tuple[float, float, float, float], width: int, height: int, weight: float) -> Array:
    """Lines as pixels [h, w, 4] of 0..1, straight alpha."""
    figure = plt.figure(figsize=(width / 100, height / 100), dpi=100, facecolor="none")
    ax = figure.add_axes((0, 0, 1, 1), facecolor="none")
    ax.set_axis_off()
    ax.add_collection(LineCollection(lines, colors=INK, linewidths=weight, alpha=0.8), autolim=False)
    ax.set(xlim=extent[:2], ylim=extent[2:])
    canvas = figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    canvas.draw()  # type: ignore[no-untyped-call]
    found = np.asarray(canvas.buffer_rgba(), dtype=np.float64) / 255  # type: ignore[no-untyped-call]
    plt.close(figure)
    return found
