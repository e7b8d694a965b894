"""What is exceeded once in T years: a generalised extreme value distribution by L-moments. Never says more than twice the record allows."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy.special import gamma

Array = npt.NDArray[np.float64]
PERIODS = (5, 10, 20, 50)  # years
LEAST_YEARS = 20
_NEWTON = 4


def periods(years: int) -> tuple[int, ...]:
    """Return periods that may be told from a record of so many years: none below 20 years, then up to twice the record."""
    return tuple(period for period in PERIODS if period <= 2 * years) if years >= LEAST_YEARS else ()


def l_moments(maxima: Array) -> tuple[Array, Array, Array]:
    """Location l1, scale l2 and skewness t3 = l3 / l2 of samples [N, ...], unbiased (Hosking 1990, section 3); NaN are left out."""
    ordered = np.sort(np.asarray(maxima, dtype=np.float64), axis=0)  # NaN last
    known = np.isfinite(ordered)
    n = known.sum(axis=0)
    rank = np.arange(len(ordered)).reshape(-1, *[1] * (ordered.ndim - 1))
    values = np.where(known, ordered, 0.0)
    with np.errstate(invalid="ignore", divide="ignore"):
        b0 = values.sum(axis=0) / n
        b1 = (values * rank).sum(axis=0) / (n * (n - 1))
        b2 = (values * rank * (rank - 1)).sum(axis=0) / (n * (n - 1) * (n - 2))
        scale = 2 * b1 - b0
        return b0, scale, (6 * b2 - 6 * b1 + b0) / scale


def gev(maxima: Array) -> tuple[Array, Array, Array]:
    """(mu, sigma, xi) of a GEV with the L-moments of `maxima` [N, ...]; xi > 0 has the heavy tail. NaN where nothing varies.

    Hosking, Wallis and Wood (1985): k = -xi from 2 (1 - 3^-k) / (1 - 2^-k) - 3 = t3, begun with their polynomial, ended by Newton's
    steps.
    """
    location, scale, skewness = l_moments(maxima)
    with np.errstate(invalid="ignore", divide="ignore"):
        c = 2 / (3 + skewness) - np.log(2) / np.log(3)
        k = 7.8590 * c + 2.9554 * c**2
        k = np.where(np.abs(k) < 1e-6, 1e-6, k)
        for _ in range(_NEWTON):
            three, two = 3.0**-k, 2.0**-k
            slope = 2 * (np.log(3) * three * (1 - two) - np.log(2) * two * (1 - three)) / (1 - two) ** 2
            k = k - (2 * (1 - three) / (1 - two) - 3 - skewness) / slope
            k = np.where(np.abs(k) < 1e-6, 1e-6, k)
        sigma = scale * k / ((1 - 2.0**-k) * gamma(1 + k))
        mu = location - sigma * (1 - gamma(1 + k)) / k
    fails = ~(np.isfinite(mu) & (sigma > 0) & (k > -1))
    return np.where(fails, np.nan, mu), np.where(fails, np.nan, sigma), np.where(fails, np.nan, -k)


def return_level(parameters: tuple[Array, Array, Array], period: float) -> Array:
    """x_T = mu + sigma / xi ((-ln(1 - 1/T))^-xi - 1), in the units of the maxima."""
    mu, sigma, xi = parameters
    level: Array = mu + sigma / xi * ((-np.log1p(-1 / period)) ** -xi - 1)
    return level
