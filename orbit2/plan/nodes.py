"""How many full nodes a model is trained on where a profile does not say: the fewest on which it fits and ends in time, as configured."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from orbit2.config.schema import RunConfig
from orbit2.model.inspect import size
from orbit2.plan.fit import LARGEST, Finder, Judge, Judged, judge_of, roomy
from orbit2.plan.machine import Machine, machine
from orbit2.plan.search import Choice, configured

LOOKED_AT = 4  # numbers of nodes that are rehearsed, at most


@dataclass(frozen=True)
class Nodes:
    """`count` full nodes; `problem`: why even these do not do, the best there is."""

    count: int
    hours: float | None
    memory: int | None
    problem: str | None = None


Hours = float | Mapping[int, float] | None


def nodes(
    config: RunConfig, name: str, device: str, *, per_node: int | None = None, hours: Hours = None, judge: Judge | None = None
) -> Nodes:
    """Full nodes of `per_node` devices (default: as its data sheet says) for model `name`, mesh and all as the run has them.

    `hours`: when it is to end, in all; or for each size of job, by the most nodes that such a job has (there is none larger). Never
    raises for a run that fits nowhere: that is the trainer's to say, or plan's.
    """
    table: list[tuple[int, float | None]] = [*sorted(hours.items())] if isinstance(hours, Mapping) else [(LARGEST, hours)]
    one = machine(device, nodes=1)
    each = per_node or one.count
    finder = Finder(config, name, Machine(one.device, each), judge or judge_of(config, name, one.device))
    limits = {count: next((limit for most, limit in table if count <= most), 0.0) for count in _counts() if count <= table[-1][0]}
    ways = {count: way for count in limits if (way := configured(config, name, count * each)) is not None}
    if not ways:
        return Nodes(1, None, None, f"no number of full nodes of {each} devices shares a step of {config.models[name].train.batch_size}")
    limit, roomed = finder.machine.memory, dict(ways)
    ratio, judged = 1.0, dict[int, Judged]()
    while len(judged) < LOOKED_AT:
        fit = {n: way for n, way in roomed.items() if n in judged or finder.memory(way) <= limit}
        open_ = [n for n, way in fit.items() if n not in judged and finder.estimate(way) * ratio <= _seconds(limits[n])]
        if not open_:
            break
        count = min(open_)
        judged[count] = found = finder.judge(ways[count])
        if not roomy(found, limit):
            roomed = {n: way for n, way in roomed.items() if n > count}
        elif found.hours is None or found.hours * 3600 <= _seconds(limits[count]):
            return Nodes(count, found.hours, found.memory)
        else:
            ratio = found.hours * 3600 / finder.estimate(ways[count])
    return _best(finder, ways, judged, limits)


def _seconds(hours: float | None) -> float:
    return math.inf if hours is None else hours * 3600


def _best(finder: Finder, ways: dict[int, Choice], judged: dict[int, Judged], limits: Mapping[int, float | None]) -> Nodes:
    """What comes closest: the fastest that fits, or the one that needs the least memory."""
    limit = finder.machine.memory
    fit = [n for n, way in ways.items() if finder.memory(way) <= limit]
    count = min(fit, key=lambda n: finder.estimate(ways[n])) if fit else min(ways, key=lambda n: finder.memory(ways[n]))
    found = judged.get(count) or finder.judge(ways[count])
    if not roomy(found, limit):
        return Nodes(count, found.hours, found.memory, f"{size(found.memory)} on a device of {size(limit)}")
    hours = limits[count]
    return Nodes(count, found.hours, found.memory, f"{found.hours:,.0f} h instead of {hours:,.0f}" if found.hours and hours else None)


def _counts() -> list[int]:
    return sorted({n for k in range(LARGEST.bit_length()) for n in (1 << k, 3 << k) if n <= LARGEST})
