"""The longest spell of a condition in each cell, whatever pieces its days come in. Never counts across a missing day."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.metrics.consecutive import State, Stretches

Counts = npt.NDArray[np.int16]


@dataclass(frozen=True)
class Runs:
    """Of consecutive days: those in a row that fulfil the condition at the beginning, at the end, and the most anywhere, per cell."""

    first: int
    last: int
    lead: Counts
    trail: Counts
    longest: Counts


def join(a: Runs, b: Runs) -> Runs:
    """`b` follows `a` the next day: a spell runs on over the edge."""
    days_a, days_b = a.last - a.first + 1, b.last - b.first + 1
    return Runs(
        a.first, b.last,
        np.where(a.lead == days_a, a.lead + b.lead, a.lead),
        np.where(b.trail == days_b, a.trail + b.trail, b.trail),
        np.maximum(np.maximum(a.longest, b.longest), a.trail + b.lead),
    )  # fmt: skip


class Spells:
    """Longest spell of a condition; days and other pieces may come in any order. A cell without a value does not fulfil it."""

    def __init__(self) -> None:
        self.stretches: Stretches[Runs] = Stretches(join)

    def update(self, day: int, fulfilled: npt.NDArray[np.bool_]) -> None:
        """One more day. Raises OrbitError for one that is there already."""
        one = fulfilled.astype(np.int16)
        self.stretches.insert(Runs(day, day, one, one, one))

    def longest(self) -> Counts:
        """Days of the longest spell in each cell."""
        found: Counts = np.max([runs.longest for runs in self.stretches.pieces.values()], axis=0)
        return found

    def state(self) -> State:
        """`span` [P, 2] first and last day of each stretch, `runs` [P, 3, ...] lead, trail, longest."""
        pieces = self.stretches.ordered
        return {"span": np.array([(p.first, p.last) for p in pieces], dtype=np.int64),
                "runs": np.stack([np.stack([p.lead, p.trail, p.longest]) for p in pieces])}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        for (first, last), runs in zip(state["span"], state["runs"], strict=True):
            lead, trail, longest = np.asarray(runs, dtype=np.int16)
            self.stretches.insert(Runs(int(first), int(last), lead, trail, longest))
