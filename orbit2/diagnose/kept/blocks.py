"""Blocks of k x k cells: their area-weighted means and mean squared errors, and the cell in the middle of each. Never mixes blocks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.grid import AnyGrid
from orbit2.jit import compiled, finite
from orbit2.metrics.weighting import area_weights

Array = npt.NDArray[np.float64]
Field = npt.NDArray[np.floating[Any]]


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of `step` x `step` cells of `grid`, from its first row and column on; the last ones are smaller where it does not divide."""

    grid: AnyGrid
    step: int

    @classmethod
    def of(cls, grid: AnyGrid, most: int) -> Blocks:
        """The smallest blocks of which there are at most `most`; cells themselves where that many will do."""
        step = 1
        while -(-grid.shape[0] // step) * -(-grid.shape[1] // step) > most:
            step += 1
        return cls(grid, step)

    @cached_property
    def coarse(self) -> AnyGrid:
        """The grid whose cells are the blocks."""
        return self.grid.blocks(self.step, self.step)

    @cached_property
    def area(self) -> Array:
        """Of the cells [H, W], relative."""
        return area_weights(self.grid)

    @cached_property
    def _middles(self) -> tuple[npt.NDArray[np.int64], ...]:
        starts = [(np.arange(0, size, self.step), size) for size in self.grid.shape]
        return tuple((start + np.minimum(start + self.step, size)) // 2 for start, size in starts)

    def middle(self, field: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The value of the cell in the middle of each block [R, C]: a cell's own, no mean. A copy."""
        return field[np.ix_(*self._middles)]

    def means(self, field: Field) -> tuple[Array, Array]:
        """([R, C] area-weighted mean of what is known of each block, NaN where nothing is; share of its area that is known)."""
        weight, total, _ = self._sums(field, field)
        return _over(total, weight), weight / self._whole

    def errors(self, field: Field, truth: Field) -> tuple[Array, Array]:
        """([R, C] means of `field`, means of (field - truth)^2), of the cells where both are known."""
        weight, total, square = self._sums(field, truth)
        return _over(total, weight), _over(square, weight)

    def _sums(self, field: Field, truth: Field) -> Array:
        found: Array = sums(np.ascontiguousarray(field), np.ascontiguousarray(truth), self.area, self.step)
        return found

    @cached_property
    def _whole(self) -> Array:
        ones = np.ones(self.grid.shape)
        whole: Array = self._sums(ones, ones)[0]
        return whole

    @property
    def method(self) -> str:
        """For the `method` of a row: nothing where the blocks are cells."""
        return "" if self.step == 1 else f", of blocks of {self.step} x {self.step} cells"


def _over(total: Array, weight: Array) -> Array:
    means: Array = np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)
    return means


@compiled("f8[:,::1], f8[:,::1], f8[:,::1], i8")
def sums(field: Field, truth: Field, area: Array, step: int) -> Array:
    """[3, R, C]: area, area x field, area x (field - truth)^2 of the cells of each block where both are known."""
    height, width = field.shape
    found = np.zeros((3, -(-height // step), -(-width // step)))
    for i in range(height):
        row = i // step
        for column in range(found.shape[2]):
            w, wp, se = 0.0, 0.0, 0.0
            for j in range(column * step, min((column + 1) * step, width)):
                p = np.float64(field[i, j])
                error = p - np.float64(truth[i, j])
                known = finite(error)
                w += area[i, j] if known else 0.0
                wp += area[i, j] * p if known else 0.0
                se += area[i, j] * error * error if known else 0.0
            found[0, row, column] += w
            found[1, row, column] += wp
            found[2, row, column] += se
    return found
