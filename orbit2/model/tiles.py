"""TILES geometry: cores that partition a grid exactly, each with a halo of context (paper section III-C)."""

from __future__ import annotations

from orbit2.data.window import Window, around
from orbit2.errors import OrbitError
from orbit2.grid import Grid


def tiles(grid: Grid, size: int, halo: int) -> list[Window]:
    """Windows whose cores of `size` x `size` coarse cells (fewer at the end) cover every cell once; size 0 = one tile.

    At the poles the halo is cut, in longitude it wraps on periodic grids. Raises OrbitError for impossible sizes.
    """
    height, width = grid.shape
    if size < 0 or halo < 0:
        raise OrbitError("tile size and halo cannot be negative", got=f"tile {size}, halo {halo}")
    if size == 0:
        return [around(grid, slice(0, height), slice(0, width), 0)]
    return [
        around(grid, slice(r, min(r + size, height)), slice(c, min(c + size, width)), halo)
        for r in range(0, height, size)
        for c in range(0, width, size)
    ]
