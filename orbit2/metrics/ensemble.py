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
from orbit2.metrics.member_kernels import OF_CELLS, SPREADS, member_sums

Array = npt.NDArray[np.float64]
BoolArray = npt.NDArray[np.bool_]
BAND = 1 << 18  # cells that are worked on at a time
TILE = 16  # rows and columns of a tile that is scored as one vector
MOST_TILES = 64  # a sample's tiles, spread evenly: the variogram score compares every cell of a tile with every other
VARIOGRAM_ORDER = 0.5
GROUPS = 10  # of equal area by the members' spread: the binned spread-skill curve
GATHERED = ("sums", "ranks", "forecast", "happened", "spreads", "vectors")


@dataclass
class EnsembleStatistic:
    """Sums of one variable's ensemble in one space; `limits` maps a name to a value: an event is a value at or above it. In the
    rank histogram values below `dry` (in the truth's space) are equal, and cells where all are dry left out: a truth that equals k members
    has each of k + 1 ranks with the same weight, what ranks drawn at random give on average. A Statistic: `update`, `state`, `add`."""

    members: int
    limits: Mapping[str, float] = field(default_factory=dict)
    dry: float = -np.inf
    n: int = 0

    def __post_init__(self) -> None:
        events = len(self.limits)
        self.sums, self.ranks = np.zeros(5), np.zeros(self.members + 1)  # as of member_sums
        self.forecast = np.zeros((events, self.members + 1))  # area by the number of members that foresee the event
        self.happened = np.zeros((events, self.members + 1))  # and the part of it where it came
        self.spreads = np.zeros((3, SPREADS))
        self.vectors = np.zeros(3)  # tiles, sum of fair energy scores, of variogram scores

    def update(
        self, members: npt.NDArray[np.floating], truth: Array, weights: Array, of: Callable[[Array], Array] = lambda values: values
    ) -> Array:
        """`members` [M, H, W] and `truth` [H, W] of one sample, missing in the same cells; areas `weights` [H, W].

        `of` takes members into the truth's space, a band of cells at a time. Returns what is told of each cell, [OF_CELLS, H, W], NaN
        where nothing is known.
        """
        told = np.full((len(OF_CELLS), truth.size), np.nan)
        known = np.flatnonzero(np.isfinite(truth).ravel())
        flat, o, w = members.reshape(self.members, -1), truth.ravel(), weights.ravel()
        for start in range(0, len(known), BAND):
            band = slice(start, start + BAND)
            cells = band if len(known) == len(o) else known[band]
            x = np.ascontiguousarray(of(flat[:, cells].astype(np.float64)))
            found = member_sums(x, o[cells], w[cells], np.array(list(self.limits.values()), dtype=np.float64), self.dry)
            *parts, told[:, cells] = found
            for total, part in zip((self.sums, self.ranks, self.forecast, self.happened, self.spreads), parts, strict=True):
                total += part
        self.n += len(known)
        self._tiles(members, truth, of)
        return told.reshape(-1, *truth.shape)

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
        return {"n": np.array(self.n), **{name: getattr(self, name) for name in GATHERED}}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self.n += int(state["n"])
        for name in GATHERED:
            setattr(self, name, getattr(self, name) + state[name])

    def scores(self) -> dict[str, float]:
        """Name -> value of all that is one number; empty where nothing was scored."""
        (w, ecdf, fair, variance, square), m = self.sums, self.members
        if not w > 0:
            return {}
        rmse = float(np.sqrt(square / w))
        found = {"crps_ecdf": float(ecdf / w), "ensemble_mean_rmse": rmse}
        if m > 1:
            spread = float(np.sqrt(variance / w))
            found |= {"crps_fair": float(fair / w), "ensemble_spread": spread}
            if rmse > 0:
                found["spread_skill"] = float(np.sqrt((m + 1) / m)) * spread / rmse
        shares = self.rank_shares()
        if shares is not None:
            found |= {"rank_deviation": float(np.abs(shares - 1 / (m + 1)).sum()),
                      "rank_outliers": float((shares[0] + shares[-1]) * (m + 1) / 2)}  # fmt: skip
            ranked = float(self.ranks.sum() / w)  # of what is left out any rank is as likely as another
            found["rank_outliers_all"] = ranked * found["rank_outliers"] + 1 - ranked
        if self.vectors[0]:
            found |= {"energy_score": self.vectors[1] / self.vectors[0], "variogram_score": self.vectors[2] / self.vectors[0]}
        for i, name in enumerate(self.limits):
            found |= {f"{score}_{name}": value for score, value in self.event(i).items()}
        return found

    def event(self, event: int) -> dict[str, float]:
        """Scores of the share of members with an event as its probability, from the areas by that share."""
        return brier_scores(self.forecast[event], self.happened[event], self.members)

    def reliability_curve(self, event: int) -> Array:
        """[3, M + 1] by the number of members with an event: the share of them, that of the area, and how often it came there (NaN: no
        such area)."""
        area, happened, m = self.forecast[event], self.happened[event], self.members
        frequency = np.divide(happened, area, out=np.full(m + 1, np.nan), where=area > 0)
        return np.stack([np.arange(m + 1) / m, area / area.sum() if area.sum() > 0 else area, frequency])

    def spread_curve(self) -> Array:
        """[3, G] of groups of about equal area, GROUPS at most, in order of the members' spread: share of the area, sqrt((M + 1) / M)
        spread, RMSE of the mean of members. The last two are equal in a perfect ensemble (Fortin et al. 2014); no groups of one member."""
        total = self.spreads[0].sum()
        if self.members < 2 or not total > 0:
            return np.empty((3, 0))
        before = np.cumsum(self.spreads[0]) - self.spreads[0]
        group = np.minimum((before + self.spreads[0] / 2) / total * GROUPS, GROUPS - 1).astype(np.int64)  # where the bin's middle lies
        area, variance, square = (np.bincount(group, row, GROUPS) for row in self.spreads)
        some = area > 0
        area, variance, square = area[some], variance[some], square[some]
        return np.stack([area / total, np.sqrt((self.members + 1) / self.members * variance / area), np.sqrt(square / area)])

    def rank_shares(self) -> Array | None:
        """Share of the area by the truth's rank among the members, 0 (below all) to M, [M + 1]; None where nothing is ranked."""
        total = self.ranks.sum()
        return self.ranks / total if total > 0 else None


def brier_scores(area: Array, happened: Array, m: int) -> dict[str, float]:
    """Of the area by how many of `m` members have an event [m + 1], and the part of it where it came (Brier 1950, Murphy 1973)."""
    share, w = np.arange(m + 1) / m, area.sum()
    base = float(happened.sum() / w)
    brier = float((share**2 * area - 2 * share * happened + happened).sum() / w)
    found = {"brier": brier}
    if m > 1:
        found["brier_fair"] = brier - float((share * (1 - share) * area).sum() / (m - 1) / w)
    if 0 < base < 1:
        some = area > 0
        frequency = happened[some] / area[some]
        found |= {"brier_skill": 1 - brier / (base * (1 - base)),
                  "reliability": float((area[some] * (share[some] - frequency) ** 2).sum() / w)}  # fmt: skip
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
