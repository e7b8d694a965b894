"""Small training grids that are not of latitudes and longitudes, and the latitude-longitude grids beside them."""

from __future__ import annotations

import numpy as np

from orbit2.grid import EARTH_RADIUS_KM, Grid, ProjectedGrid

LAMBERT = "+proj=lcc +lat_0=40 +lon_0=130 +lat_1=30 +lat_2=50 +R=6371000 +units=m"
ROTATED = "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +R=6371000 +no_defs"  # EURO-CORDEX


def lambert(cells: int = 12, km: float = 200.0) -> ProjectedGrid:
    """Coarse cells of `km` around 40 N, 130 E."""
    edges = np.linspace(-cells / 2, cells / 2, cells + 1) * km * 1000
    return ProjectedGrid(edges, edges, LAMBERT)


def rotated(cells: int = 12, degrees: float = 2.0) -> ProjectedGrid:
    """Coarse cells of `degrees` around the middle of Europe."""
    edges = np.linspace(-cells / 2, cells / 2, cells + 1) * degrees
    return ProjectedGrid(edges, edges, ROTATED)


def plate_carree(grid: Grid) -> ProjectedGrid:
    """The cells of a latitude-longitude grid, as a map projection has them."""
    metres = np.radians(1.0) * EARTH_RADIUS_KM * 1000
    return ProjectedGrid(grid.lat_edges * metres, grid.lon_edges * metres, "+proj=eqc +R=6371000 +units=m")
