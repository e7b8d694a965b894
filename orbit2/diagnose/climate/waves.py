"""Tropical waves of a task's kept days: rows and what climate.nc holds of them. Never of a record, or a grid, that cannot have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import longitudes
from orbit2.climate import sections, waves
from orbit2.climate.scores import Pattern, pattern
from orbit2.climate.waves import Line
from orbit2.diagnose.byarea import ByArea
from orbit2.diagnose.kept import INPUT, TRUTH, KeptDays
from orbit2.diagnose.kept.days import STAND_IN
from orbit2.diagnose.own_regions import cells_of
from orbit2.metrics.binning import band_name
from orbit2.metrics.record import Record, own
from orbit2.metrics.statistics import Moments
from orbit2.metrics.table import ANY, Table
from orbit2.metrics.table import TRUTH as OF_TRUTH
from orbit2.variables import variable

Array = npt.NDArray[np.float64]
WHAT = f"tropical waves of {waves.PERIODS[0]:g} to {waves.PERIODS[1]:g} days by longitude"
LEAST_DAYS = 365  # that are left when the filter has taken its share
LEAST_WIDTH = 60.0  # degrees of longitude
SPACING = 2.5  # degrees: the finest bins; the longest waves are what matters
EVERY = 5  # days between the times that climate.nc holds of a smooth series
YEARS = {"360_day": 360.0, "noleap": 365.0, "365_day": 365.0, "all_leap": 366.0, "366_day": 366.0}  # days of a year; else 365.25
NEEDS = (f"rows on both sides of the equator to {waves.BAND[1]:g} degrees, {LEAST_WIDTH:g} degrees of longitude, and "
         f"{LEAST_DAYS + 2 * waves.HALF} days of precipitation")  # fmt: skip


@dataclass(frozen=True)
class Lines:
    """Where the bins lie on the blocks: `lon` of BAND, `lat` of the sector about `base` (degrees east; `sector` west, east)."""

    lon: Line
    lat: Line | None
    sector: tuple[float, float]
    round_the_globe: bool

    @property
    def base(self) -> float:
        west, east = self.sector
        return west + longitudes.width(west, east) / 2


@dataclass(frozen=True)
class Waves:
    """Of one model: daily `total` and band-passed `passed` [X, T], the regressions [X, lags] and [Y, lags] (None: no sector)."""

    total: Array
    passed: Array
    by_longitude: Array
    by_latitude: Array | None
    speed: float
    period: float
    east_west: float


def lacking(days: KeptDays) -> str:
    """Why there can be no waves of these days; empty where there can."""
    lat, lon = _centres(days)
    half = days.grid.resolution
    tropical = (lat >= waves.BAND[0]) & (lat <= waves.BAND[1])
    if not tropical.any() or lat.min() > waves.BAND[0] + half or lat.max() < waves.BAND[1] - half:
        return f"latitudes {lat.min():.3g} to {lat.max():.3g}"
    width = _width(lon[tropical], half)[1]
    if width < LEAST_WIDTH:
        return f"{width:.3g} degrees of longitude near the equator"
    count = int(days.numbers[-1] - days.numbers[0]) + 1
    if count < LEAST_DAYS + 2 * waves.HALF:
        return f"{len(days.numbers)} days, of which the filter takes {waves.HALF} at each end"
    return ""


def _centres(days: KeptDays) -> tuple[Array, Array]:
    return days.grid.lat2d, days.grid.lon2d


def _width(lon: Array, spacing: float) -> tuple[float, float]:
    """West and width of the longitudes, which may go round the globe."""
    _, ordered = longitudes.eastward(lon.ravel())
    width = float(ordered[-1] - ordered[0] + spacing)
    return (float(ordered[0]), width) if width < 360 - 1e-6 else (float(ordered[0] - spacing / 2), 360.0)


def lines(days: KeptDays, truth: Array | None = None) -> Lines:
    """The bins. The sector is the published one where the grid holds it, else the 20 degrees in the middle of its longitudes."""
    lat, lon = _centres(days)
    spacing = max(SPACING, days.grid.resolution)
    tropical = (lat >= waves.BAND[0]) & (lat <= waves.BAND[1])
    west, width = _width(lon[tropical], days.grid.resolution)
    whole = width >= 360
    begin, end = waves.REFERENCE
    if not whole and (np.mod(begin - west, 360.0) > width or np.mod(end - west, 360.0) > width):
        middle = west + width / 2
        begin, end = middle - 10, middle + 10
    along = waves.columns(lat, lon, west, width, spacing)
    across = waves.rows(lat, lon, (begin, end), spacing)
    return Lines(along, across if len(across.at) >= sections.LEAST_ROWS else None, (begin, end), whole)


def rows(table: Table, days: KeptDays, name: str, draws: int) -> xr.Dataset:
    """Add the rows of every model of a variable; returns what climate.nc holds of its waves. `lacking` must be empty."""
    where = lines(days)
    truth = gathered(days, name, TRUTH, where)
    models = {m: gathered(days, name, m, where) for m in days.models_of(name) if m not in (TRUTH, INPUT)}
    if INPUT in days.models_of(name):
        models[INPUT] = models[STAND_IN] if STAND_IN in models else gathered(days, name, INPUT, where)
    _rows(table, name, truth, models, days, where, draws)
    return _dataset(days, name, {TRUTH: truth, **models}, where)


def gathered(days: KeptDays, name: str, model: str, where: Lines) -> Waves:
    """Of one model, from one reading of the rows of blocks between 30 S and 30 N."""
    area = days.area.to_numpy()
    numbers = days.numbers - days.numbers[0]
    length = int(numbers[-1]) + 1
    sums = {line: np.zeros((2, len(of.at), length)) for line, of in (("lon", where.lon), ("lat", where.lat)) if of is not None}
    for stretch in days.stretches():
        for line, (total, weight) in sums.items():
            bins = (where.lon if line == "lon" or where.lat is None else where.lat).of[stretch]
            used = bins >= 0
            if used.any():
                weights = (bins[used] == np.arange(len(total))[:, None]) * area[stretch][used]  # [bins, cells]
                found = ByArea.of(weights).sums(cells_of(days, "means", name, model, stretch, used))
                for into, one in zip((total, weight), found, strict=True):
                    into[:, numbers] += one.T
    means = {line: np.divide(t, w, out=np.full(t.shape, np.nan), where=w > 0) for line, (t, w) in sums.items()}
    year = YEARS.get(days.calendar, 365.25)
    passed = {line: waves.filtered(waves.anomalies(x, np.arange(length), year)) for line, x in means.items()}
    west, east = where.sector
    near = np.mod(where.lon.at - west, 360.0) <= longitudes.width(west, east)
    seen = np.isfinite(passed["lon"]).any(axis=1)  # of land alone there are longitudes without any
    some = near & seen
    index = passed["lon"][some].mean(axis=0) if some.any() else np.full(length, np.nan)
    by_longitude, whole = waves.regressed(passed["lon"], index), where.round_the_globe and bool(seen.all())
    return Waves(
        means["lon"], passed["lon"], by_longitude, waves.regressed(passed["lat"], index) if "lat" in passed else None,
        waves.speed(by_longitude, where.lon.at, where.base) if whole else float("nan"),
        waves.period(passed["lon"][seen]) if seen.any() else float("nan"), waves.east_west(passed["lon"]) if whole else float("nan"),
    )  # fmt: skip


def _rows(table: Table, name: str, truth: Waves, models: Mapping[str, Waves], days: KeptDays, where: Lines, draws: int) -> None:
    region = band_name(*waves.BAND)
    blocks = "" if days.step == 1 else f" of blocks of {days.step} x {days.step} cells"
    along = f"daily means {region}{blocks} by {_step(where.lon.at):.3g} degrees of longitude, land and sea"
    filtered = (f"{along}; anomalies from the mean and {waves.HARMONICS} harmonics of the year, {waves.PERIODS[0]:g} to "
                f"{waves.PERIODS[1]:g} days, Lanczos filter of {2 * waves.HALF + 1} days")  # fmt: skip
    index = f"regressed on the filtered mean of {where.sector[0]:g} to {where.sector[1]:g} E, at most {waves.LAGS} days apart"
    found = {model: pattern(one.passed, truth.passed, 1.0) for model, one in models.items()}
    still = np.broadcast_to(_mean(truth.total)[:, None], truth.total.shape)
    control = {"the truth's mean frozen in time": pattern(still, truth.total, 1.0).r,
               **({"nearest neighbour": found[STAND_IN].r} if STAND_IN in found else {})}  # fmt: skip
    judged = all(not r >= sections.DISCRIMINATES for r in control.values())
    words = ", ".join(f"{what} correlates by {r:.3f}" for what, r in control.items() if np.isfinite(r))

    def add(model: str, metric: str, told: str, value: float, n: int, ci: tuple[float, float] | None = None) -> None:
        if np.isfinite(value) and n:
            table.add(model, name, "physical", region, f"waves_{metric}", told, value, n=n, ci=ci)

    n = int(np.isfinite(truth.passed).sum())
    add(ANY, "discriminate", f"1: a control correlates by less than {sections.DISCRIMINATES:g} with the truth, so that models can be told "
        f"apart; {words}; {filtered}", float(judged), n)  # fmt: skip
    intervals = _intervals(models, truth, days, draws)
    for model, one in {OF_TRUTH: truth, **models}.items():
        for metric, told, value in (("speed", f"m/s eastward, from {index}; {filtered}", one.speed), ("period", filtered, one.period),
                                    ("east_west", filtered, one.east_west)):  # fmt: skip
            add(model, metric, told, value, n)
        if model == OF_TRUTH:
            continue
        p = found[model]
        total = pattern(one.total, truth.total, 1.0)
        add(model, "total_pattern_r", along, total.r, total.n)
        add(model, "pattern_r", filtered, p.r, p.n, intervals.get(model))
        add(model, "nrmse", filtered, p.nrmse, p.n)
        add(model, "taylor", filtered, p.taylor, p.n)
        add(model, "lag_days", filtered, waves.lag_of(one.passed, truth.passed), p.n)
        for axis, both in (("longitude", (one.by_longitude, truth.by_longitude)), ("latitude", (one.by_latitude, truth.by_latitude))):
            if both[0] is not None and both[1] is not None:
                r: Pattern = pattern(both[0], both[1], 1.0)
                add(model, f"regression_{axis}_r", f"{index}; {filtered}", r.r, r.n)


def _intervals(models: Mapping[str, Waves], truth: Waves, days: KeptDays, draws: int) -> dict[str, tuple[float, float]]:
    """Of the correlation of waves: blocks of days are drawn again, as everywhere."""
    seen = np.isfinite(truth.passed).any(axis=1)
    whole = np.isfinite(truth.passed[seen]).all(axis=0) & seen.any()
    present = np.zeros_like(whole)
    present[days.numbers - days.numbers[0]] = True
    used = whole & present
    if not used.any():
        return {}
    stamps = tuple(np.asarray(days.stamps)[used[days.numbers - days.numbers[0]]])
    record = Record(stamps, {model: _moments(one.passed[seen][:, used], truth.passed[seen][:, used]) for model, one in models.items()})
    made = {}
    for model in models:
        interval = record.only(model).intervals(own("pearson_r", model), draws).get(("pearson_r", model, ""))
        ends = interval.at(0) if interval is not None else None
        if ends is not None and np.isfinite(ends).all():
            made[model] = ends
    return made


def _moments(p: Array, o: Array) -> Moments:
    """[X, T] -> Moments [T, 1]; bins are of one width."""
    w = np.full(p.shape[1], float(len(p)))
    dp, do = p - p.mean(axis=0), o - o.mean(axis=0)
    sums = ((dp**2).sum(axis=0), (do**2).sum(axis=0), (dp * do).sum(axis=0), ((p - o) ** 2).sum(axis=0), np.abs(p - o).sum(axis=0))
    return Moments(*(x[:, None] for x in (w, w, p.mean(axis=0), o.mean(axis=0), *sums)))


def _dataset(days: KeptDays, name: str, every: Mapping[str, Waves], where: Lines) -> xr.Dataset:
    times = np.arange(0, len(next(iter(every.values())).passed[0]), EVERY)
    units, about = variable(name).units, variable(name).long_name
    models = list(every)

    def array(values: list[Array], dims: tuple[str, ...], words: str) -> xr.DataArray:
        return xr.DataArray(np.stack(values).astype(np.float32), dims=("model", *dims), coords={"model": models},
                            attrs={"units": units, "long_name": f"{about}, {words}"})  # fmt: skip

    degrees = {"units": "degrees_east", "standard_name": "longitude"}
    data = {
        f"{name}_waves": array([one.passed[:, times].T for one in every.values()], ("wave_day", "wave_longitude"),
                               f"{waves.PERIODS[0]:g} to {waves.PERIODS[1]:g} days, mean {band_name(*waves.BAND)}"),
        f"{name}_waves_by_longitude": array([one.by_longitude for one in every.values()], ("wave_longitude", "lag"),
                                            "waves regressed on their mean in the reference longitudes, one standard deviation"),
    }  # fmt: skip
    coords: dict[str, object] = {
        "wave_longitude": ("wave_longitude", np.mod(where.lon.at, 360.0), degrees), "lag": ("lag", np.arange(-waves.LAGS, waves.LAGS + 1),
                                                                                         {"units": "day"}),
        "wave_day": ("wave_day", int(days.numbers[0]) + times, {"comment": f"days after 1850-01-01, calendar {days.calendar}"}),
        "reference_longitude": ("bound", list(where.sector), degrees),
    }  # fmt: skip
    by_latitude = [one.by_latitude for one in every.values()]
    if where.lat is not None:
        data[f"{name}_waves_by_latitude"] = array([x for x in by_latitude if x is not None], ("wave_latitude", "lag"),
                                                  "waves of the reference longitudes regressed on their mean 5S-5N")  # fmt: skip
        coords["wave_latitude"] = ("wave_latitude", where.lat.at, {"units": "degrees_north", "standard_name": "latitude"})
    return xr.Dataset(data, coords=coords)


def _mean(values: Array) -> Array:
    known = np.isfinite(values)
    count = known.sum(axis=1)
    made: Array = np.divide(np.where(known, values, 0.0).sum(axis=1), count, out=np.full(len(values), np.nan), where=count > 0)
    return made


def _step(at: Array) -> float:
    return float(np.median(np.diff(at))) if len(at) > 1 else 0.0
