"""Onset, withdrawal and duration of rainy seasons by three published methods. Never mixes them: each has its name.

All take `years` (..., year, day), what `orbit2.climate.years.by_year` makes of a daily series of rain in mm/day with any spatial
dimensions, cells or domain means alike, and are lazy where it is. Days of the year count from 0 (1 January); a year of the calendar has
`years.sizes["day"]` of them. `southern`: whether the season is that of the southern hemisphere, for all or for each cell.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.climate import cumulative
from orbit2.climate.years import PENTAD, climatology, complete, first_day, pentads, rolled

Array = npt.NDArray[np.float64]
ACCUMULATION, WANG_LINHO, ANOMALY = "fractional accumulation", "Wang and LinHo", "cumulative anomaly"
METHODS = (ACCUMULATION, WANG_LINHO, ANOMALY)
MEANING = {
    ACCUMULATION: "Sperber & Annamalai 2014: first pentads with 20 % and {end:.0%} of the year's rain (the southern hemisphere's year "
    "begins in July)",
    WANG_LINHO: "Wang & LinHo 2002: first and last pentad more than 5 mm/day above the mean of January (southern hemisphere: July), "
    "12 harmonics",
    ANOMALY: "Liebmann & Marengo 2001, Dunning et al. 2016: turns of the cumulative anomaly from each data set's own mean, at most 50 days "
    "beside the climatological season",
}  # fmt: skip
ONSET, WITHDRAWAL = 0.2, 0.8  # of the year's rain
ABOVE = 5.0  # mm/day
HARMONICS = 12
RANGE = 2.5  # mm/day between local summer and winter: a monsoon climate


def fractional_accumulation(years: xr.DataArray, southern: bool | xr.DataArray = False, withdrawal: float = WITHDRAWAL) -> xr.Dataset:
    """Method A (Sperber & Annamalai 2014, Clim. Dyn. 43:3219): pentads in which ONSET and `withdrawal` of the rain have fallen.

    Returns `onset`, `withdrawal` (the pentads' middle days), `duration` (days), `slope` (share of the year's rain per day between them) of
    the mean year, and `yearly_onset`, `yearly_withdrawal`, `yearly_duration` (..., year). A southern year is named by the year in which its
    July lies; the last has none. NaN of years that lack more than 15 days or a whole pentad, and of rainless ones.
    """
    space: tuple[str, ...] = ()
    return _both(_accumulated, years, southern, {
        "onset": space, "withdrawal": space, "duration": space, "slope": space,
        "yearly_onset": ("year",), "yearly_withdrawal": ("year",), "yearly_duration": ("year",)}, withdrawal=withdrawal)  # fmt: skip


def wang_linho(years: xr.DataArray, southern: bool | xr.DataArray = False, normal: xr.DataArray | None = None) -> xr.Dataset:
    """Method B (Wang & LinHo 2002, J. Climate 15:386): relative rate, the climatological pentads (mean and 12 harmonics) less the mean of
    January (July in the south); onset is the first pentad above 5 mm/day, withdrawal the last.

    Returns `onset`, `peak`, `withdrawal` (middle days of pentads), `duration` (days): NaN where the relative rate does not pass 5 mm/day
    in May to September (southern hemisphere November to March), as in all dry monsoons. The threshold is absolute: too wet is too early.
    `normal`: the `mean_year` of `years`, where it is known (here and below).
    """
    return _by_hemisphere(_relative, years, southern, normal, ("onset", "peak", "withdrawal", "duration"))


def cumulative_anomaly(years: xr.DataArray, mean: xr.DataArray | None = None) -> xr.Dataset:
    """Method C: turns of the cumulative anomaly from `mean` (mm/day; by default the series' own mean year).

    Returns `start`, `end` (..., season): the climatological rainy seasons' first and last days; `bimodal`: whether there are two (second
    harmonic above the first), the wetter one first, else the second is NaN; `onset`, `withdrawal`, `duration` (..., season, year): each
    year's own, as days since the 1 January of the year in which the climatological season begins. See `cumulative.dates_of_years` for what
    is NaN. Needs no hemisphere: seasons may cross the new year.
    """
    return cumulative_anomalies(years, [mean])[0]


def cumulative_anomalies(
    years: xr.DataArray, means: Sequence[xr.DataArray | None], normal: xr.DataArray | None = None
) -> list[xr.Dataset]:  # fmt: skip
    """`cumulative_anomaly` from each of several means; the mean year and its seasons, which are the same for all, are found once."""
    normal = mean_year(years) if normal is None else normal
    nothing = xr.full_like(years.isel(year=0, day=0, drop=True), np.nan, dtype=np.float64)
    given = [nothing if mean is None else mean.astype(np.float64) for mean in means]
    season, each = ("season",), ("season", "year")
    common = {"start": season, "end": season, "bimodal": ()}
    events = {f"{event}/{i}": each for i in range(len(given)) for event in ("onset", "withdrawal", "duration")}
    made = _apply(_turns, [years, normal, *given], [["year", "day"], ["day"], *([] for _ in given)], {**common, **events},
                  {"season": cumulative.SEASONS, "year": years.sizes["year"]})  # fmt: skip
    made = made.assign(bimodal=made["bimodal"] > 0).assign_coords(year=years["year"], season=np.arange(1, cumulative.SEASONS + 1))
    return [made[[*common, *(f"{event}/{i}" for event in ("onset", "withdrawal", "duration"))]].rename(
        {f"{event}/{i}": event for event in ("onset", "withdrawal", "duration")}) for i in range(len(given))]  # fmt: skip


def annual_range(years: xr.DataArray, southern: bool | xr.DataArray = False, normal: xr.DataArray | None = None) -> xr.DataArray:
    """Mean rain of local summer (May to September, southern hemisphere November to March) less that of local winter, mm/day."""
    return _by_hemisphere(_range, years, southern, normal, ("annual_range",))["annual_range"]


def semiannual_range(years: xr.DataArray, normal: xr.DataArray | None = None) -> xr.DataArray:
    """Twice the amplitude of the second harmonic of the mean year, mm/day: what a cell with two rainy seasons has for an annual range."""
    normal = mean_year(years) if normal is None else normal
    return _apply(lambda days: (2 * cumulative.amplitudes(days)[..., 1],), [normal], [["day"]], {"range": ()}, {})["range"]


def mean_year(years: xr.DataArray) -> xr.DataArray:
    """(..., day): mean of each day of the year, running means and all else left to whoever wants them."""
    made = _apply(lambda v: (climatology(v),), [years], [["year", "day"]], {"mean": ("day",)}, {"day": years.sizes["day"]})
    return made["mean"].assign_coords(day=years["day"])


def _both(
    of: Callable[..., Mapping[str, Array]], years: xr.DataArray, southern: bool | xr.DataArray, names: Mapping[str, tuple[str, ...]],
    **more: Any,
) -> xr.Dataset:  # fmt: skip
    """`of` with northern and, where asked for, southern seasons."""

    def one(is_southern: bool) -> xr.Dataset:
        leap = years["leap"].to_numpy() if "leap" in years.coords else np.zeros(years.sizes["year"], dtype=np.bool_)
        return _apply(lambda v: tuple(of(v, leap, is_southern, **more)[name] for name in names), [years], [["year", "day"]], names,
                      {"year": years.sizes["year"]}).assign_coords(year=years["year"])  # fmt: skip

    return _of_either(one, southern)


def _by_hemisphere(
    of: Callable[[Array, bool], Mapping[str, Array]], years: xr.DataArray, southern: bool | xr.DataArray, normal: xr.DataArray | None,
    names: Sequence[str],
) -> xr.Dataset:  # fmt: skip
    """`_both` of what takes the mean year alone."""
    days = mean_year(years) if normal is None else normal
    return _of_either(lambda south: _apply(lambda v: tuple(of(v, south)[name] for name in names), [days], [["day"]],
                                           dict.fromkeys(names, ()), {}), southern)  # fmt: skip


def _of_either(one: Callable[[bool], xr.Dataset], southern: bool | xr.DataArray) -> xr.Dataset:
    south = np.asarray(southern)
    if not south.any():
        return one(False)
    return one(True) if south.all() else one(True).where(southern, one(False))


def _apply(
    of: Callable[..., tuple[Array, ...]], arrays: list[xr.DataArray], core: list[list[str]], outputs: Mapping[str, tuple[str, ...]],
    sizes: Mapping[str, int],
) -> xr.Dataset:  # fmt: skip
    def every(*blocks: Any) -> tuple[Array, ...] | Array:
        made = tuple(np.asarray(x, dtype=np.float64) for x in of(*blocks))
        return made if len(made) > 1 else made[0]

    made = xr.apply_ufunc(
        every, *arrays, input_core_dims=core, output_core_dims=[list(dims) for dims in outputs.values()], dask="parallelized",
        exclude_dims={"year"} if any("year" in dims for dims in core) else set(), output_dtypes=[np.float64] * len(outputs),
        dask_gufunc_kwargs={"output_sizes": {k: v for k, v in sizes.items() if any(k in dims for dims in outputs.values())}},
    )  # fmt: skip
    return xr.Dataset(dict(zip(outputs, made if len(outputs) > 1 else (made,), strict=True)))


def _year_start(length: int, southern: bool) -> int:
    return first_day(7, length) if southern else 0


def _accumulated(values: npt.NDArray[np.floating], leap: npt.NDArray[np.bool_], southern: bool, withdrawal: float) -> dict[str, Array]:
    *space, _, length = values.shape
    start = _year_start(length, southern)
    each = pentads(values, leap, start)
    whole = complete(rolled(values, start))
    each = np.where(whole[..., None] & np.isfinite(each).all(axis=-1, keepdims=True), each, np.nan)
    with np.errstate(invalid="ignore"):
        known = np.isfinite(each[..., 0])
        mean = np.divide(np.where(known[..., None], each, 0.0).sum(axis=-2), known.sum(axis=-1)[..., None])
    found = _thresholds(mean, start, length, withdrawal)
    yearly = {f"yearly_{name}": x for name, x in _thresholds(each, start, length, withdrawal).items() if name != "slope"}
    if start:  # the last year has no end
        yearly = {name: np.concatenate([x, np.full((*space, 1), np.nan)], axis=-1) for name, x in yearly.items()}
    return {**found, **yearly}


def _thresholds(each: Array, start: int, length: int, withdrawal: float) -> dict[str, Array]:
    """[..., pentads] -> dates [...]."""
    total = each.sum(axis=-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = np.cumsum(each, axis=-1) / total[..., None]
        share = np.where(total[..., None] > 0, share, np.nan)
        share = np.minimum(share, 1.0)
        begin, stop = ((share >= limit - 1e-12).argmax(axis=-1) for limit in (ONSET, withdrawal))
    known = np.isfinite(share[..., 0])

    def at(p: npt.NDArray[np.integer]) -> Array:
        return np.asarray(np.where(known, np.mod(start + PENTAD * p + PENTAD // 2, length), np.nan))

    gained = np.take_along_axis(share, stop[..., None], -1)[..., 0] - np.take_along_axis(share, begin[..., None], -1)[..., 0]
    with np.errstate(invalid="ignore", divide="ignore"):
        slope = np.where(stop > begin, gained / (PENTAD * (stop - begin)), np.nan)
    return {"onset": at(begin), "withdrawal": at(stop), "duration": np.where(known, PENTAD * (stop - begin + 1.0), np.nan), "slope": slope}


def _relative(days: Array, southern: bool) -> dict[str, Array]:
    """Of the mean year [..., L]."""
    length = days.shape[-1]
    start = _year_start(length, southern)
    month = first_day(7, length) if southern else 0
    driest = days[..., month : month + 31 if length != 360 else month + 30].mean(axis=-1)
    each = np.roll(days, -start, axis=-1).reshape(*days.shape[:-1], -1, PENTAD).mean(axis=-1)
    known = np.isfinite(each).all(axis=-1)
    waves = np.fft.rfft(np.where(known[..., None], each, 0.0), axis=-1)
    waves[..., HARMONICS + 1 :] = 0
    rate = np.fft.irfft(waves, n=each.shape[-1], axis=-1) - driest[..., None]
    middle = np.mod(start + PENTAD * np.arange(each.shape[-1]) + PENTAD // 2, length)
    summer = _within(middle, length, *((11, 4) if southern else (5, 10)))
    above = known & (rate[..., summer].max(axis=-1) > ABOVE)
    wet = rate > ABOVE
    begin, stop = wet.argmax(axis=-1), wet.shape[-1] - 1 - wet[..., ::-1].argmax(axis=-1)
    found = {"onset": begin, "peak": rate.argmax(axis=-1), "withdrawal": stop}
    return {**{name: np.where(above, middle[p], np.nan) for name, p in found.items()},
            "duration": np.where(above, PENTAD * (stop - begin + 1.0), np.nan)}  # fmt: skip


def _within(days: npt.NDArray[np.integer], length: int, first: int, after: int) -> npt.NDArray[np.bool_]:
    """Which days lie from the first of month `first` up to that of month `after`."""
    begin, end = first_day(first, length), first_day(after, length)
    return np.asarray((days >= begin) & (days < end) if begin < end else (days >= begin) | (days < end))


def _range(days: Array, southern: bool) -> dict[str, Array]:
    """Of the mean year [..., L]."""
    length = days.shape[-1]
    may, november = (days[..., _within(np.arange(length), length, *months)].mean(axis=-1) for months in ((5, 10), (11, 4)))
    return {"annual_range": november - may if southern else may - november}


def _turns(values: npt.NDArray[np.floating], mean_year: Array, *means: Array) -> tuple[Array, ...]:
    """Seasons of the mean year, and the dates of each year from each of the `means` (NaN: the series' own)."""
    *space, years, length = values.shape
    days = np.ascontiguousarray(values.reshape(-1, years * length))
    normal = np.ascontiguousarray(mean_year).reshape(-1, length)
    first, last, twofold = cumulative.rainy_seasons(normal)
    around = cumulative.margins(first, last, length)
    dates: list[Array] = []
    for mean in means:
        given = np.asarray(mean).reshape(-1)
        about = np.where(np.isfinite(given), given, normal.mean(axis=-1))
        onset, withdrawal = cumulative.dates_of_years(days, about, first, last, around, length)
        dates += [onset, withdrawal, withdrawal - onset + 1]

    def shaped(x: npt.NDArray[Any]) -> Array:
        return np.asarray(x, dtype=np.float64).reshape((*space, *x.shape[1:]))

    clear = [np.where(x >= 0, x, np.nan) for x in (first, last)]
    return (*map(shaped, clear), shaped(twofold), *map(shaped, dates))
