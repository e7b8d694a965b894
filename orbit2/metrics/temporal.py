"""How a cell's day goes with the day before: autocorrelation, and rain's changes between wet and dry. Never pairs days across a gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.jit import compiled, finite
from orbit2.metrics.consecutive import Fields, State

Array = npt.NDArray[np.float64]
WET = 1.0  # mm/day: a wet day (ETCCDI)


class PairsOfDays:
    """Sums over pairs of consecutive days per series and cell, [S, C]; `about` is taken off first, so that nothing cancels.

    With `rain` also how many of the dry, and of the wet first days a wet day followed.
    """

    def __init__(self, series: int, cells: int, about: float = 0.0, rain: bool = False) -> None:
        self.about = about
        self.n = np.zeros(cells, dtype=np.int32)
        self.sums = np.zeros((5, series, cells))  # x, y, xx, yy, xy
        self.changes = np.zeros((3, series, cells), dtype=np.int32) if rain else None  # wet first days, dry to wet, wet to wet

    def update(self, before: Fields, after: Fields) -> None:
        """One pair of fields [S, C], missing in the same cells of every series."""
        _add(before, after, self.about, self.n, self.sums)
        if self.changes is not None:
            _add_changes(before, after, self.changes)

    def autocorrelation(self) -> Array:
        """Pearson r of a day with the day before in each cell, [S, C]; NaN below 30 pairs and where nothing varies."""
        x, y, xx, yy, xy = self.sums
        n = np.where(self.n >= LEAST_PAIRS, self.n, np.nan)
        cov, vx, vy = xy / n - x / n * y / n, xx / n - (x / n) ** 2, yy / n - (y / n) ** 2
        varies = (vx > 1e-12 * xx / n) & (vy > 1e-12 * yy / n)
        found: Array = np.divide(cov, np.sqrt(np.abs(vx * vy)), out=np.full(cov.shape, np.nan), where=varies)
        return found

    def transitions(self) -> dict[str, Array]:
        """`p01` wet after a dry day, `p11` wet after a wet day: probabilities [S, C]; NaN below 30 such days."""
        if self.changes is None:
            return {}
        wet, dry_wet, wet_wet = self.changes
        found = {}
        for name, count, total in (("p01", dry_wet, self.n - wet), ("p11", wet_wet, wet)):
            found[name] = np.divide(count, total, out=np.full(wet.shape, np.nan), where=total >= LEAST_PAIRS)
        return found

    def state(self) -> State:
        state: State = {"n": self.n, "sums": self.sums}
        return state if self.changes is None else {**state, "changes": self.changes}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self.n += state["n"]
        self.sums += state["sums"]
        if self.changes is not None:
            self.changes += state["changes"]


LEAST_PAIRS = 30


@compiled("f4[:,::1], f4[:,::1], f8, i4[::1], f8[:,:,::1]")
def _add(before: Fields, after: Fields, about: float, n: npt.NDArray[np.int32], sums: Array) -> None:
    for s in range(before.shape[0]):
        for c in range(before.shape[1]):
            x, y = np.float64(before[s, c]) - about, np.float64(after[s, c]) - about
            if finite(x) and finite(y):
                n[c] += 1 if s == 0 else 0
                sums[0, s, c] += x
                sums[1, s, c] += y
                sums[2, s, c] += x * x
                sums[3, s, c] += y * y
                sums[4, s, c] += x * y


@compiled("f4[:,::1], f4[:,::1], i4[:,:,::1]")
def _add_changes(before: Fields, after: Fields, changes: npt.NDArray[np.int32]) -> None:
    for s in range(before.shape[0]):
        for c in range(before.shape[1]):
            if finite(np.float64(before[s, c])) and finite(np.float64(after[s, c])):
                wet, then = before[s, c] >= WET, after[s, c] >= WET
                changes[0, s, c] += 1 if wet else 0
                changes[1, s, c] += 1 if then and not wet else 0
                changes[2, s, c] += 1 if then and wet else 0
