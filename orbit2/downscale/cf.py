"""How predictions describe themselves: CF attributes and coordinates. Never computes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.grid import Grid
from orbit2.variables import variable

FloatArray = npt.NDArray[np.float32]


def as_dataset(frames: FloatArray, names: Sequence[str], grid: Grid, times: npt.NDArray[np.datetime64]) -> xr.Dataset:
    """[T, C, H, W] in canonical units as a CF Dataset."""
    data = {name: (("time", "lat", "lon"), frames[:, i], attributes(name)) for i, name in enumerate(names)}
    return xr.Dataset(data, coords={"time": times.astype("datetime64[ns]"), **coordinates(grid)}, attrs={"Conventions": "CF-1.11"})


def attributes(name: str) -> dict[str, str]:
    """CF attributes of a variable."""
    facts = variable(name)
    return {"units": facts.units, "standard_name": facts.standard_name, "long_name": facts.long_name, "cell_methods": facts.cell_methods}


def coordinates(grid: Grid) -> dict[str, Any]:
    """CF latitude and longitude with bounds."""
    result: dict[str, Any] = {}
    for axis, long, centres, edges in (("lat", "latitude", grid.lat, grid.lat_edges), ("lon", "longitude", grid.lon, grid.lon_edges)):
        units = "degrees_north" if axis == "lat" else "degrees_east"
        result[axis] = (
            axis,
            centres,
            {"units": units, "standard_name": long, "axis": "Y" if axis == "lat" else "X", "bounds": f"{axis}_bnds"},
        )
        result[f"{axis}_bnds"] = ((axis, "bnds"), np.stack([edges[:-1], edges[1:]], -1))
    return result
