"""The times of a user's fields: as the file says them, or as the user does. Never invents a date."""

from __future__ import annotations

import re
from datetime import datetime

import numpy as np
import xarray as xr

from orbit2.door.axes import time_name
from orbit2.door.stamps import dates
from orbit2.errors import OrbitError
from orbit2.times import Times

_SAY = "say it with --time 2020-01-31T12:00 (several fields: --time 2020-01-01T00:00,6h; in Python time=...)"
_PERIOD = re.compile(r"(\d+(?:\.\d+)?) ?(s|min|minutes?|h|hours?|d|days?)$")
_HOURS = {"s": 1 / 3600, "m": 1 / 60, "h": 1.0, "d": 24.0}


def hours(text: str, where: str) -> float:
    """`1h`, `24 hours`, `1d` as hours. Raises OrbitError for anything else."""
    match = _PERIOD.match(text.strip())
    if match is None or float(match[1]) <= 0:
        raise OrbitError("not a period", where=where, got=text, allowed="a number and s, min, h or d, e.g. 1h or 1d",
                         hint="24h for daily amounts")  # fmt: skip
    return float(match[1]) * _HOURS[match[2][0]]


def times_of(dataset: xr.Dataset, field: xr.DataArray, spare: list[str], where: object, given: str | None) -> tuple[str | None, Times]:
    """(dimension of time, None for a single field; stamps [T]) of `field`, whose dimensions besides latitude and longitude are `spare`.

    Raises OrbitError for a calendar that is not the real one, for stamps that are no dates, and where nobody says the time.
    """
    open_dims = [d for d in spare if field.sizes[d] > 1]
    name = time_name(dataset)
    if name is not None and dataset[name].ndim and dataset[name].dims[0] not in field.dims:
        name = None
    if name is None:
        return _given(field, spare, open_dims, where, given)
    if given is not None:
        raise OrbitError("the input has its own times", where=f"{where}: {name}", got=f"--time {given}", hint="leave --time out")
    coordinate = dataset[name]
    return (str(coordinate.dims[0]) if coordinate.ndim else None), _decoded(coordinate, where)


def _given(field: xr.DataArray, spare: list[str], open_dims: list[str], where: object, given: str | None) -> tuple[str | None, Times]:
    dimension = open_dims[0] if len(open_dims) == 1 else "time" if "time" in spare else None
    likely = dimension is not None and dimension.lower() in ("time", "t", "date", "day", "valid_time", "times", "step")
    if dimension is not None and not likely:
        raise OrbitError(f"'{field.name}' has a dimension that is neither time, level nor place", where=where, got=dimension,
                         hint="select one level or member first")  # fmt: skip
    count = field.sizes[dimension] if dimension is not None else 1
    if given is None:
        what = f"{count} fields along '{dimension}'" if dimension is not None else "a single field"
        raise OrbitError("no time is given: the input has no time coordinate", where=where, got=what, hint=_SAY)
    first, _, step = given.partition(",")
    try:
        start = np.datetime64(datetime.fromisoformat(first.strip()).replace(tzinfo=None), "s")
    except ValueError:
        raise OrbitError("not a time", where="--time", got=given, allowed="e.g. 2020-01-31T12:00, or 2020-01-01T00:00,6h",
                         hint="give the date of the first field") from None  # fmt: skip
    if count > 1 and not step:
        raise OrbitError(f"the input has {count} fields: the step between them is missing", where="--time", got=given,
                         allowed=f"{given},STEP, e.g. {given},6h", hint="add the step after a comma")  # fmt: skip
    seconds = round(3600 * hours(step, "--time")) if step else 0
    return dimension, start + np.arange(count) * np.timedelta64(seconds, "s")


def _decoded(coordinate: xr.DataArray, where: object) -> Times:
    stamps = dates(coordinate, where, others=True)
    if len(np.unique(stamps)) != len(stamps):
        raise OrbitError("a time is there twice", where=f"{where}: {coordinate.name}", got=f"{len(stamps) - len(np.unique(stamps))} of "
                         f"{len(stamps)}", hint="keep one field per time, e.g. with xarray: dataset.drop_duplicates('time')")  # fmt: skip
    return stamps
