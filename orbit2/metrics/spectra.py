"""Zonal and radial power spectra and their log-spectral distance. Never fills a missing cell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy  # scipy.signal takes half a second to load: where it is used
from scipy import fft

from orbit2.errors import OrbitError
from orbit2.grid import EARTH_RADIUS_KM, AnyGrid, Grid
from orbit2.grid.sphere import distance_km

Array = npt.NDArray[np.float64]
FLOOR = 1e-6  # bins with less than this share of the largest power are rounding, not signal (evaluation.md 1.7d)


@dataclass(frozen=True, eq=False)
class ZonalAxis:
    """Rows of a latitude band and the wavelengths of its spectrum's bins (km, at the band's mean circumference)."""

    rows: npt.NDArray[np.int64]
    row_weights: Array
    wavenumber: Array  # cycles around the whole latitude circle
    wavelength_km: Array


def zonal_axis(grid: AnyGrid, south: float, north: float) -> ZonalAxis | None:
    """The axis of the zonal spectrum of a band (degrees, by cell centre); None where the grid has no row in it, or no row is a parallel."""
    if not isinstance(grid, Grid):
        return None
    rows = np.flatnonzero((grid.lat >= south) & (grid.lat < north))
    if not len(rows):
        return None
    weights = grid.lat_weights[rows]
    span = grid.lon_edges[-1] - grid.lon_edges[0]
    cycles = np.arange(1, grid.shape[1] // 2 + 1)
    circle = 2 * np.pi * EARTH_RADIUS_KM * float(np.average(np.cos(np.radians(grid.lat[rows])), weights=weights))
    wavenumber = cycles * (360.0 / span)
    return ZonalAxis(rows, weights, wavenumber, circle / wavenumber)


def zonal_spectrum(field: Array, axis: ZonalAxis, periodic: bool) -> Array:
    """Area-weighted mean over the band's rows of the zonal power spectrum, units squared per wavenumber bin, [K].

    On a periodic row the bins sum to the row's zonal variance. A row that is not periodic is detrended and Hann-windowed.
    Rows with missing cells are left out; NaN where none is complete.
    """
    rows = field[axis.rows]
    complete = np.isfinite(rows).all(axis=1)
    if not complete.any():
        return np.full(len(axis.wavenumber), np.nan)
    window, detrend = ("boxcar", "constant") if periodic else ("hann", "linear")
    # density times the bin width (1/N): a Hann window then keeps the variance too, which scaling="spectrum" would not
    _, power = scipy.signal.periodogram(rows[complete], window=window, detrend=detrend, scaling="density", axis=1)
    mean: Array = np.average(power[:, 1:] / rows.shape[1], axis=0, weights=axis.row_weights[complete])
    return mean


def radial_spectrum(field: Array, dx_km: float, dy_km: float) -> tuple[Array, Array]:
    """Radial power spectral density of a complete box [ny, nx]: (k in cycles/km, E(k) in units^2 km).

    Mean and plane removed, Hann window of unit power, binned on physical |k| up to the smaller Nyquist, E = 2 pi k <P>
    (evaluation.md 1.7a; sum of P dkx dky is the variance). Raises OrbitError when a cell is missing or the box is too small.
    """
    ny, nx = field.shape
    if min(ny, nx) < 8:
        raise OrbitError("box too small for a radial spectrum", where="spectrum", got=f"{ny}x{nx} cells", allowed="at least 8x8",
                         hint="choose a larger box")  # fmt: skip
    if not np.isfinite(field).all():
        raise OrbitError("box of a radial spectrum has missing cells", where="spectrum", hint="choose a box that is valid everywhere")
    power, kx, ky = power_2d(_deplane(field) * _hann(ny, nx), dx_km, dy_km)
    k = np.hypot(*np.meshgrid(ky, kx, indexing="ij"))
    step = max(1 / (nx * dx_km), 1 / (ny * dy_km))
    bins = int(min(0.5 / dx_km, 0.5 / dy_km) / step + 1e-9)
    ring = np.rint(k / step).astype(np.int64)
    use = (ring >= 1) & (ring <= bins)
    count = np.bincount(ring[use], minlength=bins + 1)[1:]
    mean = np.bincount(ring[use], weights=power[use], minlength=bins + 1)[1:] / count
    centre = np.bincount(ring[use], weights=k[use], minlength=bins + 1)[1:] / count
    return centre, 2 * np.pi * centre * mean


def power_2d(field: Array, dx_km: float, dy_km: float) -> tuple[Array, Array, Array]:
    """(P(ky, kx), kx, ky) with sum P dkx dky equal to the mean square of `field` (Parseval)."""
    ny, nx = field.shape
    transform = fft.fft2(field)
    power: Array = np.abs(transform) ** 2 * dx_km * dy_km / (nx * ny)
    return power, fft.fftfreq(nx, dx_km), fft.fftfreq(ny, dy_km)


def box_spacing_km(grid: AnyGrid) -> tuple[float, float]:
    """(dx, dy) in km: at the middle latitude of a box, or on the ground between neighbours, its mean over the box."""
    if not isinstance(grid, Grid):
        lat, lon = grid.lat2d, grid.lon2d
        return (float(distance_km(lon[:, :-1], lat[:, :-1], lon[:, 1:], lat[:, 1:]).mean()),
                float(distance_km(lon[:-1], lat[:-1], lon[1:], lat[1:]).mean()))  # fmt: skip
    dlon = float(np.diff(grid.lon_edges).mean())
    middle = float(np.average(grid.lat, weights=grid.lat_weights))
    degree = np.pi / 180 * EARTH_RADIUS_KM
    return degree * dlon * float(np.cos(np.radians(middle))), degree * grid.resolution


def log_spectral_distance(prediction: Array, truth: Array) -> float:
    """sqrt(mean over bins of (10 log10 P_o/P_p)^2) in dB (Harris et al. 2022); bins below 1e-6 of the truth's maximum left out."""
    known = np.isfinite(truth) & np.isfinite(prediction)
    if not known.any():
        return float("nan")
    use = known & (truth >= FLOOR * truth[known].max()) & (truth > 0)
    return float(distance_db(prediction[use], truth[use], np.ones(int(use.sum())))) if use.any() else float("nan")


def distance_db(prediction: Array, truth: Array, bins: Array) -> Array:
    """The same [...] of many spectra [..., K], of which every bin counts, as many times as `bins` [K] says; infinite without power."""
    with np.errstate(divide="ignore"):
        off = 10 * np.log10(truth / np.maximum(prediction, 0.0))
    result: Array = np.sqrt((off**2 * bins).sum(axis=-1) / bins.sum())
    return result


def _deplane(field: Array) -> Array:
    ny, nx = field.shape
    y, x = np.meshgrid(np.linspace(-1, 1, ny), np.linspace(-1, 1, nx), indexing="ij")
    design = np.stack([np.ones(field.size), y.ravel(), x.ravel()], axis=1)
    coefficients = np.linalg.lstsq(design, field.ravel(), rcond=None)[0]
    result: Array = field - (design @ coefficients).reshape(field.shape)
    return result


def _hann(ny: int, nx: int) -> Array:
    window = np.outer(scipy.signal.windows.hann(ny, sym=False), scipy.signal.windows.hann(nx, sym=False))
    scaled: Array = window / np.sqrt(np.mean(window**2))
    return scaled
