"""Which times a dataset's samples have: from the configuration alone. Never opens provider files (the shipped week is known)."""

from __future__ import annotations

import functools

import numpy as np
import xarray as xr

from orbit2 import times as calendars
from orbit2.config.dataset import DatasetConfig, Period
from orbit2.config.needs import stretches
from orbit2.config.sources import traits
from orbit2.errors import OrbitError
from orbit2.sources.sample import WEEK

Times = calendars.Times


def plan_times(dataset: DatasetConfig) -> Times:
    """Times (datetime64[s]) of all samples of the periods; frames in short gaps between them are kept, unused, those in long ones are not.

    Hourly samples carry their stamp, daily ones 00:00 of their date. Raises OrbitError for a period without samples.
    """
    spans = stretches(dataset)
    if traits(dataset.source).packaged:
        available = _week()
    elif calendars.months(dataset.step_hours):
        available = np.concatenate([calendars.each_month(first, last) for first, last in spans])
        available = _without(available, dataset)
    elif dataset.calendar is not None and not calendars.real(dataset.calendar):
        available = _of_calendar(dataset, spans)
    else:
        step = np.timedelta64(3600 * dataset.step_hours, "s")
        unit = "datetime64[h]" if dataset.step_hours == 1 else "datetime64[D]"
        found = None if dataset.files is None else dataset.files.found
        late = np.timedelta64(0 if found is None else round(3600 * found.first_hour), "s")
        available = np.concatenate([np.arange(first.astype(unit).astype("datetime64[s]") + late, last + np.timedelta64(1, "s"), step)
                                    for first, last in spans])
        available = _without(available, dataset)
    times: Times = np.concatenate([available[(available >= first) & (available <= last)] for first, last in spans])
    for name, period in dataset.split.blocks.items():
        begin, end = period.bounds(dataset.counted)
        if not ((times >= begin) & (times <= end)).any():
            raise OrbitError(f"no samples in the {name} period", where=f"split.{name}", got=f"{period.start} to {period.end}",
                             allowed=calendars.span(available), hint="choose a period in which the dataset has samples")  # fmt: skip
    return times


@functools.cache
def _week() -> Times:
    """Of the sample that ships with orbit2."""
    with xr.open_dataset(WEEK, engine="netcdf4") as week:
        times: Times = week["time"].values.astype("datetime64[s]")
    times.flags.writeable = False  # one array for all who ask
    return times


def planned_in(dataset: DatasetConfig, period: Period | None) -> int:
    """How many samples of a dataset lie in a period of its split; 0 of none."""
    if period is None:
        return 0
    times, (first, last) = plan_times(dataset), period.bounds(dataset.counted)
    return int(((times >= first) & (times <= last)).sum())


def _of_calendar(dataset: DatasetConfig, spans: list[tuple[calendars.Time, calendars.Time]]) -> Times:
    """The same in another calendar than the real one: from the beginning of each stretch's first day."""
    found = None if dataset.files is None else dataset.files.found
    late = 0 if found is None else round(3600 * found.first_hour)
    step, calendar, pieces = 3600 * dataset.step_hours, dataset.counted, []
    for first, last in spans:
        midnight = calendars.begin(calendars.day(calendars.stamp(first)), calendar)
        begin, end = calendars.seconds(np.array([midnight, last], dtype=object))
        pieces.append(calendars.from_seconds(np.arange(begin + late, end + 1, step), calendar=calendar))
    return _without(np.concatenate(pieces), dataset)


def _without(available: Times, dataset: DatasetConfig) -> Times:
    """The times that the dataset's own files have."""
    found, calendar = None if dataset.files is None else dataset.files.found, dataset.counted
    for start, stop in () if found is None else found.lacking:
        inside = (available >= calendars.begin(start, calendar)) & (available <= calendars.begin(stop, calendar))
        available = available[~inside]
    return available
