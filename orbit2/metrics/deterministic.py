"""Scores computed from Moments. Never sees a field: everything comes from the sufficient statistics of statistics.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbit2.metrics import taylor
from orbit2.metrics.statistics import Moments, PairStatistic

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Metric:
    """`of` maps Moments [..., B] to values [..., B]; `method` says in words which definition it is (evaluation.md 1.1)."""

    name: str
    method: str
    of: Callable[[Moments], Array]


def _ratio(numerator: Array, denominator: Array) -> Array:
    return np.divide(numerator, denominator, out=np.full_like(numerator, np.nan), where=denominator > 0)


def rmse(m: Moments) -> Array:
    return np.asarray(np.sqrt(_ratio(m.se, m.w)))


def mae(m: Moments) -> Array:
    return _ratio(m.ae, m.w)


def bias(m: Moments) -> Array:
    return np.where(m.w > 0, m.mean_p - m.mean_o, np.nan)


def pearson_r(m: Moments) -> Array:
    r = _ratio(m.po, np.sqrt(m.pp * m.oo))
    return np.clip(r, -1.0, 1.0)  # rounding only


def pearson_r2(m: Moments) -> Array:
    return pearson_r(m) ** 2


def r2_cod(m: Moments) -> Array:
    return 1.0 - _ratio(m.se, m.oo)


POOLED = "pooled over samples and valid cells"
METRICS = (
    Metric("rmse", f"square root of the area-weighted MSE {POOLED}", rmse),
    Metric("mae", f"area-weighted, {POOLED}", mae),
    Metric("bias", f"area-weighted mean of prediction minus truth, {POOLED}", bias),
    Metric("pearson_r", f"area-weighted, centred, {POOLED}", pearson_r),
    Metric("pearson_r2", f"square of pearson_r, {POOLED}", pearson_r2),
    Metric("r2_cod", f"coefficient of determination 1 - SSE/SST about the truth's area-weighted mean, {POOLED}", r2_cod),
    Metric("sigma_ratio", f"standard deviation of the prediction over that of the truth, {POOLED}", taylor.sigma_ratio),
    Metric("taylor_s1", f"4 (1 + R) / ((s + 1/s)^2 2), R = pearson_r, s = sigma_ratio, {POOLED}", lambda m: taylor.skill(m, 1)),
    Metric("taylor_s2", f"4 (1 + R)^4 / ((s + 1/s)^2 16), R = pearson_r, s = sigma_ratio, {POOLED}", lambda m: taylor.skill(m, 4)),
)


def rmse_mean_of_daily(statistic: PairStatistic) -> Array:
    """Mean over samples of each sample's RMSE, [B] (ClimateLearn's order; below or equal to `rmse` by Jensen)."""
    daily = rmse(statistic.daily())
    known = np.isfinite(daily)
    with np.errstate(invalid="ignore"):
        mean: Array = np.where(known, daily, 0.0).sum(axis=0) / known.sum(axis=0)
    return mean
