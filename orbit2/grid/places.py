"""Boxes of latitude and longitude on grids whose axes are neither. Never looks at edges."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from orbit2 import longitudes
from orbit2.errors import OrbitError
from orbit2.grid.protocol import AnyGrid


def centres_in(grid: AnyGrid, box: Sequence[float]) -> tuple[slice, slice]:
    """The smallest block of rows and columns with every cell whose centre lies in `box` = (south, north, west, east), degrees.

    Its corners reach out of the box where the grid's axes are not north and east. Raises OrbitError when no centre is inside.
    """
    south, north, west, east = box
    near = longitudes.TOLERANCE
    inside = (grid.lat2d >= south - near) & (grid.lat2d <= north + near)
    inside &= (grid.lon2d - west + near) % 360.0 <= longitudes.width(west, east) + 2 * near
    rows, columns = (np.flatnonzero(inside.any(axis)) for axis in (1, 0))
    if not len(rows):
        raise OrbitError("region lies outside the grid", where="region", got=list(box), allowed=grid.describe(),
                         hint="give south, north, west, east in degrees")  # fmt: skip
    return slice(int(rows[0]), int(rows[-1]) + 1), slice(int(columns[0]), int(columns[-1]) + 1)
