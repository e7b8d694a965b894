"""Archives of regional models in small: WRF's nested domains on a Lambert map, CORDEX's rotated pole with a reanalysis beside it, a grid
that only 2-D coordinates tell. Values are known from the formulas of `own_archive`; the wind is a solid-body rotation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr
from pyproj import CRS

from orbit2.grid import ProjectedGrid, projected
from orbit2.remap.vectors import axes_of
from tests.data.own_archive import rain, warmth

FIRST, LAST = "2001-01-01", "2001-02-15"
SPLIT = {"train": {"start": FIRST, "end": "2001-01-20"}, "validation": {"start": "2001-01-28", "end": "2001-02-02"},
         "test": {"start": "2001-02-10", "end": LAST}}  # fmt: skip
AXIS = 35.0, 20.0  # latitude and longitude of the rotation's axis
SPEED = 20.0  # m/s at its equator
LCC = "+proj=lcc +lat_1=40 +lat_2=46 +lat_0=43 +lon_0=9 +R=6370000 +units=m +no_defs"
WRF = {"MAP_PROJ": 1, "TRUELAT1": 40.0, "TRUELAT2": 46.0, "STAND_LON": 9.0, "CEN_LAT": 43.0, "CEN_LON": 9.0, "MOAD_CEN_LAT": 43.0}
POLE = {"grid_mapping_name": "rotated_latitude_longitude", "grid_north_pole_latitude": 47.0, "grid_north_pole_longitude": -171.0}
Array = npt.NDArray[np.float64]


def days(first: str = FIRST, last: str = LAST) -> npt.NDArray[np.datetime64]:
    return np.arange(np.datetime64(first), np.datetime64(last) + 1)


def numbers(dates: npt.NDArray[np.datetime64]) -> npt.NDArray[np.int64]:
    return (dates.astype("datetime64[D]") - np.datetime64("2001-01-01")).astype(np.int64)


def wind(day: npt.ArrayLike, lat: Array, lon: Array) -> tuple[Array, Array]:
    """To east and to north: omega x r of a rotation round AXIS, whose speed swings with the days."""
    speed = SPEED * (1 + 0.5 * np.sin(np.asarray(day, dtype=np.float64) / 4))
    pole, turn, phi = np.radians(AXIS[0]), np.radians(lon - AXIS[1]), np.radians(lat)
    east = np.sin(pole) * np.cos(phi) - np.cos(pole) * np.sin(phi) * np.cos(turn)
    return speed * east, speed * np.cos(pole) * np.sin(turn)


def domain(cells: tuple[int, int], metres: float, south_west: tuple[float, float]) -> ProjectedGrid:
    """A WRF domain: (rows, columns), spacing, y and x of its corner."""
    y, x = (corner + metres * (np.arange(count) + 0.5) for corner, count in zip(south_west, cells, strict=True))
    return projected(y, x, CRS(LCC).to_wkt())


OUTER = domain((12, 14), 90_000.0, (-540_000.0, -630_000.0))  # d01
INNER = domain((27, 33), 30_000.0, (-450_000.0, -450_000.0))  # d02, three times finer, beginning at d01's cell (1, 2)


def wrfout(grid: ProjectedGrid, dates: npt.NDArray[np.datetime64]) -> xr.Dataset:
    """T2 (K), U10 and V10 along the map, PRCP (mm a day), in WRF's layout: text for times, coordinates for every time, single precision."""
    day = numbers(dates)[:, None, None]
    lat, lon = grid.lat2d, (grid.lon2d + 180) % 360 - 180
    dims, axes = ("Time", "south_north", "west_east"), axes_of(grid)
    east, north = wind(day, lat[None], lon[None])
    turn = axes.x_east * axes.y_north - axes.y_east * axes.x_north
    along, across = (east * axes.y_north - north * axes.y_east) / turn, (north * axes.x_east - east * axes.x_north) / turn
    fields: dict[str, tuple[Array, str]] = {"T2": (warmth(day, lat, lon), "K"), "U10": (along, "m s-1"), "V10": (across, "m s-1"),
                                            "PRCP": (rain(day, lat, lon), "mm day-1")}  # fmt: skip
    still = {"XLAT": (lat, "degree_north"), "XLONG": (lon, "degree_east"), "COSALPHA": (axes.x_east, ""), "SINALPHA": (axes.x_north, "")}
    still["HGT"] = height(lat, lon), "m"
    held: dict[str, Any] = {name: (dims, v.astype("float32"), {"units": units, "coordinates": "XLONG XLAT"})
                            for name, (v, units) in fields.items()}  # fmt: skip
    held |= {name: (dims, np.broadcast_to(v.astype("float32"), (len(dates), *v.shape)), {"units": units})
             for name, (v, units) in still.items()}  # fmt: skip
    held["Times"] = (("Time",), np.array([f"{date}_00:00:00" for date in dates.astype("datetime64[D]").astype(str)], dtype="S19"))
    metres = float(np.diff(grid.x)[0])
    return xr.Dataset(held, attrs={"TITLE": " OUTPUT FROM WRF V4.5 MODEL", **WRF, "DX": metres, "DY": metres})


def height(lat: Array, lon: Array) -> Array:
    """Metres."""
    return np.asarray(200 * (lat - 36) + 10 * lon, dtype=np.float64)


def write_wrf(folder: Path) -> None:
    """`wrfout_d01_*` and `wrfout_d02_*`, a file a month."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, grid in (("d01", OUTER), ("d02", INNER)):
        for month in ("2001-01", "2001-02"):
            dates = days()[days().astype("datetime64[M]").astype(str) == month]
            wrfout(grid, dates).to_netcdf(folder / f"wrfout_{name}_{month}.nc", engine="netcdf4")


def rotated_grid(cells: tuple[int, int] = (22, 25), degrees: float = 0.25) -> ProjectedGrid:
    y, x = (degrees * (np.arange(count) - (count - 1) / 2) for count in cells)
    return projected(y, x, CRS.from_cf(POLE).to_wkt())


def cordex(grid: ProjectedGrid, dates: npt.NDArray[np.datetime64]) -> xr.Dataset:
    """tas (K), pr (kg m-2 s-1), uas and vas (to east and north): noon stamps with bounds, axes in single precision, 2-D lat, lon."""
    day = numbers(dates)[:, None, None]
    lat, lon = grid.lat2d, (grid.lon2d + 180) % 360 - 180
    dims, told = ("time", "rlat", "rlon"), {"grid_mapping": "rotated_pole", "coordinates": "lon lat"}
    east, north = wind(day, lat[None], lon[None])
    fields = {"tas": (warmth(day, lat, lon), "K", "air_temperature"),
              "pr": (rain(day, lat, lon) / 86400, "kg m-2 s-1", "precipitation_flux"),
              "uas": (east, "m s-1", "eastward_wind"), "vas": (north, "m s-1", "northward_wind")}  # fmt: skip
    start = dates.astype("datetime64[ns]")
    held: dict[str, Any] = {name: (dims, v.astype("float32"), {"units": units, "standard_name": standard, **told})
                            for name, (v, units, standard) in fields.items()}  # fmt: skip
    return xr.Dataset(
        {**held, "rotated_pole": ((), 0, POLE), "time_bnds": (("time", "bnds"), np.stack([start, start + np.timedelta64(1, "D")], 1))},
        {"time": ("time", start + np.timedelta64(12, "h"), {"bounds": "time_bnds", "standard_name": "time"}),
         "rlat": ("rlat", grid.y.astype("float32"), {"standard_name": "grid_latitude", "units": "degrees"}),
         "rlon": ("rlon", grid.x.astype("float32"), {"standard_name": "grid_longitude", "units": "degrees"}),
         "lat": (("rlat", "rlon"), lat, {"standard_name": "latitude", "units": "degrees_north"}),
         "lon": (("rlat", "rlon"), lon, {"standard_name": "longitude", "units": "degrees_east"})},
        {"Conventions": "CF-1.6"},
    )  # fmt: skip


def units_of_time(data: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Of the time and its bounds alike, as CF asks for."""
    return {name: {"units": "days since 1949-12-01", "dtype": "float64"} for name in ("time", "time_bnds") if name in data.variables}


def reanalysis(dates: npt.NDArray[np.datetime64], lat: Array | None = None) -> xr.Dataset:
    """The same weather every half degree of latitude (or at others) and longitude, north first, in ERA5's names; noon stamps."""
    lat, lon = np.arange(47.5, 38.4, -0.5) if lat is None else lat, np.arange(2.0, 16.1, 0.5)
    day, north, east = numbers(dates)[:, None, None], lat[None, :, None], lon[None, None, :]
    u, v = wind(day, north, east)
    dims = ("time", "latitude", "longitude")
    fields = {"t2m": (warmth(day, north, east), "K"), "u10": (u, "m s-1"), "v10": (v, "m s-1"), "pr": (rain(day, north, east), "mm day-1")}
    return xr.Dataset({name: (dims, np.broadcast_to(values, (len(dates), len(lat), len(lon))).astype("float32"), {"units": units})
                       for name, (values, units) in fields.items()},
                      {"time": dates.astype("datetime64[ns]") + np.timedelta64(12, "h"),
                       "latitude": ("latitude", lat, {"units": "degrees_north"}),
                       "longitude": ("longitude", lon, {"units": "degrees_east"})})  # fmt: skip


def write_cordex(folder: Path) -> None:
    """A file for each variable in `cordex/`, the reanalysis in `era.nc`, the model's own height and land in `fixed.nc`."""
    (folder / "cordex").mkdir(parents=True, exist_ok=True)
    data = cordex(rotated_grid(), days())
    for name in ("tas", "pr", "uas", "vas"):
        part = data[[name, "rotated_pole", "time_bnds"]]
        part.to_netcdf(folder / f"cordex/{name}_EUR-25_2001.nc", engine="h5netcdf", encoding=units_of_time(part))
    reanalysis(days()).to_netcdf(folder / "era.nc", engine="h5netcdf")
    fixed = data[["rotated_pole"]].assign_coords(rlat=data["rlat"], rlon=data["rlon"], lat=data["lat"], lon=data["lon"])
    values = height(data["lat"].values, data["lon"].values).astype("float32")
    fixed["orog"] = (("rlat", "rlon"), values, {"units": "m", "standard_name": "surface_altitude", "grid_mapping": "rotated_pole"})
    fixed.to_netcdf(folder / "fixed.nc", engine="h5netcdf")


def write_curvilinear(file: Path) -> None:
    """The rotated fields without rlat, rlon and their mapping: only 2-D latitudes and longitudes tell where cells are."""
    data = cordex(rotated_grid(), days())[["tas", "pr"]].drop_vars(["rlat", "rlon"]).rename_dims(rlat="j", rlon="i")
    for name in ("tas", "pr"):
        data[name].attrs.pop("grid_mapping")
    data.to_netcdf(file, engine="h5netcdf")


HRRR = {"gridType": "lambert", "Nx": 13, "Ny": 10, "latitudeOfFirstGridPointInDegrees": 38.5, "LoVInDegrees": 262.5,
        "longitudeOfFirstGridPointInDegrees": 250.0, "LaDInDegrees": 38.5, "Latin1InDegrees": 38.5, "Latin2InDegrees": 38.5,
        "DxInMetres": 3000, "DyInMetres": 3000, "shapeOfTheEarth": 6, "uvRelativeToGrid": 1, "jScansPositively": 1,
        "packingType": "grid_ieee"}  # fmt: skip


def hrrr_fields(hour: float, lat: Array, lon: Array) -> tuple[Array, Array, Array]:
    """Kelvin, and wind to east and north (m/s)."""
    return np.asarray(280 + hour / 10 - 2 * (lat - 38.5) + 3 * (lon + 110), dtype=np.float64), *wind(hour, lat, lon)


def write_hrrr(folder: Path) -> None:
    """A file a day with twelve hours, winds along the map (10 rows and 13 columns of 3 km on the sphere of 6371.229 km)."""
    import eccodes

    from orbit2.door.grib import open_grib
    from orbit2.grid import of_dataset

    folder.mkdir(parents=True, exist_ok=True)

    def message(short: str, stamp: np.datetime64, values: Array | None) -> bytes:
        made = eccodes.codes_grib_new_from_samples("GRIB2")
        for key, value in HRRR.items():
            eccodes.codes_set(made, key, value)
        eccodes.codes_set(made, "shortName", short)
        eccodes.codes_set(made, "dataDate", int(str(stamp)[:10].replace("-", "")))
        eccodes.codes_set(made, "dataTime", 100 * int(str(stamp)[11:13]))
        eccodes.codes_set_values(made, (np.zeros((10, 13)) if values is None else values).ravel())
        found = bytes(eccodes.codes_get_message(made))
        eccodes.codes_release(made)
        return found

    begin = np.datetime64("2001-01-01T00:00")
    (folder / "one.grib2").write_bytes(message("2t", begin, None))
    (one,) = open_grib(folder / "one.grib2", {"2t"})
    grid = of_dataset(one).grid
    assert isinstance(grid, ProjectedGrid)
    (folder / "one.grib2").unlink()
    axes, lat, lon = axes_of(grid), grid.lat2d, (grid.lon2d + 180) % 360 - 180
    turn = axes.x_east * axes.y_north - axes.y_east * axes.x_north
    for day in range(3):
        with open(folder / f"hrrr_{day}.grib2", "wb") as file:
            for hour in range(24 * day, 24 * day + 12):
                warm, east, north = hrrr_fields(hour, lat, lon)
                along, across = (east * axes.y_north - north * axes.y_east) / turn, (north * axes.x_east - east * axes.x_north) / turn
                for short, values in (("2t", warm), ("10u", along), ("10v", across)):
                    file.write(message(short, begin + np.timedelta64(hour, "h"), values))
