"""95 % intervals of what is a mean over years: years are drawn again, for model and truth alike. Never of fewer than ten years."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.special import ndtri, stdtrit

from orbit2.climate import circular
from orbit2.metrics.bootstrap import LEVEL

Array = npt.NDArray[np.float64]
LEAST_YEARS = 10
AT_ONCE = 100  # draws
MOST = 1 - 1e-9  # correlation, for Fisher's z
Pair = tuple[float, float]


@dataclass(frozen=True)
class Draws:
    """`counts` [draws, years]: how often each year is drawn."""

    counts: Array

    @classmethod
    def of(cls, whole: int, number: int, years: int) -> Draws | None:
        """`number` draws of `years`, none where fewer than LEAST_YEARS of them are `whole`. Years count as independent of one another."""
        if number < 1 or whole < LEAST_YEARS:
            return None
        drawn = np.random.default_rng((years, number)).integers(0, years, (number, years))
        return cls(np.stack([np.bincount(row, minlength=years) for row in drawn]).astype(np.float64))

    @property
    def method(self) -> str:
        return f"interval: {len(self.counts)} draws of years"

    def ratio(self, top: Array, bottom: Array) -> Pair:
        """Of a sum over years [Y] over another."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self._about(np.concatenate([[top.sum() / bottom.sum()], self.counts @ top / (self.counts @ bottom)]))

    def date_maps(self, p: Array, o: Array, weights: Array, length: int) -> tuple[Pair, Pair]:
        """Of the correlation and the bias of two maps of mean dates, of dates [cells, Y] and weights [cells]: positive where both maps
        are known."""
        middle = circular.mean(circular.mean(o, axis=-1, length=length), weights, length=length)

        def compared(counts: Array) -> tuple[Array, Array]:
            there = circular.difference(_circular(counts, o, length), middle, length)
            error = circular.difference(_circular(counts, p, length), _circular(counts, o, length), length)
            return there + error, there

        return self._maps(compared, weights)

    def mean_maps(self, p: Array, o: Array, weights: Array) -> tuple[Pair, Pair]:
        """Of the correlation and the bias of maps of means over years, of values [cells, Y]."""
        return self._maps(lambda counts: (_mean(counts, p), _mean(counts, o)), weights)

    def _maps(self, compared: Callable[[Array], tuple[Array, Array]], weights: Array) -> tuple[Pair, Pair]:
        correlation, bias = [], []
        once = np.ones((1, self.counts.shape[1]))  # every year: the value itself
        for counts in (once, *(self.counts[at : at + AT_ONCE] for at in range(0, len(self.counts), AT_ONCE))):
            p, o = compared(counts)
            known = np.isfinite(p) & np.isfinite(o)
            w = weights * known
            w = w / w.sum(axis=1, keepdims=True)
            p, o = np.where(known, p, 0.0), np.where(known, o, 0.0)
            dp, do = (x - (w * x).sum(axis=1, keepdims=True) for x in (p, o))
            with np.errstate(invalid="ignore", divide="ignore"):
                correlation.append((w * dp * do).sum(axis=1) / np.sqrt((w * dp**2).sum(axis=1) * (w * do**2).sum(axis=1)))
            bias.append((w * (p - o)).sum(axis=1))
        return self._about(np.concatenate(correlation), fisher=True), self._about(np.concatenate(bias))

    def _about(self, drawn: Array, fisher: bool = False) -> Pair:
        """Ends about the value, which is the first of `drawn`: the draws' quantiles, moved so that their median is the value (years drawn
        twice make maps noisier than the record's, and correlations lower), as much wider as Student's t is for so few years. `fisher`: of
        correlations, in Fisher's z."""
        z = np.arctanh(np.clip(drawn, -MOST, MOST)) if fisher else drawn
        value, z = z[0], z[1:][np.isfinite(z[1:])]
        if not np.isfinite(value) or len(z) < 0.9 * len(self.counts):
            return float("nan"), float("nan")
        low, middle, high = np.quantile(z, [(1 - LEVEL) / 2, 0.5, 1 - (1 - LEVEL) / 2])
        ends = value + self.wider * (np.array([low, high]) - middle)
        low, high = np.tanh(ends) if fisher else ends
        return float(low), float(high)

    @property
    def wider(self) -> float:
        years, tail = self.counts.shape[1], 1 - (1 - LEVEL) / 2
        return float(np.sqrt(years / (years - 1)) * stdtrit(years - 1, tail) / ndtri(tail))


def _circular(counts: Array, days: Array, length: int) -> Array:
    """[draws, cells] circular means of [cells, Y]."""
    known = np.isfinite(days)
    turned = np.where(known, np.exp(2j * np.pi * np.where(known, days, 0.0) / length), 0.0)
    vector = counts @ turned.T
    return np.asarray(np.where(np.abs(vector) > 1e-9, np.mod(np.angle(vector) * length / (2 * np.pi), length), np.nan))


def _mean(counts: Array, values: Array) -> Array:
    known = np.isfinite(values)
    weight = counts @ known.T.astype(np.float64)
    total = counts @ np.where(known, values, 0.0).T
    made: Array = np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)
    return made
