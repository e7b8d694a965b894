"""Gaussian fields that look like weather: mean 0 and variance 1 in every cell, alike in space and time. Never knows what they stand for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
import scipy.fft

from orbit2.grid import Grid

Field = npt.NDArray[np.float32]
DAYS = 5  # that a disturbance lasts
DECAY = 0.45  # from one day to the next
SCALES = ((12.0, 0.7), (3.5, 0.3))  # degrees, and the share of the variance: depressions, and what is finer than a coarse cell
_EPOCH = 719_163  # days from 0001-01-01 to 1970-01-01: seeds are not negative


class Noise:
    """Fields on `grid` by day; every day can be made by itself and is always the same.

    White noise, new every day, is filtered on a torus around the grid, which keeps the variance the same in every cell, and summed over
    the last DAYS days with weights DECAY^k (a moving average, so that no day needs all days before it). The correlation of two cells d
    degrees apart is the sum of share * exp(-2 (d / length)^2) over SCALES: degrees are squares here, towards the poles too.
    """

    def __init__(self, grid: Grid, seed: int, stream: int) -> None:
        self.shape, self.seed, self.stream = grid.shape, seed, stream
        self._torus = (2 * grid.shape[0], grid.shape[1] * (1 if grid.periodic else 2))
        step = (grid.resolution, float(np.median(np.diff(grid.lon_edges))))
        wave = np.hypot(*np.meshgrid(*(np.fft.fftfreq(n, d) for n, d in zip(self._torus, step, strict=True)), indexing="ij"))
        power = np.zeros(self._torus)
        for length, share in SCALES:
            band = np.exp(-((np.pi * wave * length) ** 2) / 2)
            power += share * band / band.mean()
        self._filter = np.sqrt(power)[:, : self._torus[1] // 2 + 1].astype(np.float32)
        weights = DECAY ** np.arange(DAYS)
        self._weights = (weights / np.sqrt((weights**2).sum())).astype(np.float32)
        self._fresh: dict[int, Field] = {}

    def days(self, numbers: Sequence[int]) -> Iterator[Field]:
        """The field [H, W] of each day (days since 1970-01-01)."""
        for number in numbers:
            needed = {number - k: weight for k, weight in enumerate(self._weights)}
            self._fresh = {key: field for key, field in self._fresh.items() if key in needed}
            total = np.zeros(self.shape, dtype=np.float32)
            for key, weight in needed.items():
                if key not in self._fresh:
                    self._fresh[key] = self._one(key)
                total += weight * self._fresh[key]
            yield total

    def _one(self, number: int) -> Field:
        """What is new on a day."""
        white = np.random.default_rng([self.seed, self.stream, _EPOCH + number]).standard_normal(self._torus, dtype=np.float32)
        field: Field = scipy.fft.irfft2(scipy.fft.rfft2(white) * self._filter, self._torus)[: self.shape[0], : self.shape[1]]
        return field
