"""Altitude of a global relief file (ETOPO: lat, lon, z in metres) averaged to any grid, a band of rows at a time. Never holds the file.

Sea floor counts as 0 m. Below sea level altitude is kept only where the packaged 0.25 degree land fraction says all land (Death Valley,
the Dead Sea, polders), and not below -430 m, the lowest dry land: the bottoms of lakes are not terrain.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.door.axes import horizontal
from orbit2.door.damage import reading
from orbit2.door.opening import read
from orbit2.errors import OrbitError
from orbit2.grid import EARTH_RADIUS_KM, Grid, from_centres
from orbit2.longitudes import eastward, follow
from orbit2.remap.rectilinear import column_weights, row_weights
from orbit2.units import linear

Array = npt.NDArray[np.float64]
BAND_BYTES = 32 * 2**20  # of one band in float64
LOWEST_LAND = -430.0
_NAMES = ("z", "elevation", "altitude", "orography", "Band1")


def averaged(path: Path, grid: Grid, land: tuple[Grid, Array]) -> tuple[Array, Array]:
    """Mean altitude and standard deviation inside each cell of `grid`, both [H, W] in metres; `land`: a land fraction and its grid.

    The mean is conservative, or linear between points where `grid` is finer than the file; there the deviation is 0 (the file
    does not know it). Raises OrbitError for a file that is no relief, or does not cover `grid`.
    """
    with reading(path, "a relief"), _opened(path) as file:
        z, source, ascending, order = _axes(file, path)
        finer = grid.resolution < source.resolution * (1 - 1e-6)
        method = "bilinear" if finer else "conservative"
        rows = row_weights(source, grid, "bilinear" if finer else "conservative").tocsc()
        columns = column_weights(source, grid, "bilinear" if finer else "conservative")
        covered = np.outer(np.asarray(rows.sum(axis=1)).ravel(), np.asarray(columns.sum(axis=1)).ravel())
        if covered.min() < 1 - 1e-6:
            raise OrbitError("the relief does not cover the grid", where=path, got=source.describe(), allowed=grid.describe(),
                             hint="give a relief of the whole region")  # fmt: skip
        columns_t = columns.T.tocsr()
        used = np.flatnonzero(np.diff(rows.indptr))
        height, width = source.shape
        band = max(1, BAND_BYTES // (width * 8))
        mean, square = np.zeros(grid.shape), np.zeros(grid.shape)
        for begin in range(int(used[0]), int(used[-1]) + 1, band):
            end = min(begin + band, int(used[-1]) + 1)
            values = _band(z, begin, end, ascending, height)[:, order]
            values = _dry(values, source, slice(begin, end), land)
            share = rows[:, begin:end]
            mean += share @ (values @ columns_t)
            if method == "conservative":
                square += share @ (np.square(values) @ columns_t)
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0)) if not finer else np.zeros(grid.shape)
    return mean, deviation


def check(path: Path) -> None:
    """Raise OrbitError unless `path` is a global or regional relief that can be read; reads one row."""
    with reading(path, "a relief"), _opened(path) as file:
        z, source, ascending, _ = _axes(file, path)
        if not np.isfinite(_band(z, 0, 1, ascending, source.shape[0])).any():
            raise OrbitError("relief has no values", where=path, hint="retrieve it again, or give another file")


def _opened(path: Path) -> xr.Dataset:
    return read(path)


def _axes(file: xr.Dataset, path: Path) -> tuple[xr.DataArray, Grid, bool, npt.NDArray[np.int64]]:
    """The altitude variable, its grid (latitude ascending, longitude from 0), whether rows ascend, and the order of columns."""
    name = next((n for n in _NAMES if n in file.variables), None)
    if name is None:
        raise OrbitError("relief has no altitude", where=path, got=list(map(str, file.variables))[:8], allowed=" or ".join(_NAMES),
                         hint="give a file with one of these variables")  # fmt: skip
    z, found = file[name], horizontal(file, path)
    if z.dims != found:
        raise OrbitError("relief must have dimensions (lat, lon)", where=path, got=z.dims,
                         hint="give rows of latitude and columns of longitude")  # fmt: skip
    units = z.attrs.get("units")
    metres = linear(str(units), "m") if units else None
    if metres is None or not metres.nothing:  # bands are read as they stand
        raise OrbitError("relief has wrong or no units", where=path, got=units, allowed="metres",
                         hint="set the units attribute of the altitude")  # fmt: skip
    lat, lon = (file[axis].values.astype(np.float64) for axis in found)
    order, wrapped = eastward(lon, decimals=9)
    ascending = bool(lat[-1] > lat[0])
    return z, from_centres(lat if ascending else lat[::-1], wrapped), ascending, order


def _band(z: xr.DataArray, begin: int, end: int, ascending: bool, height: int) -> Array:
    """Rows [begin, end) counted from the south."""
    values = z[begin:end].values if ascending else z[height - end : height - begin].values[::-1]
    return values.astype(np.float64)


def _dry(values: Array, source: Grid, rows: slice, land: tuple[Grid, Array]) -> Array:
    """Sea floor to 0, see the head of this module."""
    below = values < 0
    if below.any():
        grid, fraction = land
        row = np.clip(np.searchsorted(grid.lat_edges, source.lat[rows]) - 1, 0, grid.shape[0] - 1)
        column = np.clip(np.searchsorted(grid.lon_edges, follow(source.lon, float(grid.lon_edges[0]))) - 1, 0, grid.shape[1] - 1)
        wet = fraction[np.ix_(row, column)] < 0.999
        values = np.where(below & wet, 0.0, np.maximum(values, LOWEST_LAND))
    if not np.isfinite(values).all():
        raise OrbitError("relief has missing values", where="relief", got=f"{int((~np.isfinite(values)).sum())} cells",
                         hint="give a relief without gaps")  # fmt: skip
    return values


def slope(orography: Array, grid: Grid) -> Array:
    """Magnitude of the gradient of `orography` [H, W] in metres: centred differences, periodic in longitude.

    One-sided differences in the outermost rows, and in the outermost columns of a grid that does not go round the globe.
    """
    metres = np.radians(1.0) * EARTH_RADIUS_KM * 1000.0
    lat_edges_or_centres = (grid.lat_edges[:-1] + grid.lat_edges[1:]) / 2  # cell means live at the middle, also at the poles
    northward = np.gradient(orography, lat_edges_or_centres * metres, axis=0) if grid.shape[0] > 1 else np.zeros(grid.shape)
    if grid.periodic and grid.shape[1] > 2:
        wrapped = np.concatenate([orography[:, -1:], orography, orography[:, :1]], axis=1)
        lon = np.concatenate([[grid.lon[-1] - 360.0], grid.lon, [grid.lon[0] + 360.0]])
        eastward = np.gradient(wrapped, lon * metres, axis=1)[:, 1:-1]
    elif grid.shape[1] > 1:
        eastward = np.gradient(orography, grid.lon * metres, axis=1)
    else:
        eastward = np.zeros(grid.shape)
    result: Array = np.hypot(northward, eastward / np.cos(np.radians(lat_edges_or_centres))[:, None])
    return result
