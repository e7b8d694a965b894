"""Quantiles of the truth over a training block, each cell's own: what is rare where it is. Never looks at a test sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.baselines.bcsd import packed
from orbit2.baselines.training import OWN
from orbit2.data.packing import MISSING, Packing
from orbit2.data.pairs import PairStore
from orbit2.metrics.quantiles import LEAST_BEYOND, LEVELS
from orbit2.metrics.weighting import area_weights
from orbit2.progress import counted

Codes = npt.NDArray[np.int16]
Array = npt.NDArray[np.float64]
MOST_CELLS = 1 << 22  # larger grids have none: each band of rows reads all samples anew
BAND_BYTES = 1 << 30
ZONE = 10.0  # degrees of latitude of the zone whose quantile a cell has that saw too few samples for its own
CODES = 1 << 16


def own_quantiles(pairs: PairStore, samples: npt.NDArray[np.int64]) -> dict[str, xr.DataArray]:
    """`<variable>_own_quantiles` (own_level, lat, lon): in each fine cell the smallest stored value at or below which a share LEVELS of its
    `samples` lies, as the code it is stored with; `share`: of the area that was ever observed, where it is the cell's own.

    A cell with fewer than LEAST_BEYOND samples beyond a quantile has that of all cells and samples of its zone of latitude, by area. By
    bands of rows, so that what is kept of all samples stays within BAND_BYTES; each band reads them anew.
    """
    grid, packings = pairs.grid("fine"), {p.name: p for p in pairs.packings("fine")}
    rows, columns = grid.shape
    if rows * columns > MOST_CELLS or not len(samples):
        return {}
    area = area_weights(grid)
    zones = np.floor((grid.lat2d + 90) / ZONE).astype(np.int64)
    made = {name: _Own(grid.shape, int(zones.max()) + 1) for name in packings}
    band = max(1, BAND_BYTES // (len(samples) * columns * len(packings) * 2))
    for start in range(0, rows, band):
        part = slice(start, min(start + band, rows))
        kept = np.empty((len(packings), part.stop - part.start, len(samples), columns), dtype=np.int16)
        for t, index in enumerate(counted(samples, f"own quantiles, rows {part.start} to {part.stop} of {rows}", len(samples), "sample")):
            kept[:, :, t] = pairs.read_packed("fine", int(index))[:, part]
        for each, own in zip(kept, made.values(), strict=True):
            for row, codes in enumerate(each, start):
                own.row(row, codes, area[row], zones[row])
    return {f"{name}{OWN}": own.data(packings[name], area, zones, grid.dims) for name, own in made.items()}


class _Own:
    """Of one variable: codes of quantiles [Q, H, W], whether they are the cells' own, and area by code and zone."""

    def __init__(self, shape: tuple[int, int], zones: int) -> None:
        self.codes: Codes = np.full((len(LEVELS), *shape), MISSING, dtype=np.int16)
        self.own = np.zeros((len(LEVELS), *shape), dtype=bool)
        self.number = np.zeros(shape, dtype=np.int32)
        self.area = np.zeros((zones, CODES))

    def row(self, row: int, codes: Codes, area: Array, zones: npt.NDArray[np.int64]) -> None:
        """All samples [T, W] of a row."""
        ordered = np.sort(np.ascontiguousarray(codes.T), axis=1)  # what is missing comes first
        total = ordered.shape[1]
        number = (ordered != MISSING).sum(axis=1)
        self.number[row] = number
        for i, level in enumerate(LEVELS):
            place = total - number + np.ceil(level * number - 1e-9).astype(np.int64) - 1
            self.codes[i, row] = ordered[np.arange(len(ordered)), np.clip(place, 0, total - 1)]
            self.own[i, row] = number * (1 - level) >= LEAST_BEYOND - 1e-9
        for zone in np.unique(zones):
            here = zones == zone
            place = ordered[here].astype(np.int64) - MISSING
            self.area[zone] += np.bincount(place.ravel(), weights=np.repeat(area[here], total), minlength=CODES)

    def data(self, packing: Packing, area: Array, zones: npt.NDArray[np.int64], dims: Sequence[str]) -> xr.DataArray:
        share = np.cumsum(self.area[:, 1:], axis=1)  # without what is missing
        seen = self.number > 0
        for i, level in enumerate(LEVELS):
            zonal = np.array([np.searchsorted(each, level * each[-1] * (1 - 1e-12)) for each in share]) + 1 + MISSING
            use = seen & ~self.own[i]
            self.codes[i][use] = zonal[zones[use]].astype(np.int16)
            self.codes[i][~seen] = MISSING
        own = [float(area[where & seen].sum() / area[seen].sum()) if seen.any() else 0.0 for where in self.own]
        attributes: Mapping[str, object] = {
            "long_name": "Quantiles of the truth over the training samples of each cell, or of its zone of latitude where they are too few",
            "share": own, "zone_degrees": ZONE, **packed(packing)}  # fmt: skip
        return xr.DataArray(self.codes, dims=("own_level", *dims), attrs=dict(attributes))
