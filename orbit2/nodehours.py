"""Node-hours of the jobs that a run submits: work that is told (orbit2/plan/hours.py), shared out over nodes. Estimates nothing itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

STAGES = {  # rule -> stage, as orbit2.plan names it
    "train_model": "train", "finetune_model": "train", "downscale_task": "downscale", "downscale_block": "downscale",
    "regrid_part": "regrid", "statistics_dataset": "statistics", "evaluate_fit": "evaluate fit", "evaluate_part": "evaluate",
}  # fmt: skip
ON_DEVICES = ("train", "downscale")  # their seconds are those of the clock, on all their nodes
Seconds = Mapping[str, Mapping[str, float]]


@dataclass(frozen=True)
class Job:
    """One job of the workflow: its rule, and the dataset, model or task that it is of; a `share` of what that takes, on `threads`."""

    rule: str
    name: str
    threads: int = 1
    share: float = 1.0


@dataclass(frozen=True)
class Submitted:
    """One job of the cluster: whole nodes, for one job of the workflow or for a group that runs side by side on one node."""

    jobs: tuple[Job, ...]
    nodes: int = 1


@dataclass(frozen=True)
class Row:
    """All jobs of the cluster that hold the same rules; `hours`: node-hours of what is told, `untold`: rules nobody measured."""

    rules: tuple[str, ...]
    jobs: int
    submitted: int
    hours: float
    untold: tuple[str, ...]


def rows(submitted: Iterable[Submitted], seconds: Seconds, cores: int) -> list[Row]:
    """`seconds`: stage -> name -> of a training or prediction on the clock, of one job of any other stage in core time; `cores` of a node.

    A group takes at least its longest job, and at least its work on all cores.
    """
    found: dict[tuple[str, ...], Row] = {}
    for each in submitted:
        rules = tuple(sorted({job.rule for job in each.jobs}, key=_order))
        told = [(job, _seconds(job, seconds)) for job in each.jobs]
        untold = {job.rule for job, takes in told if takes is None and job.rule in STAGES}
        clock = [takes for job, takes in told if takes is not None and STAGES[job.rule] in ON_DEVICES]
        work = [(takes, takes / min(job.threads, cores)) for job, takes in told
                if takes is not None and STAGES[job.rule] not in ON_DEVICES]  # fmt: skip
        together = max(sum(takes for takes, _ in work) / cores, max((longest for _, longest in work), default=0.0))
        hours = each.nodes * (sum(clock) + together) / 3600
        before = found.get(rules, Row(rules, 0, 0, 0.0, ()))
        found[rules] = Row(rules, before.jobs + len(each.jobs), before.submitted + 1, before.hours + hours,
                           tuple(sorted(untold | set(before.untold), key=_order)))  # fmt: skip
    return sorted(found.values(), key=lambda row: _order(row.rules[0]))


def _seconds(job: Job, seconds: Seconds) -> float | None:
    """Of one job; None where it is not told."""
    takes = seconds.get(STAGES.get(job.rule, ""), {}).get(job.name)
    return None if takes is None else takes * job.share


def _order(rule: str) -> tuple[int, str]:
    """Rules as the workflow has them; those without work of their own after the stage that they belong to."""
    order = ("regrid", "statistics", "train", "finetune", "downscale", "evaluate", "diagnose", "report")
    return next((i for i, stage in enumerate(order) if rule.startswith(stage)), len(order)), rule


def render(found: Sequence[Row]) -> str:
    """A line for each, and their sum."""
    lines = ["Node-hours of what is still to run, as `orbit2 plan` tells them (starting jobs and waiting for nodes not counted):"]
    for row in found:
        told = f"{row.hours:,.1f}" if row.hours or not row.untold else "not told"
        if row.hours and row.untold:
            told += f" and {', '.join(row.untold)}: not told"
        known = any(rule in STAGES for rule in row.rules)
        each = f"{row.jobs:,} in {row.submitted:,} SLURM job{'s' * (row.submitted != 1)}"
        lines.append(f"  {', '.join(row.rules):<46}  {each:<28}  {told if known else 'minutes'}")
    lines.append(f"  {'in all':<46}  {sum(row.jobs for row in found):,} in {sum(row.submitted for row in found):,} SLURM jobs".ljust(78)
                 + f"  {sum(row.hours for row in found):,.1f}")  # fmt: skip
    return "\n".join(lines)
