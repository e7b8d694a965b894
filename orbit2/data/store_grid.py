"""A pair store's grids: how they are written and read back. Latitude-longitude grids are their bounds; others say in an attribute what
they are, and their coordinates are for readers of CF files."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import zarr

from orbit2.grid import AnyGrid, Grid, from_attributes

GRID = "grid"  # attribute of a side's group, and (as JSON) of predictions


def put_grid(grid: AnyGrid, put: Callable[..., None]) -> dict[str, Any]:
    """Write a side's coordinates with `put(name, values, dims, **attributes)`; what its group is to say of them."""
    if isinstance(grid, Grid):
        put("lat", grid.lat, ("lat",), units="degrees_north", standard_name="latitude", bounds="lat_bnds")
        put("lon", grid.lon, ("lon",), units="degrees_east", standard_name="longitude", bounds="lon_bnds")
        for axis, edges in (("lat", grid.lat_edges), ("lon", grid.lon_edges)):
            put(f"{axis}_bnds", np.stack([edges[:-1], edges[1:]], -1), (axis, "bounds"))
        return {}
    for name, found in grid.coordinates().items():
        put(name, found.values, tuple(str(dim) for dim in found.dims), **{str(key): value for key, value in found.attrs.items()})
    return {GRID: grid.to_attributes()}


def grid_of(group: zarr.Group) -> AnyGrid:
    """The grid of a side. Raises OrbitError for coordinates that are no grid, KeyError where they are gone."""
    if GRID in group.attrs:
        return from_attributes(group.attrs[GRID])  # type: ignore[arg-type]
    edges = []
    for axis in ("lat", "lon"):
        bounds = np.asarray(group[f"{axis}_bnds"], dtype=np.float64)
        edges.append(np.append(bounds[:, 0], bounds[-1, 1]))
    return Grid(edges[0], edges[1])
