"""IMERG files as GES DISC writes them: daily NetCDF-4 and half-hourly HDF5, V06 and V07, the globe or a window of its cells."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import netCDF4
import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Truth = Callable[[np.datetime64, Array, Array], Array]  # day, lat [Y, X], lon [Y, X] -> mm of that day

LAT = np.round(-89.95 + 0.1 * np.arange(1800), 2)
LON = np.round(-179.95 + 0.1 * np.arange(3600), 2)
FILL = np.float32(-9999.9)
FIELD = {"07": "precipitation", "06": "precipitationCal"}
_EPOCH = {"07": "1980-01-06 00:00:00 UTC", "06": "1970-01-01 00:00:00 UTC"}


def window(box: Sequence[float], margin: float = 0.2) -> tuple[Array, Array]:
    """Latitudes and longitudes (-180 to 180, the file's order) of the cells around `box` = (south, north, west, east)."""
    south, north, west, east = box
    middle, half = (west + east) / 2, (east - west) / 2 + margin
    near = np.abs((LON - middle + 180) % 360 - 180) <= half
    return LAT[np.abs(LAT - (south + north) / 2) <= (north - south) / 2 + margin], LON[near]


def daily(
    path: Path, day: np.datetime64, truth: Truth, *, version: str = "07", lat: Array = LAT, lon: Array = LON,
    counts: npt.NDArray[np.int16] | None = None, units: str | None = "", epoch: str | None = None,
) -> Path:
    """A daily file. `truth` [lat, lon] in mm, NaN becomes the missing value; `counts` of half-hours default to 48 (0 where missing)."""
    values = _file_order(truth, day, lat, lon)
    name = FIELD[version]
    counted = np.where(np.isfinite(values), 48, 0).astype(np.int16) if counts is None else counts.T
    with netCDF4.Dataset(path, "w", format="NETCDF4") as out:
        out.createDimension("time", None if version == "06" else 1)
        for axis, coordinate in (("lon", lon), ("lat", lat)):
            out.createDimension(axis, len(coordinate))
        out.createDimension("nv", 2)
        for axis, coordinate, unit, long in (("lon", lon, "degrees_east", "Longitude"), ("lat", lat, "degrees_north", "Latitude")):
            variable = out.createVariable(axis, "f4", (axis,))
            variable.units, variable.long_name, variable.standard_name = unit, long, long.lower()
            variable[:] = coordinate
        since = epoch or _EPOCH[version]
        time = out.createVariable("time", "i4", ("time",))
        time.units, time.calendar, time.standard_name, time.bounds = f"days since {since}", "julian", "time", "time_bnds"
        time[:] = int((day - np.datetime64(since[:10])).astype(int))
        out.createVariable("time_bnds", "i4", ("time", "nv"))[:] = [[time[0], time[0] + 1]]
        _field(out, name, values, ("mm/day" if version == "07" else "mm") if units == "" else units,
               "Daily mean precipitation rate (combined microwave-IR) estimate. Formerly precipitationCal."
               if version == "07" else "Daily accumulated precipitation (combined microwave-IR) estimate")
        count = out.createVariable(f"{name}_cnt", "i2", ("time", "lon", "lat"), zlib=True)
        count.units, count.long_name = "count", f"Count of all valid half-hourly {name} retrievals for the day"
        count[0] = counted
        _field(out, "randomError", np.zeros_like(values), "mm/day" if version == "07" else "mm", "Random error")
        out.setncatts({"BeginDate": str(day), "BeginTime": "00:00:00.000Z", "EndDate": str(day), "EndTime": "23:59:59.999Z",
                       "title": "GPM IMERG Final Precipitation L3 1 day 0.1 degree x 0.1 degree", "Conventions": "CF-1.8"})
    return path


def half_hour(
    path: Path, begin: np.datetime64, rate: Callable[[np.datetime64, Array, Array], Array], *, version: str = "07",
    lat: Array = LAT, lon: Array = LON, units: str | None = "mm/hr",
) -> Path:
    """A half-hourly file beginning at `begin` (datetime64[s]); `rate` [lat, lon] in mm/h, NaN becomes the missing value."""
    values = _file_order(rate, begin, lat, lon)
    with netCDF4.Dataset(path, "w", format="NETCDF4") as root:
        root.FileHeader = f"AlgorithmID=3IMERGHH;\nProductVersion=V{version}B;\nEmptyGranule=NOT_EMPTY;\n"
        out = root.createGroup("Grid")
        for axis, size in (("time", 1), ("lon", len(lon)), ("lat", len(lat)), ("nv", 2)):
            out.createDimension(axis, size)
        for axis, coordinate, unit in (("lon", lon, "degrees_east"), ("lat", lat, "degrees_north")):
            variable = out.createVariable(axis, "f4", (axis,))
            variable.setncatts({"DimensionNames": axis, "Units": unit, "units": unit, "bounds": f"{axis}_bnds"})
            variable[:] = coordinate
        time = out.createVariable("time", "i4", ("time",))
        text = f"seconds since {_EPOCH[version]}"
        time.setncatts({"DimensionNames": "time", "Units": text, "units": text, "calendar": "julian", "bounds": "time_bnds"})
        time[:] = int((begin - np.datetime64(_EPOCH[version][:10])).astype("timedelta64[s]").astype(int))
        _field(out, FIELD[version], values, units, "Complete merged microwave-infrared (gauge-adjusted) precipitation estimate")
        if version == "07":
            inner = out.createGroup("Intermediate")
            _field(inner, "precipitationUncal", np.full_like(values, 99.0), "mm/hr", "Merged microwave-infrared precipitation estimate")
        else:
            _field(out, "precipitationUncal", np.full_like(values, 99.0), "mm/hr", "")
    return path


def _file_order(truth: Callable[[np.datetime64, Array, Array], Array], when: np.datetime64, lat: Array, lon: Array) -> Array:
    """[lon, lat]."""
    lons, lats = np.meshgrid(lon, lat)
    return np.asarray(truth(when, lats, lons), dtype=np.float64).T


def _field(out: netCDF4.Dataset | netCDF4.Group, name: str, values: Array, units: str | None, long: str) -> None:
    lon, lat = values.shape
    field = out.createVariable(name, "f4", ("time", "lon", "lat"), fill_value=FILL, zlib=True, complevel=2,
                               chunksizes=(1, min(lon, 3600), min(lat, 900)))
    field.setncatts({"DimensionNames": "time,lon,lat", "coordinates": "time lon lat", "CodeMissingValue": "-9999.9", "long_name": long})
    if units is not None:
        field.units = field.Units = units
    field[0] = np.where(np.isfinite(values), values, FILL)
