"""TILES geometry: the one place that says which cells a tile reads and which it owns (paper section III-C).

Cores partition the cells exactly; all cores but the last of a direction are equal, and every window has the SAME size, so
tiles batch. Pure integers: never looks at fields or files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch

from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid

Index = npt.NDArray[np.int64]
Fields = TypeVar("Fields", npt.NDArray[np.float32], torch.Tensor)


@dataclass(frozen=True, eq=False)
class Window:
    """Coarse rows and columns to read (with halo) and where the core lies inside them.

    `core_rows`, `core_columns` are slices into the window; `periodic` when its columns close around the globe. `corner` is the
    core's first row and column in the grid, columns counted on past the last one where the domain crosses the seam.
    """

    rows: Index
    columns: Index
    core_rows: slice
    core_columns: slice
    periodic: bool
    corner: tuple[int, int]

    def fine(self, factor: int) -> tuple[Index, Index]:
        """Fine rows and columns under this window."""
        return refine_index(self.rows, factor), refine_index(self.columns, factor)

    def fine_core(self, factor: int) -> tuple[slice, slice]:
        """The core inside the fine window."""
        return scaled(self.core_rows, factor), scaled(self.core_columns, factor)

    def owned(self, factor: int = 1) -> tuple[slice, slice]:
        """The core's rows and columns of the whole grid, refined `factor` times; columns may run on past its last one."""
        row, column = self.corner
        height, width = (part.stop - part.start for part in (self.core_rows, self.core_columns))
        return scaled(slice(row, row + height), factor), scaled(slice(column, column + width), factor)

    def take(self, fields: Fields, factor: int = 1) -> Fields:
        """The cells of this window out of [..., sH, sW]: a copy."""
        if not isinstance(fields, np.ndarray):
            rows, columns = self.fine(factor)
            return fields[..., rows[:, None], columns]
        found = np.empty((*fields.shape[:-2], factor * len(self.rows), factor * len(self.columns)), dtype=fields.dtype)
        self.copy(fields, found, factor)
        return found

    def copy(self, fields: npt.NDArray[np.float32], out: npt.NDArray[np.float32], factor: int = 1) -> None:
        """The cells of this window out of [..., sH, sW] into `out`."""
        for here, there in _runs(self.rows):  # runs, of which there are few, are copied several times as fast as single cells
            for now, then in _runs(self.columns):
                out[..., scaled(here, factor), scaled(now, factor)] = fields[..., scaled(there, factor), scaled(then, factor)]


def _runs(index: Index) -> Iterator[tuple[slice, slice]]:
    """(positions, what is there) of each stretch of consecutive numbers."""
    ends = [0, *(np.flatnonzero(np.diff(index) != 1) + 1).tolist(), len(index)]
    for start, stop in pairwise(ends):
        if stop > start:
            first = int(index[start])
            yield slice(start, stop), slice(first, first + stop - start)


def refine_index(index: Index, factor: int) -> Index:
    """The `factor` fine cells of every coarse one, in order."""
    refined: Index = (index[:, None] * factor + np.arange(factor)).ravel()
    return refined


def scaled(part: slice, factor: int) -> slice:
    """The fine cells of a run of coarse ones."""
    return slice(part.start * factor, part.stop * factor)


@dataclass(frozen=True)
class Tiling(Sequence[Window]):
    """Windows over `domain` (rows, columns) of an H x W grid, row by row from the south-west; made when asked for.

    `core` and `padded` are edges in coarse cells of an inner core and of every window; neighbours are mixed up to `blend` cells
    inside their cores (orbit2.model.blend).
    """

    shape: tuple[int, int]
    periodic: bool
    domain: tuple[slice, slice]
    core: tuple[int, int]
    padded: tuple[int, int]
    halo: int
    blend: int = 0

    @property
    def counts(self) -> tuple[int, int]:
        """Tiles from south to north and from west to east."""
        return tuple(-(-(part.stop - part.start) // edge) for part, edge in zip(self.domain, self.core, strict=True))

    def __len__(self) -> int:
        return self.counts[0] * self.counts[1]

    def __iter__(self) -> Iterator[Window]:
        return (self[i] for i in range(len(self)))

    def __getitem__(self, index: int) -> Window:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        i, j = divmod(index, self.counts[1])
        row, column = self.domain[0].start + i * self.core[0], self.domain[1].start + j * self.core[1]
        height, width = self.shape
        closed = self.periodic and self.padded[1] == width
        top = _inward(row - self.halo, self.padded[0], height)
        if closed:  # from column 0, or so that a core across the seam is one run
            left = max(min(column + self.core[1], self.domain[1].stop) - width, 0)
        elif self.periodic:
            left = column - self.halo
        else:
            left = _inward(column - self.halo, self.padded[1], width)
        return Window(
            rows=np.arange(top, top + self.padded[0]),
            columns=np.arange(left, left + self.padded[1]) % width,
            core_rows=slice(row - top, min(row + self.core[0], self.domain[0].stop) - top),
            core_columns=slice(column - left, min(column + self.core[1], self.domain[1].stop) - left),
            periodic=closed,
            corner=(row, column),
        )

    def kept(self, index: int) -> tuple[slice, slice]:
        """The part of a tile's window that enters the prediction: its core, and where neighbours are mixed `blend` cells around it."""
        window = self[index]
        rows, columns = (slice(max(part.start - self.blend, 0), min(part.stop + self.blend, edge))
                         for part, edge in zip((window.core_rows, window.core_columns), self.padded, strict=True))  # fmt: skip
        return rows, slice(0, self.padded[1]) if self.blend and window.periodic else columns  # a closed window: its ends meet

    def own_part(self, index: int) -> tuple[slice, slice]:
        """The core inside what is `kept`."""
        window, kept = self[index], self.kept(index)
        rows, columns = (slice(core.start - part.start, core.stop - part.start)
                         for core, part in zip((window.core_rows, window.core_columns), kept, strict=True))  # fmt: skip
        return rows, columns


def _inward(start: int, length: int, size: int) -> int:
    return min(max(start, 0), size - length)


def tiles(
    shape: tuple[int, int],
    periodic: bool,
    size: int | tuple[int, int],
    halo: int,
    patch: int = 1,
    domain: tuple[slice, slice] | None = None,
    blend: int | None = 0,
) -> Tiling:
    """Cores of `size` coarse cells (0: all of the domain; fewer at its end) with `halo` cells of context on every side.

    `domain` (default the whole H x W grid) is what the cores partition; windows may read beyond it. At the edges of the grid
    the halo is shifted inward, in longitude it wraps on periodic grids, and a window as wide as the globe closes around it.
    Windows grow to a multiple of `patch` where the grid has room. `blend` None: half the halo. Raises OrbitError for negative sizes
    and for a `blend` beyond the halo.
    """
    edges = (size, size) if isinstance(size, int) else size
    if min(*edges, halo) < 0:
        raise OrbitError("tile size and halo cannot be negative", where="tiles", got=f"tile {size}, halo {halo}",
                         allowed="0 (no tiles) or more", hint="give sizes in coarse cells")  # fmt: skip
    blend = halo // 2 if blend is None else blend
    if not 0 <= blend <= halo:
        raise OrbitError("tiles cannot be mixed beyond their halo", where="blend", got=blend, allowed=f"0 to {halo}, the halo",
                         hint="mix over fewer cells, or widen the halo")  # fmt: skip
    domain = domain or (slice(0, shape[0]), slice(0, shape[1]))
    extent = [part.stop - part.start for part in domain]
    core = [min(edge, cells) if edge else cells for edge, cells in zip(edges, extent, strict=True)]
    padded = [min(-(-(edge + 2 * halo) // patch) * patch, cells) for edge, cells in zip(core, shape, strict=True)]
    alone = all(edge >= cells for edge, cells in zip(core, extent, strict=True))
    return Tiling(shape, periodic, domain, (core[0], core[1]), (padded[0], padded[1]), halo, 0 if alone else blend)


def divided(cells: int, count: int) -> int:
    """Core edge that cuts `cells` into `count` equal pieces, the last one smaller when it does not divide.

    Raises OrbitError, naming the nearest possible counts, where equal pieces cannot be that many.
    """
    if 0 < count <= cells and -(-cells // (edge := -(-cells // count))) == count:
        return edge
    possible = sorted({-(-cells // edge) for edge in range(1, cells + 1)})
    below, above = [n for n in possible if n < count][-1:], [n for n in possible if n > count][:1]
    raise OrbitError("cannot be cut into that many equal tiles", where="tiles", got=f"{cells} cells into {count}",
                     allowed=" or ".join(str(n) for n in (*below, *above)), hint="choose one of the nearest numbers")  # fmt: skip


def of_box(grid: AnyGrid, box: Sequence[float] | None, halo: int) -> Window:
    """The cells whose centres lie in `box` (south, north, west, east), with halo; the whole grid for None."""
    return tiles(grid.shape, grid.periodic, 0, halo, domain=None if box is None else grid.window(box))[0]
