"""Which samples a dataset holds and how they divide into parts: from the configuration alone. Never opens provider files."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.config.dataset import DatasetConfig
from orbit2.config.needs import bounds
from orbit2.errors import OrbitError
from orbit2.sources.sample import WEEK

Times = npt.NDArray[np.datetime64]


@dataclass(frozen=True)
class Part:
    """Samples `start : start + count`, built by one job. Starts are multiples of the shard length."""

    id: str
    start: int
    count: int


def plan_times(dataset: DatasetConfig) -> Times:
    """Times (datetime64[s]) of all samples from the first period's start to the last one's end; frames in the gaps are kept, unused.

    Hourly samples carry their stamp, daily ones 00:00 of their date. Raises OrbitError for a period without samples.
    """
    first, last = bounds(dataset)
    if dataset.source == "sample":
        with xr.open_dataset(WEEK, engine="netcdf4") as week:
            available = week["time"].values.astype("datetime64[s]")
    else:
        step = np.timedelta64(3600 * dataset.step_hours, "s")
        unit = "datetime64[h]" if dataset.step_hours == 1 else "datetime64[D]"
        available = np.arange(first.astype(unit).astype("datetime64[s]"), last + np.timedelta64(1, "s"), step)
    times: Times = available[(available >= first) & (available <= last)]
    for name, period in dataset.split.blocks.items():
        if not ((times >= period.first) & (times <= period.last)).any():
            raise OrbitError(f"no samples in the {name} period", got=f"{period.start} to {period.end}",
                             allowed=f"{available[0]} to {available[-1]}" if len(available) else "nothing")
    return times


def plan_parts(dataset: DatasetConfig) -> list[Part]:
    """The parts of a dataset, in order; the same configuration always gives the same parts."""
    times = plan_times(dataset)
    starts = _months(times, dataset.samples_per_shard) if dataset.samples_per_part == "month" else [
        *range(0, len(times), dataset.samples_per_part)]
    digits = max(3, len(str(len(starts) - 1)))
    return [Part(f"{i:0{digits}d}", start, end - start) for i, (start, end) in enumerate(pairwise([*starts, len(times)]))]


def _months(times: Times, shard: int) -> list[int]:
    """The first shard boundary at or after the beginning of each month: providers' files end there, so few are opened twice."""
    months = times.astype("datetime64[M]")
    begins = np.flatnonzero(months[1:] != months[:-1]) + 1
    rounded = -(-begins // shard) * shard
    return [0, *(int(start) for start in np.unique(rounded) if 0 < start < len(times))]
