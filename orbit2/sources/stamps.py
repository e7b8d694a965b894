"""Time coordinates as numbers with CF units, turned into stamps. Never follows a calendar attribute: readers judge that themselves."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.errors import OrbitError

Stamps = npt.NDArray[np.datetime64]


def decoded(time: xr.DataArray, path: Path) -> Stamps:
    """An undecoded `time` (numbers since an epoch) as datetime64[s], counted on the ordinary calendar.

    Raises OrbitError without units, or where they are no count since a date.
    """
    units = time.attrs.get("units")
    if not units:
        raise OrbitError("time has no units", where=path, hint="delete it and retrieve it again")
    values = np.atleast_1d(time.values)
    plain = xr.Dataset(coords={"time": ("time", values, {"units": str(units), "calendar": "standard"})})
    try:
        dates = xr.decode_cf(plain)["time"].values
    except (ValueError, OverflowError, TypeError) as error:
        raise OrbitError(f"time cannot be read ({str(error).splitlines()[0]})", where=path, got=str(units)) from None
    if not np.issubdtype(dates.dtype, np.datetime64):
        raise OrbitError("time has unknown units", where=path, got=str(units), allowed="seconds, hours or days since a date")
    found: Stamps = dates.astype("datetime64[s]")
    if np.isnat(found).any():
        raise OrbitError("time has missing values", where=path)
    return found
