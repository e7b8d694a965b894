"""Dates on a circle: differences, means and spreads of days of the year. Never takes a year for 365 days unasked."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]
YEAR = 365


def difference(p: npt.ArrayLike, o: npt.ArrayLike, length: int = YEAR) -> Array:
    """p - o in days, the short way round a year of `length` days: from -length/2 up to, not including, length/2."""
    half = length / 2
    found: Array = np.mod(np.asarray(p, dtype=np.float64) - np.asarray(o, dtype=np.float64) + half, length) - half
    return found


def mean(days: npt.ArrayLike, weights: npt.ArrayLike = 1.0, axis: int | tuple[int, ...] | None = None, length: int = YEAR) -> Array:
    """Weighted circular mean, 0 up to `length`; missing days are left out; NaN where none is known or they cancel (Fisher 1993, ch. 2)."""
    vector = _vector(days, weights, axis, length)
    angle = np.where(np.abs(vector) > 1e-9, np.angle(vector), np.nan)
    found = np.mod(angle * length / (2 * np.pi), length)
    return np.asarray(np.where(found > length - 1e-9, 0.0, found))  # rounding below 0


def concentration(
    days: npt.ArrayLike, weights: npt.ArrayLike = 1.0, axis: int | tuple[int, ...] | None = None, length: int = YEAR
) -> Array:  # fmt: skip
    """Mean resultant length: 1 where all days are the same, 0 where they are spread over the year."""
    return np.asarray(np.abs(_vector(days, weights, axis, length)))


def _vector(days: npt.ArrayLike, weights: npt.ArrayLike, axis: int | tuple[int, ...] | None, length: int) -> npt.NDArray[np.complex128]:
    values = np.asarray(days, dtype=np.float64)
    known = np.isfinite(values)
    w = np.where(known, np.broadcast_to(np.asarray(weights, dtype=np.float64), values.shape), 0.0)
    turned = np.exp(2j * np.pi * np.where(known, values, 0.0) / length)
    total = w.sum(axis=axis)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(np.where(total > 0, (w * turned).sum(axis=axis) / total, np.nan))
