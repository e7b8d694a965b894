"""Fields on a rotated, projected or curvilinear grid averaged to latitudes and longitudes, conservatively, time by time. Never reads a time
that nobody asks for, never fills a cell that the file does not cover."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping
from threading import Lock
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from xarray.backends import BackendArray
from xarray.core import indexing

from orbit2.door.damage import reading
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, Layout, of_dataset
from orbit2.remap import Regridder

KEPT = 2  # fields of each variable that are kept while their windows are read
MOST = 4 * 10**7  # cells of the grid that is regridded to
LEAST = 0.5  # of a cell's area that the file must cover
ALONG_GRID = ("x_wind", "y_wind", "grid_eastward_wind", "grid_northward_wind")
Check = Callable[[str, int, npt.NDArray[Any]], None]


class _Regridded(BackendArray):
    """A field [..., lat, lon] made of one [..., row, column] when it is asked for."""

    def __init__(self, field: xr.DataArray, regridder: Regridder, where: object) -> None:
        self.field, self.regridder, self.where = field, regridder, where
        self.shape, self.dtype = (*field.shape[:-2], *regridder.target.shape), np.dtype(np.float32)
        self._kept: OrderedDict[tuple[int, ...], npt.NDArray[np.float32]] = OrderedDict()
        self._lock = Lock()

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> npt.NDArray[np.float32]:
        lead = [np.atleast_1d(np.arange(size)[k]) for k, size in zip(key[:-2], self.shape[:-2], strict=True)]
        result = np.empty((*map(len, lead), *self.shape[-2:]), dtype=np.float32)
        for at in np.ndindex(*map(len, lead)):
            result[at] = self._one(tuple(int(chosen[i]) for chosen, i in zip(lead, at, strict=True)))
        single = tuple(0 if np.ndim(k) == 0 and not isinstance(k, slice) else slice(None) for k in key[:-2])
        part: npt.NDArray[np.float32] = result[(*single, *key[-2:])]
        return part

    def _one(self, at: tuple[int, ...]) -> npt.NDArray[np.float32]:
        with self._lock:
            if at not in self._kept:
                with reading(self.where, f"'{self.field.name}'", hint="is the file whole? Download or copy it again"):
                    values = np.asarray(self.field[at].values, dtype=np.float32)
                refuse_fills(str(self.field.name), values, self.where)
                while len(self._kept) >= KEPT:
                    self._kept.popitem(last=False)
                self._kept[at] = self.regridder(values)
            return self._kept[at]


FILLS = (-99.9, -99.99, -99.0, -999.0, -999.9, -9999.0, -32768.0, -32767.0, 9999.0, 99999.0, 1e20, 9.96921e36)


def refuse_fills(name: str, values: npt.NDArray[Any], where: object) -> None:
    """Raises OrbitError for a fill value that the file does not declare: averaged with its neighbours it would look like weather."""
    if not values.size or np.isnan(values).all():
        return
    least, greatest = np.nanmin(values), np.nanmax(values)
    for fill in (f for f in FILLS if least <= f + 1e-6 * abs(f) and greatest >= f - 1e-6 * abs(f)):
        found = int((np.abs(values - fill) <= 1e-6 * abs(fill)).sum())
        if found > 1 and ((fill != -99.0 and (fill < 0 or fill >= 1e20)) or found > 0.01 * values.size):
            raise OrbitError(
                f"'{name}' holds {fill:g} {found} times: a fill value that the file does not declare",
                where=where,
                got=f"{fill:g}",
                allowed="NaN, or a value that _FillValue or missing_value names",
                hint=f"mark it as missing, e.g. with xarray: dataset['{name}'].where(dataset['{name}'] != {fill:g})",
            )


def to_latitudes(
    dataset: xr.Dataset, found: Mapping[str, xr.DataArray], where: object
) -> tuple[xr.Dataset, dict[str, xr.DataArray], str]:
    """(`dataset` with the coordinates of a regular grid, the fields `found` on it, a line about that).

    The grid has about the file's own spacing and lies within its cells' centres; cells that the file covers by less than half are missing.
    Raises OrbitError for a grid that cannot be recognised, and for winds along the grid.
    """
    first = next(iter(found.values()))
    layout = of_dataset(dataset, where, str(first.name))
    for array in found.values():
        said = array.attrs.get("standard_name")
        if said in ALONG_GRID or ("MAP_PROJ" in dataset.attrs and str(array.name) in ("U10", "V10")):
            raise OrbitError("a wind along the grid's own axes, not to east and north", where=f"{where}: {array.name}", got=str(said),
                             allowed="eastward_wind, northward_wind", hint="turn it first (e.g. with xwrf, or cdo rotuvb)")  # fmt: skip
    target = regular(layout, where)
    regridder = Regridder(layout.grid, target, "conservative", min_valid_fraction=LEAST)
    coords = {"lat": ("lat", target.lat, {"units": "degrees_north", "standard_name": "latitude"}),
              "lon": ("lon", target.lon, {"units": "degrees_east", "standard_name": "longitude"})}  # fmt: skip
    fields = {}
    for name, array in found.items():
        taken = layout.take(array)
        lazy = indexing.LazilyIndexedArray(_Regridded(taken, regridder, where))
        attrs = {key: value for key, value in array.attrs.items() if key not in ("grid_mapping", "coordinates")}
        variable = xr.Variable((*taken.dims[:-2], "lat", "lon"), lazy, attrs)
        fields[name] = xr.DataArray(variable, coords={k: v for k, v in taken.coords.items() if not set(v.dims) & {*layout.grid.dims}},
                                    name=array.name).assign_coords(coords)  # fmt: skip
    kept = [name for name, v in dataset.variables.items() if set(v.dims) & {*layout.dims} or name in ("lat", "lon", *layout.dims)]
    line = (f"grid: the input lies on {layout.grid.describe()}; it was averaged (conservatively) to {target.describe()}; cells that it "
            "covers by less than half are missing")  # fmt: skip
    return dataset.drop_vars(kept).assign_coords(coords), fields, line


def regular(layout: Layout, where: object) -> Grid:
    """An even grid of latitudes and longitudes of about the spacing of the file's grid, within its cells' centres."""
    grid: AnyGrid = layout.grid
    lat, lon = grid.lat2d, grid.lon2d
    known = np.isfinite(lat) & np.isfinite(lon)
    lat, lon = lat[known], lon[known]
    step = float(f"{grid.resolution:.3g}")
    turned = np.sort(np.mod(lon, 360.0))
    gaps = np.diff(np.append(turned, turned[0] + 360.0))
    west = float(turned[(int(np.argmax(gaps)) + 1) % len(turned)])
    east = west + 360.0 - float(gaps.max())
    if gaps.max() < 3 * step:  # it goes round a pole or the globe
        west, east = 0.0, 360.0
    south, north = float(lat.min()), float(lat.max())
    across = 360.0 / round(360.0 / step) if east - west == 360.0 else step
    rows, columns = max(int((north - south) / step + 1e-6), 2), max(int((east - west) / across + 1e-6), 2)
    if rows * columns > MOST:
        raise OrbitError("the grid is too large to be regridded here", where=where, got=f"{rows}x{columns} cells", allowed=f"{MOST:,}",
                         hint="cut it, or regrid it first")  # fmt: skip
    lat_edges, lon_edges = (np.asarray(first + size * np.arange(count + 1), dtype=np.float64) for first, size, count in (
        (south, step, rows), (west, across, columns)))  # fmt: skip
    return Grid(lat_edges, lon_edges)
