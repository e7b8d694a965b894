"""Amounts of whole months: months have no one length, so each is divided by its own, in the file's calendar. Never changes values."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import times as clocks

_PER_MONTH = re.compile(r"(?P<amount>.+?)\s*(?:/\s*|\bper\s+|[ .])\s*mon(?:th)?s?\s*(?P<power>(?:\^|\*\*)?-1)?", re.IGNORECASE)
_SAID = re.compile(r"1? ?mon(th)?s?", re.IGNORECASE)
_SUM = re.compile(r"time: sum(?! within| over)(?: \(interval: (?P<interval>[^)]*)\))?")
SHORTEST, LONGEST = 28.0, 31.0  # days


class Monthly(NamedTuple):
    """Units of the amounts without the month, and how many days each is of [T]."""

    units: str
    days: npt.NDArray[np.float64]


def monthly(array: xr.DataArray, dataset: xr.Dataset, times: clocks.Times, time: Any, said: str | None) -> Monthly | None:
    """Of amounts per month: by their units (`mm month-1`), by cell methods (a sum, of a month or of stamps a month apart), or as the user
    says (`1 month`). The length is that of the time bounds, where the file has them, else of the stamp's month. None for anything else."""
    units = str(array.attrs.get("units", "")).strip()
    found = _PER_MONTH.fullmatch(units)
    if found is not None and (found["power"] or "/" in units or " per " in units):
        return Monthly(found["amount"], _days(dataset, times, time))
    methods, apart = _SUM.search(str(array.attrs.get("cell_methods", ""))), clocks.steps(times) / 24
    if said is not None:
        return Monthly(units, _days(dataset, times, time)) if _SAID.fullmatch(said.strip()) else None
    if methods is None:
        return None
    spaced = len(apart) > 0 and apart.min() >= SHORTEST and apart.max() <= LONGEST
    whole = _SAID.fullmatch(methods["interval"].strip()) is not None if methods["interval"] else spaced
    return Monthly(units, _days(dataset, times, time)) if whole else None


def _days(dataset: xr.Dataset, times: clocks.Times, time: Any) -> npt.NDArray[np.float64]:
    calendar = clocks.calendar_of(times)
    own = np.array([clocks.days_of_month(sample, calendar) for sample in clocks.stamps(times)], dtype=np.float64)
    coordinate = dataset[time] if time is not None and time in dataset.coords else None
    bounds = None if coordinate is None else coordinate.attrs.get("bounds") or coordinate.encoding.get("bounds")
    if bounds is None or bounds not in dataset or dataset[bounds].shape != (len(times), 2) or dataset[bounds].dtype.kind not in "MO":
        return own
    ends = [clocks.seconds(clocks.normal(dataset[bounds].values[:, side])) for side in (0, 1)]
    days = (ends[1] - ends[0]) / clocks.DAY_SECONDS
    return np.asarray(days, dtype=np.float64) if ((days >= SHORTEST) & (days <= LONGEST)).all() else own
