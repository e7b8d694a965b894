"""Which cells are scored together: the whole domain, latitude bands, named regions. Never overlaps bins within one Bins."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError
from orbit2.grid import Grid

IntArray = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Bins:
    """`index` [H, W] gives each cell's bin (position in `names`), -1 for none. Raises OrbitError for an index outside."""

    names: tuple[str, ...]
    index: IntArray

    def __post_init__(self) -> None:
        if self.index.size and (self.index.min() < -1 or self.index.max() >= len(self.names)):
            raise OrbitError("bin index outside its names", got=f"{self.index.min()}..{self.index.max()}",
                             allowed=f"-1..{len(self.names) - 1}")

    def sums(self, values: npt.NDArray[np.float64], valid: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
        """Sum of `values` [H, W] over the valid cells of each bin, [B]."""
        use = valid & (self.index >= 0)
        return np.bincount(self.index[use], weights=values[use], minlength=len(self.names)).astype(np.float64)


def domain_bins(grid: Grid, name: str = "global") -> Bins:
    """One bin with every cell."""
    return Bins((name,), np.zeros(grid.shape, dtype=np.int64))


def band_name(south: float, north: float) -> str:
    """`60S-30S`, `30S-30N`, `EQ-30N`."""

    def one(latitude: float) -> str:
        return "EQ" if latitude == 0 else f"{abs(latitude):g}{'S' if latitude < 0 else 'N'}"

    return f"{one(south)}-{one(north)}"


def band_bins(grid: Grid, bands: Sequence[tuple[float, float]]) -> Bins:
    """Latitude bands (south, north) in degrees, by cell centre; a cell on a common edge belongs to the northern band.

    Raises OrbitError when bands overlap.
    """
    index = np.full(grid.shape, -1, dtype=np.int64)
    for position, (south, north) in enumerate(bands):
        rows = (grid.lat >= south) & ((grid.lat < north) | ((north >= 90) & (grid.lat <= 90)))
        if (index[rows] >= 0).any():
            raise OrbitError("latitude bands overlap", got=band_name(south, north), hint="use separate bands")
        index[rows] = position
    return Bins(tuple(band_name(*band) for band in bands), index)


def region_bins(ids: npt.NDArray[np.floating], names: Sequence[str]) -> Bins:
    """Regions from a 2-D id map (NaN or negative = no region); ids are positions in `names`."""
    return Bins(tuple(names), np.where(np.isfinite(ids) & (ids >= 0), ids, -1).astype(np.int64))
