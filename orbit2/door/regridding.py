"""Fields on a rotated, projected or curvilinear grid averaged to latitudes and longitudes, conservatively, time by time, or left where they
are. Never reads a time that nobody asks for, never fills a cell that the file does not cover."""

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
from orbit2.remap.vectors import Axes, along_grid, axes_of, told_by
from orbit2.variables import variable

KEPT = 2  # fields of each variable that are kept while their windows are read
MOST = 4 * 10**7  # cells of the grid that is regridded to
LEAST = 0.5  # of a cell's area that the file must cover
Parts = list[tuple[xr.DataArray, npt.NDArray[np.float64] | None]]


class _Regridded(BackendArray):
    """A field [..., lat, lon] made of one [..., row, column] when it is asked for; or of several, each times a part [row, column], of which
    it is the sum (a wind along the grid, turned). Without a regridder it stays [..., row, column]."""

    def __init__(self, parts: Parts, regridder: Regridder | None, where: object) -> None:
        self.parts, self.regridder, self.where = parts, regridder, where
        field = parts[0][0]
        self.shape = field.shape if regridder is None else (*field.shape[:-2], *regridder.target.shape)
        self.dtype = np.dtype(np.float32)
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
                values = sum(self._part(field, share, at) for field, share in self.parts)
                while len(self._kept) >= KEPT:
                    self._kept.popitem(last=False)
                whole = np.asarray(values, dtype=np.float32)
                self._kept[at] = whole if self.regridder is None else self.regridder(whole)
            return self._kept[at]

    def _part(self, field: xr.DataArray, share: npt.NDArray[np.float64] | None, at: tuple[int, ...]) -> npt.NDArray[Any]:
        with reading(self.where, f"'{field.name}'", hint="is the file whole? Download or copy it again"):
            values = np.asarray(field[at].values, dtype=np.float32)
        refuse_fills(str(field.name), values, self.where)
        return values if share is None else values * share


FILLS = (-99.9, -99.99, -99.0, -999.0, -999.9, -9999.0, -32768.0, -32767.0, 9999.0, 99999.0, 1e20, 9.96921e36)


def ends(values: npt.NDArray[Any]) -> tuple[float, float] | None:
    """Least and greatest of what is finite; None where nothing is."""
    if not values.size:
        return None
    least, greatest = float(values.min()), float(values.max())  # NaN where anything is
    if not (np.isfinite(least) and np.isfinite(greatest)):
        finite = values[np.isfinite(values)]
        return (float(finite.min()), float(finite.max())) if finite.size else None
    return least, greatest


def refuse_fills(name: str, values: npt.NDArray[Any], where: object) -> tuple[float, float] | None:
    """The `ends` of the values. Raises OrbitError for a fill value that the file does not declare: averaged with its neighbours it would
    look like weather."""
    range_ = ends(values)
    if range_ is None:
        return None
    least, greatest = range_
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
    return range_


def there(
    dataset: xr.Dataset, found: Mapping[str, xr.DataArray], layout: Layout, where: object, find: Callable[[str], xr.DataArray]
) -> dict[str, xr.DataArray]:
    """The fields `found` on their own grid, in its order; winds along its axes turned to east and north (see `to_latitudes`)."""
    result = {}
    for name, parts in _turned(dataset, found, layout, where, find).items():
        own = parts[0][0]
        if len(parts) > 1:
            lazy = indexing.LazilyIndexedArray(_Regridded(parts, None, where))
            attrs = _eastward(name, own.attrs)
            own = xr.DataArray(xr.Variable(own.dims, lazy, attrs), coords=own.coords, name=own.name)
        result[name] = own
    return result


def _eastward(name: str, attributes: Mapping[Any, Any]) -> dict[Any, Any]:
    """Those of a wind along the grid, once it is turned."""
    said = {key: value for key, value in attributes.items() if key != "GRIB_uvRelativeToGrid"}
    return said | ({"standard_name": variable(name).standard_name} if "standard_name" in said else {})


def to_latitudes(
    dataset: xr.Dataset, found: Mapping[str, xr.DataArray], where: object, find: Callable[[str], xr.DataArray]
) -> tuple[xr.Dataset, dict[str, xr.DataArray], str]:
    """(`dataset` with the coordinates of a regular grid, the fields `found` on it, a line about that).

    The grid has about the file's own spacing and lies within its cells' centres; cells that the file covers by less than half are missing.
    Winds along the grid are turned to east and north, `find` looks for a component that is needed for that alone. Raises OrbitError for a
    grid that cannot be recognised, and for a wind without its other component.
    """
    first = next(iter(found.values()))
    layout = of_dataset(dataset, where, str(first.name))
    made = _turned(dataset, found, layout, where, find)
    target = regular(layout, where)
    regridder = Regridder(layout.grid, target, "conservative", min_valid_fraction=LEAST)
    coords = {"lat": ("lat", target.lat, {"units": "degrees_north", "standard_name": "latitude"}),
              "lon": ("lon", target.lon, {"units": "degrees_east", "standard_name": "longitude"})}  # fmt: skip
    fields = {}
    for name, array in found.items():
        taken = made[name][0][0]
        lazy = indexing.LazilyIndexedArray(_Regridded(made[name], regridder, where))
        attrs = {key: value for key, value in array.attrs.items() if key not in ("grid_mapping", "coordinates")}
        attrs = _eastward(name, attrs) if len(made[name]) > 1 else attrs
        values = xr.Variable((*taken.dims[:-2], "lat", "lon"), lazy, attrs)
        fields[name] = xr.DataArray(values, coords={k: v for k, v in taken.coords.items() if not set(v.dims) & {*layout.grid.dims}},
                                    name=array.name).assign_coords(coords)  # fmt: skip
    kept = [name for name, v in dataset.variables.items() if set(v.dims) & {*layout.dims} or name in ("lat", "lon", *layout.dims)]
    winds = "; winds along it were turned to east and north" if any(len(parts) > 1 for parts in made.values()) else ""
    line = (f"grid: the input lies on {layout.grid.describe()}; it was averaged (conservatively) to {target.describe()}; cells that it "
            f"covers by less than half are missing{winds}")  # fmt: skip
    return dataset.drop_vars(kept).assign_coords(coords), fields, line


def _turned(
    dataset: xr.Dataset, found: Mapping[str, xr.DataArray], layout: Layout, where: object, find: Callable[[str], xr.DataArray]
) -> dict[str, Parts]:
    """What each field is made of, in the grid's order: itself, or both components of a wind along the grid with their shares."""
    made: dict[str, Parts] = {}
    axes: Axes | None = None
    for name, array in found.items():
        row, own = variable(name), layout.take(array)
        made[name] = [(own, None)]
        if not row.component or not along_grid(array, dataset, layout.grid):
            continue
        other = found[row.partner] if row.partner in found else find(row.partner)
        if other.attrs.get("units") != array.attrs.get("units"):
            raise OrbitError("the components of a wind have different units", where=f"{where}: {array.name}, {other.name}",
                             got=f"{array.attrs.get('units')}, {other.attrs.get('units')}", hint="convert one to the units of the other")
        axes = axes or told_by(dataset, layout) or axes_of(layout.grid)
        theirs = layout.take(other).transpose(*own.dims)
        shares = (axes.x_east, axes.y_east) if row.component == "east" else (axes.y_north, axes.x_north)
        made[name] = [(own, shares[0]), (theirs, shares[1])]
    return made


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
