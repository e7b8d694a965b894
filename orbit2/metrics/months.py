"""The parts that a task's scores are made in: its calendar months or years, from the configuration alone. Loads nothing that computes."""

from __future__ import annotations

from collections.abc import Sequence

from orbit2 import times
from orbit2.config.schema import RunConfig
from orbit2.hands import NEEDS
from orbit2.sources.times import plan_times

ONWARDS = "on"  # of a part that goes on to the task's end
LONG = 5  # years from which it takes a minute to merge their parts
SPAN = "to"  # between the first and the last part of a job that makes several


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


def plan_jobs(config: RunConfig, task: str) -> dict[str, list[str]]:
    """The jobs of a task's scores: name -> the parts that it makes one after the other."""
    parts, count = plan_parts(config, task), config.downscale[task].parts_per_job
    return {job_name(some): some for some in (parts[at : at + count] for at in range(0, len(parts), count))}


def job_name(parts: Sequence[str]) -> str:
    """`202603`, or `202603to202608`."""
    return parts[0] if len(parts) == 1 else f"{parts[0]}{SPAN}{parts[-1]}"


def merge_memory_mb(config: RunConfig, task: str) -> int:
    """What merging a task's parts holds at most (MiB), from above: sums of days by region and model stay apart until intervals are drawn.

    `benchmarks/merge.py` measured 6.4 GB for forty years of two variables with every baseline, both stages in one process.
    """
    section = config.downscale[task]
    truth = config.datasets[section.observations or section.dataset].outputs
    variables = [name for name in truth if name in (config.models[section.model].outputs or truth)]
    years = _years(config, task)
    return max(4000, 1500 + 100 * years * len(variables)) + NEEDS // 2**20 * (_threads(years) - 1)


def merge_threads(config: RunConfig, task: str) -> int:
    """Processes that merge a task's parts: two where they are of so many years that it takes a minute."""
    return _threads(_years(config, task))


def _threads(years: int) -> int:
    return 2 if years >= LONG else 1


def _years(config: RunConfig, task: str) -> int:
    return len({name[:4] for name in plan_parts(config, task)})
