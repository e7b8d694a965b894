"""CF NetCDF files of scores. Never half-written."""

from __future__ import annotations

import json
from pathlib import Path

import xarray as xr

from orbit2.data.store_grid import GRID
from orbit2.files import atomic
from orbit2.grid import AnyGrid, Grid, from_attributes, from_centres
from orbit2.provenance import code_version

PIECE = 512  # cells along a side


def coordinates(grid: AnyGrid) -> dict[str, xr.DataArray]:
    """CF latitude and longitude of cell centres; of a map also its axes, its grid mapping and, exactly, what it is."""
    if not isinstance(grid, Grid):
        made = {name: xr.DataArray(found) for name, found in grid.coordinates().items() if not name.endswith("_bnds")}
        for name in grid.dims:
            made[name].attrs.pop("bounds", None)
        for name in grid.field_attributes.values():
            made[name].attrs[GRID] = json.dumps(grid.to_attributes())
        return made
    return {
        "lat": xr.DataArray(grid.lat, dims="lat", attrs={"units": "degrees_north", "standard_name": "latitude"}),
        "lon": xr.DataArray(grid.lon, dims="lon", attrs={"units": "degrees_east", "standard_name": "longitude"}),
    }


def grid_of_file(data: xr.Dataset | xr.DataArray) -> AnyGrid | None:
    """The grid of a file's maps by `coordinates`; None for one without."""
    for found in data.coords.values():
        if GRID in found.attrs:
            return from_attributes(json.loads(found.attrs[GRID]))
    if "lat" not in data.coords or "lon" not in data.coords or data["lat"].ndim != 1 or data["lon"].ndim != 1:
        return None
    return from_centres(data["lat"].to_numpy(), data["lon"].to_numpy())


def write_netcdf(dataset: xr.Dataset, path: Path, title: str) -> None:
    """Write compressed NetCDF 4, whole or not at all."""
    dataset.attrs.update({"Conventions": "CF-1.11", "title": title, "code_version": code_version()})
    numeric = {str(name): array.shape for name, array in dataset.data_vars.items() if array.dtype.kind in "fi" and array.ndim}
    encoding = {name: {"zlib": True, "complevel": 1, **_chunks(shape)} for name, shape in numeric.items()}
    with atomic(path) as temporary:
        dataset.to_netcdf(temporary, engine="h5netcdf", encoding=encoding)


def _chunks(shape: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    """Stacks of maps by map, and those in pieces: one is read without the others."""
    if len(shape) < 3 or 0 in shape:
        return {}
    return {"chunksizes": (*(1,) * (len(shape) - 2), *(min(size, PIECE) for size in shape[-2:]))}
