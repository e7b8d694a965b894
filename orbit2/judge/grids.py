"""Where grids lie upon each other: the cells that products share, and what of one lies under the other. Never moves a field."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orbit2.errors import OrbitError
from orbit2.grid import Grid
from orbit2.longitudes import placed

EDGE = 1e-6  # degrees


def size(grid: Grid) -> float:
    """Degrees squared of a typical cell."""
    return grid.resolution * float(np.median(np.diff(grid.lon_edges)))


def coarser(one: Grid, other: Grid) -> Grid:
    """The grid with the larger cells; of equals, the second."""
    return one if size(one) > size(other) * (1 + 1e-6) else other


def shared(target: Grid, others: Sequence[Grid]) -> Grid:
    """The part of `target` whose cells lie wholly inside every other grid. Raises OrbitError when there are none."""
    for other in others:
        south, north = float(other.lat_edges[0]), float(other.lat_edges[-1])
        rows = np.flatnonzero((target.lat_edges[:-1] >= south - EDGE) & (target.lat_edges[1:] <= north + EDGE))
        columns = _within(target, float(other.lon_edges[0]), float(other.lon_edges[-1]))
        if not len(rows) or columns is None:
            raise OrbitError("the products do not overlap in a whole cell", got=other.describe(), allowed=target.describe())
        target = target.crop(slice(int(rows[0]), int(rows[-1]) + 1), columns)
    return target


def under(source: Grid, target: Grid) -> tuple[slice, slice]:
    """The rows and columns of `source` that touch `target` (columns may run past its seam: see Grid.crop)."""
    south, north = float(target.lat_edges[0]), float(target.lat_edges[-1])
    rows = np.flatnonzero((source.lat_edges[1:] > south + EDGE) & (source.lat_edges[:-1] < north - EDGE))
    more = float(np.median(np.diff(source.lon_edges))) - 2 * EDGE
    columns = _within(source, float(target.lon_edges[0]) - more, float(target.lon_edges[-1]) + more)
    if not len(rows) or columns is None:
        raise OrbitError("the products do not overlap", got=source.describe(), allowed=target.describe())
    return slice(int(rows[0]), int(rows[-1]) + 1), columns


def _within(grid: Grid, west: float, east: float) -> slice | None:
    """The columns of `grid` that lie wholly between two meridians, in any turn; None when there are none."""
    count = grid.shape[1]
    if grid.periodic and east - west >= 360.0 - EDGE:
        return slice(0, count)
    begin, _ = placed(west, min(east, west + 360.0), float(grid.lon_edges[0]))
    turns = (0.0, 360.0) if grid.periodic else (0.0,)
    left, right = (np.concatenate([edges + turn for turn in turns]) for edges in (grid.lon_edges[:-1], grid.lon_edges[1:]))
    found = np.concatenate([np.flatnonzero((left >= begin + turn - EDGE) & (right <= begin + turn + east - west + EDGE))
                            for turn in ((0.0,) if grid.periodic else (0.0, -360.0))])  # fmt: skip
    if not len(found):
        return None
    found = np.unique(found)
    if found[-1] - found[0] + 1 != len(found):
        raise OrbitError("a product goes round the globe and meets the other's cells in two pieces",
                         got=f"{west:g} to {east:g} degrees east", allowed=grid.describe())  # fmt: skip
    return slice(int(found[0]), int(found[0]) + min(len(found), count))
