"""Tropical waves in time and longitude: 20 to 100 days, how they travel, lag regressions. Never fills more than a gap of days.

Follows the diagnostics of the CLIVAR Madden-Julian Oscillation Working Group (2009, J. Climate 22:3006; Waliser et al. 2009): daily
anomalies, a Lanczos band-pass of 201 days (Duchon 1979, J. Appl. Meteorol. 18:1016), regression on the filtered mean of 80-100 E.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy

from orbit2 import longitudes
from orbit2.climate.scores import pattern

Array = npt.NDArray[np.float64]
BAND = (-5.0, 5.0)  # degrees north
PERIODS = (20.0, 100.0)  # days
HALF = 100  # days of the filter to either side: so many are lost at each end of a record
HARMONICS = 4  # of the year, taken away with the mean
MOST_MISSING = 0.05  # of the days that a filtered value rests on
LAGS = 25  # days of the regressions to either side
REFERENCE = (80.0, 100.0)  # degrees east: the index, and the sector of the regression by latitude
LATITUDES = (-30.0, 30.0)  # of that regression
WAVENUMBERS = 3  # round the globe, for power eastward over westward
FASTEST = 40.0  # m/s
METRES = 111_194.9  # of a degree of a great circle
DAY = 86_400.0


@dataclass(frozen=True)
class Line:
    """Bins along a line: their middles `at` (degrees), and the bin of each cell (`of`; -1: none)."""

    at: Array
    of: npt.NDArray[np.int64]


def columns(lat: Array, lon: Array, west: float, width: float, spacing: float) -> Line:
    """Bins of about `spacing` degrees of longitude from `west` on, of cells (centres `lat`, `lon` of one shape) in BAND."""
    along = np.mod(lon - west, 360.0)
    inside = (lat >= BAND[0]) & (lat <= BAND[1]) & (along <= width)
    return _binned(along, inside, width, spacing, west)


def rows(lat: Array, lon: Array, sector: tuple[float, float], spacing: float) -> Line:
    """Bins of about `spacing` degrees of latitude in LATITUDES, of the cells in `sector` (west, east)."""
    inside = (np.mod(lon - sector[0], 360.0) <= longitudes.width(*sector)) & (lat >= LATITUDES[0]) & (lat <= LATITUDES[1])
    return _binned(lat - LATITUDES[0], inside, LATITUDES[1] - LATITUDES[0], spacing, LATITUDES[0])


def _binned(along: Array, inside: npt.NDArray[np.bool_], width: float, spacing: float, origin: float) -> Line:
    count = max(1, round(width / spacing))
    bins = np.minimum((along / width * count).astype(np.int64), count - 1)
    met, which = np.unique(bins[inside], return_inverse=True)
    of = np.full(along.shape, -1, dtype=np.int64)
    of[inside] = which
    return Line(origin + (met + 0.5) * width / count, of)


def lanczos(periods: tuple[float, float] = PERIODS, half: int = HALF) -> Array:
    """[2 half + 1] weights that pass `periods` (days): the difference of two low-pass filters, which sum to 1, so that these sum to 0."""
    k = np.arange(-half, half + 1)
    window = np.sinc(k / half)
    low, high = (np.sinc(2 * k / period) * 2 / period * window for period in (max(periods), min(periods)))
    return np.asarray(high / high.sum() - low / low.sum())


def anomalies(series: Array, numbers: npt.NDArray[np.integer], year: float) -> Array:
    """[X, T] less its mean and HARMONICS harmonics of a year of `year` days, fitted to the days that are known; `numbers` [T]: of the days.

    NaN where a day is missing. A mean of each calendar day would be too noisy for a few years.
    """
    angle = 2 * np.pi * np.asarray(numbers, dtype=np.float64) / year
    basis = np.stack([np.ones_like(angle), *(f(h * angle) for h in range(1, HARMONICS + 1) for f in (np.cos, np.sin))], axis=1)
    made = np.full(series.shape, np.nan)
    known = np.isfinite(series)
    for which in np.unique(known, axis=0):  # rows that miss the same days are fitted together
        alike = (known == which).all(axis=1)
        if which.sum() > 2 * basis.shape[1]:
            values = series[np.ix_(alike, which)]
            made[np.ix_(alike, which)] = values - (basis[which] @ np.linalg.lstsq(basis[which], values.T, rcond=None)[0]).T
    return made


def filtered(anomaly: Array) -> Array:
    """[X, T] band-passed; NaN within HALF days of the ends, and where more than MOST_MISSING of the filter's days are missing (a missing
    day counts as its season's mean)."""
    made = np.full(anomaly.shape, np.nan)
    weights = lanczos()
    if anomaly.shape[1] < len(weights):
        return made
    known = np.isfinite(anomaly)
    passed = scipy.signal.oaconvolve(np.where(known, anomaly, 0.0), weights[None], mode="valid", axes=1)
    there = scipy.signal.oaconvolve(known.astype(np.float64), np.full((1, len(weights)), 1 / len(weights)), mode="valid", axes=1)
    made[:, HALF:-HALF] = np.where(there >= 1 - MOST_MISSING - 1e-9, passed, np.nan)
    return made


def regressed(fields: Array, index: Array) -> Array:
    """[X, 2 LAGS + 1]: fields [X, T] `lag` days after (negative: before) regressed on `index` [T], for one standard deviation of it."""
    made = np.full((len(fields), 2 * LAGS + 1), np.nan)
    length, spread = fields.shape[1], np.nanstd(index) if np.isfinite(index).any() else np.nan
    for k, lag in enumerate(range(-LAGS, LAGS + 1)):
        later, now = fields[:, max(0, lag) : length + min(0, lag)], index[max(0, -lag) : length - max(0, lag)]
        known = np.isfinite(later) & np.isfinite(now)
        count = known.sum(axis=1)
        y, x = np.where(known, later, 0.0), np.where(known, now, 0.0)
        with np.errstate(invalid="ignore", divide="ignore"):
            dx = np.where(known, x - (x.sum(axis=1) / count)[:, None], 0.0)
            made[:, k] = spread * (dx * y).sum(axis=1) / (dx**2).sum(axis=1)
    return made


def speed(regression: Array, lon: Array, base: float, latitude: float = 0.0) -> float:
    """m/s eastward of the straight line through (`base`, lag 0) along which `regression` [X, lags] is highest on average; NaN where the
    line would leave the longitudes at once or nothing is known."""
    away = np.mod(lon - base + 180.0, 360.0) - 180.0
    order = np.argsort(away)
    away, values = away[order], regression[order]
    lags = np.arange(-LAGS, LAGS + 1)
    a_day = DAY / (METRES * np.cos(np.radians(latitude)))  # degrees a day of one m/s

    tried = np.concatenate([np.arange(-FASTEST, -0.95, 0.1), np.arange(1.0, FASTEST + 0.05, 0.1)])
    where = a_day * tried[:, None] * lags
    inside = (where >= away[0]) & (where <= away[-1])
    along = np.stack([np.interp(where[:, k], away, values[:, k]) for k in range(len(lags))], axis=1)
    found, count = np.where(inside, along, 0.0), inside.sum(axis=1)
    heights = np.where((count > LAGS) & np.isfinite(found).all(axis=1), found.sum(axis=1) / np.maximum(count, 1), -np.inf)
    return float(tried[heights.argmax()]) if np.isfinite(heights).any() else float("nan")


def power(fields: Array) -> tuple[Array, Array, Array]:
    """(frequency [F] per day, power eastward [F, K], westward [F, K]) of [X, T] evenly round the globe, wavenumbers 1 to K = X / 2 - 1;
    of the days that all longitudes have, tapered by a Hann window."""
    days = np.isfinite(fields).all(axis=0)
    values = fields[:, days] * np.hanning(days.sum())
    waves = (np.abs(np.fft.fft2(values)) ** 2).astype(np.float64)
    frequency = np.fft.fftfreq(values.shape[1])
    half, most = np.flatnonzero(frequency > 0), len(fields) // 2
    east = waves[1:most, (-half) % values.shape[1]].T  # exp(i(kx - wt)): of opposite signs
    west = waves[1:most, half].T
    return np.asarray(frequency[half], dtype=np.float64), east, west


def east_west(fields: Array) -> float:
    """Power of wavenumbers 1 to WAVENUMBERS that travel east over that of those that travel west, of a band-passed section round the
    globe."""
    _, east, west = power(fields)
    total = west[:, :WAVENUMBERS].sum()
    return float(east[:, :WAVENUMBERS].sum() / total) if total > 0 else float("nan")


def period(fields: Array) -> float:
    """Days: of the mean frequency of [X, T], weighted by power, of the days that all bins have."""
    days = np.isfinite(fields).all(axis=0)
    if days.sum() < 2 * PERIODS[0]:
        return float("nan")
    waves = (np.abs(np.fft.rfft(fields[:, days] * np.hanning(days.sum()), axis=1)) ** 2).sum(axis=0)
    frequency = np.fft.rfftfreq(int(days.sum()))
    mean = (waves * frequency).sum()
    return float(waves.sum() / mean) if mean > 0 else float("nan")


def lag_of(p: Array, o: Array) -> int:
    """Days, at most LAGS, by which p [X, T] is later than o where they correlate best."""
    length, found = o.shape[1], {}
    for lag in range(-LAGS, LAGS + 1):
        later, now = p[:, max(0, lag) : length + min(0, lag)], o[:, max(0, -lag) : length - max(0, lag)]
        found[lag] = pattern(later, now, 1.0).r
    return max(found, key=lambda lag: (np.nan_to_num(found[lag], nan=-2.0), -abs(lag)))
