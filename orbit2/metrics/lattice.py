"""Which cells are followed one by one through the years: every k-th row and column. Never averages cells: an extreme is a cell's own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Value = TypeVar("Value", bound=np.generic)
MOST_CELLS = 65_536  # 256 x 256, a degree apart on the globe: what a month keeps of a variable and 8 series is then 70 MB


@dataclass(frozen=True)
class Lattice:
    """Every `step`-th row and column of a grid of `shape` (H, W), from the first on."""

    shape: tuple[int, int]
    step: int

    @classmethod
    def of(cls, shape: tuple[int, int], most: int = MOST_CELLS) -> Lattice:
        """The finest lattice with at most `most` cells."""
        step = 1
        while np.prod(cls(shape, step).kept) > most:
            step += 1
        return cls(shape, step)

    @property
    def rows(self) -> npt.NDArray[np.int64]:
        return np.arange(0, self.shape[0], self.step)

    @property
    def columns(self) -> npt.NDArray[np.int64]:
        return np.arange(0, self.shape[1], self.step)

    @property
    def kept(self) -> tuple[int, int]:
        """Rows and columns that are kept."""
        return len(self.rows), len(self.columns)

    @property
    def size(self) -> int:
        return self.kept[0] * self.kept[1]

    def take(self, field: npt.NDArray[Value]) -> npt.NDArray[Value]:
        """The kept cells of `field` [..., H, W] in row order, [..., kept]: a copy, so that the field can go."""
        part = field[..., :: self.step, :: self.step]
        return part.reshape(*part.shape[:-2], -1).copy()

    def floats(self, field: npt.NDArray[np.floating]) -> npt.NDArray[np.float32]:
        """`take` in single precision: what stores hold."""
        return self.take(field).astype(np.float32)

    @property
    def method(self) -> str:
        """For the `method` of a row: nothing where every cell is kept."""
        return "" if self.step == 1 else f", on every {_ordinal(self.step)} row and column"


def _ordinal(number: int) -> str:
    ending = "th" if 10 <= number % 100 <= 20 else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"
