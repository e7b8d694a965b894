"""Samples cut into training tiles with the geometry of orbit2.model.tiles. Never decides which samples, and never scales a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from orbit2.data.augment import Raw
from orbit2.model.tiles import Tiling, Window, tiles


@dataclass(frozen=True)
class Cutting:
    """Cores of `size` coarse cells (one number or rows, columns; 0: the whole side) with `halo` cells of context, windows a multiple
    of `patch`; `count` of a sample's tiles are drawn, 0 takes all."""

    size: int | tuple[int, int]
    halo: int
    patch: int = 1
    count: int = 0

    def __str__(self) -> str:
        rows, columns = (edge or "all" for edge in ((self.size, self.size) if isinstance(self.size, int) else self.size))
        return f"tile {rows} x {columns}, halo {self.halo}, {self.count or 'all'} of a sample's tiles in a step"

    def tiling(self, raw: Raw) -> Tiling:
        """The tiles of whole samples: their cores partition what the samples' weights count."""
        height, width = raw.coarse.shape[-2:]
        factor = raw.weights.shape[-1] // width
        counted = raw.weights > 0
        rows, columns = (_span(counted.any(axis), factor) for axis in (1, 0))
        return tiles((height, width), raw.periodic, self.size, self.halo, self.patch, (rows, columns))

    def draw(self, available: int, seed: Sequence[int]) -> list[int]:
        """Which tiles to train on: all in order, or `count` different ones that depend on `seed` alone."""
        if not self.count or self.count >= available:
            return list(range(available))
        return [int(n) for n in np.random.default_rng(list(seed)).permutation(available)[: self.count]]


def cut(raw: Raw, pieces: Sequence[tuple[int, Window]]) -> Raw:
    """Windows of whole samples as one batch; a piece is (position of its sample in `raw`, window). All windows of one tiling."""
    factor = raw.weights.shape[-1] // raw.coarse.shape[-1]
    weights, context = zip(*(_masked(raw.weights, window, factor) for _, window in pieces), strict=True)
    return replace(
        raw,
        coarse=torch.stack([window.take(raw.coarse[k]) for k, window in pieces]),
        fine=torch.stack([window.take(raw.fine[k], factor) for k, window in pieces]),
        static_coarse=torch.stack([window.take(raw.static_coarse) for _, window in pieces]),
        static_fine=torch.stack([window.take(raw.static_fine, factor) for _, window in pieces]),
        weights=torch.stack(weights),
        lat=torch.stack([raw.lat[window.rows] for _, window in pieces]),
        lon=torch.stack([raw.lon[window.columns] for _, window in pieces]),
        periodic=pieces[0][1].periodic,
        context=torch.stack(context),
    )


def _masked(weights: Tensor, window: Window, factor: int) -> tuple[Tensor, Tensor]:
    """(weights of the window's core, zero around it; which other cells belong to other tiles), [sh, sw] each."""
    seen, inside = window.take(weights, factor), window.fine_core(factor)
    own = torch.zeros_like(seen)
    own[inside] = seen[inside]
    return own, (seen > 0) & (own == 0)


def _span(counted: Tensor, factor: int) -> slice:
    """Coarse cells from the first to the last fine one that counts."""
    (found,) = counted.nonzero(as_tuple=True)
    return slice(int(found[0]) // factor, int(found[-1]) // factor + 1)
