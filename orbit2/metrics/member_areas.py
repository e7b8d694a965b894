"""Scores of members in areas (land, sea, tropics, regions), by day, so that each has an interval. Never sees a member.

What the cells say (member_kernels.OF_CELLS) is summed by area into Moments, which the bootstrap of every other score takes: ae is the fair
CRPS, pp the variance of members, se the squared error of their mean, po the part of ranks beyond all members, oo the ranked area.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError
from orbit2.metrics.binning import Bins, domain_bins, latitudes
from orbit2.metrics.bootstrap import Interval, Score
from orbit2.metrics.compared import Compared
from orbit2.metrics.member_kernels import OF_CELLS
from orbit2.metrics.record import Key, Record
from orbit2.metrics.statistics import Moments, PairStatistic

Array = npt.NDArray[np.float64]
LAND_FRACTION = 0.5
TROPICS = 20.0  # degrees: WMO's area of verification
OWN, REFERENCE = "members", "reference"
__all__ = ["OF_CELLS", "OWN", "REFERENCE", "about", "area_bins", "found", "known", "means", "range_method", "scores", "sums"]
CRPS, SPREAD_SKILL, OUTLIERS, RATIO = "crps_fair", "spread_skill", "rank_outliers", "crps_ratio"


def area_bins(matched: Compared) -> dict[str, Bins]:
    """The domain; land and sea, where the store knows them; the tropics of a field that reaches beyond them."""
    found = {"domain": domain_bins(matched.grid, matched.region)}
    try:
        land = matched.land_fraction >= LAND_FRACTION
    except OrbitError:  # no such static field
        land = np.zeros(matched.grid.shape, dtype=np.bool_)
    if land.any() and not land.all():
        found["surface"] = Bins(("land", "sea"), np.where(land, 0, 1))
    inside = np.broadcast_to(np.abs(latitudes(matched.grid)) < TROPICS, matched.grid.shape)
    if inside.any() and not inside.all():
        found["tropics"] = Bins(("tropics",), np.where(inside, 0, -1))
    return found


def sums(cells: Array, weights: Array, index: npt.NDArray[np.integer], count: int) -> Moments:
    """Moments [count] of cells [OF_CELLS, C] of weights [C] by bin `index` [C] (-1: none); cells with NaN count nowhere."""
    use = (index >= 0) & np.isfinite(cells[0])
    place, w, part = index[use], weights[use], cells[:, use]

    def summed(values: Array) -> Array:
        return np.bincount(place, values, count).astype(np.float64)

    none = np.zeros(count)
    crps, variance, square, outside, ranked = (summed(w * values) for values in part)
    return Moments(summed(np.ones(len(w))), summed(w), none, none, variance, ranked, outside, square, crps)


def means(members: npt.NDArray[np.floating], truth: Array, cell: npt.NDArray[np.integer], weights: Array,
          place: npt.NDArray[np.integer], count: int) -> Array:
    """[2, count] by bin: from the lowest to the highest member's mean, and whether the truth's mean lies between them (1 or 0). `cell` [N]
    of fields `members` [M, H, W] and `truth` [H, W] (in row order), their `weights` and bin `place`, -1 for none. NaN of what is empty."""
    use = (place >= 0) & np.isfinite(truth.ravel()[cell])
    cell, weights, place = cell[use], weights[use], place[use]
    total = np.bincount(place, weights, count)
    known = total > 0

    def mean(field: npt.NDArray[np.floating]) -> Array:
        summed = np.bincount(place, weights * field.ravel()[cell].astype(np.float64), count)
        found: Array = np.divide(summed, total, out=np.full(count, np.nan), where=known)
        return found

    each, own = np.stack([mean(member) for member in members]), mean(truth)
    low, high = each.min(axis=0), each.max(axis=0)
    return np.stack([high - low, np.where(known, ((own >= low) & (own <= high)).astype(np.float64), np.nan)])


RANGE = ("area_mean_range", "area_mean_inside")


def range_method(metric: str, members: int) -> str:
    """The `method` of a row of RANGE."""
    if metric == RANGE[0]:
        return f"highest less lowest of {members} members' area means, mean over samples"
    return (f"share of samples whose area mean of the truth lies between the lowest and the highest of {members} members; "
            f"{(members - 1) / (members + 1):.3g} of a calibrated ensemble")


def scores(members: int, reference: bool) -> dict[Key, Score]:
    """Name -> score of the sums of OWN (and of REFERENCE, whose ae is its absolute error), as Record.intervals takes them."""

    def ratio(above: str, below: str, factor: float, root: bool = False, other: str = OWN) -> Score:
        def score(moments: Mapping[str, Moments]) -> Array:
            top, bottom = getattr(moments[OWN], above), getattr(moments[other], below)
            value = factor * np.divide(top, bottom, out=np.full(np.shape(bottom), np.nan), where=bottom > 0)
            return np.asarray(np.sqrt(value) if root else value)

        return score

    found: dict[Key, Score] = {(CRPS, OWN, ""): ratio("ae", "w", 1.0)}
    if members > 1:
        found[SPREAD_SKILL, OWN, ""] = ratio("pp", "se", (members + 1) / members, root=True)
        found[OUTLIERS, OWN, ""] = ratio("po", "oo", (members + 1) / 2)
    if reference:
        found[RATIO, OWN, REFERENCE] = ratio("ae", "ae", 1.0, other=REFERENCE)
    return found


def found(
    members: int, own: PairStatistic, reference: PairStatistic | None, draws: int
) -> tuple[dict[str, tuple[Array, Interval | None]], Moments]:
    """Score -> (its value [B], its interval), and the pooled sums of OWN."""
    statistics = {OWN: own, **({REFERENCE: reference} if reference is not None else {})}
    record, wanted = Record.of(statistics), scores(members, reference is not None)
    pooled, intervals = record.pooled(), record.intervals(wanted, draws)
    return {key[0]: (score(pooled), intervals.get(key)) for key, score in wanted.items()}, pooled[OWN]


def about(metric: str, reference: str, members: int) -> str:
    """The `method` of a row."""
    words = {
        CRPS: "mean |x_i - o| less half the mean |x_i - x_j| over pairs of different members",
        SPREAD_SKILL: "square root of (M + 1) / M times the mean variance of members, over the RMSE of their mean",
        OUTLIERS: "share of the truth beyond all members times (M + 1) / 2",
        RATIO: f"fair CRPS over the MAE of {reference} in the same cells",
    }
    return f"{words[metric]}; {members} members, area-weighted, pooled over samples"


def known(values: Array, pooled: Moments) -> Sequence[int]:
    """Bins in which anything was scored."""
    return [int(b) for b in np.flatnonzero((pooled.n > 0) & np.isfinite(values))]
