"""Fields as waves, transformed once: power, and how far two fields' waves agree in place. Never fills a missing cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # scipy.signal takes half a second to load: where it is used
from scipy import fft

from orbit2.metrics.spectra import ZonalAxis, _deplane, _hann

Array = npt.NDArray[np.float64]
Complex = npt.NDArray[np.complex128]


def zonal_waves(field: Array, axis: ZonalAxis, periodic: bool) -> Complex:
    """Waves [R, K] of a band's rows; |waves|^2 is a row's one-sided power per wavenumber, as spectra.zonal_spectrum has it.

    A row with a missing cell is NaN. A row that is not periodic is detrended and Hann-windowed.
    """
    rows = field[axis.rows]
    complete = np.isfinite(rows).all(axis=1)
    count = rows.shape[1]
    waves = np.full((len(rows), count // 2), np.nan, dtype=np.complex128)
    if complete.any():
        known = rows[complete]
        if not periodic:
            window = scipy.signal.windows.hann(count, sym=False)
            known = scipy.signal.detrend(known, axis=1) * (window / np.sqrt(np.mean(window**2)))
        found = fft.rfft(known, axis=1)[:, 1:] * (np.sqrt(2) / count)
        if count % 2 == 0:
            found[:, -1] /= np.sqrt(2)  # there is one wave of two cells, not two
        waves[complete] = found
    return waves


@dataclass(frozen=True, eq=False)
class Rings:
    """Which bin of |k| each wave of a box [ny, nx] belongs to (0 = none), the bins' mean wavenumber in cycles/km, and
    number of waves, [K].
    """

    ring: npt.NDArray[np.int64]
    k: Array
    count: Array
    spacing: tuple[float, float]  # dx, dy in km

    @classmethod
    def of(cls, shape: tuple[int, int], dx_km: float, dy_km: float) -> Rings:
        """Bins as of spectra.radial_spectrum: as wide as the longer of the two axes' steps, up to the smaller Nyquist wavenumber."""
        ny, nx = shape
        k = np.hypot(*np.meshgrid(fft.fftfreq(ny, dy_km), fft.fftfreq(nx, dx_km), indexing="ij"))
        step = max(1 / (nx * dx_km), 1 / (ny * dy_km))
        bins = int(min(0.5 / dx_km, 0.5 / dy_km) / step + 1e-9)
        ring = np.rint(k / step).astype(np.int64)
        ring[ring > bins] = 0
        count = np.bincount(ring.ravel(), minlength=bins + 1)[1:]
        mean = np.bincount(ring.ravel(), weights=k.ravel(), minlength=bins + 1)[1:] / count
        return cls(ring, mean, count.astype(np.float64), (dx_km, dy_km))

    def waves(self, field: Array) -> Complex:
        """Waves [ny, nx] of a complete box; |waves|^2 is its power density, mean and plane removed, under a Hann window of unit power."""
        ny, nx = field.shape
        transform: Complex = fft.fft2(_deplane(field) * _hann(ny, nx)) * np.sqrt(self.spacing[0] * self.spacing[1] / (nx * ny))
        return transform

    def mean(self, values: Array) -> Array:
        """Mean over each ring [K] of values [ny, nx]."""
        total: Array = np.bincount(self.ring.ravel(), weights=values.ravel(), minlength=len(self.k) + 1)[1:] / self.count
        return total

    def cross(self, prediction: Complex, truth: Complex) -> Array:
        """cross_sums of two fields' waves, as means over each ring, [4, K]."""
        return np.stack([self.mean(part) for part in _products(prediction, truth)])


def zonal_cross(prediction: Complex, truth: Complex, row_weights: Array) -> Array:
    """[4, K] means over the rows complete in both, by `row_weights` [R]: power of prediction, of truth, real and imaginary cross power."""
    known = np.isfinite(prediction[:, 0]) & np.isfinite(truth[:, 0])
    if not known.any():
        return np.full((4, prediction.shape[1]), np.nan)
    return np.stack([np.average(part[known], axis=0, weights=row_weights[known]) for part in _products(prediction, truth)])


def _products(prediction: Complex, truth: Complex) -> tuple[Array, Array, Array, Array]:
    product = prediction * truth.conj()
    return np.abs(prediction) ** 2, np.abs(truth) ** 2, product.real, product.imag


def coherence(sums: Array) -> Array:
    """Squared coherence [K], 0 to 1, of sums [4, K] over rows, rings and samples: 1 where the waves are in place, whatever their power.

    Of n independent pairs of noise it is 1/n on average, of one pair always 1. NaN where a field has no power.
    """
    power = sums[0] * sums[1]
    value: Array = np.divide(sums[2] ** 2 + sums[3] ** 2, power, out=np.full_like(power, np.nan), where=power > 0)
    return np.minimum(value, 1.0)
