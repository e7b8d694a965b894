"""Probabilities of events by region: the share of members with an event beside whether it came. Never scores what hardly ever came."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.metrics.consecutive import State
from orbit2.metrics.ensemble import brier_scores

Array = npt.NDArray[np.float64]
LEAST_TIMES = 10  # samples in which an event came somewhere in the region, and as many in which it stayed away somewhere
LEAST_CELLS = 100  # cells and samples of it: neighbours are not independent, hence both
TOO_FEW = "event_samples"


@dataclass
class EventStatistic:
    """Sums of one event of one variable in `count` regions. A Statistic: `update`, `state`, `add`."""

    members: int
    limit: float
    count: int

    def __post_init__(self) -> None:
        self.forecast, self.happened = np.zeros((2, self.count, self.members + 1))  # area by the number of members with it; where it came
        self.came = np.zeros((self.count, 2))  # samples in which it came somewhere, in which it stayed away somewhere
        self.cells = np.zeros(self.count)  # in which it came

    def update(self, members: npt.NDArray[np.floating], truth: Array, cell: npt.NDArray[np.integer], weights: Array,
               place: npt.NDArray[np.integer]) -> None:  # fmt: skip
        """`members` [M, H, W] and `truth` [H, W] of one sample; `cell` [N] (in row order), its `weights` and region `place`, -1: none."""
        o = truth.ravel()[cell]
        use = (place >= 0) & np.isfinite(o)
        cell, w, r, yes = cell[use], weights[use], place[use], o[use] >= self.limit
        foresee = np.zeros(truth.size, dtype=np.int64)
        for member in members:
            foresee += member.ravel() >= self.limit
        at, size = r * (self.members + 1) + foresee[cell], self.forecast.size
        self.forecast += np.bincount(at, w, size).reshape(self.forecast.shape)
        self.happened += np.bincount(at[yes], w[yes], size).reshape(self.forecast.shape)
        with_it, without = (np.bincount(r[which], minlength=self.count) for which in (yes, ~yes))
        self.came += np.stack([with_it > 0, without > 0], axis=1)
        self.cells += with_it

    def state(self) -> State:
        return {"forecast": self.forecast, "happened": self.happened, "came": self.came, "cells": self.cells}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        for name, values in state.items():
            setattr(self, name, getattr(self, name) + values)

    def known(self, region: int) -> bool:
        """Whether it came, and stayed away, often enough for a score."""
        return bool((self.came[region] >= LEAST_TIMES).all() and self.cells[region] >= LEAST_CELLS)

    def scores(self, region: int) -> dict[str, float]:
        """`brier`, `brier_skill`, `reliability` of a region, empty where the event is not `known`; TOO_FEW: in how many samples it came,
        wherever the region was scored at all."""
        if not self.forecast[region].sum() > 0:
            return {}
        found = {TOO_FEW: float(self.came[region, 0])}
        return found | (brier_scores(self.forecast[region], self.happened[region], self.members) if self.known(region) else {})
