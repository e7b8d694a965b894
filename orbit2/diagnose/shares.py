"""How much of each cell lies in each region: exact shares on coarse grids, cell centres on fine ones. Never reads a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt
import shapely

from orbit2.diagnose import polygons
from orbit2.diagnose.regions import LAND, OCEAN, ar6
from orbit2.grid import AnyGrid, Grid
from orbit2.metrics import pieces
from orbit2.metrics.binning import Bins
from orbit2.metrics.statistics import Moments

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.integer[Any]]
MOST_CELLS = 1 << 18  # of a grid whose cells are cut at the regions' edges: half a degree on the globe; finer ones go by centres
SLIVER = 1e-6  # a smaller share is rounding


@dataclass(frozen=True, eq=False)
class Shares:
    """`share` [N] of `cell` (its position in row order) lies in `region`; `shape` of the grid, `count` regions. In what types hold them:
    at 7 km there are millions."""

    region: Index
    cell: Index
    share: npt.NDArray[np.floating[Any]]
    shape: tuple[int, int]
    count: int

    @classmethod
    def of(cls, maps: Sequence[npt.NDArray[np.floating]], shape: tuple[int, int]) -> Shares:
        """Of a share [H, W] for each region; where several claim more than a cell (edges that do not quite meet), in proportion."""
        total = np.zeros(shape)
        for each in maps:
            total += each
        parts = [(np.full(len(at), r), at, (each / np.maximum(total, 1.0)).ravel()[at])
                 for r, each in enumerate(maps) for at in [np.flatnonzero(each > SLIVER)]]  # fmt: skip
        region, cell, share = (np.concatenate(kind) if parts else np.empty(0) for kind in zip(*parts, strict=True))
        return cls(region.astype(np.int64), cell.astype(np.int64), share.astype(np.float64), shape, len(maps))

    def only(self, keep: npt.NDArray[np.bool_]) -> Shares:
        return Shares(self.region[keep], self.cell[keep], self.share[keep], self.shape, self.count)

    def scored(self, land: npt.NDArray[np.bool_], kinds: Sequence[str]) -> Shares:
        """What counts: cells of land for land regions, of sea for ocean regions, all for the others."""
        kind, on_land = np.array(kinds)[self.region], land.ravel()[self.cell]
        return self.only(np.where(on_land, kind != OCEAN, kind != LAND))

    @property
    def _whole(self) -> npt.NDArray[np.bool_]:
        """Which of them are a cell's only one, and all of it."""
        times = np.bincount(self.cell, minlength=self.shape[0] * self.shape[1])
        return np.asarray((self.share > 1 - SLIVER) & (times[self.cell] == 1))

    def bins(self, names: Sequence[str]) -> Bins:
        """The cells that lie wholly in one region."""
        index = np.full(self.shape, -1, dtype=np.int64)
        index.flat[self.cell[self._whole]] = self.region[self._whole]
        return Bins(tuple(names), index)

    def cut(self) -> Shares:
        """The others."""
        return self.only(~self._whole)

    def moments(self, prediction: Array, truth: Array, weights: Array) -> Moments:
        """[R] of fields [H, W], each cell with its share of the weight in every region that it lies in."""
        p, o, w = (np.ascontiguousarray(x).ravel() for x in (prediction, truth, weights))
        return Moments.of(pieces.shared(p, o, w, self.cell, self.share, self.region, self.count))

    def total(self, values: npt.NDArray[np.floating] | npt.NDArray[np.bool_]) -> Array:
        """[R] sums of values [H, W] by share: of areas, those in the regions."""
        return np.bincount(self.region, values.ravel()[self.cell] * self.share, self.count).astype(np.float64)

    def cells(self, seen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
        """[R] number of cells of which any part lies in the region, where `seen`."""
        return np.bincount(self.region[seen.ravel()[self.cell]], minlength=self.count)

    def field(self, region: int) -> Array:
        """[H, W] share of each cell in a region."""
        made = np.zeros(self.shape)
        of = self.region == region
        made.flat[self.cell[of]] = self.share[of]
        return made


def ar6_shares(grid: AnyGrid) -> Shares:
    """Of the AR6 regions, land and sea alike. Kept for a few grids: of latitudes and longitudes by their edges, others themselves."""
    if not isinstance(grid, Grid):
        return _of_cells(grid)
    return _of_edges(*(np.asarray(edges, dtype=np.float64).tobytes() for edges in (grid.lat_edges, grid.lon_edges)))


@lru_cache(maxsize=4)
def _of_edges(lat: bytes, lon: bytes) -> Shares:
    return _made(Grid(np.frombuffer(lat), np.frombuffer(lon)))


@lru_cache(maxsize=4)
def _of_cells(grid: AnyGrid) -> Shares:
    return _made(grid)


def _made(grid: AnyGrid) -> Shares:
    regions = ar6()
    if np.prod(grid.shape) <= MOST_CELLS:
        return Shares.of([polygons.fractions(polygon, grid) for polygon in regions.shapes], grid.shape)
    ids = regions.on(grid).ravel()
    at = np.flatnonzero(ids >= 0)
    small = np.int32 if ids.size < 1 << 31 else np.int64
    return Shares(ids[at], at.astype(small), np.ones(len(at), dtype=np.float32), grid.shape, len(regions.names))


def box_share(box: tuple[float, float, float, float], grid: AnyGrid) -> npt.NDArray[np.float32]:
    """[H, W] share of each cell in a box (south, north, west, east); on fine grids by cell centres."""
    south, north, west, east = box
    width = (east - west) % 360.0 or 360.0
    if np.prod(grid.shape) <= MOST_CELLS:
        return polygons.fractions(shapely.box(west, south, west + width, north), grid)
    inside = (grid.lat2d >= south) & (grid.lat2d <= north) & (np.mod(grid.lon2d - west, 360.0) <= width)
    return inside.astype(np.float32)


def edge_method(grid: AnyGrid) -> str:
    """For the `method` of a row: how cells on a region's edge count."""
    return "; a cell on its edge counts by its share inside" if np.prod(grid.shape) <= MOST_CELLS else ""
