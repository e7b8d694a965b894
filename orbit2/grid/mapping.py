"""Which map projection or rotated pole a file declares: CF grid_mapping or WKT, WRF's global attributes, cfgrib's GRIB attributes.

Gives candidates, the likeliest first: `orbit2.grid.recognise` holds them against the file's own latitudes and longitudes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import xarray as xr
from pyproj import CRS
from pyproj.exceptions import CRSError

WRF_RADIUS = 6_370_000.0  # metres: WRF's sphere
_GRIB_RADII = (6_371_229.0, 6_367_470.0, 6_371_200.0)
_FIGURE = {"semi_major_axis", "semi_minor_axis", "earth_radius", "inverse_flattening", "reference_ellipsoid_name", "crs_wkt", "spatial_ref",
           "horizontal_datum_name", "geographic_crs_name"}  # fmt: skip
_SHAPE = ("earth_radius", "semi_major_axis", "semi_minor_axis", "inverse_flattening")
_WKT = ("crs_wkt", "spatial_ref")


class Declared(NamedTuple):
    """One candidate: its system, where it comes from, and the spacing of its axes in metres or degrees where that is told."""

    crs: CRS
    source: str
    step: float | None = None


def candidates(dataset: xr.Dataset, field: xr.DataArray) -> list[Declared]:
    """Everything that `dataset` says of the map under `field`; systems of plain latitude and longitude are left out."""
    found = [*_of_cf(dataset, field), *_of_wrf(dataset.attrs), *_of_grib(field.attrs)]
    return [one for one in found if one.crs.is_projected or (one.crs.is_geographic and one.crs.is_derived)]


def variable_of(dataset: xr.Dataset, field: xr.DataArray) -> str | None:
    """The name of the grid mapping variable: the one `field` names, else the only one there is."""
    named = field.attrs.get("grid_mapping") or field.encoding.get("grid_mapping")
    if named:
        name = str(named).split()[0].rstrip(":")
        return name if name in dataset.variables else None
    told = [str(n) for n, v in dataset.variables.items() if {"grid_mapping_name", *_WKT} & set(v.attrs) and v.size <= 1]
    return told[0] if len(told) == 1 else None


def _of_cf(dataset: xr.Dataset, field: xr.DataArray) -> list[Declared]:
    name = variable_of(dataset, field)
    attributes = dict(dataset[name].attrs) if name is not None else {k: v for k, v in dataset.attrs.items() if k in _WKT}
    if not attributes:
        return []
    said = bool(_FIGURE & set(attributes))
    where = f"grid_mapping {name}" if name else "the file's WKT"
    crs = _from_cf(attributes)
    if crs is None:
        return []
    radii = () if said or not crs.is_projected else (*_GRIB_RADII, WRF_RADIUS, 6_371_000.0)  # a rotation is the same on any of them
    return [Declared(crs, where), *(Declared(_with_figure(crs, {"radius": radius}), where) for radius in radii)]


def _with_figure(crs: CRS, figure: Mapping[str, Any]) -> CRS:
    """The same map of another Earth (by PROJ JSON: pyproj's own ellipsoids take a second each)."""
    told = crs.to_json_dict()
    base = told.get("base_crs")
    if base is None:
        return crs
    for key in ("datum", "datum_ensemble", "id"):
        base.pop(key, None)
    base["datum"] = {"type": "GeodeticReferenceFrame", "name": "unknown", "ellipsoid": {"name": "unknown", **figure}}
    return CRS.from_json_dict(told)


def _from_cf(attributes: Mapping[str, Any]) -> CRS | None:
    plain = {k: v.tolist() if isinstance(v, (np.ndarray, np.generic)) else v for k, v in attributes.items()}
    shape = {k: float(plain[k]) for k in _SHAPE if k in plain and not set(plain) & (_FIGURE - set(_SHAPE))}
    rest = {k: v for k, v in plain.items() if k not in shape}
    for keys in (rest, {k: v for k, v in rest.items() if k not in _WKT}):  # a WKT that PROJ cannot read does not hide the parameters
        try:
            crs = CRS.from_cf(keys)
        except (CRSError, KeyError, ValueError, TypeError, IndexError):
            continue
        return _with_figure(crs, _ellipsoid(shape)) if shape else crs
    return None


def _ellipsoid(shape: Mapping[str, float]) -> dict[str, float]:
    """CF's figure of the Earth as PROJ JSON: a radius, or the long axis and one thing more (often all three are written)."""
    long = shape.get("semi_major_axis", shape.get("earth_radius", 6_371_229.0))
    if shape.get("inverse_flattening"):
        return {"semi_major_axis": long, "inverse_flattening": shape["inverse_flattening"]}
    if shape.get("semi_minor_axis", long) != long:
        return {"semi_major_axis": long, "semi_minor_axis": shape["semi_minor_axis"]}
    return {"radius": long}


def _of_wrf(attributes: Mapping[str, Any]) -> list[Declared]:
    """MAP_PROJ 1 Lambert conformal, 2 polar stereographic, 3 Mercator, 6 latitude-longitude (rotated where POLE_LAT is not 90)."""
    if "MAP_PROJ" not in attributes:
        return []

    def number(key: str, default: float) -> float:
        value = attributes.get(key)
        return default if value is None else float(np.asarray(value).ravel()[0])

    kind = int(number("MAP_PROJ", 0))
    first, second = number("TRUELAT1", 0.0), number("TRUELAT2", 1e20)
    second = second if abs(second) <= 90 else first
    lon, lat = number("STAND_LON", number("CEN_LON", 0.0)), number("MOAD_CEN_LAT", number("CEN_LAT", first))
    end, where = f"+R={WRF_RADIUS} +units=m +no_defs", "WRF's attributes"
    step = number("DX", 0.0) or None
    if kind == 6:
        pole = number("POLE_LAT", 90.0)
        if pole == 90:
            return []
        poles = {(sign * lon + turn + 180) % 360 - 180 for sign in (-1, 1) for turn in (0, 180)}
        found = [_from_cf({"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": pole,
                           "grid_north_pole_longitude": at, "north_pole_grid_longitude": 0.0})
                 for at in sorted(poles)]  # fmt: skip
        return [Declared(crs, where) for crs in found if crs is not None]
    text = {1: f"+proj=lcc +lat_1={first} +lat_2={second} +lat_0={lat} +lon_0={lon} {end}",
            2: f"+proj=stere +lat_0={90 if first >= 0 else -90} +lat_ts={first} +lon_0={lon} {end}",
            3: f"+proj=merc +lat_ts={first} +lon_0={lon} {end}"}.get(kind)  # fmt: skip
    return [] if text is None else [Declared(CRS(text), where, step)]


def _of_grib(attributes: Mapping[str, Any]) -> list[Declared]:
    """cfgrib's keys, which leave the figure of the Earth out: the usual spheres and WGS84 are all candidates."""
    kind = attributes.get("GRIB_gridType")

    def number(key: str, default: float = 0.0) -> float:
        return float(attributes.get(f"GRIB_{key}", default))

    if kind == "rotated_ll":
        crs = _from_cf({"grid_mapping_name": "rotated_latitude_longitude",
                        "grid_north_pole_latitude": -number("latitudeOfSouthernPoleInDegrees", -90),
                        "grid_north_pole_longitude": (number("longitudeOfSouthernPoleInDegrees") + 360) % 360 - 180,
                        "north_pole_grid_longitude": number("angleOfRotationInDegrees")})  # fmt: skip
        return [] if crs is None else [Declared(crs, "GRIB keys", number("iDirectionIncrementInDegrees") or None)]
    step = number("DxInMetres") or None
    if kind == "lambert":
        start = (f"+proj=lcc +lat_1={number('Latin1InDegrees')} +lat_2={number('Latin2InDegrees')} +lat_0={number('LaDInDegrees')} "
                 f"+lon_0={number('LoVInDegrees')}")  # fmt: skip
    elif kind == "polar_stereographic" and "GRIB_orientationOfTheGridInDegrees" in attributes:
        pole = -90 if number("projectionCentreFlag") >= 128 else 90
        start = f"+proj=stere +lat_0={pole} +lat_ts={number('LaDInDegrees', 60)} +lon_0={number('orientationOfTheGridInDegrees')}"
    elif kind == "mercator":
        start = f"+proj=merc +lat_ts={number('LaDInDegrees')} +lon_0=0"
    else:
        return []
    said = [number("radius")] if number("radius") > 6e6 else []
    ends = [*(f"+R={radius}" for radius in (*said, *_GRIB_RADII)), "+ellps=GRS80", "+ellps=WGS84"]
    return [Declared(CRS(f"{start} {end} +units=m +no_defs"), "GRIB keys", step) for end in ends]
