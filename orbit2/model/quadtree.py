"""Quadtrees of a whole batch at once: one stable sort over a sum-pooled pyramid, no loop over leaves or samples. Carries no gradient.

Letters: B batch, h x w cells (the tokens of the coarse grid), n nodes of the pyramid (coarsest level first, row by row), K leaves.
Mass never grows from parent to child, so splitting the heaviest leaf again and again is splitting the heaviest nodes of the pyramid.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from orbit2.errors import OrbitError
from orbit2.model.geometry import valueless


@dataclass(frozen=True)
class Pyramid:
    """Square nodes over `rows` x `columns` cells: sides max_leaf, max_leaf / 2, ... min_leaf; the grid is padded to whole roots."""

    rows: int
    columns: int
    min_leaf: int
    max_leaf: int

    @property
    def sides(self) -> tuple[int, ...]:
        """Node sides in cells, the roots' first."""
        count = (self.max_leaf // self.min_leaf).bit_length()
        return tuple(self.max_leaf >> level for level in range(count))

    @property
    def padded(self) -> tuple[int, int]:
        """Rows and columns once padded to whole roots."""
        return -(-self.rows // self.max_leaf) * self.max_leaf, -(-self.columns // self.max_leaf) * self.max_leaf

    @property
    def roots(self) -> int:
        return self.nodes(self.max_leaf)

    @property
    def splittable(self) -> int:
        """Nodes above the minimum leaf size: the first ones of the pyramid."""
        return sum(self.nodes(side) for side in self.sides[:-1])

    @property
    def partial(self) -> bool:
        """Whether some nodes hold padding."""
        return self.padded != (self.rows, self.columns)

    def shape(self, side: int) -> tuple[int, int]:
        """Nodes (down, across) of one level."""
        return self.padded[0] // side, self.padded[1] // side

    def nodes(self, side: int) -> int:
        down, across = self.shape(side)
        return down * across

    def budget(self, leaves: int) -> int:
        """The number of leaves that a budget of `leaves` gives: R + 3 m, R roots, never more than there are smallest nodes.

        Raises OrbitError when there are fewer leaves than roots.
        """
        if leaves < self.roots:
            cells = self.rows * self.columns
            raise OrbitError(
                "compression leaves fewer leaves than the quadtree has roots",
                where=f"{self.rows} x {self.columns} tokens with architecture.compression.max_leaf {self.max_leaf}",
                got=f"{leaves} leaves",
                allowed=f"{self.roots}, {self.roots + 3}, {self.roots + 6}, ...",
                hint=f"set ratio to at most {cells / self.roots:.4g}, or a larger max_leaf",
            )
        most = -(-self.rows // self.min_leaf) * -(-self.columns // self.min_leaf)
        return min(leaves - (leaves - self.roots) % 3, most)

    def growth(self, device: torch.device | str = "cpu") -> Tensor:
        """Leaves that splitting each node adds [splittable]: 3, or 1 or 0 at the rim, where only children with real cells count."""
        parts = []
        for side in self.sides[:-1]:
            inside = [
                (-(-n * 2 // side) - torch.arange(k, device=device) * 2).clamp(0, 2)
                for n, k in zip((self.rows, self.columns), self.shape(side), strict=True)
            ]
            parts.append((inside[0][:, None] * inside[1] - 1).clamp_min(0).flatten())
        return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.long, device=device)

    def sizes(self, device: torch.device | str = "cpu") -> Tensor:
        """Real cells of every node [n], float32; 0 for wholly padded ones."""
        parts = []
        for side in self.sides:
            down, across = self.shape(side)
            inside = [(n - torch.arange(k, device=device) * side).clamp(0, side) for n, k in ((self.rows, down), (self.columns, across))]
            parts.append((inside[0][:, None] * inside[1]).flatten())
        return torch.cat(parts).float()

    def sums(self, cells: Tensor) -> Tensor:
        """[B, h, w, ...] -> [B, n, ...]: the sum over every node's cells."""
        height, width = self.padded
        if self.partial:
            padded = cells.new_zeros(len(cells), height, width, *cells.shape[3:])
            padded[:, : self.rows, : self.columns] = cells
            cells = padded
        level = pool(cells, self.min_leaf)
        found = [level]
        for _ in self.sides[1:]:
            level = pool(level, 2)
            found.append(level)
        return torch.cat([part.flatten(1, 2) for part in reversed(found)], 1)


@dataclass(frozen=True)
class Leaves:
    """The leaves of a batch, none of them wholly padded; each sample's real ones come first.

    nodes [B, K] index the pyramid; cells [B, h w] is the leaf of every cell; real [B, K] is False for what fills up shorter
    samples (None: all are real).
    """

    pyramid: Pyramid
    nodes: Tensor
    cells: Tensor
    real: Tensor | None

    def take(self, values: Tensor) -> Tensor:
        """[B, n, ...] of nodes -> [B, K, ...] of leaves."""
        return rows_of(values, self.nodes)

    def boxes(self, sample: int = 0) -> list[tuple[int, int, int, int]]:
        """(first row, last row + 1, first column, last column + 1) in cells of every real leaf of one sample, each once."""
        keep = slice(None) if self.real is None else self.real[sample]
        nodes, pyramid = list(dict.fromkeys(self.nodes[sample][keep].tolist())), self.pyramid
        found, start = [], 0
        for side in pyramid.sides:
            across = pyramid.shape(side)[1]
            for row, column in (divmod(n - start, across) for n in nodes if start <= n < start + pyramid.nodes(side)):
                top, left = row * side, column * side
                found.append((top, min(top + side, pyramid.rows), left, min(left + side, pyramid.columns)))
            start += pyramid.nodes(side)
        return found

    def cumulative_lengths(self) -> Tensor:
        """int32 [B + 1]: where each sample's leaves begin once packed (`cu_seqlens` of variable-length attention)."""
        batch, count = self.nodes.shape
        counts = self.nodes.new_full((batch,), count) if self.real is None else self.real.sum(1)
        return torch.cat([counts.new_zeros(1), counts.cumsum(0)]).int()


def by_budget(mass: Tensor, pyramid: Pyramid, leaves: int) -> Leaves:
    """Split the heaviest nodes while there are at most `leaves` (rounded down to R + 3 m, R roots). mass [B, h, w] >= 0.

    Ties go to the coarser node, then to the first. Wholly padded nodes are no leaves and cost nothing. Every sample has the same
    number of leaves, whatever its values: at the rim a split may add only one, and where the last split of three does not fit, a
    sample's first and largest leaf is there again, once or twice, so that nothing needs a mask.
    Raises OrbitError when `leaves` < R.
    """
    count, candidates = pyramid.budget(leaves), pyramid.splittable
    order = pyramid.sums(mass.detach())[:, :candidates].sort(dim=1, descending=True, stable=True).indices
    chosen = pyramid.growth(mass.device)[order].cumsum(1) <= count - pyramid.roots
    leaf = _leaves(torch.zeros_like(chosen).scatter(1, order, chosen), pyramid)
    nodes = _first(leaf, pyramid, count)
    cells = _cells(leaf, nodes, pyramid)
    if pyramid.partial:
        real = rows_of(leaf & (pyramid.sizes(mass.device) > 0), nodes)
        nodes = torch.where(real, nodes, nodes[:, :1])
    return Leaves(pyramid, nodes, cells, None)


def by_threshold(mass: Tensor, pyramid: Pyramid, value: float) -> Leaves:
    """Split, from the roots down, nodes whose mass per real cell exceeds `value`; packed to the longest sample. mass [B, h, w] >= 0."""
    sizes, candidates = pyramid.sizes(mass.device), pyramid.splittable
    density = pyramid.sums(mass.detach())[:, :candidates] / sizes[:candidates].clamp_min(1)
    leaf = _leaves(density > value, pyramid)
    counts = (leaf & (sizes > 0)).sum(1)
    longest = pyramid.nodes(pyramid.min_leaf) if valueless(mass) else int(counts.max())
    nodes = _first(leaf, pyramid, longest)
    real = torch.arange(longest, device=mass.device) < counts[:, None]
    return Leaves(pyramid, nodes, _cells(leaf, nodes, pyramid), None if valueless(mass) or bool(real.all()) else real)


def pool(cells: Tensor, side: int) -> Tensor:
    """[B, h, w, ...] -> [B, h / side, w / side, ...] sums."""
    if side == 1:
        return cells
    batch, height, width = cells.shape[:3]
    return cells.reshape(batch, height // side, side, width // side, side, *cells.shape[3:]).sum((2, 4))


def _enlarge(level: Tensor, side: int) -> Tensor:
    """[B, h, w] -> [B, h side, w side]: every node's value for all that lies below it."""
    return level.repeat_interleave(side, 1).repeat_interleave(side, 2) if side > 1 else level


def _leaves(split: Tensor, pyramid: Pyramid) -> Tensor:
    """Which nodes are leaves [B, n] when those marked in `split` [B, splittable] are split, each only below split ones."""
    found, start = [], 0
    open_ = split.new_ones(len(split), *pyramid.shape(pyramid.max_leaf))
    for side in pyramid.sides[:-1]:
        part = split[:, start : start + pyramid.nodes(side)].view_as(open_) & open_
        found.append((open_ & ~part).flatten(1))
        open_, start = _enlarge(part, 2), start + pyramid.nodes(side)
    return torch.cat([*found, open_.flatten(1)], 1)


def _first(leaf: Tensor, pyramid: Pyramid, count: int) -> Tensor:
    """The first `count` leaves [B, count] of the pyramid's order, wholly padded ones last."""
    rank = leaf.to(torch.int8) + (leaf & (pyramid.sizes(leaf.device) > 0)).to(torch.int8)
    return rank.sort(dim=1, descending=True, stable=True).indices[:, :count]


def _cells(leaf: Tensor, nodes: Tensor, pyramid: Pyramid) -> Tensor:
    """The leaf [B, h w] that covers each cell, as a position in `nodes`."""
    places = torch.arange(nodes.shape[1], device=nodes.device).expand_as(nodes)
    places = torch.zeros_like(leaf, dtype=torch.long).scatter(1, nodes, places) * leaf
    start, side = 0, pyramid.max_leaf
    total = places.new_zeros(len(leaf), *pyramid.shape(side))
    for finer in pyramid.sides:  # a cell has one leaf among its ancestors, so adding up finds it
        total = _enlarge(total, side // finer) + places[:, start : start + pyramid.nodes(finer)].view(len(leaf), *pyramid.shape(finer))
        start, side = start + pyramid.nodes(finer), finer
    return _enlarge(total, side)[:, : pyramid.rows, : pyramid.columns].flatten(1)


def rows_of(values: Tensor, index: Tensor) -> Tensor:
    """values [B, n, ...], index [B, m] -> [B, m, ...]; index_select is faster than gather over wide rows."""
    batch, count = values.shape[:2]
    flat = index + torch.arange(batch, device=index.device)[:, None] * count
    return values.flatten(0, 1).index_select(0, flat.flatten()).view(*index.shape, *values.shape[2:])
