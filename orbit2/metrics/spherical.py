"""Power of spherical harmonics of a whole globe. Never of a field with a gap, nor of a grid whose rows are not evenly spaced."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from numba import njit
from scipy import fft

from orbit2.errors import OrbitError
from orbit2.grid import EARTH_RADIUS_KM, Grid

Array = npt.NDArray[np.float64]
MOST_ROWS = 720  # finer fields are averaged to a quarter of a degree first


def block(grid: Grid) -> int | None:
    """Cells to a side that are averaged before the transform; None for a grid that is no globe of evenly spaced, cell-centred rows."""
    rows, columns = grid.shape
    even = all(np.allclose(np.diff(edges), np.diff(edges)[0], rtol=1e-6) for edges in (grid.lat_edges, grid.lon_edges))
    whole = grid.periodic and abs(grid.lat_edges[0] + 90) < 1e-6 and abs(grid.lat_edges[-1] - 90) < 1e-6
    factors = [n for n in range(1, rows) if rows % n == 0 and columns % n == 0 and rows // n <= MOST_ROWS]
    return factors[0] if even and whole and factors else None


def wavelength_km(degrees: int) -> Array:
    """2 pi R / sqrt(l (l + 1)) for l = 1 ... `degrees` (Jeans)."""
    degree = np.arange(1, degrees + 1)
    length: Array = 2 * np.pi * EARTH_RADIUS_KM / np.sqrt(degree * (degree + 1.0))
    return length


def power(field: Array) -> Array:
    """Variance per degree [H] of a field [H, W] of evenly spaced cell centres, degrees 0 to H - 1: they sum to the area mean of its square.

    Exact for a field of degree below H and order below W / 2: every order is brought from H to 2 H rows by a Fourier transform of the
    whole meridian, where Fejer's first rule integrates products of two such functions. Raises OrbitError when a cell is missing.
    """
    if not np.isfinite(field).all():
        raise OrbitError("spherical harmonics of a field with missing cells", got=f"{(~np.isfinite(field)).sum()} missing")
    rows, columns = field.shape
    orders = min(rows, (columns + 1) // 2)
    waves = fft.rfft(field, axis=1)[:, :orders] / columns
    fine = _twice_the_rows(waves) * _fejer(2 * rows)[:, None]
    south = fine[::-1][:rows]
    even, odd = np.ascontiguousarray((fine[:rows] + south).T), np.ascontiguousarray((fine[:rows] - south).T)
    cosine = np.cos((np.arange(rows) + 0.5) * np.pi / (2 * rows))
    result: Array = _degrees(even, odd, cosine) / (4 * np.pi)
    return result


def _twice_the_rows(waves: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """[2 H, M] from [H, M]: the meridian goes on over the pole, with the sign of (-1)^m, and is periodic there."""
    rows, orders = waves.shape
    sign = np.where(np.arange(orders) % 2, -1.0, 1.0)
    circle = fft.fft(np.concatenate([waves, waves[::-1] * sign]), axis=0)
    frequency = np.arange(-rows + 1, rows)
    circle = circle[frequency] * np.exp(-1j * np.pi * frequency / (2 * rows) * 0.5)[:, None]  # the finer rows begin a quarter cell sooner
    wide = np.zeros((4 * rows, orders), dtype=np.complex128)
    wide[frequency] = circle
    result: npt.NDArray[np.complex128] = fft.ifft(wide, axis=0)[: 2 * rows] * 2
    return result


def _fejer(number: int) -> Array:
    """Weights of Fejer's first rule at the middles of `number` equal steps of the colatitude, for integrals over its cosine."""
    angle = (np.arange(number) + 0.5) * np.pi / number
    k = np.arange(1, number // 2 + 1)
    factor = np.where(2 * k == number, 1.0, 2.0) / (4.0 * k**2 - 1)
    spectrum = np.zeros(number + 1)
    spectrum[2 * k] = factor
    weights: Array = 2.0 / number * (1 - np.cos(np.outer(angle, np.arange(number + 1)[2::2])) @ spectrum[2::2])
    return weights


@njit(cache=True)
def _degrees(even, odd, cosine):  # type: ignore[no-untyped-def]  # pragma: no cover - compiled
    """Sum over orders of |a_lm|^2; orthonormal Legendre functions by their recurrence in the degree, northern rows alone."""
    orders, rows = even.shape
    found = np.zeros(rows)
    sine = np.sqrt(1 - cosine**2)
    sectoral = np.full(rows, np.sqrt(1 / (4 * np.pi)))
    before, now, after = np.empty(rows), np.empty(rows), np.empty(rows)
    for m in range(orders):
        if m > 0:
            sectoral *= np.sqrt((2 * m + 1) / (2 * m)) * sine
        before[:] = 0.0
        now[:] = sectoral
        b = 0.0
        for n in range(m, rows):
            real, imaginary = 0.0, 0.0
            if (n + m) % 2 == 0:
                for j in range(rows):
                    real += now[j] * even[m, j].real
                    imaginary += now[j] * even[m, j].imag
            else:
                for j in range(rows):
                    real += now[j] * odd[m, j].real
                    imaginary += now[j] * odd[m, j].imag
            found[n] += (1 if m == 0 else 2) * (real**2 + imaginary**2) * (2 * np.pi) ** 2
            a = np.sqrt((4.0 * (n + 1) ** 2 - 1) / ((n + 1.0) ** 2 - m * m))
            for j in range(rows):
                after[j] = a * (cosine[j] * now[j] - b * before[j])
            before, now, after = now, after, before
            b = 1 / a
    return found
