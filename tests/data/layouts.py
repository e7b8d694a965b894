"""Small files in the layouts that real archives have: CORDEX, HRRR, AROME, NSIDC, WRF, cfgrib. Values are the cells' numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from pyproj import CRS, Transformer

EUR11 = {"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 39.25, "grid_north_pole_longitude": -162.0}
HRRR = {"grid_mapping_name": "lambert_conformal_conic", "standard_parallel": np.array([38.5, 38.5]), "longitude_of_central_meridian": 262.5,
        "latitude_of_projection_origin": 38.5, "earth_radius": 6371229.0}  # fmt: skip
AROME = {"grid_mapping_name": "lambert_conformal_conic", "standard_parallel": np.array([63.3, 63.3]), "longitude_of_central_meridian": 15.0,
         "latitude_of_projection_origin": 63.3, "earth_radius": 6371000.0}  # fmt: skip
NSIDC_NORTH = {"grid_mapping_name": "polar_stereographic", "straight_vertical_longitude_from_pole": -45.0, "standard_parallel": 70.0,
               "latitude_of_projection_origin": 90.0, "semi_major_axis": 6378273.0, "semi_minor_axis": 6356889.449}  # fmt: skip
NSIDC_SOUTH = {**NSIDC_NORTH, "straight_vertical_longitude_from_pole": 0.0, "standard_parallel": -70.0,
               "latitude_of_projection_origin": -90.0}  # fmt: skip


def mapped(
    y: npt.ArrayLike, x: npt.ArrayLike, mapping: dict[str, Any], *, two: bool = False, units: str = "m", rotated: bool = False
) -> xr.Dataset:
    """A field on a CF grid mapping; `two`: with the 2-D latitudes and longitudes that most archives write beside it (single precision)."""
    ys, xs = np.asarray(y, dtype=np.float64), np.asarray(x, dtype=np.float64)
    names = ("rlat", "rlon") if rotated else ("y", "x")
    kinds = ("grid_latitude", "grid_longitude") if rotated else ("projection_y_coordinate", "projection_x_coordinate")
    field = np.arange(len(ys) * len(xs), dtype=np.float32).reshape(1, len(ys), len(xs))
    data = xr.Dataset({"tas": (("time", *names), field, {"units": "K", "grid_mapping": "mapping"}), "mapping": ((), 0, mapping)},
                      coords={n: (n, v, {"units": "degrees" if rotated else units, "standard_name": kind})
                              for n, v, kind in zip(names, (ys, xs), kinds, strict=True)})  # fmt: skip
    if two:
        crs = CRS.from_cf({k: v.tolist() if isinstance(v, np.ndarray) else v for k, v in mapping.items()})
        scale = 1000.0 if units == "km" else 1.0
        lon, lat = Transformer.from_crs(crs, crs.source_crs if rotated else crs.geodetic_crs, always_xy=True).transform(
            *(v * scale for v in np.meshgrid(xs, ys)))
        data = data.assign_coords(lat=(names, lat.astype(np.float32), {"standard_name": "latitude", "units": "degrees_north"}),
                                  lon=(names, lon.astype(np.float32), {"standard_name": "longitude", "units": "degrees_east"}))  # fmt: skip
        data["tas"].encoding["coordinates"] = "lat lon"
    return data


def eur11(*, two: bool = True) -> xr.Dataset:
    """Sixteen by twenty cells of CORDEX's EUR-11 (0.11 degrees), from its south-west corner."""
    return mapped(-23.375 + 0.11 * np.arange(16), -28.375 + 0.11 * np.arange(20), EUR11, two=two, rotated=True)


def hrrr() -> xr.Dataset:
    """The four corners of HRRR's CONUS grid and cells between: every 1058 / 46 rows and 1798 / 62 columns of 3 km."""
    return mapped(-1587306.152 + 3000.0 * np.arange(0, 1059, 23), -2697520.142 + 3000.0 * np.arange(0, 1799, 29), HRRR, two=True)


def wrf(projection: int, truth: str, attributes: dict[str, Any], shape: tuple[int, int] = (12, 16), step: float = 9000.0,
        origin: tuple[float, float] = (0.0, 0.0)) -> xr.Dataset:  # fmt: skip
    """A wrfout file: no axes, XLAT and XLONG (single precision, with Time) of `truth`, a PROJ string on WRF's sphere."""
    y, x = (o + step * (np.arange(n) - (n - 1) / 2) for n, o in zip(shape, origin, strict=True))
    crs = CRS(truth)
    lon, lat = Transformer.from_crs(crs, crs.geodetic_crs, always_xy=True).transform(*np.meshgrid(x, y))
    return wrf_file(projection, lat, lon, {"DX": np.float32(step), "DY": np.float32(step), **attributes})


def wrf_file(projection: int, lat: npt.NDArray[np.float64], lon: npt.NDArray[np.float64], attributes: dict[str, Any]) -> xr.Dataset:
    dims = ("Time", "south_north", "west_east")
    two = [np.repeat(v[None].astype(np.float32), 2, axis=0) for v in (lat, lon)]
    field = np.arange(2 * lat.size, dtype=np.float32).reshape(2, *lat.shape)
    return xr.Dataset({"T2": (dims, field, {"units": "K", "coordinates": "XLONG XLAT XTIME"})},
                      coords={"XLAT": (dims, two[0], {"units": "degree_north"}), "XLONG": (dims, two[1], {"units": "degree_east"})},
                      attrs={"MAP_PROJ": np.int32(projection), "TITLE": " OUTPUT FROM WRF V4.4 MODEL", **attributes})  # fmt: skip
