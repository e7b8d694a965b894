"""A latitude-longitude grid under one whose rows are no parallels: what means along parallels and meridians are taken on."""

from __future__ import annotations

import numpy as np

from orbit2.grid import AnyGrid, Grid
from orbit2.grid.sphere import latitudes
from orbit2.remap.regridder import Regridder


def under(grid: AnyGrid) -> Grid:
    """Cells of the spacing of `grid` in the latitudes and longitudes that it spans, round the globe where it holds a pole."""
    lon, lat = grid.boundary
    south, north = latitudes(lon, lat)
    step = grid.resolution
    rows = np.arange(np.floor(south / step), np.ceil(north / step) + 1) * step
    lat_edges = np.unique(np.clip(rows, -90.0, 90.0))
    wide = step / max(float(np.cos(np.radians((south + north) / 2))), 0.1)
    if max(-south, north) > 90 - 1e-9:
        return Grid(lat_edges, np.linspace(0.0, 360.0, max(2, round(360.0 / wide)) + 1))
    middle = float(grid.lon2d[grid.shape[0] // 2, grid.shape[1] // 2])
    offset = (lon - middle + 180.0) % 360.0 - 180.0
    first, last = np.floor((middle + offset.min()) / wide), np.ceil((middle + offset.max()) / wide)
    return Grid(lat_edges, np.arange(first, min(last, first + np.floor(360.0 / wide)) + 1) * wide)


def to_parallels(grid: AnyGrid) -> Regridder:
    """Conservative, onto `under(grid)`; a cell that is covered by less than half is missing."""
    return Regridder(grid, under(grid), "conservative")
