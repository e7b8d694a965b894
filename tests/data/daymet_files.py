"""Daymet files as the ORNL DAAC (metres) and its former subset service (kilometres) write them, over a window of the real 1 km grid."""

from __future__ import annotations

import calendar
from collections.abc import Callable, Sequence
from pathlib import Path

import netCDF4
import numpy as np
import numpy.typing as npt
from pyproj import Transformer

Array = npt.NDArray[np.float64]
Truth = Callable[[np.datetime64, Array, Array], Array]  # day, lat [Y, X], lon [Y, X] -> values in mm or K

# Cell centres of the North American archive files, metres.
GRID_X = -4560250.0 + 1000.0 * np.arange(7814)
GRID_Y = 4984000.0 - 1000.0 * np.arange(8075)  # north to south
LCC = "+proj=lcc +lat_1=25 +lat_2=60 +lat_0=42.5 +lon_0=-100 +ellps=WGS84 +units=m"
UNITS = {"prcp": "mm/day", "tmin": "degrees C", "tmax": "degrees C"}
CANONICAL = {"prcp": "total_precipitation_24hr", "tmin": "2m_temperature_min", "tmax": "2m_temperature_max"}
_LONG = {"prcp": "daily total precipitation", "tmin": "daily minimum temperature", "tmax": "daily maximum temperature"}
_METHOD = {"prcp": "area: mean time: sum", "tmin": "area: mean time: minimum", "tmax": "area: mean time: maximum"}
MAPPING = {
    "grid_mapping_name": "lambert_conformal_conic", "longitude_of_central_meridian": -100.0, "latitude_of_projection_origin": 42.5,
    "false_easting": 0.0, "false_northing": 0.0, "standard_parallel": np.array([25.0, 60.0]), "semi_major_axis": 6378137.0,
    "inverse_flattening": 298.257223563}


def lat_lon(x: Array, y: Array) -> tuple[Array, Array]:
    """Centres' latitude and longitude [Y, X], degrees, by PROJ."""
    lon, lat = Transformer.from_crs(LCC, "EPSG:4326", always_xy=True).transform(*np.meshgrid(x, y))
    return np.asarray(lat), np.asarray(lon)


def window(box: Sequence[float], margin: int = 3) -> tuple[Array, Array]:
    """x and y (north to south) of the real grid's cells around `box` = (south, north, west, east), degrees; -180 to 360 east."""
    south, north, west, east = box
    west, east = ((v + 180) % 360 - 180 for v in (west, east))
    lons, lats = np.meshgrid(np.linspace(west, east, 50), np.linspace(south, north, 50))
    x, y = Transformer.from_crs("EPSG:4326", LCC, always_xy=True).transform(lons, lats)
    edge = 1000.0 * margin
    return (GRID_X[np.abs(GRID_X - (x.min() + x.max()) / 2) <= (x.max() - x.min()) / 2 + edge],
            GRID_Y[np.abs(GRID_Y - (y.min() + y.max()) / 2) <= (y.max() - y.min()) / 2 + edge])


def days_of(year: int) -> npt.NDArray[np.datetime64]:
    """The 365 days that a Daymet year has."""
    days = np.arange(f"{year}-01-01", f"{year + 1}-01-01", dtype="datetime64[D]")
    return days[:-1] if calendar.isleap(year) else days


def write(
    path: Path, name: str, days: npt.NDArray[np.datetime64], truth: Truth, x: Array, y: Array, *, units: str | None = "m",
    noon: bool = True, with_lat_lon: bool = True, field_units: str | None = "", calendar_name: str = "standard",
    mapping: dict[str, object] | None = None, chunks: tuple[int, int, int] = (1, 1000, 1000),
) -> Path:
    """One file of `name` (prcp, tmin, tmax); `truth` is in canonical units (mm, K), NaN is written as -9999.

    `units` of x and y: "m", "km" or None (left out). `field_units` "" means the provider's own.
    """
    lat, lon = lat_lon(x, y)
    with netCDF4.Dataset(path, "w", format="NETCDF4_CLASSIC") as out:
        out.createDimension("x", len(x))
        out.createDimension("y", len(y))
        out.createDimension("time", None)
        out.createDimension("nv", 2)
        for axis, values in (("x", x), ("y", y)):
            variable = out.createVariable(axis, "f4", (axis,))
            if units is not None:
                variable.units = units
            variable.long_name = f"{axis} coordinate of projection"
            variable.standard_name = f"projection_{axis}_coordinate"
            variable[:] = values / (1000.0 if units == "km" else 1.0)
        if with_lat_lon:
            for axis, values, unit in (("lat", lat, "degrees_north"), ("lon", lon, "degrees_east")):
                variable = out.createVariable(axis, "f4", ("y", "x"))
                variable.units, variable.long_name = unit, f"{axis} coordinate"
                variable[:] = values
        time = out.createVariable("time", "f4", ("time",))
        time.standard_name, time.calendar, time.units = "time", calendar_name, "days since 1950-01-01 00:00:00"
        time.bounds, time.long_name = "time_bnds", "24-hour day based on local time"
        since = (days - np.datetime64("1950-01-01")).astype(int)
        time[:] = since + (0.5 if noon else 0.0)
        bounds = out.createVariable("time_bnds", "f4", ("time", "nv"))
        bounds[:] = np.stack([since, since + 1], axis=1)
        number = out.createVariable("yearday", "i2", ("time",))
        number.long_name = "day of year (DOY) starting with day 1 on January 1st"
        number[:] = [int((day - day.astype("datetime64[Y]").astype("datetime64[D]")).astype(int)) + 1 for day in days]
        out.createVariable("lambert_conformal_conic", "i2").setncatts(MAPPING if mapping is None else mapping)
        own = tuple(min(a, b) for a, b in zip(chunks, (len(days), len(y), len(x)), strict=True))
        field = out.createVariable(name, "f4", ("time", "y", "x"), fill_value=np.float32(-9999), zlib=True, complevel=4, shuffle=False,
                                   chunksizes=own)
        field.long_name = _LONG[name]
        if field_units is not None:
            field.units = field_units or UNITS[name]
        field.missing_value = np.float32(-9999)
        field.coordinates, field.grid_mapping, field.cell_methods = "lat lon", "lambert_conformal_conic", _METHOD[name]
        for at, day in enumerate(days):
            values = truth(day, lat, lon) - (273.15 if name != "prcp" else 0.0)
            field[at] = np.where(np.isfinite(values), values, -9999.0)
        out.setncatts({
            "start_year": np.int16(1980), "source": "Daymet Software Version 4.0", "Version_software": "Daymet Software Version 4.0",
            "Version_data": "Daymet Data Version 4.0", "Conventions": "CF-1.6",
            "citation": "Please see http://daymet.ornl.gov/ for current Daymet data citation information",
            "references": "Please see http://daymet.ornl.gov/ for current information on Daymet references"})
    return path
