"""What every kind of grid can say and do: the rest of the program asks for an `AnyGrid`, never for latitudes in rows. Computes nothing."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.grid.sphere import Array


class AnyGrid(Protocol):
    """Cells in rows [H] and columns [W]: `Grid` (latitude, longitude), `ProjectedGrid` (x, y of a map or of a rotated pole),
    `CurvilinearGrid` (2-D coordinates; a source to regrid from, never one to train on)."""

    def __hash__(self) -> int:
        """By identity: what is worked out of a grid is kept for it."""
        ...

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns of cells."""
        ...

    @property
    def dims(self) -> tuple[str, str]:
        """Names of the two dimensions: ("lat", "lon"), ("y", "x") or ("rlat", "rlon")."""
        ...

    @property
    def lat2d(self) -> Array:
        """Latitudes of the cell centres [H, W], degrees north. Read it, never write into it."""
        ...

    @property
    def lon2d(self) -> Array:
        """Longitudes of the cell centres [H, W], degrees east, in any turn. Read it, never write into it."""
        ...

    @property
    def area_km2(self) -> Array:
        """Cell areas [H, W] on the sphere of 6371 km."""
        ...

    @property
    def periodic(self) -> bool:
        """Whether the last column touches the first one."""
        ...

    @property
    def km(self) -> float:
        """Typical spacing of rows on the ground, kilometres."""
        ...

    @property
    def resolution(self) -> float:
        """Typical spacing of rows on the ground in degrees of latitude."""
        ...

    @property
    def digest(self) -> str:
        """12 hex digits that identify the geometry."""
        ...

    @property
    def field_attributes(self) -> dict[str, str]:
        """What a field on this grid says of it in a CF file, beside its dimensions: {"grid_mapping": ...}, or nothing."""
        ...

    @property
    def boundary(self) -> tuple[Array, Array]:
        """Longitudes and latitudes [N] of points round the grid, close enough to follow its outer sides."""
        ...

    def outlines(self, rows: slice) -> tuple[Array, Array]:
        """Longitudes and latitudes [K, cells] of K points round each cell of `rows`, in order; neighbours share theirs."""
        ...

    def same_as(self, other: AnyGrid) -> bool:
        """Whether the cells are the same, to rounding."""
        ...

    def same_place(self, other: AnyGrid) -> bool:
        """Whether the cells are the same, in whatever turn either counts its longitudes."""
        ...

    def refine(self, factor: int) -> AnyGrid:
        """The grid whose `factor` x `factor` cells nest in each of these."""
        ...

    def coarsen(self, factor: int) -> AnyGrid:
        """The grid of `factor` x `factor` blocks. Raises OrbitError where the shape does not divide."""
        ...

    def blocks(self, rows: int, columns: int) -> AnyGrid:
        """The grid of blocks of `rows` x `columns` cells; the last ones are smaller where the shape does not divide."""
        ...

    def nests_in(self, coarse: AnyGrid) -> int:
        """The integer factor by which this grid refines `coarse`. Raises OrbitError when it does not nest."""
        ...

    def crop(self, rows: slice, columns: slice) -> AnyGrid:
        """The grid of the given cell rows and columns (contiguous slices with step 1)."""
        ...

    def cells(self, rows: slice, columns: slice) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Indices (for `np.ix_`) of what `window` gave."""
        ...

    def window(self, box: Sequence[float]) -> tuple[slice, slice]:
        """The block of rows and columns with every cell whose centre lies in `box` = (south, north, west, east), degrees."""
        ...

    def holds(self, box: Sequence[float]) -> bool:
        """Whether the whole of `box` = (south, north, west, east) lies on this grid."""
        ...

    def around(self, target: AnyGrid) -> tuple[slice, slice]:
        """Rows and columns of the cells that regridding to `target` can need. Raises OrbitError when the two do not meet."""
        ...

    def coordinates(self) -> dict[str, xr.Variable]:
        """CF coordinates by name: those of the dimensions and their bounds; 2-D latitude and longitude and the grid mapping if need be."""
        ...

    def to_attributes(self) -> dict[str, Any]:
        """The geometry as JSON can hold it, exactly; `from_attributes` reads it."""
        ...

    def describe(self) -> str:
        """The grid in a few words, for logs and errors."""
        ...
