"""Data as a notebook wants it: a lazy CF Dataset of files, of a store of orbit2's, of the week that ships with it."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

import xarray as xr

from orbit2.data.pairs import PairStore
from orbit2.door.axes import time_name
from orbit2.door.opening import opened
from orbit2.errors import OrbitError
from orbit2.sources.sample import WEEK
from orbit2.variables import VARIABLES

Source = str | Path | Sequence[str | Path]


def open(source: Source, side: Literal["coarse", "fine"] = "fine") -> xr.Dataset:
    """Files (NetCDF, Zarr, GRIB, zips of them; paths, patterns, folders, addresses) or a pair store as one lazy Dataset, a chunk a time.

    Of a pair store (pairs.zarr) `side` says which; its fields are unpacked into CF variables. Files keep their own names and units. Close
    it when it is done with (`with orbit2.open(...) as data`). Raises OrbitError for what is not there, or cannot be read.
    """
    if not isinstance(source, (str, Path, list, tuple)):
        raise OrbitError("not a place of data", where="source", got=type(source).__name__,
                         allowed="a path, a pattern, an address, or a list of these",
                         hint='give the place of the files, e.g. orbit2.open("era5/*.nc")')  # fmt: skip
    if side not in ("coarse", "fine"):
        raise OrbitError("no such side of a pair store", where="side", got=str(side), allowed="coarse, fine",
                         hint="leave side out for the fine fields")  # fmt: skip
    if isinstance(source, (str, Path)) and all((Path(source) / group / "zarr.json").is_file() for group in ("coarse", "fine")):
        return PairStore(source).dataset(side)
    stack = ExitStack()
    try:
        known = tuple(name for name, about in VARIABLES.items() if about.kind != "static")
        data = stack.enter_context(opened(source, known))
        time = time_name(data)
        dims = data[time].dims if time is not None else ()
        from orbit2 import lazy  # noqa: F401 -- before dask computes what is opened here

        data = data.chunk(dict.fromkeys(dims, 1))
    except BaseException:
        stack.close()
        raise
    data.set_close(stack.close)
    return data


def sample() -> xr.Dataset:
    """The week of real ERA5 that ships with orbit2: 24 fields of five variables, 1 degree, the globe (see its attributes for credit)."""
    week = open(WEEK)
    week["tp"].attrs["accumulated_hours"] = 1  # hourly ERA5: the amount of the hour that ends at its time
    return week
