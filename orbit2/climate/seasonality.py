"""How unevenly rain falls over the year: relative entropy, dimensionless seasonality, centroid, spread and Walsh & Lawler's index.

Feng, Porporato & Rodriguez-Iturbe 2013 (Nat. Clim. Change 3:811), Pascale et al. 2015 (Clim. Dyn. 44:3281), Walsh & Lawler 1981 (Weather
36:201). Never the coefficient of variation, which other libraries call seasonality.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.climate import circular
from orbit2.climate.years import month_lengths, sums_between

Array = npt.NDArray[np.float64]
R_MAX = 7932.0  # mm a year: Feng et al. 2013's, one for all data sets (each one's own maximum would make them incomparable)
LEAST = 50.0  # mm a year: drier cells have no seasonality
MOST_MISSING = 5  # days of a month
MONTHS = 12
INDICES = ("relative_entropy", "dsi", "centroid", "spread", "walsh_lawler")
MEANING = {
    "relative_entropy": "D = sum p_i log2(12 p_i) of the monthly shares p_i (Feng et al. 2013): 0 even, 3.585 all in a month",
    "dsi": f"dimensionless seasonality index D R / {R_MAX:g} mm of the yearly amount R (Feng et al. 2013)",
    "centroid": "circular mean month of the rain, 1 = January",
    "spread": "root of the mean squared distance of rain from its centroid, months",
    "walsh_lawler": "sum |m_i - R/12| / R (Walsh & Lawler 1981): 0 even, 1.833 all in a month",
}  # fmt: skip
UNITS = {"relative_entropy": "1", "dsi": "1", "centroid": "month", "spread": "month", "walsh_lawler": "1"}
CLASSES = (  # of walsh_lawler, up to
    (0.195, "very equable"), (0.395, "equable, a definite wetter season"), (0.595, "rather seasonal, a short drier season"),
    (0.795, "seasonal"), (0.995, "markedly seasonal, a long drier season"), (1.195, "most rain in three months or less"),
    (float("inf"), "extreme, almost all rain in one or two months"),
)  # fmt: skip


def monthly_totals(years: npt.NDArray[np.floating]) -> Array:
    """Rain in mm of each month, [..., Y, 12], from mm/day [..., Y, L]; NaN of months that lack more than MOST_MISSING days, the mean of
    the others stands for fewer."""
    lengths = month_lengths(years.shape[-1])
    at = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    total, count = sums_between(years, at)
    enough = count >= np.asarray(lengths) - MOST_MISSING
    made: Array = np.divide(total * np.asarray(lengths), count, out=np.full(total.shape, np.nan), where=enough)
    return made


def indices(totals: npt.ArrayLike) -> dict[str, Array]:
    """INDICES, each [...], of monthly totals in mm [..., 12]. NaN where a month is missing or no rain falls, of `centroid` also where the
    rain has none (it falls evenly)."""
    m = np.asarray(totals, dtype=np.float64)
    amount = m.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        p = np.where(amount[..., None] > 0, m / amount[..., None], np.nan)
        entropy = np.where(p > 0, p * np.log2(MONTHS * np.where(p > 0, p, 1.0)), np.where(np.isnan(p), np.nan, 0.0)).sum(axis=-1)
    months = np.broadcast_to(np.arange(MONTHS, dtype=np.float64), m.shape)
    centre = np.where(np.isfinite(amount), circular.mean(months, np.where(np.isfinite(p), p, 0.0), axis=-1, length=MONTHS), np.nan)
    away = circular.difference(months, centre[..., None], MONTHS)
    return {"relative_entropy": entropy, "dsi": entropy * amount / R_MAX, "centroid": centre + 1.0,
            "spread": np.sqrt((p * away**2).sum(axis=-1)), "walsh_lawler": np.abs(p - 1 / MONTHS).sum(axis=-1)}  # fmt: skip


def driest_month(years: xr.DataArray) -> xr.DataArray:
    """Month with the least rain of the mean year (0: January; -1 where months are missing): where a hydrological year begins."""

    def driest(values: npt.NDArray[np.floating]) -> npt.NDArray[np.int64]:
        mean = _mean(monthly_totals(values), -2)
        return np.where(np.isfinite(mean).all(axis=-1), np.where(np.isfinite(mean), mean, np.inf).argmin(axis=-1), -1)

    made: xr.DataArray = xr.apply_ufunc(driest, years, input_core_dims=[["year", "day"]], dask="parallelized", output_dtypes=[np.int64])
    return made


def seasonality(years: xr.DataArray, first_month: xr.DataArray | None = None) -> xr.Dataset:
    """INDICES of a series of rain (..., year, day; mm/day) in three ways, and `amount`, mm a year.

    `<index>`: of each hydrological year, then their mean (circular of the centroid), as Feng and Pascale do; `<index>_climatological`: of
    the mean monthly totals, which is lower: rain that comes now in May, now in June looks spread out; `yearly_<index>` (..., year).
    A hydrological year begins with `first_month` (0: January, a value for each cell), by default the series' own driest month; compare
    series over the same years: give both the same. NaN of cells with less than LEAST mm a year.
    """
    start = driest_month(years) if first_month is None else first_month
    outputs = {**dict.fromkeys(INDICES, ()), **{f"{name}_climatological": () for name in INDICES},
               **{f"yearly_{name}": ("year",) for name in INDICES}, "amount": ()}  # fmt: skip

    def every(values: npt.NDArray[np.floating], begin: npt.NDArray[np.integer]) -> tuple[Array, ...]:
        found = _all(monthly_totals(values), np.asarray(begin, dtype=np.int64))
        return tuple(found[name] for name in outputs)

    made = xr.apply_ufunc(
        every, years, start, input_core_dims=[["year", "day"], []], output_core_dims=[list(d) for d in outputs.values()],
        exclude_dims={"year"}, dask="parallelized", output_dtypes=[np.float64] * len(outputs),
        dask_gufunc_kwargs={"output_sizes": {"year": years.sizes["year"]}},
    )  # fmt: skip
    return xr.Dataset(dict(zip(outputs, made, strict=True))).assign_coords(year=years["year"])


def _all(totals: Array, start: npt.NDArray[np.int64]) -> Mapping[str, Array]:
    """`totals` [..., Y, 12], `start` [...]."""
    *_, years, _ = totals.shape
    mean = _mean(totals, -2)
    amount = mean.sum(axis=-1)
    wet = amount >= LEAST
    flat = np.concatenate([totals.reshape(*totals.shape[:-2], -1), np.full((*totals.shape[:-2], MONTHS), np.nan)], axis=-1)
    at = np.maximum(start, 0)[..., None] + np.arange(years * MONTHS)
    each = np.take_along_axis(flat, at, axis=-1).reshape(totals.shape)
    shift = np.maximum(start, 0)[..., None]  # months of `each` count from the first of the hydrological year
    yearly = indices(each)
    yearly["centroid"] = np.mod(yearly["centroid"] - 1.0 + shift, MONTHS) + 1.0
    whole = indices(mean)
    found: dict[str, Array] = {"amount": amount}
    for name in INDICES:
        found[f"yearly_{name}"] = np.where(wet[..., None], yearly[name], np.nan)
        over = circular.mean(yearly[name] - 1.0, axis=-1, length=MONTHS) + 1.0 if name == "centroid" else _mean(yearly[name], -1)
        found[name] = np.where(wet, over, np.nan)
        found[f"{name}_climatological"] = np.where(wet, whole[name], np.nan)
    return found


def _mean(values: Array, axis: int) -> Array:
    """Mean of what is known; NaN where nothing is."""
    known = np.isfinite(values)
    count = known.sum(axis=axis)
    total = np.where(known, values, 0.0).sum(axis=axis)
    made: Array = np.divide(total, count, out=np.full(total.shape, np.nan), where=count > 0)
    return made


def walsh_lawler_class(index: float) -> str:
    """In words (Walsh & Lawler 1981, table 1)."""
    return next(name for limit, name in CLASSES if index < limit)
