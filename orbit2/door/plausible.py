"""Values that cannot be weather, told before they are averaged with their neighbours. Never alters one.

A fill value that a file does not declare (-9999, 1e20, -99.9 mm of rain) would otherwise hide in the mean of a coarse cell.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.errors import OrbitError
from orbit2.variables import VARIABLES

FloatArray = npt.NDArray[np.float32]
ROUNDING = 1e-3  # of the range: what packing leaves beyond its ends


def checked(data: xr.Dataset, source: str) -> xr.Dataset:
    """The same fields, lazily; reading one with a value outside its variable's physical range raises OrbitError. NaN passes."""
    found = data.copy()
    for name in map(str, data.data_vars):
        if name not in VARIABLES or data[name].chunks is None:
            continue
        low, high = VARIABLES[name].valid
        slack = 0.05 if VARIABLES[name].precipitation else ROUNDING * (high - low)
        lazy = data[name].data.map_blocks(_refuse, low - slack, high + slack, f"{source}: {name}", dtype=data[name].dtype,
                                          meta=data[name].data._meta)
        found[name] = data[name].copy(data=lazy)
    return found


def _refuse(values: FloatArray, low: float, high: float, where: str) -> FloatArray:
    """`values` [...] when all of them lie between `low` and `high` or are NaN."""
    if values.size == 0:
        return values
    least, greatest = np.fmin.reduce(values, axis=None), np.fmax.reduce(values, axis=None)
    if least < low or greatest > high:
        odd = least if least < low else greatest
        count = int(np.isclose(values, odd, rtol=1e-6, atol=0).sum())
        raise OrbitError("values outside the physical range: wrong units? A fill value that the file does not declare?", where=where,
                         got=f"{odd:g} in {count} cells", allowed=f"{low:g} to {high:g}, or missing (NaN, _FillValue, missing_value)",
                         hint="declare the fill value (ncatted -a _FillValue), or correct the units attribute")  # fmt: skip
    return values
