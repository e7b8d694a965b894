"""Where grids lie upon each other: the cells that products share, and what of one lies under the other. Never moves a field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid
from orbit2.longitudes import placed
from orbit2.metrics.predictions import inside, window

EDGE = 1e-6  # degrees


def larger(one: AnyGrid, other: AnyGrid) -> bool:
    """Whether typical cells of `one` are larger: in degrees squared, or on the ground where a grid has no parallels."""
    if isinstance(one, Grid) and isinstance(other, Grid):
        sizes = [grid.resolution * float(np.median(np.diff(grid.lon_edges))) for grid in (one, other)]
    else:
        sizes = [float(np.median(grid.area_km2)) for grid in (one, other)]
    return sizes[0] > sizes[1] * (1 + (1e-6 if isinstance(one, Grid) and isinstance(other, Grid) else 1e-2))


def coarser(one: AnyGrid, other: AnyGrid) -> AnyGrid:
    """The grid with the larger cells; of equals, the second."""
    return one if larger(one, other) else other


def shared(target: AnyGrid, others: Sequence[AnyGrid]) -> AnyGrid:
    """The part of `target` whose cells lie wholly inside every other grid (where they are turned against each other, the least block with
    all of them). Raises OrbitError when there are none."""
    for other in others:
        if not (isinstance(target, Grid) and isinstance(other, Grid)):
            if not target.same_as(other):
                target = target.crop(*inside(target, other))
            continue
        south, north = float(other.lat_edges[0]), float(other.lat_edges[-1])
        rows = np.flatnonzero((target.lat_edges[:-1] >= south - EDGE) & (target.lat_edges[1:] <= north + EDGE))
        columns = _within(target, float(other.lon_edges[0]), float(other.lon_edges[-1]))
        if not len(rows) or columns is None:
            raise OrbitError("the products do not overlap in a whole cell", where="products", got=other.describe(),
                             allowed=target.describe(), hint="give products of one region")  # fmt: skip
        target = target.crop(slice(int(rows[0]), int(rows[-1]) + 1), columns)
    return target


def under(source: AnyGrid, target: AnyGrid) -> tuple[slice, slice]:
    """The rows and columns of `source` that touch `target` (columns may run past its seam: see Grid.crop)."""
    if not (isinstance(source, Grid) and isinstance(target, Grid)):
        try:
            return window(target, source, Path("product"))  # the same cells, or some of them
        except OrbitError:
            return source.around(target)
    south, north = float(target.lat_edges[0]), float(target.lat_edges[-1])
    rows = np.flatnonzero((source.lat_edges[1:] > south + EDGE) & (source.lat_edges[:-1] < north - EDGE))
    more = float(np.median(np.diff(source.lon_edges))) - 2 * EDGE
    columns = _within(source, float(target.lon_edges[0]) - more, float(target.lon_edges[-1]) + more)
    if not len(rows) or columns is None:
        raise OrbitError("the products do not overlap", where="products", got=source.describe(), allowed=target.describe(),
                         hint="give products of one region")  # fmt: skip
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
        raise OrbitError("a product goes round the globe and meets the other's cells in two pieces", where="products",
                         got=f"{west:g} to {east:g} degrees east", allowed=grid.describe(),
                         hint="cut one product to a box that does not meet its own end")  # fmt: skip
    return slice(int(found[0]), int(found[0]) + min(len(found), count))
