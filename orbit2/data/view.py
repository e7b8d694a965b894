"""Which cells of a store a batch shows: a box of its coarse grid, moved over the truth, mirrored. Pure integers: reads no fields."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbit2.grid import AnyGrid
from orbit2.model.tiles import Window, scaled


@dataclass(frozen=True)
class Box:
    """Neighbouring cells of a grid; columns may run on past its last one and on from 0."""

    south: int
    west: int
    rows: int
    columns: int

    def finer(self, factor: int, shift: tuple[int, int] = (0, 0)) -> Box:
        """The fine cells under it, moved by some fine rows and columns."""
        return Box(self.south * factor + shift[0], self.west * factor + shift[1], self.rows * factor, self.columns * factor)

    def _runs(self, width: int) -> tuple[slice, slice, slice]:
        """Rows, columns up to the grid's end, columns on from 0."""
        west = self.west % width
        first = min(self.columns, width - west)
        return slice(self.south, self.south + self.rows), slice(west, west + first), slice(0, self.columns - first)

    def of(self, fields: Tensor) -> Tensor:
        """These cells of [..., H, W]: whole runs, which cost a fraction of cells one by one; a view where they are one run."""
        rows, first, rest = self._runs(fields.shape[-1])
        band = fields[..., rows, :]
        return torch.cat([band[..., first], band[..., rest]], -1) if rest.stop else band[..., first]

    def copy(self, plane: npt.NDArray[np.int16], out: npt.NDArray[np.int16]) -> None:
        """These cells of a plane [H, W], into `out`."""
        rows, first, rest = self._runs(plane.shape[-1])
        count = first.stop - first.start
        out[:, :count] = plane[rows, first]
        if rest.stop:
            out[:, count:] = plane[rows, rest]


@dataclass(frozen=True)
class View:
    """A box of coarse cells, moved by `shift` fine rows and columns over the truth, then with north and south exchanged if `mirrored`.

    `counted`: first and end row, first and end column that training counts, of the box before it was mirrored. `periodic`: its columns
    close around the globe.
    """

    box: Box
    counted: tuple[int, int, int, int]
    factor: int
    periodic: bool
    shift: tuple[int, int] = (0, 0)
    mirrored: bool = False

    @classmethod
    def of(cls, window: Window, factor: int) -> View:
        rows, columns = window.core_rows, window.core_columns
        box = Box(int(window.rows[0]), int(window.columns[0]), len(window.rows), len(window.columns))
        return cls(box, (rows.start, rows.stop, columns.start, columns.stop), factor, window.periodic)

    def moved(self, shift: tuple[int, int], coarse: AnyGrid) -> View:
        """Moved over the truth under a store's `coarse` grid: where it would leave it, it loses a row or column; the globe wraps."""
        box, (south, north, west, east) = self.box, self.counted
        rows, columns = box.rows, box.columns
        if shift[0] and box.south + rows == coarse.shape[0]:
            rows -= 1
        if shift[1] and not coarse.periodic and box.west + columns == coarse.shape[1]:
            columns -= 1
        return replace(self, box=replace(box, rows=rows, columns=columns), counted=(south, min(north, rows), west, min(east, columns)),
                       shift=shift)  # fmt: skip

    @property
    def empty(self) -> bool:
        """Whether nothing of it counts."""
        south, north, west, east = self.counted
        return south >= north or west >= east

    @property
    def shape(self) -> tuple[int, int]:
        return self.box.rows, self.box.columns

    @property
    def domain(self) -> tuple[slice, slice]:
        """Coarse rows and columns that count, as the batch shows them."""
        south, north, west, east = self.counted
        return slice(self.box.rows - north, self.box.rows - south) if self.mirrored else slice(south, north), slice(west, east)

    @property
    def fine_domain(self) -> tuple[slice, slice]:
        return scaled(self.domain[0], self.factor), scaled(self.domain[1], self.factor)

    @property
    def fine(self) -> Box:
        """The store's fine cells under it."""
        return self.box.finer(self.factor, self.shift)

    def under(self, window: Window | None) -> Box:
        """The store's coarse cells of a window of this view (before `shift`); of all of it without one."""
        if window is None:
            return self.box
        south, rows = int(window.rows[0]), len(window.rows)
        south = self.box.rows - south - rows if self.mirrored else south
        return Box(self.box.south + south, self.box.west + int(window.columns[0]), rows, len(window.columns))


def box_of(window: Window) -> Box:
    """The cells of a window, in the grid it is a window of."""
    return Box(int(window.rows[0]), int(window.columns[0]), len(window.rows), len(window.columns))
