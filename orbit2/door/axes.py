"""Which coordinates of a file are latitude, longitude (see `orbit2.grid.axes`) and time."""

from __future__ import annotations

import numpy as np
import xarray as xr

from orbit2.grid import Grid
from orbit2.grid.axes import Horizontal, horizontal

__all__ = ["Horizontal", "horizontal", "time_name", "uneven"]
_TIMES = ("valid_time", "time", "date", "times", "datetime", "xtime")  # WRF: Times is text, XTIME may count from the start of the run


def time_name(dataset: xr.Dataset) -> str | None:
    """The coordinate of the times that the fields are valid for: by its standard name, else by its name. None where there is none.

    A forecast's reference time is not it, and neither is a dimension `time` without a coordinate.
    """
    here = {str(n): v for n, v in dataset.variables.items() if v.ndim <= 1 and v.attrs.get("standard_name") != "forecast_reference_time"}
    named = [n for name in _TIMES for n in here if n.lower() == name]
    by_standard = [n for n, v in here.items() if v.attrs.get("standard_name") == "time"]
    return next((n for n in (*sorted(by_standard, key=lambda n: (here[n].ndim == 0, n not in named)), *named)), None)


def uneven(grid: Grid) -> tuple[str, float, float] | None:
    """The axis whose spacing is not uniform (Gaussian latitudes), its least and greatest step in degrees; None where both are even."""
    for axis, centres in (("latitude", grid.lat), ("longitude", grid.lon)):
        steps = np.diff(centres)
        if steps.max() - steps.min() > 0.02 * steps.mean():
            return axis, float(steps.min()), float(steps.max())
    return None
