"""Another observational product of what is scored, on the scored grid: how well products agree is a ceiling, never a baseline."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from orbit2.data.pairs import PairStore
from orbit2.grid import AnyGrid
from orbit2.remap import Regridder
from orbit2.times import Time

Array = npt.NDArray[np.float64]
PREFIX = "obs:"  # of the product's name where models stand


class Product:
    """The fine side of a pair store (or of observations), averaged conservatively to `grid`; a cell that it covers by less than half
    is NaN.

    Nothing is read before it is asked for. Raises OrbitError as PairStore does.
    """

    def __init__(self, path: Path, grid: AnyGrid) -> None:
        self.store, self.grid = PairStore(path), grid
        usable = np.flatnonzero(self.store.usable)
        self._positions = dict(zip(self.store.times[usable], (int(i) for i in usable), strict=True))
        self._regridder: Regridder | None = None
        self._newest: tuple[int, npt.NDArray[np.float32]] | None = None

    def field(self, name: str, time: Time) -> Array | None:
        """[H, W] in canonical units; None where the product has no such variable or not this time."""
        position = self._positions.get(time)
        if position is None or name not in self.store.variables("fine"):
            return None
        if self._regridder is None:
            self._regridder = Regridder(self.store.grid("fine"), self.grid, "conservative")
        if self._newest is None or self._newest[0] != position:
            self._newest = position, self.store.read("fine", position)
        found = self._regridder(self._newest[1][self.store.variable_index("fine", name)].astype(np.float64))
        return np.asarray(found, dtype=np.float64)
