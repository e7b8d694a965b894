"""Fractions skill score: how large a neighbourhood must be for rain to be in the right place. Never takes a missing cell for a dry one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.jit import compiled
from orbit2.metrics.statistics import State

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int32]
THRESHOLDS = (1.0, 5.0, 10.0, 30.0)  # mm/day
SHARES = (0.95, 0.99)  # quantiles of each field itself: the same area in both, so free of bias
WINDOWS = (1, 3, 5, 9, 17, 33)  # cells


@compiled("b1[:,::1], i8")
def counts(events: BoolArray, half: int) -> Counts:
    """Summed-area table [H + 1, W + 2 half + 1] of `events` [H, W], whose rows go on round the globe by `half` cells on either side."""
    height, width = events.shape
    table = np.zeros((height + 1, width + 2 * half + 1), dtype=np.int32)
    for i in range(height):
        running = 0
        for j in range(width + 2 * half):
            running += events[i, (j - half) % width]
            table[i + 1, j + 1] = table[i, j + 1] + running
    return table


@compiled("i4[:,::1], i4[:,::1], i4[:,::1], f8[:,::1], i8, i8, b1")
def _sums(p: Counts, o: Counts, known: Counts, weights: Array, half: int, shift: int, whole: bool) -> tuple[float, float]:
    """Weighted sums of (F - O)^2 and F^2 + O^2 over cells that are known; fractions of what is known in the window."""
    height, width = weights.shape
    difference, size = 0.0, 0.0
    for i in range(height):
        top, bottom = max(i - half, 0), min(i + half + 1, height)
        for j in range(width):
            left, right = max(j + shift - half, 0), min(j + shift + half + 1, known.shape[1] - 1)
            if whole:
                share = 1.0 / ((bottom - top) * (right - left))
                f = share * (p[bottom, right] - p[top, right] - p[bottom, left] + p[top, left])
                g = share * (o[bottom, right] - o[top, right] - o[bottom, left] + o[top, left])
                difference += weights[i, j] * (f - g) ** 2
                size += weights[i, j] * (f * f + g * g)
                continue
            if known[i + 1, j + shift + 1] - known[i, j + shift + 1] - known[i + 1, j + shift] + known[i, j + shift] == 0:
                continue
            cells = known[bottom, right] - known[top, right] - known[bottom, left] + known[top, left]
            f = (p[bottom, right] - p[top, right] - p[bottom, left] + p[top, left]) / cells
            g = (o[bottom, right] - o[top, right] - o[bottom, left] + o[top, left]) / cells
            difference += weights[i, j] * (f - g) ** 2
            size += weights[i, j] * (f * f + g * g)
    return difference, size


def window_sums(prediction: BoolArray, truth: BoolArray, known: BoolArray, weights: Array, periodic: bool,
                windows: Sequence[int] = WINDOWS) -> Array:  # fmt: skip
    """[N, 2] sums of (F - O)^2 and of F^2 + O^2 for every window (odd, cells) of event fields [H, W].

    Missing cells are no part of a fraction; at the rim a window is what lies inside. Roberts & Lean 2008, MWR 136:78, eq. 5 to 7, with
    cell areas as weights.
    """
    half = max(windows) // 2 if periodic else 0
    whole = bool(known.all())
    p, o = (counts(x & known, half) for x in (prediction, truth))
    k = p if whole else counts(known, half)  # unused where nothing is missing
    return np.array([_sums(p, o, k, weights, window // 2, half, whole) for window in windows])


@dataclass
class FractionsSkill:
    """Sums over samples of one pair of fields: [E, N, 2] of window_sums, [E, 2] event and whole weight of the truth; events are THRESHOLDS,
    then SHARES. Numerators and denominators are added before they are divided, so a day without rain takes nothing away."""

    periodic: bool
    windows: Sequence[int] = WINDOWS
    thresholds: Sequence[float] = THRESHOLDS
    shares: Sequence[float] = SHARES
    sums: Array = field(init=False)
    base: Array = field(init=False)
    samples: int = 0

    def __post_init__(self) -> None:
        events = len(self.thresholds) + len(self.shares)
        self.sums, self.base = np.zeros((events, len(self.windows), 2)), np.zeros((events, 2))

    def update(self, prediction: Array, truth: Array, weights: Array) -> None:
        """Add one sample of fields [H, W] (NaN = missing). A share whose quantile is the field's lowest value has no event that day."""
        known = np.isfinite(prediction) & np.isfinite(truth)
        if not known.any():
            return
        self.samples += 1
        p, o = np.where(known, prediction, -np.inf), np.where(known, truth, -np.inf)
        events = [(p >= threshold, o >= threshold) for threshold in self.thresholds]
        for share in self.shares:
            limits = [np.quantile(x[known], share) for x in (p, o)]
            several = all(limit > x[known].min() for limit, x in zip(limits, (p, o), strict=True))
            events.append((p >= limits[0], o >= limits[1]) if several else (np.zeros_like(known), np.zeros_like(known)))
        total = weights[known].sum()
        for i, (forecast, observed) in enumerate(events):
            if observed.any() or forecast.any():
                self.sums[i] += window_sums(forecast, observed, known, weights, self.periodic, self.windows)
            if i < len(self.thresholds) or observed.any():
                self.base[i] += weights[observed & known].sum(), total

    def state(self) -> State:
        return {"sums": self.sums, "base": self.base, "samples": np.array(self.samples)}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self.sums, self.base = self.sums + np.asarray(state["sums"]), self.base + np.asarray(state["base"])
        self.samples += int(np.asarray(state["samples"]))

    def values(self) -> Array:
        """FSS [E, N]; NaN where neither field ever had an event."""
        with np.errstate(invalid="ignore", divide="ignore"):
            score: Array = 1 - self.sums[..., 0] / self.sums[..., 1]
        return score

    def useful(self) -> tuple[Array, Array]:
        """(useful FSS, 0.5 + f/2 with f the truth's share of events, [E]; the smallest window (cells) that reaches it, NaN: none)."""
        with np.errstate(invalid="ignore", divide="ignore"):
            target = 0.5 + self.base[:, 0] / self.base[:, 1] / 2
        scale = np.full(len(target), np.nan)
        for i, row in enumerate(self.values()):
            reached = np.flatnonzero(row >= target[i])
            scale[i] = self.windows[reached[0]] if len(reached) else np.nan
        return target, scale
