"""Static fields on any grid, averaged from the 0.25 degree fields that ship with orbit2. Never z-scores or fills them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.grid import EARTH_RADIUS_KM, Grid, from_centres
from orbit2.remap import Regridder
from orbit2.sources.sample import STATIC
from orbit2.variables import variable

FloatArray = npt.NDArray[np.float32]
Array = npt.NDArray[np.float64]
DERIVED = ("latitude", "slope")


def open_static(grid: Grid, names: Sequence[str], path: Path | None = None) -> FloatArray:
    """Static fields [S, H, W] on `grid`, canonical units, in the order of `names`.

    Fields of the file (`path`, default the packaged 0.25 degree fields) are averaged conservatively; where `grid` is
    finer than the file they are interpolated linearly. `slope` is the gradient of the orography AT the target grid
    (metres per metre), `latitude` the cell centres' latitude. Raises OrbitError for a field the file does not have.
    """
    result = np.empty((len(names), *grid.shape), dtype=np.float32)
    for i, name in enumerate(names):
        if variable(name).kind != "static":
            raise OrbitError("not a static field", got=name, hint="list it among the inputs instead")
        if name == "latitude":
            result[i] = grid.lat[:, None]
        elif name == "slope":
            result[i] = slope(_field(grid, "orography", path), grid)
        else:
            result[i] = _field(grid, name, path)
    return result


def slope(orography: Array, grid: Grid) -> Array:
    """Magnitude of the gradient of `orography` [H, W] in metres: centred differences, periodic in longitude.

    One-sided differences in the outermost rows, and in the outermost columns of a grid that does not go round the globe.
    """
    metres = np.radians(1.0) * EARTH_RADIUS_KM * 1000.0
    lat_edges_or_centres = (grid.lat_edges[:-1] + grid.lat_edges[1:]) / 2  # cell means live at the middle, also at the poles
    northward = np.gradient(orography, lat_edges_or_centres * metres, axis=0) if grid.shape[0] > 1 else np.zeros(grid.shape)
    if grid.periodic and grid.shape[1] > 2:
        wrapped = np.concatenate([orography[:, -1:], orography, orography[:, :1]], axis=1)
        lon = np.concatenate([[grid.lon[-1] - 360.0], grid.lon, [grid.lon[0] + 360.0]])
        eastward = np.gradient(wrapped, lon * metres, axis=1)[:, 1:-1]
    elif grid.shape[1] > 1:
        eastward = np.gradient(orography, grid.lon * metres, axis=1)
    else:
        eastward = np.zeros(grid.shape)
    result: Array = np.hypot(northward, eastward / np.cos(np.radians(lat_edges_or_centres))[:, None])
    return result


def _field(grid: Grid, name: str, path: Path | None) -> Array:
    source, values = _read(path or STATIC, name)
    if grid.same_as(source):
        return values
    method = "bilinear" if grid.resolution < source.resolution * (1 - 1e-6) else "conservative"
    field = Regridder(source, grid, "bilinear" if method == "bilinear" else "conservative")(values)
    if not np.isfinite(field).all():
        raise OrbitError("the static file does not cover the grid", where=path or STATIC, got=source.describe(), allowed=grid.describe())
    return field


@lru_cache(maxsize=8)
def _read(path: Path, name: str) -> tuple[Grid, Array]:
    """One field [H, W] with its grid, latitude ascending, longitude increasing."""
    if not Path(path).is_file():
        raise OrbitError("static file not found", where=path, hint="run `orbit2 retrieve --source static`")
    try:
        with xr.open_dataset(path, engine="netcdf4") as opened:
            if name not in opened:
                raise OrbitError("static field not in the file", where=path, got=name,
                                 allowed=", ".join([*map(str, opened.data_vars), *DERIVED]))
            field = opened[name].astype(np.float64).load()
    except (OSError, ValueError) as error:
        raise OrbitError(f"cannot be read as NetCDF ({error})", where=path) from None
    units = field.attrs.get("units")
    if units != variable(name).units:
        raise OrbitError("static field has the wrong units", where=f"{path}: {name}", got=units, allowed=variable(name).units)
    if set(field.dims) != {"lat", "lon"}:
        raise OrbitError("static field must have dimensions (lat, lon)", where=f"{path}: {name}", got=field.dims)
    field = field.assign_coords(lon=np.mod(field["lon"], 360)).transpose("lat", "lon").sortby(["lat", "lon"])
    values = field.to_numpy()
    if not np.isfinite(values).any():
        raise OrbitError("static field is missing everywhere", where=f"{path}: {name}")
    return from_centres(field["lat"].values, field["lon"].values), values
