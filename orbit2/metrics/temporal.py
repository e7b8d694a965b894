"""How a cell's day goes with the day before: autocorrelation, and rain's changes between wet and dry. Never pairs days across a gap."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

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
        known = np.isfinite(before) & np.isfinite(after)
        x, y = (np.where(known, day, self.about).astype(np.float64) - self.about for day in (before, after))
        self.n += known[0]
        for total, term in zip(self.sums, (x, y, x * x, y * y, x * y), strict=True):
            total += term
        if self.changes is not None:
            wet, then = known & (before >= WET), known & (after >= WET)
            for count, days in zip(self.changes, (wet, then & ~wet, wet & then), strict=True):
                count += days

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
