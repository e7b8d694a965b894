"""How many samples one job of regridding has, in a new run of small fields: more than a month. Never reads a file."""

from __future__ import annotations

import math

from orbit2.config.schema import RunConfig
from orbit2.plan.disk import PACKED, samples_bytes
from orbit2.regrid.parts import plan_parts
from orbit2.sources.times import plan_times

WORTH = 20_000_000  # values of a pair store that a job makes at least: as long as it takes to start (four seconds here)


def samples_per_part(config: RunConfig, name: str, cores: int) -> int | None:
    """For dataset `name`; None where jobs of a month are worth their start, or can all go on at once on so many cores."""
    dataset = config.datasets[name]
    values, samples, months = samples_bytes(config, name)[0] // PACKED, len(plan_times(dataset)), len(plan_parts(dataset))
    jobs = max(math.ceil(samples * values / WORTH), cores)
    if jobs >= months:
        return None
    shard = dataset.samples_per_shard
    return shard * math.ceil(samples / jobs / shard)
