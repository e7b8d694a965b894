"""Which samples a dataset holds and how they divide into parts: from the configuration alone. Never opens provider files."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.config.schema import DatasetConfig, Period
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
    """Times of all samples from the first period's start to the last one's end (frames in the gaps are kept, unused)."""
    bounds = [_bounds(period) for period in (dataset.split.train, dataset.split.validation, dataset.split.test)]
    first, last = min(b[0] for b in bounds), max(b[1] for b in bounds)
    if dataset.source == "sample":
        with xr.open_dataset(WEEK, engine="netcdf4") as week:
            available = week["time"].values.astype("datetime64[s]")
    else:
        hour = np.timedelta64(3600, "s")
        available = np.arange(first.astype("datetime64[h]").astype("datetime64[s]"), last + hour, hour)
    times: Times = available[(available >= first) & (available <= last)]
    for name, (start, end) in zip(("train", "validation", "test"), bounds, strict=True):
        if not ((times >= start) & (times <= end)).any():
            raise OrbitError(f"no samples in the {name} period", got=f"{start} to {end}",
                             allowed=f"{available[0]} to {available[-1]}" if len(available) else "nothing")
    return times


def plan_parts(dataset: DatasetConfig) -> list[Part]:
    """The parts of a dataset, in order; the same configuration always gives the same parts."""
    samples, size = len(plan_times(dataset)), dataset.samples_per_part
    starts = range(0, samples, size)
    digits = max(3, len(str(len(starts) - 1)))
    return [Part(f"{i:0{digits}d}", start, min(size, samples - start)) for i, start in enumerate(starts)]


def _bounds(period: Period) -> tuple[np.datetime64, np.datetime64]:
    end = np.datetime64(period.end, "s")
    return np.datetime64(period.start, "s"), end + np.timedelta64(86399, "s") if len(period.end) == 10 else end
