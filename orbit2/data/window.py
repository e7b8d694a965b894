"""Rectangles of a coarse grid with the context around them. Never copies geometry rules: wraps and clips like the sphere."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbit2.grid import Grid

Index = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Window:
    """Coarse rows and columns to read (with halo) and where the core lies inside them.

    `core_rows`, `core_columns` are slices into the window; `lat`, `lon` the centres of the cells that are read.
    """

    rows: Index
    columns: Index
    core_rows: slice
    core_columns: slice
    lat: npt.NDArray[np.float64]
    lon: npt.NDArray[np.float64]
    periodic: bool

    def fine(self, factor: int) -> tuple[Index, Index]:
        """Fine rows and columns under this window."""
        return refine_index(self.rows, factor), refine_index(self.columns, factor)

    def fine_core(self, factor: int) -> tuple[slice, slice]:
        """The core inside the fine window."""
        return (
            slice(self.core_rows.start * factor, self.core_rows.stop * factor),
            slice(self.core_columns.start * factor, self.core_columns.stop * factor),
        )


def refine_index(index: Index, factor: int) -> Index:
    """The `factor` fine cells of every coarse one, in order."""
    refined: Index = (index[:, None] * factor + np.arange(factor)).ravel()
    return refined


def whole(grid: Grid) -> Window:
    """The whole grid, no halo."""
    return around(grid, slice(0, grid.shape[0]), slice(0, grid.shape[1]), 0)


def around(grid: Grid, rows: slice, columns: slice, halo: int) -> Window:
    """The given core with up to `halo` cells of context: shifted inward at the poles, wrapped in longitude if periodic."""
    height, width = grid.shape
    r0, r1 = max(rows.start - halo, 0), min(rows.stop + halo, height)
    full = columns.stop - columns.start + 2 * halo >= width
    if grid.periodic and not full:
        span = np.arange(columns.start - halo, columns.stop + halo)
        c0, core = columns.start - halo, slice(halo, halo + columns.stop - columns.start)
    elif grid.periodic:
        span, c0 = np.arange(width), 0
        core = slice(columns.start, columns.stop)
    else:
        c0 = max(columns.start - halo, 0)
        span = np.arange(c0, min(columns.stop + halo, width))
        core = slice(columns.start - c0, columns.stop - c0)
    lon = grid.lon[span % width] + 360.0 * (span // width)
    return Window(
        rows=np.arange(r0, r1),
        columns=span % width,
        core_rows=slice(rows.start - r0, rows.stop - r0),
        core_columns=core,
        lat=grid.lat[r0:r1],
        lon=lon,
        periodic=grid.periodic and full,
    )


def of_box(grid: Grid, box: Sequence[float] | None, halo: int) -> Window:
    """The cells whose centres lie in `box` (south, north, west, east), with halo; the whole grid for None."""
    if box is None:
        return whole(grid)
    rows, columns = grid.window(box)
    return around(grid, rows, columns, halo)
