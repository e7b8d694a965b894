"""A user's own Dataset turned into what a model reads: names, units, axes. Never guesses a variable that is not there."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.grid import Grid, from_centres
from orbit2.variables import VARIABLES, variable

FloatArray = npt.NDArray[np.float32]
Index = npt.NDArray[np.int64]
BAND_CELLS = 1 << 22  # read at once when only asking whether a field has any value

# Names in use for the same field: ECMWF short names, CMIP/CORDEX names.
ALIASES: dict[str, tuple[str, ...]] = {
    "2m_temperature": ("t2m", "2t", "tas", "T2", "air_temperature"),
    "2m_temperature_max": ("mx2t", "tasmax", "tmax"),
    "2m_temperature_min": ("mn2t", "tasmin", "tmin"),
    "10m_u_component_of_wind": ("u10", "10u", "uas", "U10"),
    "10m_v_component_of_wind": ("v10", "10v", "vas", "V10"),
    "mean_sea_level_pressure": ("msl", "psl", "slp", "prmsl"),
    "precipitation_rate": ("pr", "precipitation", "prcp", "ppt"),
    "total_precipitation_24hr": ("tp24", "pr24"),
}
# factor and offset into canonical units: value * factor + offset
UNITS: dict[str, dict[str, tuple[float, float]]] = {
    "K": {
        "K": (1, 0),
        "kelvin": (1, 0),
        "degC": (1, 273.15),
        "celsius": (1, 273.15),
        "C": (1, 273.15),
        "°C": (1, 273.15),
        "degrees_Celsius": (1, 273.15),
    },
    "m s-1": {"m s-1": (1, 0), "m/s": (1, 0), "m s**-1": (1, 0), "m s^-1": (1, 0), "km/h": (1 / 3.6, 0), "knots": (0.514444, 0)},
    "Pa": {"Pa": (1, 0), "hPa": (100, 0), "mbar": (100, 0), "kPa": (1000, 0)},
    "mm day-1": {
        "mm day-1": (1, 0),
        "mm/day": (1, 0),
        "mm d-1": (1, 0),
        "mm/d": (1, 0),
        "kg m-2 s-1": (86400, 0),
        "kg m-2 day-1": (1, 0),
        "mm h-1": (24, 0),
        "mm/h": (24, 0),
        "mm/hr": (24, 0),
        "m s-1": (86400e3, 0),
    },
    "mm": {"mm": (1, 0), "kg m-2": (1, 0), "m": (1000, 0), "cm": (10, 0)},
    "kg kg-1": {"kg kg-1": (1, 0), "kg/kg": (1, 0), "kg kg**-1": (1, 0), "1": (1, 0), "g kg-1": (1e-3, 0), "g/kg": (1e-3, 0)},
    "1": {"1": (1, 0), "m3 m-3": (1, 0), "m**3 m**-3": (1, 0), "%": (0.01, 0)},
}
AXES = {
    "lat": ("lat", "latitude", "rlat", "y", "nav_lat"),
    "lon": ("lon", "longitude", "rlon", "x", "nav_lon"),
    "time": ("time", "valid_time", "date", "Times"),
}


@dataclass
class Inputs:
    """Lazy input fields by canonical name. `arrays` have dimensions time (unless constant), lat and lon as in the file; `rows` and
    `columns` are its indices of ascending latitude and of longitude from 0 to 360."""

    arrays: dict[str, xr.DataArray]
    grid: Grid
    times: npt.NDArray[np.datetime64]
    rows: Index
    columns: Index
    chunk_width: int = 0  # of the widest stored chunk along longitude, cells; 0 where the file can be read anywhere (or is unknown)

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(self.arrays)

    def frame(self, index: int) -> FloatArray:
        """[V, H, W] of one time, canonical units. Raises OrbitError for a field that is missing everywhere or out of range."""
        return self.cells(index, np.arange(len(self.rows)), np.arange(len(self.columns)))

    def cells(self, index: int, rows: Index, columns: Index) -> FloatArray:
        """[V, h, w] of one time: some rows and columns of `grid` (indices), read from the file without their surroundings."""
        fields = np.empty((len(self.arrays), len(rows), len(columns)), dtype=np.float32)
        down, along = _runs(self.rows[rows]), _runs(self.columns[columns])
        for field, (name, array) in zip(fields, self.arrays.items(), strict=True):
            factor, offset = array.attrs["orbit2_scale"]
            values = np.empty(field.shape)
            for lat in down:
                for lon in along:
                    piece = _at(array, index).isel(lat=lat.cells, lon=lon.cells).compute().transpose("lat", "lon")
                    values[lat.there, lon.there] = piece.to_numpy()[:: lat.step, :: lon.step]
            values = values * factor + offset
            finite = values[np.isfinite(values)]
            if finite.size:
                self._plausible(name, index, float(finite.min()), float(finite.max()))
            elif not self._somewhere(name, index):
                raise OrbitError("variable is missing (NaN) everywhere", where=f"{array.name} at {self.times[index]}", got="no valid value")
            field[:] = values
        return fields

    def _plausible(self, name: str, index: int, least: float, greatest: float) -> None:
        low, high = variable(name).valid
        slack = 0.02 * (high - low)
        if least < low - slack or greatest > high + slack:
            raise OrbitError(
                f"values of '{self.arrays[name].name}' are not plausible for {name}",
                where=f"time {self.times[index]}",
                got=f"{least:g} to {greatest:g} {variable(name).units}",
                allowed=f"{low:g} to {high:g} {variable(name).units}",
                hint="check the units attribute of the file",
            )

    def _somewhere(self, name: str, index: int) -> bool:
        """Whether a field has any value at all; a band of rows at a time."""
        height, width = self.grid.shape
        band = max(1, BAND_CELLS // width)
        field = _at(self.arrays[name], index)
        return any(np.isfinite(np.asarray(field.isel(lat=slice(start, start + band)))).any() for start in range(0, height, band))


def _at(array: xr.DataArray, index: int) -> xr.DataArray:
    """The field of one time; one without times is that of all."""
    return array.isel(time=index) if "time" in array.dims else array


class _Run(NamedTuple):
    """Neighbouring cells: `there` in a list of indices, `cells` in the file (ascending), `step` -1 where the list descends."""

    there: slice
    cells: slice
    step: int


def _runs(index: Index) -> list[_Run]:
    """`index` as stretches of neighbours: backends read plain slices, and nothing around them."""
    found, start, values = [], 0, index.tolist()
    while start < len(values):
        step = values[start + 1] - values[start] if start + 1 < len(values) else 1
        stop = start + 1
        while abs(step) == 1 and stop < len(values) and values[stop] - values[stop - 1] == step:
            stop += 1
        step = step if abs(step) == 1 else 1
        low, high = sorted((values[start], values[stop - 1]))
        found.append(_Run(slice(start, stop), slice(low, high + 1), step))
        start = stop
    return found


def read_inputs(dataset: xr.Dataset, names: Sequence[str], where: object = "input") -> Inputs:
    """Find `names` in a user's Dataset by canonical name, usual short names or CF standard_name.

    Raises OrbitError naming what is missing and what the file has, or a unit that cannot be converted.
    """
    lat, lon = (_axis(dataset, key, where) for key in ("lat", "lon"))
    time = _axis(dataset, "time", where, needed=False)
    arrays: dict[str, xr.DataArray] = {}
    width = 0
    for name in names:
        array = _find(dataset, name, where)
        scale = _scale(array, name, where)
        width = max(width, _chunk_width(array, lon))
        array = array.rename(
            {
                old: new
                for old, new in ((lat, "lat"), (lon, "lon"), (time, "time"))
                if old is not None and old != new and old in (*array.dims, *array.coords)
            }
        )
        extra = [d for d in array.dims if d not in ("time", "lat", "lon")]
        if any(array.sizes[d] > 1 for d in extra):
            raise OrbitError(
                f"'{array.name}' has a dimension this model does not know",
                where=where,
                got=", ".join(map(str, extra)),
                hint="select one level or member first",
            )
        array = array.isel(dict.fromkeys(extra, 0), drop=True)
        array.attrs["orbit2_scale"] = scale
        arrays[name] = array
    first = next(iter(arrays.values()))
    lats, lons = first["lat"].to_numpy(), first["lon"].to_numpy().astype(np.float64) % 360
    rows, columns = np.argsort(lats, kind="stable"), np.argsort(lons, kind="stable")
    try:
        grid = from_centres(lats[rows], lons[columns])
    except OrbitError as error:
        raise OrbitError(f"unusable grid: {error}", where=where) from None
    _uniform(grid, where)
    timed = next((array for array in arrays.values() if "time" in array.dims), first)
    times = np.atleast_1d(timed["time"].values) if "time" in timed.coords else np.array(["1970-01-01"], dtype="datetime64[s]")
    if times.dtype.kind != "M":
        raise OrbitError(
            "time could not be decoded to dates", where=where, got=str(times.dtype), hint="give CF units such as 'hours since 1900-01-01'"
        )
    return Inputs(arrays, grid, times.astype("datetime64[s]"), rows, columns, width)


def _chunk_width(array: xr.DataArray, lon: str | None) -> int:
    """Cells along longitude that are decompressed to read one; a contiguous array has no chunks."""
    chunks = array.encoding.get("chunks") or array.encoding.get("chunksizes")  # as the Zarr and the NetCDF backends say
    if not chunks or len(chunks) != array.ndim or array.encoding.get("contiguous"):
        return 0
    return int(dict(zip(array.dims, chunks, strict=True)).get(lon, 0))


def _uniform(grid: Grid, where: object) -> None:
    for axis, centres in (("latitude", grid.lat), ("longitude", grid.lon)):
        steps = np.diff(centres)
        if steps.max() - steps.min() > 0.02 * steps.mean():
            raise OrbitError(
                f"{axis} spacing is not uniform",
                where=where,
                got=f"{steps.min():g} to {steps.max():g} degrees",
                hint="regrid to a regular latitude-longitude grid first",
            )


def _axis(dataset: xr.Dataset, key: str, where: object, needed: bool = True) -> str | None:
    by_standard = {"lat": "latitude", "lon": "longitude", "time": "time"}[key]
    for name, coordinate in dataset.coords.items():
        if coordinate.attrs.get("standard_name") == by_standard and coordinate.ndim <= 1:
            return str(name)
    for name in AXES[key]:
        if name in dataset.coords and dataset[name].ndim <= 1:
            return name
    if needed:
        raise OrbitError(
            f"no {by_standard} coordinate found",
            where=where,
            got=", ".join(map(str, dataset.coords)) or "no coordinates",
            allowed=" or ".join(AXES[key][:3]),
        )
    return None


def _find(dataset: xr.Dataset, name: str, where: object) -> xr.DataArray:
    facts = variable(name)
    accepted = tuple(dict.fromkeys((name, facts.short, *ALIASES.get(name, ()))))
    for candidate in accepted:
        if candidate in dataset.data_vars:
            return dataset[candidate]
    unique = sum(v.standard_name == facts.standard_name for v in VARIABLES.values()) == 1
    matches = [v for v in dataset.data_vars if unique and dataset[v].attrs.get("standard_name") == facts.standard_name]
    if len(matches) == 1:
        return dataset[matches[0]]
    raise OrbitError(
        f"needed variable '{name}' ({facts.long_name}, {facts.units}) is not in the input",
        where=where,
        got=", ".join(map(str, dataset.data_vars)) or "no variables",
        allowed=" or ".join(accepted),
        hint="rename it, or train a model without it",
    )


def _scale(array: xr.DataArray, name: str, where: object) -> tuple[float, float]:
    canonical = variable(name).units
    units: Any = array.attrs.get("units")
    known = UNITS.get(canonical, {canonical: (1.0, 0.0)})
    if units is None:
        raise OrbitError(
            f"'{array.name}' has no units attribute",
            where=where,
            allowed=", ".join(known),
            hint="set it in the file: the value decides by a factor",
        )
    if str(units).strip() not in known:
        raise OrbitError(f"'{array.name}' has units that cannot be read as {name}", where=where, got=str(units), allowed=", ".join(known))
    return known[str(units).strip()]
