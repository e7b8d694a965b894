"""The seam test: differences across tile borders against the same kind of difference beside them. Never looks at a model.

Mean |difference of neighbouring fine cells| varies with the place (mountains, storms) and with the phase inside a coarse cell (an
upsampled field is not equally smooth everywhere). So a border is compared with the first REACH boundaries between coarse cells to either
side, in the same rows (columns), that lie wholly inside one tile (where neighbours are mixed, beyond that): equal phase, nearly equal
place. The ratio is 1 where stitching leaves no trace, and 1 + h/a for a step h added to a slope a.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from orbit2.grid import AnyGrid, Grid
from orbit2.metrics.statistics import State

if TYPE_CHECKING:
    from orbit2.model.tiles import Tiling

Array = npt.NDArray[np.float64]
Index = npt.NDArray[np.int64]
REACH = 2  # boundaries to each side: both phases of patches of 2
STRETCH = 8  # coarse cells along a border that the bootstrap draws together
PROFILE = 6  # coarse cells to either side of a border in the profile
DRAWS, FEWEST = 1000, 5
DIRECTIONS = ("meridians", "parallels", "wrap")


@dataclass(frozen=True, eq=False)
class Border:
    """Tile borders of one direction on the fine grid; fields are transposed for parallels, so that a border is a column.

    `lines` [L] are the columns just beyond each border, `near` [L, 2 REACH] the columns compared with (-1: none there); `weights` [n, L]
    is the area either cell has at the border. `closed` when the columns go round the globe.
    """

    name: str
    factor: int
    lines: Index
    near: Index
    weights: Array
    closed: bool

    def steps(self, values: Array) -> Array:
        """|difference| of every fine cell [n, m] to the one before it; NaN where there is none or either is missing."""
        turned = values.T if self.name == "parallels" else values
        before = np.roll(turned, 1, axis=1)
        if not self.closed:
            before[:, 0] = np.nan
        steps: Array = np.abs(turned - before)
        return steps


def borders(tiling: Tiling, fine: AnyGrid, factor: int) -> list[Border]:
    """Borders between the cores of `tiling` on the prediction's grid `fine` (its domain refined `factor` times).

    `meridians`: west-east neighbours; `parallels`: south-north neighbours; `wrap`: west-east where a grid round the globe closes.
    A direction without a border, or with nothing beside one to compare with, is left out.
    """
    found = []
    (rows, columns), (height, width) = tiling.counts, fine.shape
    closed = fine.periodic
    inner = [np.arange(1, count) * edge * factor for count, edge in zip((rows, columns), tiling.core, strict=True)]
    turn = np.zeros(1 if closed and columns > 1 else 0, dtype=np.int64)
    beside = _weights(fine)
    for name, lines in zip(DIRECTIONS, (inner[1], inner[0], turn), strict=True):
        across, round_ = (height, False) if name == "parallels" else (width, closed)
        others = inner[0] if name == "parallels" else np.concatenate([inner[1], turn])
        near = _near(lines, others, across, round_, factor, tiling.blend)
        kept = (near >= 0).any(axis=1)
        if not kept.any():
            continue
        lines, near = lines[kept], near[kept]
        found.append(Border(name, factor, lines, near, beside(name, lines), round_))
    return found


def _weights(fine: AnyGrid) -> Callable[[str, Index], Array]:
    """The mean area of the two cells at every cell of some lines [n, L], by direction (relative)."""
    if not isinstance(fine, Grid):
        areas = fine.area_km2
        return lambda name, lines: (areas[lines - 1] + areas[lines]).T / 2 if name == "parallels" else (
            areas[:, lines - 1] + areas[:, lines]) / 2  # fmt: skip
    rows, widths = fine.lat_weights, np.diff(fine.lon_edges)

    def mean(name: str, lines: Index) -> Array:
        before, after = lines - 1, lines
        found: Array = (np.outer(widths, (rows[before] + rows[after]) / 2) if name == "parallels"
                        else np.outer(rows, (widths[after] + widths[before]) / 2))  # fmt: skip
        return found

    return mean


def _near(lines: Index, borders_: Index, size: int, closed: bool, factor: int, blend: int) -> Index:
    """Boundaries of coarse cells compared with each border: pairs to either side, off the grid none and none where tiles are mixed."""
    near = np.full((len(lines), 2 * REACH), -1, dtype=np.int64)
    mixed = (borders_[:, None] + factor * np.arange(-blend, blend + 1)).ravel()
    mixed = mixed % size if closed else mixed
    for position in range(REACH):
        away = (blend + position + 1) * factor
        pair = np.stack([lines - away, lines + away], axis=1)
        pair = pair % size if closed else pair
        good = ((pair > 0) | closed) & (pair >= 0) & (pair < size) & ~np.isin(pair, mixed)
        both = good.all(axis=1)
        near[both, 2 * position : 2 * position + 2] = pair[both]
    return near


@dataclass(frozen=True)
class Ratio:
    """`value` = `across` / `beside`, its 95 % interval (None with too few stretches) and the number of differences across borders."""

    value: float
    interval: tuple[float, float] | None
    across: float
    beside: float
    n: int


@dataclass
class SeamStatistic:
    """Sums over one direction's borders, by stretch of border and by distance. Fields may come in any order and merge."""

    border: Border
    sums: Array = field(init=False)  # [across, beside, weight, n] by stretch
    profile_sums: Array = field(init=False)  # [weighted steps, weight] by offset

    def __post_init__(self) -> None:
        along, count = self.border.weights.shape
        length = STRETCH * self.border.factor
        self._stretch = (np.arange(along)[:, None] // length + -(-along // length) * np.arange(count)[None]).ravel()
        self.sums = np.zeros((4, int(self._stretch.max()) + 1))
        self.profile_sums = np.zeros((2, len(self.offsets)))

    @property
    def offsets(self) -> Index:
        """Fine cells from a border, negative to the west (south)."""
        reach = PROFILE * self.border.factor
        return np.arange(-reach, reach + 1)

    def update(self, values: Array) -> None:
        """Add one field [H, W] of the prediction's grid; differences with a missing cell are left out, border and its likes together."""
        border = self.border
        steps = border.steps(values)
        across = steps[:, border.lines]
        given = border.near >= 0
        beside = np.where(given, steps[:, np.maximum(border.near, 0)], 0.0).sum(axis=2) / given.sum(axis=1)
        known = np.isfinite(across) & np.isfinite(beside)
        weights = np.where(known, border.weights, 0.0)
        parts = (np.where(known, across, 0.0) * weights, np.where(known, beside, 0.0) * weights, weights, known.astype(np.float64))
        self.sums += np.stack([np.bincount(self._stretch, part.ravel(), self.sums.shape[1]) for part in parts])
        self._profile(steps)

    def _profile(self, steps: Array) -> None:
        size, border = steps.shape[1], self.border
        for position, offset in enumerate(self.offsets):
            columns = border.lines + offset
            inside = np.ones(len(columns), dtype=bool) if border.closed else (columns > 0) & (columns < size)
            found, weights = steps[:, columns[inside] % size], border.weights[:, inside]
            known = np.isfinite(found)
            self.profile_sums[:, position] += (found[known] * weights[known]).sum(), weights[known].sum()

    def merge(self, other: SeamStatistic) -> None:
        self.add(other.state())

    def state(self) -> State:
        return {"sums": self.sums, "profile": self.profile_sums}

    def add(self, state: Mapping[str, npt.NDArray[Any]]) -> None:
        self.sums += state["sums"]
        self.profile_sums += state["profile"]

    def profile(self) -> Array:
        """Mean |difference| by offset, field units; NaN where no difference is known."""
        with np.errstate(invalid="ignore", divide="ignore"):
            mean: Array = self.profile_sums[0] / self.profile_sums[1]
        return mean

    def ratio(self, seed: int = 0) -> Ratio:
        """Ratio of the means over everything seen, with a bootstrap over stretches of border (all their frames together).

        Frames share their mountains and coasts, so drawing frames would hide that another place of the border gives another value.
        """
        across, beside, weight, n = self.sums[:, self.sums[3] > 0]
        total = float(weight.sum())
        if not total:
            return Ratio(float("nan"), None, float("nan"), float("nan"), 0)
        if not beside.sum() > 0:
            return Ratio(float("nan"), None, float(across.sum()) / total, 0.0, int(n.sum()))
        interval = None
        if len(across) >= FEWEST:
            drawn = np.random.default_rng(seed).integers(0, len(across), (DRAWS, len(across)))
            below = beside[drawn].sum(axis=1)
            values = across[drawn].sum(axis=1)[below > 0] / below[below > 0]
            interval = (float(np.quantile(values, 0.025)), float(np.quantile(values, 0.975)))
        return Ratio(float(across.sum() / beside.sum()), interval, float(across.sum()) / total, float(beside.sum()) / total, int(n.sum()))
