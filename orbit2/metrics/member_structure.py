"""What neighbouring cells say together: differences, means of 2 x 2 cells, short waves, steps at the edges of coarse cells. Never keeps a
field.

A row of a grid is taken as it lies: waves are along rows, in cells, so that any grid has them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.metrics import coherence
from orbit2.metrics.member_kernels import member_sums
from orbit2.metrics.spectra import ZonalAxis
from orbit2.metrics.statistics import State

Array = npt.NDArray[np.float64]
Of = Callable[[Array], Array]
BAND = 1 << 18  # cells that are worked on at a time
WAVES = ((2, 3), (3, 6))  # cells: from, below
GATHERED = ("edges", "errors", "power", "rows")
STEPS, MEANS = 0, 1


@dataclass(frozen=True, eq=False)
class Shape:
    """Of the scored grid: cell areas [H, W], whether columns go round the globe, cells of a coarse cell's side (0: not aligned)."""

    weights: Array
    closed: bool
    block: int

    def bands(self) -> Iterator[slice]:
        """Rows that are worked on together, an even number of them."""
        size = max(2, BAND // self.weights.shape[1] // 2 * 2)
        for start in range(0, len(self.weights), size):
            yield slice(start, min(start + size, len(self.weights)))

    def steps(self, x: Array, rows: slice) -> Iterator[tuple[Array, Array, npt.NDArray[np.bool_]]]:
        """Differences of fields [..., H, W] to the eastern and to the northern neighbour of `rows`: values [..., C], areas [C], and
        whether they cross the edge of a coarse cell."""
        w, wide = self.weights[rows], self.weights.shape[1]
        here = x[..., rows, :]
        columns = np.arange(wide if self.closed else wide - 1)
        east = (columns + 1) % wide
        yield (_flat(here[..., east] - here[..., columns]), ((w[:, east] + w[:, columns]) / 2).ravel(),
               self._crossed(np.broadcast_to(east, (len(w), len(east))).ravel()))  # fmt: skip
        north = np.arange(rows.start + 1, min(rows.stop + 1, len(self.weights)))
        yield (_flat(x[..., north, :] - x[..., north - 1, :]), ((self.weights[north] + self.weights[north - 1]) / 2).ravel(),
               self._crossed(np.repeat(north, wide)))  # fmt: skip

    def _crossed(self, beyond: npt.NDArray[np.integer[Any]]) -> npt.NDArray[np.bool_]:
        """Whether the cell beyond a step is the first of its coarse cell."""
        return beyond % self.block == 0 if self.block else np.zeros(beyond.shape, dtype=np.bool_)

    def means(self, x: Array, rows: slice) -> tuple[Array, Array]:
        """Means of 2 x 2 cells of fields [..., H, W] by area, [..., C], and their areas."""
        h, w = (rows.stop - rows.start) // 2, self.weights.shape[1] // 2
        cut = slice(rows.start, rows.start + 2 * h), slice(0, 2 * w)
        weights = self.weights[cut].reshape(h, 2, w, 2)
        total = weights.sum(axis=(1, 3))
        mean = (x[..., cut[0], cut[1]].reshape(*x.shape[:-2], h, 2, w, 2) * weights).sum(axis=(-3, -1)) / total
        return _flat(mean), total.ravel()

    def rings(self) -> npt.NDArray[np.int64]:
        """Of each cell [H, W] how far it is from the edge of its coarse cell, in cells: 0 at the edge."""
        down, along = (np.minimum(at % self.block, self.block - 1 - at % self.block) for at in map(np.arange, self.weights.shape))
        return np.minimum(down[:, None], along[None, :]).astype(np.int64)


@dataclass
class StructureStatistic:
    """Of the truth, a model, or members: `edges` [2, 2] (across edges of coarse cells, inside them) sums of areas times |difference| and
    of areas; `errors` [2, 2] (differences, means of 2 x 2) sums of areas times the error (of members the fair CRPS) and of areas; `power`
    [K] by cycles along a row, summed over rows by area, whose areas are `rows`."""

    shape: Shape
    edges: Array = field(default_factory=lambda: np.zeros((2, 2)))
    errors: Array = field(default_factory=lambda: np.zeros((2, 2)))
    power: Array = field(default_factory=lambda: np.zeros(0))
    rows: Array = field(default_factory=lambda: np.zeros(1))

    def __post_init__(self) -> None:
        if not self.power.size:
            self.power = np.zeros(self.shape.weights.shape[1] // 2)

    def update(self, prediction: Array, truth: Array | None = None) -> None:
        """One field [H, W]; with a `truth` its errors too."""
        self.waves(prediction)
        for rows in self.shape.bands():
            for i, (step, w, crossed) in enumerate(self.shape.steps(prediction, rows)):
                self._edges(np.abs(step), w, crossed)
                if truth is not None:
                    self._error(STEPS, np.abs(step - list(self.shape.steps(truth, rows))[i][0]), w)
            if truth is not None:
                (own, w), (theirs, _) = self.shape.means(prediction, rows), self.shape.means(truth, rows)
                self._error(MEANS, np.abs(own - theirs), w)

    def members(self, members: npt.NDArray[np.floating], truth: Array, of: Of) -> None:
        """Members [M, H, W] in physical units, `of` takes them into the truth's space; waves are those of the first, edges of all."""
        self.waves(of(members[0].astype(np.float64)))
        for rows in self.shape.bands():
            last = min(rows.stop + 1, len(truth))
            band = of(members[:, rows.start : last].astype(np.float64))
            part = Shape(self.shape.weights[rows.start : last], self.shape.closed, self.shape.block)
            inner = slice(0, rows.stop - rows.start)
            y = truth[rows.start : last]
            for (x, w, _), (o, _, _), (_, _, crossed) in zip(part.steps(band, inner), part.steps(y, inner),
                                                             self.shape.steps(truth, rows), strict=True):  # fmt: skip
                self._edges(np.abs(x).mean(axis=0), w, crossed)
                self._crps(STEPS, x, o, w)
            (x, w), (o, _) = part.means(band, inner), part.means(y, inner)
            self._crps(MEANS, x, o, w)

    def waves(self, values: Array) -> None:
        """Power along the rows without a missing cell."""
        height, width = values.shape
        cycles = np.arange(1, width // 2 + 1)
        axis = ZonalAxis(np.arange(height), self.shape.weights.mean(axis=1), cycles.astype(np.float64), width / cycles)
        found = np.abs(coherence.zonal_waves(np.asarray(values, dtype=np.float64), axis, self.shape.closed)) ** 2
        known = np.isfinite(found[:, 0])
        self.power += axis.row_weights[known] @ found[known]
        self.rows += axis.row_weights[known].sum()

    def _edges(self, size: Array, w: Array, crossed: npt.NDArray[np.bool_]) -> None:
        known = np.isfinite(size)
        for i, use in enumerate((known & crossed, known & ~crossed)):
            self.edges[i] += float(w[use] @ size[use]), float(w[use].sum())

    def _error(self, which: int, size: Array, w: Array) -> None:
        known = np.isfinite(size)
        self.errors[which] += float(w[known] @ size[known]), float(w[known].sum())

    def _crps(self, which: int, x: Array, o: Array, w: Array) -> None:
        known = np.isfinite(o) & np.isfinite(x).all(axis=0)
        sums = member_sums(np.ascontiguousarray(x[:, known]), o[known], w[known], np.zeros(0), -np.inf)[0]
        self.errors[which] += sums[2 if len(x) > 1 else 1], sums[0]

    def state(self) -> State:
        return {name: getattr(self, name) for name in GATHERED}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        for name in GATHERED:
            setattr(self, name, getattr(self, name) + state[name])

    def error(self, which: int) -> float:
        """Mean error of differences (STEPS) or of means of 2 x 2 cells (MEANS)."""
        total, w = self.errors[which]
        return float(total / w) if w > 0 else float("nan")

    def edge_ratio(self) -> float:
        """Mean |difference| across the edges of coarse cells over that inside them; NaN where there is neither."""
        (across, a), (inside, b) = self.edges
        return float(across / a / (inside / b)) if min(a, b, inside) > 0 else float("nan")

    def power_ratio(self, truth: StructureStatistic, band: tuple[int, int]) -> float:
        """Power of the waves of a band of WAVES over the truth's; NaN where there is none."""
        length = self.shape.weights.shape[1] / np.arange(1, len(self.power) + 1)
        use = (length >= band[0] - 1e-9) & (length < band[1])
        own, theirs = (float(each.power[use].sum() / each.rows[0]) if each.rows[0] > 0 else 0.0 for each in (self, truth))
        return own / theirs if theirs > 0 else float("nan")


@dataclass
class RingStatistic:
    """[3, R] sums over cells by their distance from the edge of the coarse cell: area, variance of members, squared error of the mean."""

    count: int
    sums: Array = field(init=False)

    def __post_init__(self) -> None:
        self.sums = np.zeros((3, self.count))

    def update(self, rings: npt.NDArray[np.int64], weights: Array, variance: Array, square: Array) -> None:
        """Fields [H, W]."""
        known = np.isfinite(variance)
        for row, values in zip(self.sums, (np.ones(variance.shape), variance, square), strict=True):
            row += np.bincount(rings[known], (weights * values)[known], self.count)

    def state(self) -> State:
        return {"sums": self.sums}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self.sums = self.sums + state["sums"]

    def relative(self) -> tuple[Array, Array]:
        """Mean variance and mean squared error [R] over those of all cells; NaN where nothing varies."""
        area, *found = self.sums
        with np.errstate(invalid="ignore", divide="ignore"):
            variance, square = (each / area / (each.sum() / area.sum()) for each in found)
        return variance, square


def _flat(x: Array) -> Array:
    return np.ascontiguousarray(x.reshape(*x.shape[:-2], -1))
