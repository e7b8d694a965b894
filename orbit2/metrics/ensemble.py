"""Scores of an ensemble on the cells of one sample: sums by area that add up over samples. Never treats the mean of members as a member.

Fair means that the expectation does not depend on the number of members (Ferro 2014). The estimator `akr` of scoringrules is another
quantity; its others agree with these.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.metrics.consecutive import State

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
BAND = 1 << 18  # cells that are worked on at a time
PROBABILITY_BINS = 11
TILE = 16  # rows and columns of a tile that is scored as one vector
MOST_TILES = 64  # a sample's tiles, spread evenly: the variogram score compares every cell of a tile with every other
VARIOGRAM_ORDER = 0.5
SUMS = ("w", "crps", "crps_fair", "variance", "error2", "rain_w")


@dataclass
class EnsembleStatistic:
    """Sums of one variable's ensemble in one space; `limits` maps a name to a value: an event is a value at or above it. With `rain`
    cells where the truth and all members are 0 are left out of the rank histogram. A Statistic: `update`, `state`, `add`."""

    members: int
    limits: Mapping[str, float] = field(default_factory=dict)
    rain: bool = False
    n: int = 0
    sums: dict[str, float] = field(default_factory=lambda: dict.fromkeys(SUMS, 0.0))

    def __post_init__(self) -> None:
        self.ranks = np.zeros(self.members + 1)
        events = len(self.limits)
        self.brier, self.brier_fair, self.base = (np.zeros(events) for _ in range(3))
        self.forecast = np.zeros((events, self.members + 1))  # area by the number of members that foresee the event
        self.happened = np.zeros((events, self.members + 1))  # and the part of it where it came
        self.vectors = np.zeros(3)  # tiles, sum of fair energy scores, of variogram scores

    def update(
        self, members: npt.NDArray[np.floating], truth: Array, weights: Array, of: Callable[[Array], Array] = lambda values: values
    ) -> None:
        """`members` [M, H, W] and `truth` [H, W] of one sample, missing in the same cells; areas `weights` [H, W].

        `of` takes members into the truth's space, a band of cells at a time.
        """
        known = np.flatnonzero(np.isfinite(truth).ravel())
        flat, o, w = members.reshape(self.members, -1), truth.ravel(), weights.ravel()
        for start in range(0, len(known), BAND):
            cells = known[start : start + BAND]
            self._cells(of(flat[:, cells].astype(np.float64)), o[cells], w[cells])
        self._tiles(members, truth, of)

    def _cells(self, x: Array, y: Array, w: Array) -> None:
        """`x` [M, C]."""
        m, sums = self.members, self.sums
        fair = crps(x, y, fair=True) if m > 1 else np.full(y.shape, np.nan)
        centre = x.mean(axis=0)
        variance = x.var(axis=0, ddof=1) if m > 1 else np.full(y.shape, np.nan)
        found = {"w": w, "crps": w * crps(x, y), "crps_fair": w * fair, "variance": w * variance, "error2": w * (centre - y) ** 2}
        for name, value in found.items():
            sums[name] += float(value.sum())
        self.n += len(y)
        some = ((x > 0).any(axis=0) | (y > 0)) if self.rain else np.ones(y.shape, dtype=bool)
        sums["rain_w"] += float(w[some].sum())
        self.ranks += rank_histogram(x[:, some], y[some], w[some])
        for i, limit in enumerate(self.limits.values()):
            count, event = (x >= limit).sum(axis=0), (y >= limit).astype(np.float64)
            share = count / m
            brier = (share - event) ** 2
            self.brier[i] += float((w * brier).sum())
            if m > 1:
                self.brier_fair[i] += float((w * (brier - share * (1 - share) / (m - 1))).sum())
            self.base[i] += float((w * event).sum())
            self.forecast[i] += np.bincount(count, weights=w, minlength=m + 1)
            self.happened[i] += np.bincount(count, weights=w * event, minlength=m + 1)

    def _tiles(self, members: npt.NDArray[np.floating], truth: Array, of: Callable[[Array], Array]) -> None:
        """Energy and variogram score of complete tiles, spread evenly over the field."""
        if self.members < 2:
            return
        tiles = complete_tiles(np.isfinite(truth))
        if not tiles:
            return
        cut = [np.s_[..., row : row + TILE, column : column + TILE] for row, column in tiles]
        y = np.stack([truth[piece].ravel() for piece in cut])
        x = of(np.stack([members[piece].reshape(self.members, -1).astype(np.float64) for piece in cut]))
        self.vectors += len(tiles), energy_score(x, y).sum(), variogram_score(x, y).sum()

    def state(self) -> State:
        return {"n": np.array(self.n), "sums": np.array([self.sums[name] for name in SUMS]), "ranks": self.ranks, "brier": self.brier,
                "brier_fair": self.brier_fair, "base": self.base, "forecast": self.forecast, "happened": self.happened,
                "vectors": self.vectors}  # fmt: skip

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self.n += int(state["n"])
        for name, value in zip(SUMS, state["sums"], strict=True):
            self.sums[name] += float(value)
        for name in ("ranks", "brier", "brier_fair", "base", "forecast", "happened", "vectors"):
            setattr(self, name, getattr(self, name) + state[name])

    def scores(self) -> dict[str, float]:
        """Name -> value of all that is one number; empty where nothing was scored."""
        w, m = self.sums["w"], self.members
        if not w:
            return {}
        rmse = np.sqrt(self.sums["error2"] / w)
        found = {"crps_ecdf": self.sums["crps"] / w, "ensemble_mean_rmse": float(rmse)}
        if m > 1:
            spread = np.sqrt(self.sums["variance"] / w)
            found |= {"crps_fair": self.sums["crps_fair"] / w, "ensemble_spread": float(spread)}
            if rmse > 0:
                found["spread_skill"] = float(np.sqrt((m + 1) / m) * spread / rmse)
        shares = self.rank_shares()
        if shares is not None:
            found |= {"rank_deviation": float(np.abs(shares - 1 / (m + 1)).sum()),
                      "rank_outliers": float((shares[0] + shares[-1]) * (m + 1) / 2)}  # fmt: skip
        if self.vectors[0]:
            found |= {"energy_score": self.vectors[1] / self.vectors[0], "variogram_score": self.vectors[2] / self.vectors[0]}
        for i, name in enumerate(self.limits):
            base = self.base[i] / w
            found[f"brier_{name}"] = self.brier[i] / w
            if m > 1:
                found[f"brier_fair_{name}"] = self.brier_fair[i] / w
            if 0 < base < 1:
                found[f"brier_skill_{name}"] = 1 - self.brier[i] / w / (base * (1 - base))
                found[f"reliability_{name}"] = self.reliability_term(i)
        return found

    def rank_shares(self) -> Array | None:
        """Share of the area by the truth's rank among the members, 0 (below all) to M, [M + 1]; None where nothing is ranked."""
        total = self.ranks.sum()
        return self.ranks / total if total > 0 else None

    def reliability(self, event: int) -> tuple[Array, Array, Array]:
        """(forecast probability, observed frequency, share of the area) per bin of probability; bins without area are left out."""
        share = np.arange(self.members + 1) / self.members
        position = np.minimum((share * PROBABILITY_BINS).astype(int), PROBABILITY_BINS - 1)
        area, happened, foreseen = (np.bincount(position, weights=x, minlength=PROBABILITY_BINS)
                                    for x in (self.forecast[event], self.happened[event], share * self.forecast[event]))
        some = area > 0
        return foreseen[some] / area[some], happened[some] / area[some], area[some] / area.sum()

    def reliability_term(self, event: int) -> float:
        """Mean over the area of (forecast probability - frequency of the event where it was forecast)^2 (Murphy 1973), exact bins."""
        area = self.forecast[event]
        some = area > 0
        share = np.arange(self.members + 1)[some] / self.members
        return float((area[some] * (share - self.happened[event][some] / area[some]) ** 2).sum() / area.sum())


def crps(members: Array, truth: Array, fair: bool = False) -> Array:
    """CRPS [C] of `members` [M, C]: mean |x - y| less half the mean difference of members, over M^2 pairs or (fair) over M (M - 1).

    From ordered members (the sum of |x_i - x_j| is linear in them), so that it costs M log M.
    """
    ordered = np.sort(members, axis=0)
    m = len(members)
    factor = (2 * np.arange(m) - m + 1) / (m * (m - 1) if fair else m * m)
    found: Array = np.abs(members - truth).mean(axis=0) - np.tensordot(factor, ordered, axes=(0, 0))
    return found


def rank_histogram(members: Array, truth: Array, weights: Array) -> Array:
    """Area by the truth's rank among `members` [M, C], [M + 1]; a truth equal to k members is shared equally by k + 1 ranks."""
    m = len(members)
    below, ties = (members < truth).sum(axis=0), (members == truth).sum(axis=0)
    part = weights / (ties + 1)
    steps = np.bincount(below, weights=part, minlength=m + 2) - np.bincount(below + ties + 1, weights=part, minlength=m + 2)
    found: Array = np.maximum(np.cumsum(steps)[: m + 1], 0.0)
    return found


def energy_score(members: Array, truth: Array) -> Array:
    """Fair energy score [T] of vectors, `members` [T, M, D], `truth` [T, D]: mean ||x - y|| less half the mean ||x_i - x_j|| over pairs of
    different members (Gneiting and Raftery 2007, eq. 22).
    """
    m = members.shape[1]
    own = np.linalg.norm(members - truth[:, None], axis=-1).mean(axis=1)
    apart = sum(np.linalg.norm(members[:, i + 1 :] - members[:, i, None], axis=-1).sum(axis=1) for i in range(m - 1))
    found: Array = own - apart / (m * (m - 1))
    return found


def variogram_score(members: Array, truth: Array) -> Array:
    """Mean over pairs of cells of (|y_i - y_j|^p - members' mean of |x_i - x_j|^p)^2, p = 0.5, [T] (Scheuerer and Hamill 2015)."""

    def variogram(x: Array) -> Array:
        apart: Array = np.abs(x[:, None] - x[None])
        return np.power(apart, VARIOGRAM_ORDER, out=apart)

    each = [((variogram(y) - sum(variogram(member) for member in x) / len(x)) ** 2).mean() for x, y in zip(members, truth, strict=True)]
    return np.array(each)


def complete_tiles(known: BoolArray, most: int = MOST_TILES) -> list[tuple[int, int]]:
    """South-west corners of at most `most` tiles of TILE x TILE cells without a missing one, spread evenly."""
    rows, columns = (size // TILE for size in known.shape)
    if not rows or not columns:
        return []
    whole = known[: rows * TILE, : columns * TILE].reshape(rows, TILE, columns, TILE).all(axis=(1, 3))
    found = np.argwhere(whole) * TILE
    if not len(found):
        return []
    chosen = np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))
    return [(int(found[i, 0]), int(found[i, 1])) for i in chosen]
