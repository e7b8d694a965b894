"""Which times costly scores are computed of: every n-th of the task, whatever its part. Never chosen by what a field holds."""

from __future__ import annotations

from dataclasses import dataclass

from orbit2.metrics.collector import Settings
from orbit2.metrics.compared import Compared
from orbit2.metrics.matched import Scored


@dataclass(frozen=True)
class Turns:
    """Every `every`-th of a task's `times`, from the first on."""

    times: int
    every: int

    @classmethod
    def of(cls, matched: Compared, settings: Settings) -> Turns:
        """`evaluate.every` of a task."""
        return cls(len(matched.times), settings.evaluate.every)

    @property
    def count(self) -> int:
        """Times of the task whose turn it is."""
        return -(-self.times // self.every)

    def has(self, scored: Scored) -> bool:
        return scored.position % self.every == 0

    @property
    def method(self) -> str:
        """For the `method` of a row: nothing where all times are scored."""
        return "" if self.every == 1 else f", every {self.every} samples one"
