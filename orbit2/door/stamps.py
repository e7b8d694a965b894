"""Time coordinates turned into stamps: dates, numbers with CF units, days as YYYYMMDD. Never takes another calendar for the real one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import times as clocks
from orbit2.errors import OrbitError

Stamps = npt.NDArray[np.datetime64]
CALENDARS = clocks.REAL


def decoded(time: xr.DataArray, path: Path) -> Stamps:
    """An undecoded `time` (numbers since an epoch) as datetime64[s], counted on the ordinary calendar, whatever its attribute says.

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
        raise OrbitError(f"time cannot be read ({str(error).splitlines()[0]})", where=path, got=str(units),
                         hint="write times by CF: a number of days, hours or seconds since a date") from None  # fmt: skip
    if not np.issubdtype(dates.dtype, np.datetime64):
        raise OrbitError("time has unknown units", where=path, got=str(units), allowed="seconds, hours or days since a date",
                         hint="write times by CF, e.g. hours since 1970-01-01")  # fmt: skip
    found: Stamps = dates.astype("datetime64[s]")
    if np.isnat(found).any():
        raise OrbitError("time has missing values", where=path, hint="cut the fields without a time off")
    return found


def dates(time: xr.DataArray, where: object, *, others: bool = False) -> clocks.Times:
    """The times of a coordinate as datetime64[s], [T]: decoded ones, text (WRF's Times), or days written as numbers (20200131); with
    `others` also cftime dates of another calendar.

    Raises OrbitError naming a calendar that is not the real one, or with `others` that nobody knows, and for numbers without units.
    """
    values = np.atleast_1d(time.values)
    place = f"{where}: {time.name}"
    if values.dtype.kind in "SU":
        return written(values, place)
    kind = time.encoding.get("calendar") or time.attrs.get("calendar") or getattr(values.flat[0] if values.size else None, "calendar", None)
    if others and kind and str(kind) not in CALENDARS and values.dtype.kind == "O" and all(hasattr(v, "calendar") for v in values.flat):
        return _of_calendar(values, str(kind), place)
    if kind and str(kind) not in CALENDARS:
        raise OrbitError("calendar is not the real one", where=place, got=str(kind), allowed=", ".join(CALENDARS),
                         hint="convert it first, e.g. with xarray: dataset.convert_calendar('standard', align_on='date')")
    if values.dtype.kind == "O" and values.size and hasattr(values.flat[0], "calendar"):  # far from today: not numpy's dates
        values = np.array([value.isoformat() for value in values.flat], dtype="datetime64[s]")
    if values.dtype.kind == "M":
        found: Stamps = values.astype("datetime64[s]")
        if np.isnat(found).any():
            raise OrbitError("time has missing values", where=place, hint="cut the fields without a time off")
        return found
    days = whole_days(values) if values.dtype.kind in "iuf" and not time.attrs.get("units") else None
    if days is None:
        raise OrbitError("time is not a date", where=place, got=f"{values.dtype}, {values.flat[0] if values.size else 'none'}",
                         allowed="CF units such as 'hours since 1900-01-01', or days as YYYYMMDD",
                         hint="the units or calendar attribute is missing")
    return days


def written(values: npt.NDArray[Any], where: object) -> Stamps:
    """Times that are written out, `2020-01-31_12:00:00` (WRF) or ISO 8601, [T]. Raises OrbitError for what is none."""
    texts = [value.decode("ascii", "replace") if isinstance(value, bytes) else str(value) for value in values.ravel()]
    try:
        found: Stamps = np.array([text.strip().replace("_", "T") for text in texts], dtype="datetime64[s]")
    except ValueError:
        raise OrbitError("time is not a date", where=where, got=texts[0] if texts else "none", allowed="2020-01-31_12:00:00",
                         hint="write times by CF, or as in the example") from None  # fmt: skip
    if np.isnat(found).any():
        raise OrbitError("time has missing values", where=where, hint="cut the fields without a time off")
    return found


def _of_calendar(values: npt.NDArray[Any], kind: str, where: str) -> clocks.Times:
    """cftime dates as this project has them. Raises OrbitError for a calendar that is not known."""
    try:
        clocks.cf_name(kind)
    except ValueError as error:
        raise OrbitError("calendar is unknown", where=where, got=kind, allowed=", ".join(clocks.CALENDARS),
                         hint="set the calendar attribute of the time axis to one of CF's") from error  # fmt: skip
    return clocks.normal(values)


def whole_days(values: npt.NDArray[Any]) -> Stamps | None:
    """Days written as numbers, 20200131 -> 2020-01-31T00:00:00, [T]; None where they are no such days."""
    texts = [f"{int(v)}" if np.isfinite(v) and float(v).is_integer() else "" for v in values.ravel()]
    if not texts or any(len(text) != 8 for text in texts):
        return None
    try:
        return np.array([f"{t[:4]}-{t[4:6]}-{t[6:]}" for t in texts], dtype="datetime64[s]")
    except ValueError:
        return None
