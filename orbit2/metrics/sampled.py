"""Intervals of scores that are means, or ratios of sums, of what samples say for themselves (SSIM, fractions skill). Never sees a field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from orbit2.metrics.bootstrap import Interval
from orbit2.metrics.record import Key, Record
from orbit2.metrics.statistics import Moments

Array = npt.NDArray[np.float64]
KEY: Key = ("score", "", "")


def of_means(samples: Sequence[str], values: Array, draws: int) -> Interval | None:
    """Of the mean over samples (stamps, in order) of `values` [T] or [T, B], those that are finite; None for fewer than two draws.

    A block bootstrap of days, as of every other score (bootstrap.py); no ends for fewer than LEAST_DAYS days.
    """
    columns = values.reshape(len(samples), -1)
    known = np.isfinite(columns)
    weight, none = known.astype(np.float64), np.zeros(columns.shape)
    moments = Moments(weight, weight, np.where(known, columns, 0.0), none, none, none, none, none, none)
    return Record(tuple(samples), {"": moments}).intervals({KEY: lambda m: m[""].mean_p}, draws).get(KEY)


def of_skill(samples: Sequence[str], errors: Array, sizes: Array, draws: int) -> Interval | None:
    """The same of 1 - sum of `errors` / sum of `sizes`, [T] or [T, B] each: sums are added before they are divided."""
    error, size = (x.reshape(len(samples), -1) for x in (errors, sizes))
    none = np.zeros(size.shape)
    moments = Moments(np.ones(size.shape), size, none, none, none, none, none, error, none)

    def skill(m: Mapping[str, Moments]) -> Array:
        return np.asarray(1 - np.divide(m[""].se, m[""].w, out=np.full(m[""].w.shape, np.nan), where=m[""].w > 0))

    return Record(tuple(samples), {"": moments}).intervals({KEY: skill}, draws).get(KEY)


def ends(interval: Interval | None, b: int = 0) -> tuple[float, float] | None:
    """`ci` of a row: of bin `b`, None where there is none."""
    return None if interval is None else interval.at(b)
