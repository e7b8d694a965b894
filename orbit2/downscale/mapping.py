"""A climate model's fields brought to the climate of the training inputs, cell by cell and month by month, trends kept. Never reads files.

Quantile delta mapping (Cannon, Sobie & Murdock 2015, J. Climate 28, doi:10.1175/JCLI-D-14-00754.1, eq. 3-6), as `xsdba` has it: a value of
quantile tau in its own time gets the difference of the two distributions of the fitting period at tau. Plain empirical quantile mapping
takes that difference at the value itself, and so also stretches a trend by the ratio of the spreads.

Additive in the space of the variable's transform: ln(1 + x) for what a network sees through a logarithm (heavy rain keeps its relative
change, dry days stay dry), else in its units. The result stays within the variable's range.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import times as clocks
from orbit2.errors import OrbitError
from orbit2.variables import transform_of, variable

Array = npt.NDArray[np.float64]
Months = npt.NDArray[np.int64]
NODES = 100  # quantiles of a distribution
LEAST = 10  # samples of a month in both distributions
DECADE = 10.0  # years
TIE = 1e-6  # of a variable's range: what tells equal values apart
SHORTEST = 2.0  # years that a trend is taken of


def months_of(stamps: list[str]) -> Months:
    return np.array([clocks.month(stamp) for stamp in stamps], dtype=np.int64)


def spans(stamps: list[str], years: int) -> list[npt.NDArray[np.intp]]:
    """Indices of the samples, in pieces of whole calendar years about as long as the fitting period of `years`: a value is ranked among
    those of its own time, so that a trend over a century does not shift all ranks."""
    each = np.array([clocks.year(stamp) for stamp in stamps])
    known = np.unique(each)
    pieces = np.array_split(known, max(1, round(len(known) / max(years, 1))))
    return [np.flatnonzero(np.isin(each, piece)) for piece in pieces]


def lacking(wanted: Months, *given: Months) -> list[int]:
    """Months of `wanted` of which one of the `given` has fewer than LEAST samples."""
    return [int(m) for m in np.unique(wanted) if min(int((months == m).sum()) for months in given) < LEAST]


def mapped(name: str, sim: Array, stamps: list[str], fitted: npt.NDArray[np.bool_], wanted: Array, months: Months) -> Array:
    """`sim` [T, h, w] of times `stamps` in the climate of `wanted` [T', h, w] (training inputs of calendar months `months`), canonical
    units; `fitted` [T]: which of it are of the fitting period. NaN stays, and is where `wanted` knows nothing. Raises OrbitError for
    months with fewer than LEAST samples."""
    own = months_of(stamps)
    if few := lacking(own, own[fitted], months):
        raise OrbitError(f"too few samples to fit {name} on", where="--period", got=f"month {', '.join(map(str, few))}",
                         allowed=f"at least {LEAST} of each month of the input, in the period and in the training",
                         hint="choose a longer period")  # fmt: skip
    low, high = variable(name).valid
    logarithmic = transform_of(name) == "log1p"
    given, there = (np.log1p(np.maximum(each, 0)) if logarithmic else each for each in (sim, wanted))
    tie = TIE * (float(np.log1p(high)) if logarithmic else high - low)  # dry days share one rank else, and xsdba stretches the ranks above
    ranked = given + tie * np.random.default_rng(0).random(len(given))[:, None, None]  # of its time alone, the same in every cell
    years = len({clocks.year(stamps[i]) for i in np.flatnonzero(fitted)})
    pieces, made = spans(stamps, years), np.full(sim.shape, np.nan)
    for month in np.unique(own):
        chosen = [piece[own[piece] == month] for piece in pieces]
        parts = _delta(there[months == month], given[fitted & (own == month)], [ranked[piece] for piece in chosen])
        for piece, part in zip(chosen, parts, strict=True):
            made[piece] = part
    made = np.where(made < (0.0 if logarithmic else low) + 2 * tie, low, np.expm1(made) if logarithmic else made)
    return np.asarray(np.clip(np.where(np.isnan(there).all(0) | np.isnan(sim), np.nan, made), low, high))


def _delta(wanted: Array, given: Array, sims: list[Array]) -> list[Array]:
    """Each of `sims` [n, h, w] by the distributions of two samples."""
    import xsdba  # slow to import, and only here

    most = max(len(wanted), len(given))  # xsdba compares the two time axes; NaN counts for nothing
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "All-nan|All-NaN|Degrees of freedom", RuntimeWarning)  # cells that are missing stay so
        fit = xsdba.QuantileDeltaMapping.train(_series(wanted, most), _series(given, most), nquantiles=NODES, kind="+", group="time")
        return [np.asarray(fit.adjust(_series(sim, len(sim)), interp="linear", extrapolation="constant").transpose("time", "y", "x"))
                if len(sim) else sim for sim in sims]  # fmt: skip


def _series(values: Array, length: int) -> xr.DataArray:
    """As xsdba wants it: its dates mean nothing here (the months are apart already), so every calendar goes through."""
    padded = np.concatenate([values, np.full((length - len(values), *values.shape[1:]), np.nan)])
    time = np.datetime64("2000-01-01", "ns") + np.arange(length) * np.timedelta64(86400 * 10**9, "ns")
    return xr.DataArray(padded, dims=("time", "y", "x"), coords={"time": time}, attrs={"units": "1"})


@dataclass(frozen=True)
class Trend:
    """Of one series: mean, least-squares trend per decade of its monthly anomalies, change from the first to the last ten years. None where
    the series is shorter than that takes."""

    mean: float
    per_decade: float | None
    change: float | None


def trend(series: Array, times: clocks.Times) -> Trend:
    """`series` [T] of area means; NaN left out."""
    known = np.isfinite(series)
    stamps = [stamp for stamp, there in zip(clocks.stamps(times), known, strict=True) if there]
    values, year = series[known], np.array([clocks.year(stamp) for stamp in stamps]) + clocks.clock(times[known])[0]
    if not len(values):
        return Trend(float("nan"), None, None)
    months, mean, length = months_of(stamps), float(values.mean()), float(year[-1] - year[0])
    anomaly, clear = values.copy(), year.copy()
    for month in np.unique(months):  # of both: seasons then say nothing, even of broken years
        anomaly[months == month] -= values[months == month].mean()
        clear[months == month] -= year[months == month].mean()
    slope = float((clear * anomaly).sum() / (clear**2).sum()) if length >= SHORTEST else None
    first, last = year < year[0] + DECADE, year > year[-1] - DECADE
    change = float(anomaly[last].mean() - anomaly[first].mean()) if length >= 2 * DECADE - 0.1 else None
    return Trend(mean, None if slope is None else slope * DECADE, change)


def described(name: str, before: Trend, after: Trend, wanted: float) -> str:
    """One line: means and trends before and after, and the mean of the training."""
    units = variable(name).units
    line = f"{name}: mean {before.mean:.4g} -> {after.mean:.4g} {units} (training {wanted:.4g})"
    if before.per_decade is not None and after.per_decade is not None:
        line += f", trend {before.per_decade:+.3g} -> {after.per_decade:+.3g} {units} per decade"
    if before.change is not None and after.change is not None:
        line += f", last less first ten years {before.change:+.3g} -> {after.change:+.3g} {units}"
    return line


def facts(before: Trend, after: Trend, wanted: float) -> dict[str, Any]:
    return {"mean": [before.mean, after.mean], "training_mean": wanted, "trend_per_decade": [before.per_decade, after.per_decade],
            "last_less_first_decade": [before.change, after.change]}  # fmt: skip
