"""Area-weighted moments that merge exactly under any partition (Chan, Golub and LeVeque 1979). Never holds the samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.errors import OrbitError
from orbit2.metrics.pooling import Pooled


@dataclass(frozen=True)
class Moments:
    """Sum of weights, weighted mean, weighted sum of squared deviations, extremes and number of valid values."""

    weight: float = 0.0
    mean: float = 0.0
    squares: float = 0.0
    least: float = np.inf
    greatest: float = -np.inf
    count: int = 0

    @classmethod
    def of(cls, values: npt.NDArray[Any], weights: npt.NDArray[Any]) -> Moments:
        """Moments of `values` (NaN left out) with `weights` that broadcast to them; float64 throughout."""
        data = np.asarray(values, dtype=np.float64)
        valid = np.isfinite(data)
        if not valid.any():
            return cls()
        share = np.where(valid, np.broadcast_to(np.asarray(weights, dtype=np.float64), data.shape), 0.0)
        total = float(share.sum())
        filled = np.where(valid, data, 0.0)
        mean = float((share * filled).sum() / total)
        squares = float((share * (filled - mean) ** 2).sum())
        return cls(total, mean, squares, float(data[valid].min()), float(data[valid].max()), int(valid.sum()))

    def __add__(self, other: Moments) -> Moments:
        """The moments of both sets of values together."""
        if not self.count:
            return other
        if not other.count:
            return self
        both, step = Pooled.of(self.weight, other.weight), other.mean - self.mean
        return Moments(
            float(both.weight), float(both.mean(self.mean, step)), float(both.comoment(self.squares, other.squares, step, step)),
            min(self.least, other.least), max(self.greatest, other.greatest), self.count + other.count,
        )

    @property
    def std(self) -> float:
        return float(np.sqrt(self.squares / self.weight)) if self.weight else float("nan")

    def as_dict(self, where: object) -> dict[str, float]:
        """Ready for JSON. Raises OrbitError when there was no valid value."""
        if not self.count:
            raise OrbitError("no valid value in the training period (NaN only)", where=where,
                             hint="choose a training period with values, or build the dataset again")  # fmt: skip
        return {"mean": self.mean, "std": self.std, "min": self.least, "max": self.greatest, "count": self.count}
