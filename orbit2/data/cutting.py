"""Samples cut into training tiles with the geometry of orbit2.model.tiles. Never decides which samples, and never scales a loss."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orbit2.data.view import View
from orbit2.model.tiles import Tiling, tiles


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

    def tiling(self, view: View) -> Tiling:
        """The tiles of whole samples: their cores partition what of a view counts."""
        return tiles(view.shape, view.periodic, self.size, self.halo, self.patch, view.domain)

    def draw(self, available: int, seed: Sequence[int]) -> list[int]:
        """Which tiles to train on: all in order, or `count` different ones that depend on `seed` alone."""
        if not self.count or self.count >= available:
            return list(range(available))
        return [int(n) for n in np.random.default_rng(list(seed)).permutation(available)[: self.count]]
