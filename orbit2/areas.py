"""Relative areas of a grid's cells as block means and losses use them. Never knows which kind of grid it has."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


class Cells(Protocol):
    """A grid, as far as its areas go."""

    @property
    def area_km2(self) -> Array: ...


def relative_areas(grid: Cells) -> Array:
    """Of the cells that lie in one block: [H] where all cells of a row are alike (latitude-longitude grids), else [H, W], in km2."""
    rows: Array | None = getattr(grid, "lat_weights", None)
    return grid.area_km2 if rows is None else rows


def rows_of(areas: Array, rows: slice, columns: slice) -> Array:
    """`relative_areas` of a window of the grid."""
    return areas[rows] if areas.ndim == 1 else areas[rows, columns]
