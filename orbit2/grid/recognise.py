"""Which grid the fields of a file lie on, by what the file says: coordinates, bounds, grid mapping, WRF's and GRIB's attributes.

A projection is believed when the file's own 2-D latitudes and longitudes agree; where they do not, they are followed. Never regrids.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr
from pyproj import Transformer

from orbit2.errors import OrbitError
from orbit2.grid.axes import horizontal
from orbit2.grid.curvilinear import curvilinear
from orbit2.grid.latlon import Grid, from_centres
from orbit2.grid.mapping import Declared, candidates
from orbit2.grid.meshes import refuse_meshes
from orbit2.grid.projected import ProjectedGrid, projected
from orbit2.grid.protocol import AnyGrid
from orbit2.grid.sphere import Array, Index, distance_km
from orbit2.grid.twod import Pair, corners_of, pair_of
from orbit2.longitudes import eastward
from orbit2.units import linear

log = logging.getLogger(__name__)
_NEAR = 0.05  # of a cell: a projection that misses the file's own centres by more is not its projection
_NOT_FIELDS = ("_bnds", "_bounds", "_vertices", "bnds", "bounds", "vertices")


@dataclass(frozen=True)
class Layout:
    """A file's grid and how its fields lie on it: `dims` are the file's names of rows and columns; `rows` and `columns` the indices
    that put them in the grid's order (south to north, west to east)."""

    grid: AnyGrid
    dims: tuple[str, str]
    rows: Index
    columns: Index

    def take(self, field: xr.DataArray) -> xr.DataArray:
        """`field` in the grid's order, its last dimensions those of the grid, without coordinates of them; lazy fields stay lazy.

        Raises OrbitError where the field lies on other dimensions.
        """
        if not set(self.dims) <= set(field.dims):
            raise OrbitError(f"'{field.name}' is not on this grid", where="grid", got=f"({', '.join(map(str, field.dims))})",
                             allowed=f"({', '.join(self.dims)})", hint="regrid it to the grid of the others")  # fmt: skip
        stale = [n for n, v in field.coords.items() if set(v.dims) & set(self.dims) or n in self.grid.dims]
        picked = field.drop_vars(stale).isel({self.dims[0]: _plain(self.rows), self.dims[1]: _plain(self.columns)})
        renamed = picked.rename({old: f"_{k}" for k, old in enumerate(self.dims)})
        renamed = renamed.rename({f"_{k}": new for k, new in enumerate(self.grid.dims)})
        return renamed.transpose(..., *self.grid.dims)


def of_dataset(dataset: xr.Dataset, where: object = "file", field: str | None = None) -> Layout:
    """The grid of `field` (or of the largest field of the file), and its layout there.

    Regular or Gaussian latitude-longitude (edges from bounds, else half-way), rotated pole, any map projection that CF, WRF's or GRIB's
    attributes tell (Lambert, Mercator, stereographic, Albers ...), else curvilinear by 2-D latitudes and longitudes. Raises OrbitError that
    says what there is instead, and what to do: HEALPix, ICON and other meshes, reduced Gaussian grids, lists of points.
    """
    chosen = dataset[field] if field is not None else _largest(dataset, where)
    refuse_meshes(dataset, chosen, where)
    pair = pair_of(dataset, chosen, where)
    try:
        axes = horizontal(dataset, where, chosen.dims)
    except OrbitError as error:
        refusal = error
    else:
        return _rectilinear(dataset, (axes.lat, axes.lon), where)
    told = candidates(dataset, chosen)
    found = _by_axes(dataset, chosen, told, pair, where)
    if found is not None:
        return found
    if pair is None:
        raise refusal
    return _by_pair(dataset, pair, told, where)


def _largest(dataset: xr.Dataset, where: object) -> xr.DataArray:
    fields = [v for n, v in dataset.data_vars.items() if v.dtype.kind in "iuf" and v.ndim and not str(n).lower().endswith(_NOT_FIELDS)
              and v.attrs.get("standard_name") not in ("latitude", "longitude")]  # fmt: skip
    if not fields:
        raise OrbitError("no field in the file", where=where, got=", ".join(map(str, dataset.variables)) or "nothing",
                         hint="give a file with at least one field on a horizontal grid")  # fmt: skip
    return max(fields, key=lambda v: (v.ndim, v.size))


def _rectilinear(dataset: xr.Dataset, names: tuple[str, str], where: object) -> Layout:
    """Regular, Gaussian or any other spacing: edges from bounds where they fit together, else half-way."""
    lat, lon = (dataset[name] for name in names)
    lats = lat.to_numpy().astype(np.float64)
    rows = np.argsort(lats, kind="stable").astype(np.int64)
    columns, lons = eastward(lon.to_numpy())
    try:
        grid = from_centres(lats[rows], lons)
    except OrbitError as error:
        raise OrbitError(f"unusable grid: {error.what}", where=where, got=error.got, allowed=error.allowed, hint=error.hint) from None
    lat_edges = _edges(dataset, lat, rows, lats[rows], grid.lat_edges)
    lon_edges = _edges(dataset, lon, columns, lons, grid.lon_edges)
    lat_edges, steps = np.clip(lat_edges, -90, 90), np.diff(lats[rows])
    if grid.periodic and np.ptp(steps) > 1e-4 * steps.mean():  # Gaussian: the outer cells reach to the poles
        for k, pole in ((0, -90.0), (-1, 90.0)):
            lat_edges[k] = pole if abs(pole - lat_edges[k]) < 0.4 * steps[k] else lat_edges[k]
    grid = Grid(lat_edges, lon_edges)
    return Layout(grid, (str(lat.dims[0]), str(lon.dims[0])), rows, columns)


def _edges(dataset: xr.Dataset, axis: xr.DataArray, order: Index, centres: Array, halfway: Array) -> Array:
    """Edges from the bounds of `axis`, moved by whole turns as its centres were; `halfway` where there are none or they say the same."""
    name = axis.attrs.get("bounds") or axis.encoding.get("bounds")
    if name not in dataset.variables or dataset[name].shape != (axis.size, 2):
        return halfway
    moved = dataset[name].to_numpy().astype(np.float64)[order] + (centres - axis.to_numpy().astype(np.float64)[order])[:, None]
    low, high = moved.min(1), moved.max(1)
    near = 1e-3 * float(np.median(np.diff(centres)))
    apart = not np.isfinite(moved).all() or np.abs(low[1:] - high[:-1]).max() > near
    if apart or (low > centres + near).any() or (high < centres - near).any():
        return halfway
    edges = np.append(low, high[-1])
    return halfway if np.allclose(edges, halfway, rtol=0, atol=1e-5) else edges


def _by_axes(dataset: xr.Dataset, field: xr.DataArray, told: list[Declared], pair: Pair | None, where: object) -> Layout | None:
    """By 1-D axes of a projection that the file declares; None where it has none, or its 2-D coordinates say otherwise."""
    if not told:
        return None
    rotated = not told[0].crs.is_projected
    found = _axes(dataset, field, rotated, where)
    if found is None:
        return None
    (y, ys), (x, xs) = found
    dims = str(y.dims[0]), str(x.dims[0])
    rows = np.argsort(ys, kind="stable").astype(np.int64)
    columns, xs = eastward(xs) if rotated else (np.argsort(xs, kind="stable").astype(np.int64), np.sort(xs))
    if rotated and xs[0] >= 180:
        xs = xs - 360.0
    misses = []
    for one in told:
        grid = projected(ys[rows], xs, one.crs.to_wkt())
        if pair is None or pair.dims != dims:
            return Layout(grid, dims, rows, columns)
        miss = _miss(grid, pair, rows, columns)
        if miss <= _NEAR * max(grid.km, 0.1):
            return Layout(grid, dims, rows, columns)
        misses.append(miss)
    log.warning("%s: %s and the file's own 2-D latitudes and longitudes disagree by %.3g km; the latter are followed", where,
                told[0].source, min(misses))  # fmt: skip
    return None


def _axes(dataset: xr.Dataset, field: xr.DataArray, rotated: bool, where: object) -> tuple[tuple[xr.DataArray, Array], ...] | None:
    """(coordinate, values in metres or degrees) of the rows and of the columns."""
    kinds = ("grid_latitude", "grid_longitude") if rotated else ("projection_y_coordinate", "projection_x_coordinate")
    names = (("rlat", "y", "lat"), ("rlon", "x", "lon")) if rotated else (("y", "yc", "northing", "ygrid"), ("x", "xc", "easting", "xgrid"))
    result = []
    for kind, plain, letter in zip(kinds, names, "YX", strict=True):
        ranked = []
        for name, one in dataset.variables.items():
            if one.ndim == 1 and one.dims[0] in field.dims and one.dtype.kind in "iuf":
                rank = 0 if one.attrs.get("standard_name") == kind else 1 if one.attrs.get("axis") == letter else 2
                if rank < 2 or str(name).lower() in plain:
                    ranked.append((rank, str(name)))
        if not ranked:
            return None
        axis = dataset[min(ranked)[1]]
        unit = "degree" if rotated else "m"
        said = axis.attrs.get("units")
        scale = linear(str(said), unit) if said else None
        if said and scale is None:
            if str(said).lower().startswith("rad") and not rotated:
                raise OrbitError("a geostationary view is not a map in metres", where=f"{where}: {axis.name}", got=said,
                                 hint="resample it to latitude and longitude first (satpy, pyresample)")  # fmt: skip
            raise OrbitError("axis has unknown units", where=f"{where}: {axis.name}", got=said, allowed="degree" if rotated else "m, km",
                             hint="set the units attribute of the axis")  # fmt: skip
        values = axis.to_numpy().astype(np.float64)
        if not said and not rotated and len(values) > 1 and np.abs(np.diff(values)).max() < 50:
            return None  # indices, or kilometres that do not say so
        values = values * (scale.factor if scale is not None else 1.0)
        result.append((axis, _exact(values, 6 if rotated else 3) if axis.dtype == np.float32 else values))
    return tuple(result)


def _exact(values: Array, decimals: int) -> Array:
    """Evenly spaced `values` freed of the rounding of single precision, which is metres on a map: cells then nest and repeat exactly."""
    if len(values) < 2:
        return values
    even = np.linspace(round(float(values[0]), decimals), round(float(values[-1]), decimals), len(values))
    return even if np.abs(even - values).max() <= 1e-3 * abs(even[1] - even[0]) else values


def _miss(grid: ProjectedGrid, pair: Pair, rows: Index, columns: Index) -> float:
    """Kilometres by which the file's own centres lie beside the grid's, at most, over cells all over the grid."""
    pick = [np.unique(np.linspace(0, len(index) - 1, 25).astype(int)) for index in (rows, columns)]
    there = np.ix_(rows[pick[0]], columns[pick[1]])
    lon, lat = grid.lon_lat(*np.meshgrid(grid.x[pick[1]], grid.y[pick[0]]))  # of these cells only: archives have thousands of files
    apart = distance_km(lon, lat, pair.lon[there], pair.lat[there])
    known = apart[np.isfinite(apart)]
    return float(known.max()) if known.size else 0.0


def _by_pair(dataset: xr.Dataset, pair: Pair, told: list[Declared], where: object) -> Layout:
    """By 2-D latitudes and longitudes: a regular grid or a projection where they lie on one, else curvilinear."""
    height, width = pair.lat.shape
    rows, columns = np.arange(height), np.arange(width)
    if np.isfinite(pair.lat).all() and np.isfinite(pair.lon).all() and min(height, width) > 1:
        fits = [(fit[0], fit[1:]) for one in told if (fit := _fitted(one, pair)) is not None]
        if fits:
            _, (grid, rows, columns) = min(fits, key=lambda fit: fit[0])
            return Layout(grid, pair.dims, rows, columns)
        lats, lons = pair.lat[:, 0], pair.lon[0]
        near = 1e-4 * float(np.abs(np.diff(lats)).max() or 1.0)
        if np.abs(pair.lat - lats[:, None]).max() <= near and np.abs((pair.lon - lons + 180) % 360 - 180).max() <= near:
            order, east = eastward(lons)
            down = np.argsort(lats, kind="stable").astype(np.int64)
            if len(order) == width and (np.diff(lats[down]) > 0).all():
                return Layout(from_centres(lats[down], east), pair.dims, down, order)
        if told:
            log.warning("%s: %s does not fit the file's own latitudes and longitudes; they are followed", where, told[0].source)
    try:
        return Layout(curvilinear(pair.lat, pair.lon, *corners_of(dataset, pair)), pair.dims, rows, columns)
    except OrbitError as error:
        raise OrbitError(f"unusable grid: {error.what}", where=where, got=error.got, allowed=error.allowed, hint=error.hint) from None


def _fitted(one: Declared, pair: Pair) -> tuple[float, ProjectedGrid, Index, Index] | None:
    """(misfit in cells, grid, rows, columns): the axes on which the 2-D coordinates lie in this system; None where they do not."""
    rotated = not one.crs.is_projected
    to = Transformer.from_crs(one.crs.source_crs if rotated else one.crs.geodetic_crs, one.crs, always_xy=True)
    x, y = to.transform(pair.lon, pair.lat)
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    if rotated:
        x = x[:1, :1] + (x - x[:1, :1] + 180) % 360 - 180
    across, down = np.median(x, axis=0), np.median(y, axis=1)
    steps = [np.diff(across), np.diff(down)]
    if any(not (np.all(s > 0) or np.all(s < 0)) for s in steps):
        return None
    size = float(min(np.abs(s).min() for s in steps))
    miss = max(float(np.abs(x - across).max()), float(np.abs(y - down[:, None]).max())) / size
    if miss > _NEAR:
        return None
    rows, columns = np.argsort(down, kind="stable").astype(np.int64), np.argsort(across, kind="stable").astype(np.int64)
    ys, xs = (_regular(values, one.step) for values in (down[rows], across[columns]))
    if one.step is not None:  # the right figure of the Earth gives the spacing that is told
        miss += sum(abs(float(np.mean(np.diff(v))) / one.step - 1) for v in (down[rows], across[columns]))
    return miss, projected(ys, xs, one.crs.to_wkt()), rows, columns


def _regular(values: Array, step: float | None) -> Array:
    """`values` freed of the rounding of single precision: evenly spaced where they are so to 1 %, by the step that is told if it fits."""
    mean = float(values[-1] - values[0]) / (len(values) - 1)
    if np.abs(np.diff(values) / mean - 1).max() > 0.02:
        return values
    mean = step if step is not None and abs(step / mean - 1) < 1e-3 else mean
    middle = float(values.mean())
    return np.asarray(middle + mean * (np.arange(len(values)) - (len(values) - 1) / 2), dtype=np.float64)


def _plain(index: Index) -> slice | npt.NDArray[np.int64]:
    """A slice where the indices run evenly: files are read in one piece."""
    steps = np.diff(index)
    if len(index) > 1 and (steps == 1).all():
        return slice(int(index[0]), int(index[-1]) + 1)
    if len(index) > 1 and (steps == -1).all():
        return slice(int(index[0]), int(index[-1]) - 1 if index[-1] else None, -1)
    return index
