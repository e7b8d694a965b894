"""The model beside each region's best baseline: differences of RMSE with intervals, and which of them stand when all regions are judged
together. Never judges a region alone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from orbit2.metrics.bootstrap import Interval
from orbit2.metrics.fields import Field
from orbit2.metrics.record import BEST, Record, difference
from orbit2.metrics.significance import FALSE_DISCOVERIES, chance, discoveries
from orbit2.metrics.table import Table

if TYPE_CHECKING:
    from orbit2.diagnose.skill import RegionSkill

DIFFERENCE, P, MARKED = (f"rmse_{name}_vs_{BEST}" for name in ("difference", "p", "marked"))


def rows(table: Table, skill: RegionSkill) -> None:
    """For every field with baselines: the difference, its p-value where the record is long enough, and whether it is marked.

    Marks are given over all fields and regions of the task's table at once: at most a tenth of them may be chance.
    """
    found: list[tuple[Field, Record, list[str], Interval | None]] = []
    for f in skill.fields:
        baselines, model = skill.matched.baselines(f.variable), skill.matched.model
        if baselines:
            record = Record.of({name: skill.statistics[f.label, name] for name in (model, *baselines)})
            best = record.best(baselines)
            beside = record.only(model).beside_best(best, of=record)
            intervals = beside.intervals(difference(model, BEST), skill.settings.evaluate.bootstrap)
            found.append((f, beside, best, next(iter(intervals.values()), None)))
    p = [chance(interval) for *_, interval in found if interval is not None]
    marked = iter(np.split(discoveries(np.concatenate(p)), np.cumsum([len(one) for one in p])[:-1]) if p else [])
    for f, record, best, interval in found:
        _rows(table, skill, f, record, best, interval, next(marked) if interval is not None else None)


def _rows(
    table: Table, skill: RegionSkill, f: Field, record: Record, best: list[str], interval: Interval | None,
    marked: np.ndarray | None,
) -> None:
    model = skill.matched.model
    pooled = record.pooled()
    values = next(iter(difference(model, BEST).values()))(pooled)
    for r in np.flatnonzero((pooled[model].n > 0) & np.isfinite(values)):
        common = (model, f.variable, f.space, skill.bins.names[r])
        n, ci = int(pooled[model].n[r]), interval.at(int(r)) if interval is not None else None
        table.add(*common, DIFFERENCE, f"rmse minus rmse of {best[r]}", values[r], n=n, ci=ci)
        if interval is not None and marked is not None and ci is not None:
            table.add(*common, P, f"two-sided, of no difference to {best[r]}, from its interval", chance(interval)[r], n=n)
            method = f"1: stands when at most {FALSE_DISCOVERIES:g} of the marks of all fields and regions may be chance"
            table.add(*common, MARKED, method, float(marked[r]), n=n)
