"""Power of spherical harmonics of a whole globe. Never of a field with a gap, nor of a grid whose rows are not evenly spaced."""

from __future__ import annotations

from functools import cache

import numpy as np
import numpy.typing as npt
from scipy import fft

from orbit2.errors import OrbitError
from orbit2.grid import EARTH_RADIUS_KM, AnyGrid, Grid
from orbit2.jit import compiled

Array = npt.NDArray[np.float64]
MOST_ROWS = 720  # finer fields are averaged to a quarter of a degree first


def block(grid: AnyGrid) -> int | None:
    """Cells to a side that are averaged before the transform; None for a grid that is no globe of evenly spaced, cell-centred rows."""
    if not isinstance(grid, Grid):
        return None
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


def power(fields: Array) -> Array:
    """Variance per degree [..., H] of fields [..., H, W] of evenly spaced cell centres, degrees 0 to H - 1: their sum is the mean square.

    Exact for a field of degree below H and order below W / 2: every order is brought from H to 2 H rows by a Fourier transform of the
    whole meridian, where Fejer's first rule integrates products of two such functions. Several fields share the Legendre functions.
    Raises OrbitError when a cell is missing.
    """
    if not np.isfinite(fields).all():
        raise OrbitError("spherical harmonics of a field with missing cells", where="spectrum",
                         got=f"{(~np.isfinite(fields)).sum()} missing", hint="give whole fields of the globe")  # fmt: skip
    rows, columns = fields.shape[-2:]
    orders = min(rows, (columns + 1) // 2)
    flat = fields.reshape(-1, rows, columns)
    even, odd = (np.empty((orders, rows, len(flat)), dtype=np.complex128) for _ in range(2))
    for i, field in enumerate(flat):
        waves = fft.rfft(field, axis=1)[:, :orders] * (2 * np.pi / columns)
        fine = _twice_the_rows(waves) * _fejer(2 * rows)[:, None]
        north, south = fine[:rows].T, fine[: rows - 1 : -1].T
        even[..., i], odd[..., i] = north + south, north - south
    cosine = np.cos((np.arange(rows) + 0.5) * np.pi / (2 * rows))
    sectoral = np.full(rows, np.sqrt(1 / (4 * np.pi)))
    table, total = np.empty((rows, rows)), np.zeros((rows, 2 * len(flat)))
    for m in range(orders):
        if m:
            sectoral *= np.sqrt((2 * m + 1) / (2 * m)) * np.sqrt(1 - cosine**2)
        _legendre(m, sectoral, cosine, table)
        twice = 2 if m else 1
        total[m::2] += twice * (table[m::2] @ even[m].view(np.float64)) ** 2
        total[m + 1 :: 2] += twice * (table[m + 1 :: 2] @ odd[m].view(np.float64)) ** 2
    variance: Array = (total[:, 0::2] + total[:, 1::2]).T / (4 * np.pi)
    return variance.reshape(*fields.shape[:-2], rows)


def _twice_the_rows(waves: npt.NDArray[np.complex128]) -> npt.NDArray[np.complex128]:
    """[2 H, M] from [H, M]: the meridian goes on over the pole, with the sign of (-1)^m, and is periodic there."""
    rows, orders = waves.shape
    sign = np.where(np.arange(orders) % 2, -1.0, 1.0)
    frequency = np.arange(-rows + 1, rows)
    circle = fft.fft(np.concatenate([waves, waves[::-1] * sign]), axis=0)[frequency]
    wide = np.zeros((4 * rows, orders), dtype=np.complex128)
    wide[frequency] = circle * np.exp(-0.25j * np.pi * frequency / rows)[:, None]  # the finer rows begin a quarter of a cell sooner
    result: npt.NDArray[np.complex128] = fft.ifft(wide, axis=0)[: 2 * rows] * 2
    return result


@cache
def _fejer(number: int) -> Array:
    """Weights of Fejer's first rule at the middles of `number` (even) equal steps of the colatitude, for integrals over its cosine."""
    angle = (np.arange(number) + 0.5) * np.pi / number
    k = np.arange(1, number // 2 + 1)
    factor = np.where(2 * k == number, 1.0, 2.0) / (4.0 * k**2 - 1)
    weights: Array = 2.0 / number * (1 - np.cos(2 * np.outer(angle, k)) @ factor)
    return weights


@compiled("i8, f8[::1], f8[::1], f8[:,::1]")
def _legendre(m: int, sectoral: Array, cosine: Array, table: Array) -> None:
    """Orthonormal Legendre functions of order m at northern rows into table[n] for n = m, m + 1, ...: the recurrence in the degree."""
    rows = len(cosine)
    table[m] = sectoral
    b = 0.0
    for n in range(m + 1, rows):
        a = np.sqrt((4.0 * n * n - 1) / (1.0 * n * n - m * m))
        for j in range(rows):
            before = table[n - 2, j] if n > m + 1 else 0.0
            table[n, j] = a * (cosine[j] * table[n - 1, j] - b * before)
        b = 1 / a
