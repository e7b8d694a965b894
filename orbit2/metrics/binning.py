"""Which cells are scored together: the whole domain, latitude bands, named regions. Never overlaps bins within one Bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.errors import FAULT, OrbitError
from orbit2.grid import AnyGrid, Grid
from orbit2.metrics import kernels

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Bins:
    """`index` [H, W] gives each cell's bin (position in `names`), -1 for none; kept in two bytes where that will do.

    Raises OrbitError for an index outside.
    """

    names: tuple[str, ...]
    index: npt.NDArray[np.integer[Any]]

    def __post_init__(self) -> None:
        if self.index.size and (self.index.min() < -1 or self.index.max() >= len(self.names)):
            raise OrbitError("bin index outside its names", where="bins", got=f"{self.index.min()}..{self.index.max()}",
                             allowed=f"-1..{len(self.names) - 1}", hint=FAULT)  # fmt: skip
        if len(self.names) < 1 << 15:
            object.__setattr__(self, "index", self.index.astype(np.int16, copy=False))

    @cached_property
    def runs(self) -> npt.NDArray[np.int32]:
        """The bins as stretches of neighbouring cells, [R, 4] row, first column, column after the last, bin: what the sums walk along."""
        found: npt.NDArray[np.int32] = kernels.runs_of(np.ascontiguousarray(self.index))
        return found


@dataclass(frozen=True, eq=False)
class Partition:
    """Several Bins of one grid, cut into `pieces` that no bin divides: one pass over a field then serves them all.

    `places` [n, A] is the bin of each piece in each of the Bins, -1 for none. Raises OrbitError for Bins of different shapes.
    """

    bins: tuple[Bins, ...]

    def __post_init__(self) -> None:
        if len({bins.index.shape for bins in self.bins}) != 1:
            raise OrbitError("bins of different grids", where="bins", got=[bins.index.shape for bins in self.bins], hint=FAULT)
        if np.prod([len(bins.names) + 1.0 for bins in self.bins]) > 1 << 30:
            raise OrbitError("too many bins for one partition", where="bins", got=[len(bins.names) for bins in self.bins],
                             hint="score by fewer regions, seasons or bands at once")  # fmt: skip

    @cached_property
    def _cut(self) -> tuple[Bins, IntArray]:
        sizes = [len(bins.names) + 1 for bins in self.bins]
        code = np.zeros(self.bins[0].index.shape, dtype=np.int32)
        for bins, size in zip(self.bins, sizes, strict=True):
            code *= size
            code += bins.index + np.int32(1)
        found = np.flatnonzero(np.bincount(code.ravel(), minlength=1))
        places = np.stack(np.unravel_index(found, sizes)) - 1
        kept = (places >= 0).any(axis=0)
        piece = np.full(int(found[-1]) + 1 if len(found) else 1, -1, dtype=np.int32)
        piece[found[kept]] = np.arange(int(kept.sum()))
        return Bins(tuple(str(i) for i in range(int(kept.sum()))), piece[code]), places[:, kept]

    @property
    def pieces(self) -> Bins:
        return self._cut[0]

    @property
    def places(self) -> IntArray:
        return self._cut[1]


def domain_bins(grid: AnyGrid, name: str = "global") -> Bins:
    """One bin with every cell; takes no memory."""
    return Bins((name,), np.broadcast_to(np.int16(0), grid.shape))


def band_name(south: float, north: float) -> str:
    """`60S-30S`, `30S-30N`, `EQ-30N`."""

    def one(latitude: float) -> str:
        return "EQ" if latitude == 0 else f"{abs(latitude):g}{'S' if latitude < 0 else 'N'}"

    return f"{one(south)}-{one(north)}"


def latitudes(grid: AnyGrid) -> npt.NDArray[np.float64]:
    """Of cell centres: [H, 1] where the rows are parallels, else [H, W]."""
    return grid.lat[:, None] if isinstance(grid, Grid) else grid.lat2d


def band_bins(grid: AnyGrid, bands: Sequence[tuple[float, float]]) -> Bins:
    """Latitude bands (south, north) in degrees, by cell centre; a cell on a common edge belongs to the northern band.

    Raises OrbitError when bands overlap.
    """
    index = np.full(grid.shape, -1, dtype=np.int16)
    latitude = latitudes(grid)
    for position, (south, north) in enumerate(bands):
        inside = (latitude >= south) & ((latitude < north) | ((north >= 90) & (latitude <= 90)))
        cells = inside[:, 0] if inside.shape[1] == 1 else inside  # whole rows where they are parallels
        if (index[cells] >= 0).any():
            raise OrbitError("latitude bands overlap", where="bands", got=band_name(south, north), hint="use separate bands")
        index[cells] = position
    return Bins(tuple(band_name(*band) for band in bands), index)


def region_bins(ids: npt.NDArray[np.floating], names: Sequence[str]) -> Bins:
    """Regions from a 2-D id map (NaN or negative = no region); ids are positions in `names`."""
    return Bins(tuple(names), np.where(np.isfinite(ids) & (ids >= 0), ids, -1).astype(np.int64))
