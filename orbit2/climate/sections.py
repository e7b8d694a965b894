"""Hovmöller sections of the climatological year: latitude and pentad, their scores, and whether they can tell anything apart.

No definition of the published score is known; this one is the project's. Never judges a section that a mean frozen in time matches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import longitudes
from orbit2.climate.scores import pattern
from orbit2.climate.years import pentads

Array = npt.NDArray[np.float64]
DISCRIMINATES = 0.95  # correlation of a control with the truth above which a section is not judged
MOST_LAG = 18  # pentads: a quarter of a year
LEAST_ROWS = 3


def pentad_climatology(years: xr.DataArray) -> xr.DataArray:
    """(..., pentad) from (..., year, day): the mean over the years of each pentad of the calendar year."""
    leap = years["leap"].to_numpy() if "leap" in years.coords else np.zeros(years.sizes["year"], dtype=np.bool_)

    def mean(values: npt.NDArray[np.floating]) -> Array:
        each = pentads(values, leap)
        known = np.isfinite(each)
        count = known.sum(axis=-2)
        total = np.where(known, each, 0.0).sum(axis=-2)
        found: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
        return found

    made: xr.DataArray = xr.apply_ufunc(
        mean, years, input_core_dims=[["year", "day"]], output_core_dims=[["pentad"]], dask="parallelized", output_dtypes=[np.float64],
        dask_gufunc_kwargs={"output_sizes": {"pentad": years.sizes["day"] // 5}},
    )  # fmt: skip
    return made


@dataclass(frozen=True)
class Sector:
    """Cells of a section by latitude: `latitude` [B] of rows (their cells' mean), `row` of each cell (-1: none)."""

    latitude: Array
    row: npt.NDArray[np.int64]


def sector(lat: Array, lon: Array, box: tuple[float, float, float, float], spacing: float) -> Sector:
    """Rows of about `spacing` degrees of the cells (centres `lat`, `lon` of one shape) in `box` = (south, north, west, east).

    Of a regular grid with that spacing rows are its own; any other grid's cells are put into bands. No row that has no cell.
    """
    south, north, west, east = box
    along = np.mod(lon - west, 360.0)
    inside = (lat >= south) & (lat <= north) & (along <= longitudes.width(west, east))
    own = np.unique(lat[inside])
    if len(own) > 1 and np.median(np.diff(own)) >= 0.5 * spacing:  # rows of a regular grid
        band = np.searchsorted(own, lat)
    else:
        band = np.floor((lat - south) / spacing).astype(np.int64)
    met, row = np.unique(band[inside], return_inverse=True)
    row_of = np.full(lat.shape, -1, dtype=np.int64)
    row_of[inside] = row
    count = np.bincount(row, minlength=len(met))
    return Sector(np.bincount(row, lat[inside], minlength=len(met)) / np.maximum(count, 1), row_of)


def section(values: Array, where: Sector, weights: Array) -> Array:
    """Weighted means of cells [cells, P] by row, [B, P]; NaN where none is known. `weights` [cells]: cell areas."""
    chosen = (where.row >= 0) & (weights > 0)
    row, field, w = where.row[chosen], values[chosen], weights[chosen]
    known = np.isfinite(field)
    total, weight = np.zeros((len(where.latitude), values.shape[1])), np.zeros((len(where.latitude), values.shape[1]))
    np.add.at(total, row, np.where(known, field, 0.0) * w[:, None])
    np.add.at(weight, row, known * w[:, None])
    made: Array = np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)
    return made


@dataclass(frozen=True)
class SectionScores:
    """`r` centred pattern correlation weighted by cos(latitude), `nrmse`, `taylor`, `lag` in pentads (positive: later than the truth),
    `track_rmse`: RMSE of the rain's mean latitude, degrees; `n` values."""

    r: float
    nrmse: float
    taylor: float
    lag: int
    track_rmse: float
    n: int


def scores(p: Array, o: Array, latitude: Array) -> SectionScores:
    """Of a section and the truth's [B, P], rows at `latitude` [B] degrees."""
    weights = np.broadcast_to(np.cos(np.radians(latitude))[:, None], o.shape)
    found = pattern(p, o, weights)
    lags = range(-MOST_LAG, MOST_LAG + 1)
    shifted = [pattern(np.roll(p, -lag, axis=1), o, weights).r for lag in lags]
    best = max(zip(shifted, lags, strict=True), key=lambda one: (np.nan_to_num(one[0], nan=-2), -abs(one[1])))[1]
    return SectionScores(found.r, found.nrmse, found.taylor, best, _track_error(p, o, latitude), found.n)


def _track_error(p: Array, o: Array, latitude: Array) -> float:
    known = np.isfinite(p) & np.isfinite(o)
    w = np.cos(np.radians(latitude))[:, None] * known
    with np.errstate(invalid="ignore", divide="ignore"):
        tracks = [(np.where(known, x, 0) * w * latitude[:, None]).sum(axis=0) / (np.where(known, x, 0) * w).sum(axis=0) for x in (p, o)]
    squared = (tracks[0] - tracks[1]) ** 2
    return float(np.sqrt(squared[np.isfinite(squared)].mean())) if np.isfinite(squared).any() else float("nan")


def frozen(o: Array, latitude: Array) -> float:
    """Correlation with the truth's section [B, P] of its own mean over the year, which knows no season: a control."""
    with np.errstate(invalid="ignore"):
        known = np.isfinite(o)
        mean = np.where(known, o, 0.0).sum(axis=1) / known.sum(axis=1)
    return pattern(np.broadcast_to(mean[:, None], o.shape), o, np.broadcast_to(np.cos(np.radians(latitude))[:, None], o.shape)).r
