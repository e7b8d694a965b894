"""The parts that a task's scores are made in: its calendar months or years, from the configuration alone. Loads nothing that computes."""

from __future__ import annotations

from orbit2 import times
from orbit2.config.schema import RunConfig
from orbit2.sources.times import plan_times

ONWARDS = "on"  # of a part that goes on to the task's end


def plan_parts(config: RunConfig, task: str) -> list[str]:
    """The parts of a task, from the configuration alone. A task of the first `max_samples` samples may, where some are missing, go on
    beyond the times planned: its last part is open, `202603on`."""
    section = config.downscale[task]
    dataset = config.datasets[section.dataset]
    period = getattr(dataset.split, section.split)
    found = plan_times(dataset)
    begin, end = period.bounds(dataset.counted)
    found = found[(found >= begin) & (found <= end)]
    first = found[: section.max_samples] if section.max_samples else found
    length = len("2026") if section.parts == "year" else len("202603")
    names = list(dict.fromkeys(times.month_name(sample)[:length] for sample in times.stamps(first)))
    return [*names[:-1], names[-1] + ONWARDS] if len(first) < len(found) else names


def merge_memory_mb(config: RunConfig, task: str) -> int:
    """What merging a task's parts holds at most (MiB), from above: sums of days by region and model stay apart until intervals are drawn.

    `benchmarks/merge.py` measured 6.4 GB for forty years of two variables with every baseline, both stages in one process.
    """
    section = config.downscale[task]
    truth = config.datasets[section.observations or section.dataset].outputs
    variables = [name for name in truth if name in (config.models[section.model].outputs or truth)]
    years = {name[:4] for name in plan_parts(config, task)}
    return max(4000, 1500 + 100 * len(years) * len(variables))
