"""2-D latitudes and longitudes of a file, and corners of its cells. Never decides what grid they make."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.grid.curvilinear import rows_between
from orbit2.grid.sphere import Array

_KINDS = {
    "latitude": ("lat", "latitude", "xlat", "nav_lat", "tlat", "ulat", "geolat", "gridlat_0", "xlat_m", "xlat_u", "xlat_v"),
    "longitude": ("lon", "longitude", "xlong", "nav_lon", "tlong", "ulong", "geolon", "gridlon_0", "xlong_m", "xlong_u", "xlong_v"),
}
_UNITS = {"latitude": ("degrees_north", "degree_north"), "longitude": ("degrees_east", "degree_east")}
_RING = {"lat": ("lat_vertices", "lat_bnds", "lat_bounds", "bounds_lat", "vertices_latitude", "latitude_vertices"),
         "lon": ("lon_vertices", "lon_bnds", "lon_bounds", "bounds_lon", "vertices_longitude", "longitude_vertices")}  # fmt: skip


class Pair(NamedTuple):
    """Latitudes and longitudes [H, W], degrees, along the file's dimensions `dims`, and their names there."""

    lat: Array
    lon: Array
    dims: tuple[str, str]
    names: tuple[str, str]


def pair_of(dataset: xr.Dataset, field: xr.DataArray, where: object) -> Pair | None:
    """The 2-D latitude and longitude of `field`; a dimension of time before them is left out. None where there are none.

    Raises OrbitError for a grid that moves with time.
    """
    listed = str(field.attrs.get("coordinates") or field.encoding.get("coordinates") or "").split()
    found = []
    for kind in _KINDS:
        ranked = []
        for name in dataset.variables:
            one = dataset[name]
            if one.ndim < 2 or one.dtype.kind != "f" or not set(one.dims[-2:]) <= set(field.dims) or one.ndim > 3 or name == field.name:
                continue
            standard, units = one.attrs.get("standard_name"), str(one.attrs.get("units", "")).lower()
            by_name = str(name).lower() in _KINDS[kind]
            if standard == kind or by_name or (units in _UNITS[kind] and str(name) in listed):
                ranked.append((str(name) not in listed, standard != kind, not by_name, str(name)))
        if not ranked:
            return None
        found.append(dataset[min(ranked)[-1]])
    lat, lon = found
    if lat.dims[-2:] != lon.dims[-2:]:
        return None
    names = str(lat.name), str(lon.name)
    plain = []
    for one in found:
        if one.ndim == 3:
            first, last = one[0], one[-1]
            if one.shape[0] > 1 and not np.allclose(first.to_numpy(), last.to_numpy(), atol=1e-4, equal_nan=True):
                raise OrbitError("the grid moves with time", where=f"{where}: {one.name}", hint="cut the file into pieces on one grid each")
            one = first
        values = one.to_numpy().astype(np.float64)
        plain.append(np.where(np.abs(values) > 720, np.nan, values))  # fill values
    if "rad" in str(lat.attrs.get("units", "")).lower():
        plain = [np.degrees(values) for values in plain]
    dims = str(lat.dims[-2]), str(lat.dims[-1])
    return Pair(plain[0], plain[1], dims, names)


def corners_of(dataset: xr.Dataset, pair: Pair) -> tuple[Array, Array] | tuple[None, None]:
    """Corners of the cells (latitudes, longitudes): CF bounds [H, W, 4], WRF's corner points, its U points; else nothing."""
    ring = []
    for name, usual in zip(pair.names, _RING.values(), strict=True):
        said = dataset[name].attrs.get("bounds") or dataset[name].encoding.get("bounds")
        there = [n for n in (said, *usual) if n in dataset.variables and dataset[n].shape == (*pair.lat.shape, 4)]
        ring += [dataset[there[0]].to_numpy().astype(np.float64)] if there else []
    if len(ring) == 2:
        return ring[0], ring[1]
    height, width = pair.lat.shape
    for names, shape in ((("XLAT_C", "XLONG_C"), (height + 1, width + 1)), (("XLAT_U", "XLONG_U"), (height, width + 1))):
        if all(n in dataset.variables and dataset[n].shape[-2:] == shape for n in names):
            values = [dataset[n].to_numpy().astype(np.float64) for n in names]
            lat, lon = (v[0] if v.ndim == 3 else v for v in values)
            if shape[0] == height:
                lon, lat = rows_between(lon, lat)
            return lat, lon
    return None, None
