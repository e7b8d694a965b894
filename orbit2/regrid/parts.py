"""Which samples a dataset holds and how they divide into parts: from the configuration alone. Never opens provider files."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from orbit2.config.dataset import DatasetConfig
from orbit2.sources.source import Window
from orbit2.sources.times import Times, plan_times
from orbit2.times import month_name, stamps


@dataclass(frozen=True)
class Part:
    """Samples `start : start + count`, built by one job. Starts are multiples of the shard length."""

    id: str
    start: int
    count: int


def plan_parts(dataset: DatasetConfig) -> list[Part]:
    """The parts of a dataset, in order; the same configuration always gives the same parts."""
    times = plan_times(dataset)
    starts = _months(times, dataset.samples_per_shard) if dataset.samples_per_part == "month" else [
        *range(0, len(times), dataset.samples_per_part)]
    digits = max(3, len(str(len(starts) - 1)))
    return [Part(f"{i:0{digits}d}", start, end - start) for i, (start, end) in enumerate(pairwise([*starts, len(times)]))]


def unbuilt(dataset: DatasetConfig, store: Path, parts: Path) -> list[Window]:
    """First and last time of each part that is still to be built, by what lies in the folder `parts`; all of them without a store."""
    times, there = plan_times(dataset), (store / "zarr.json").is_file()
    return [(times[part.start], times[part.start + part.count - 1]) for part in plan_parts(dataset)
            if not there or not (parts / f"{part.id}.json").is_file()]


def _months(times: Times, shard: int) -> list[int]:
    """The first shard boundary at or after the beginning of each month: providers' files end there, so few are opened twice."""
    months = times.astype("datetime64[M]") if times.dtype.kind == "M" else np.array([month_name(sample) for sample in stamps(times)])
    begins = np.flatnonzero(months[1:] != months[:-1]) + 1
    rounded = -(-begins // shard) * shard
    return [0, *(int(start) for start in np.unique(rounded) if 0 < start < len(times))]
