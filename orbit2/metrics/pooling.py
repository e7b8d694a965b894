"""Means and co-moments of two sets of values made those of both (Chan, Golub & LeVeque 1979). Never takes differences of large sums."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
Value = Array | float


@dataclass(frozen=True, eq=False)
class Pooled:
    """What two disjoint sets, whose weights are arrays of one shape (or numbers), weigh together.

    `share`: the second's share of `weight`, 0 where both are empty; `between`: what the product of two differences of means counts for.
    """

    weight: Array
    share: Array
    between: Array

    @classmethod
    def of(cls, first: npt.ArrayLike, second: npt.ArrayLike) -> Pooled:
        one, other = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
        weight = one + other
        share = np.divide(other, weight, out=np.zeros_like(weight), where=weight > 0)
        return cls(weight, share, one * share)

    def mean(self, first: Value, step: Value) -> Array:
        """The mean of both; `step` is the second's mean less the first's."""
        return np.asarray(first + step * self.share)

    def comoment(self, first: Value, second: Value, step_x: Value, step_y: Value) -> Array:
        """The weighted sum of products of deviations from the means of both, `first` and `second` those from the sets' own."""
        return np.asarray(first + second + step_x * step_y * self.between)
