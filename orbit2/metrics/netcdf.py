"""CF NetCDF files of scores. Never half-written."""

from __future__ import annotations

from pathlib import Path

import xarray as xr

from orbit2.files import atomic
from orbit2.grid import Grid
from orbit2.provenance import code_version

PIECE = 512  # cells along a side


def coordinates(grid: Grid) -> dict[str, xr.DataArray]:
    """CF latitude and longitude of cell centres."""
    return {
        "lat": xr.DataArray(grid.lat, dims="lat", attrs={"units": "degrees_north", "standard_name": "latitude"}),
        "lon": xr.DataArray(grid.lon, dims="lon", attrs={"units": "degrees_east", "standard_name": "longitude"}),
    }


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
