"""The tiles that the published weights were run on: all of the same size, cut inward at the edges, never wrapped round the globe."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid
from orbit2.model.tiles import Tiling, Window


@dataclass(frozen=True, eq=False)
class EqualTiles(Tiling):
    """`core` cells of every tile are kept, with `around` cells (south, north, west, east) read beside them; at an edge of the domain, whose
    side has none, the window reaches further in. Every window has the size `padded`."""

    around: tuple[int, int, int, int] = (0, 0, 0, 0)

    def __getitem__(self, index: int) -> Window:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        starts, cores = [], []
        for axis, number in enumerate(divmod(index, self.counts[1])):
            domain, edge, size = self.domain[axis], self.core[axis], self.padded[axis]
            start = min(max(number * edge - self.around[2 * axis], 0), domain.stop - domain.start - size)
            starts.append(domain.start + start)
            cores.append(slice(number * edge - start, (number + 1) * edge - start))
        rows, columns = (np.arange(start, start + size) for start, size in zip(starts, self.padded, strict=True))
        return Window(rows, columns, cores[0], cores[1], False, (starts[0] + cores[0].start, starts[1] + cores[1].start))


def halos(overlap: int) -> tuple[int, int, int, int]:
    """Cells (south, north, west, east) beside a core that an `overlap` stands for."""
    south = overlap // 2
    return (south, south, overlap, overlap) if overlap % 2 == 0 else (south, south + 1, 2 * south, 2 * south + 2)


def equal_tiles(grid: AnyGrid, told: Mapping[str, Any], blend: int | None) -> EqualTiles:
    """Tiles over all of `grid`, as many along each axis as `told` says, mixed `blend` cells across their borders (None: not).

    Raises OrbitError where the cells cannot be divided so, and for a `blend` beyond the halo.
    """
    count, around = int(told["div"]), halos(int(told["overlap"]))
    height, width = grid.shape
    padded = height // count + around[0] + around[1], width // count + around[2] + around[3]
    if height % count or width % count or (count > 1 and (padded[0] > height or padded[1] > width)):
        raise OrbitError("the grid cannot be cut into the tiles that the model was trained on", where="--tile",
                         got=f"{height}x{width} cells",
                         allowed=f"multiples of {count} along both sides, with room for a halo of {max(around)}",
                         hint="crop the input, or give a tile size: --tile ROWS,COLUMNS")  # fmt: skip
    core = height // count, width // count
    if count == 1:
        around, padded = (0, 0, 0, 0), core
    mixed = blend or 0
    if not 0 <= mixed <= min(around):
        raise OrbitError("tiles cannot be mixed beyond their halo", where="blend", got=mixed, allowed=f"0 to {min(around)}",
                         hint="mix over fewer cells")  # fmt: skip
    return EqualTiles((height, width), False, (slice(0, height), slice(0, width)), core, padded, min(around), mixed, around)


def without_pole(grid: AnyGrid) -> AnyGrid:
    """ERA5's own grid without its row at 90 N, which the weights never saw (see `nodes_<degrees>`); any other as it is."""
    if isinstance(grid, Grid) and grid.shape[0] > 2 and abs(grid.lat[0] + 90) < 1e-6 and abs(grid.lat[-1] - 90) < 1e-6:
        return grid.crop(slice(0, grid.shape[0] - 1), slice(0, grid.shape[1]))
    return grid
