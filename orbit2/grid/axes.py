"""Which 1-D coordinates of a file are latitude and longitude. Never takes a rotated or projected axis or an index for degrees.

A coordinate is geographic by its standard name, by degrees as its unit, or, where the file says nothing about it, by being called
latitude or longitude outright.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.units import linear

_GEOGRAPHIC = {"lat": "latitude", "lon": "longitude"}
_UNITS = {  # CF 4.1 and 4.2: these say the axis too
    "lat": ("degrees_north", "degree_north", "degree_n", "degrees_n", "degreen", "degreesn"),
    "lon": ("degrees_east", "degree_east", "degree_e", "degrees_e", "degreee", "degreese"),
}
_PLAIN = {"lat": ("latitude", "lat"), "lon": ("longitude", "lon", "long")}  # mean nothing else, also without units
_NAMES = {"lat": ("latitude", "lat", "nav_lat", "y"), "lon": ("longitude", "lon", "long", "nav_lon", "x")}
_ALLOWED, _REGRID = "1-D latitude and longitude in degrees", "regrid it to a regular latitude-longitude grid first"
_SAYS_NOTHING = (None, "", "unknown")


class Horizontal(NamedTuple):
    """Names of the 1-D coordinates of a regular grid."""

    lat: str
    lon: str


def horizontal(dataset: xr.Dataset, where: object, along: Collection[Hashable] | None = None) -> Horizontal:
    """The latitude and longitude of `dataset` (of those along the dimensions `along`, where given).

    Raises OrbitError that says what the grid is instead: rotated, projected, curvilinear (2-D), a list of points; or what there is.
    """
    found = {axis: _geographic(dataset, axis, along) for axis in _GEOGRAPHIC}
    if found["lat"] is None or found["lon"] is None:
        raise _refusal(dataset, [_GEOGRAPHIC[axis] for axis, name in found.items() if name is None], where)
    one, other = (dataset[name] for name in found.values())
    if one.dims == other.dims:
        raise OrbitError("latitude and longitude lie along one dimension: a list of points or an unstructured grid", where=where,
                         got=f"{one.name}, {other.name} along {one.dims[0]}", allowed=_ALLOWED, hint=_REGRID)
    return Horizontal(found["lat"], found["lon"])


def _geographic(dataset: xr.Dataset, axis: str, along: Collection[Hashable] | None) -> str | None:
    """The best witness: standard name, then the unit, then the name. Two of one rank: a dimension's own coordinate, then the first."""
    ranked: list[tuple[int, bool, int, str]] = []
    for name, coordinate in dataset.variables.items():
        if coordinate.ndim != 1 or coordinate.dtype.kind not in "iuf" or (along is not None and coordinate.dims[0] not in along):
            continue
        rank = _rank(dataset, str(name), coordinate.attrs, axis)
        if rank is not None:
            ranked.append((rank, name not in dataset.dims, len(ranked), str(name)))
    return min(ranked)[-1] if ranked else None


def _rank(dataset: xr.Dataset, name: str, attributes: dict[Any, Any], axis: str) -> int | None:
    standard, units = attributes.get("standard_name"), attributes.get("units")
    degrees = isinstance(units, str) and linear(units, "degree") == (1.0, 0.0)
    if units is not None and not degrees:
        return None  # kilometres, metres, radians, "1"
    if standard == _GEOGRAPHIC[axis]:
        return 0
    if standard not in _SAYS_NOTHING or _mapped(dataset):
        return None
    if degrees and str(units).lower() in _UNITS[axis]:
        return 1
    other = _UNITS["lon" if axis == "lat" else "lat"]
    if degrees and str(units).lower() not in other and name.lower() in _NAMES[axis]:
        return 2
    return 3 if units is None and name.lower() in _PLAIN[axis] and not _index(dataset[name]) else None


def _index(coordinate: xr.DataArray) -> bool:
    """Whether the values count cells: 0, 1, 2 ... or 1, 2, 3 ..., or cannot be degrees."""
    values = np.asarray(coordinate.values, dtype=np.float64)
    counts = len(values) > 1 and values[0] in (0, 1) and bool((np.diff(values) == 1).all()) and coordinate.dtype.kind in "iu"
    return counts or bool((np.abs(values[np.isfinite(values)]) > 360).any())


def _mapped(dataset: xr.Dataset) -> str | None:
    """The projection that the fields name, unless it is latitude and longitude itself."""
    for field in dataset.data_vars.values():
        mapping = field.attrs.get("grid_mapping") or field.encoding.get("grid_mapping")
        name = str(mapping).split()[0].rstrip(":") if mapping else None
        kind = dataset[name].attrs.get("grid_mapping_name") if name in dataset.variables else None
        if kind and kind != "latitude_longitude":
            return str(kind)
    return None


def _refusal(dataset: xr.Dataset, missing: list[str], where: object) -> OrbitError:
    about = {str(name): v.attrs for name, v in dataset.variables.items() if name in dataset.coords or v.dims == (name,)}
    told = ", ".join(f"{name} ({attrs.get('units') or attrs.get('standard_name') or 'no units'})" for name, attrs in about.items())
    got = told or ", ".join(map(str, dataset.dims)) or "no coordinates"
    standard = {attrs.get("standard_name") for attrs in about.values()}
    mapping = _mapped(dataset)
    flat = [n for n, v in dataset.variables.items() if v.ndim == 2 and (
        v.attrs.get("standard_name") in _GEOGRAPHIC.values() or str(n).lower() in (*_PLAIN["lat"], *_PLAIN["lon"], "nav_lat", "nav_lon",
                                                                                "xlat", "xlong"))]
    what = ""
    if "grid_latitude" in standard or mapping == "rotated_latitude_longitude":
        what = "the grid is rotated: grid_latitude and grid_longitude are not latitude and longitude"
    elif flat:
        what = f"the grid is curvilinear: {' and '.join(map(str, flat))} are 2-D"
    elif mapping or "projection_y_coordinate" in standard:
        what = f"the grid is projected ({mapping or 'projection_y_coordinate'})"
    if what:
        return OrbitError(what, where=where, got=got, allowed=_ALLOWED, hint=_REGRID)
    return OrbitError(f"no {' and no '.join(missing)} coordinate found", where=where, got=got, allowed=_ALLOWED,
                      hint="give it the units degrees_north or degrees_east, or the standard name")
