"""The record's extreme days by region: heaviest rain, hottest, coldest, strongest wind, lowest pressure; with date and place.

Chosen by the truth alone, never by how well a model does. Never names a variable: what a day can be extreme in follows from CF names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import times
from orbit2.diagnose.areas import Areas
from orbit2.diagnose.byarea import ByArea
from orbit2.diagnose.kept import INPUT, TRUTH, KeptDays
from orbit2.diagnose.own_regions import cells_of
from orbit2.metrics.compared import Compared
from orbit2.metrics.table import TRUTH as OF_TRUTH
from orbit2.metrics.table import Table
from orbit2.variables import cell_methods, is_precipitation, variable

Array = npt.NDArray[np.float64]
LEAST_KNOWN = 0.5  # of a region's area
WHAT = "extreme days by region"
NEEDS = "a whole day of a truth"


@dataclass(frozen=True)
class Kind:
    """`name` (of the metric `event_<name>`), in `words`, and by which sign of a value a day is extreme (0: by its size)."""

    name: str
    words: str
    sign: int


RAIN, HOT, COLD = Kind("heaviest_rain", "heaviest rain", 1), Kind("hottest", "hottest day", 1), Kind("coldest", "coldest day", -1)
WIND, LOW = Kind("strongest_wind", "strongest wind", 0), Kind("lowest_pressure", "lowest pressure", -1)
KINDS = (RAIN, HOT, COLD, WIND, LOW)
BY_STANDARD_NAME = {"wind_speed": WIND, "eastward_wind": WIND, "northward_wind": WIND, "air_pressure_at_mean_sea_level": LOW,
                    "surface_air_pressure": LOW}  # fmt: skip


def kinds_of(name: str) -> tuple[Kind, ...]:
    """What a day of this variable can be extreme in: a maximum of temperature is no cold, a minimum no heat."""
    about = variable(name)
    if is_precipitation(name):
        return (RAIN,)
    if about.kind == "pressure":
        return ()
    if about.standard_name == "air_temperature":
        method = cell_methods(name, 24)
        return (HOT,) if "maximum" in method else (COLD,) if "minimum" in method else (HOT, COLD)
    return (BY_STANDARD_NAME[about.standard_name],) if about.standard_name in BY_STANDARD_NAME else ()


def chosen(names: tuple[str, ...]) -> dict[Kind, str]:
    """The variable of each kind: of heat and cold the day's own maximum and minimum where they are there."""
    found: dict[Kind, str] = {}
    for name in sorted(names, key=lambda one: len(kinds_of(one))):
        for kind in kinds_of(name):
            found.setdefault(kind, name)
    return {kind: found[kind] for kind in KINDS if kind in found}


def means(days: KeptDays, name: str, model: str, areas: Areas) -> Array:
    """[T, R] of the regions' area-weighted mean each day; NaN where less than LEAST_KNOWN of a region is known."""
    total, known = (np.zeros((len(days.numbers), len(areas.names))) for _ in range(2))
    for stretch, used, weights in areas.rows(days):
        for into, found in zip((total, known), ByArea.of(weights).sums(cells_of(days, "means", name, model, stretch, used)), strict=True):
            into += found
    whole = areas.weights.sum(axis=(1, 2), dtype=np.float64)
    made: Array = np.divide(total, known, out=np.full(total.shape, np.nan), where=known >= LEAST_KNOWN * whole)
    return made


def extremes(days: KeptDays, areas: Areas) -> Iterator[tuple[Kind, str, int, int, Array]]:
    """(kind, variable, day, region, the truth's means [T, R]) of each kind's most extreme day over all regions and days."""
    for kind, name in chosen(days.variables).items():
        found = means(days, name, TRUTH, areas)
        size = np.abs(found) if kind.sign == 0 else kind.sign * found
        if np.isfinite(size).any():
            day, region = np.unravel_index(int(np.nanargmax(size)), size.shape)
            yield kind, name, int(day), int(region), found


def events(table: Table, days: KeptDays, areas: Areas, matched: Compared) -> xr.Dataset:
    """Rows `event_<kind>`: the region's mean on that day of the truth, the model and all beside it. Returns `event_<...>` (event): kind,
    words, variable, region, date and the place (`event_lat`, `event_lon`) where the truth was most extreme in it."""
    regions = areas if len(areas.names) == 1 else Areas(areas.names[1:], areas.weights[1:])  # the first is the whole domain
    found: dict[str, list[object]] = {key: [] for key in ("kind", "words", "variable", "region", "date", "lat", "lon")}
    for kind, name, day, region, truth in extremes(days, regions):
        one = Areas((regions.names[region],), regions.weights[region : region + 1])
        date = times.day(days.stamps[day])
        n = int((one.weights > 0).sum())
        told = f"{kind.words} of {len(days.numbers)} days and {len(regions.names)} regions, mean of the region, {date}"
        for model in (TRUTH, *(m for m in (INPUT, *matched.models(name)) if m in days.models_of(name))):
            value = truth[day, region] if model == TRUTH else means_of_day(days, name, model, one, day)
            if np.isfinite(value):
                table.add(OF_TRUTH if model == TRUTH else model, name, "physical", one.names[0], f"event_{kind.name}", told, value, n=n)
        lat, lon = place(days, name, one, day, kind)
        for key, value in zip(found, (kind.name, kind.words, name, one.names[0], date, lat, lon), strict=True):
            found[key].append(value)
    if not found["kind"]:
        return xr.Dataset()
    attrs = {"lat": {"units": "degrees_north"}, "lon": {"units": "degrees_east"}}
    return xr.Dataset({f"event_{key}": ("event", np.array(values), attrs.get(key, {})) for key, values in found.items()})


def means_of_day(days: KeptDays, name: str, model: str, area: Areas, day: int) -> float:
    """Of one region on one day."""
    values = days.day("means", name, model, day).astype(np.float64)
    w = np.where(np.isfinite(values), area.weights[0].astype(np.float64), 0.0)
    return float((np.where(w > 0, values, 0.0) * w).sum() / w.sum()) if w.sum() > 0 else float("nan")


def place(days: KeptDays, name: str, area: Areas, day: int, kind: Kind) -> tuple[float, float]:
    """Latitude and longitude (0 to 360) of the region's block that was the most extreme."""
    values = days.day("means", name, TRUTH, day).astype(np.float64)
    size = np.where(area.weights[0] > 0, np.abs(values) if kind.sign == 0 else kind.sign * values, np.nan)
    row, column = np.unravel_index(int(np.nanargmax(size)), size.shape)
    return float(days.grid.lat2d[row, column]), float(np.mod(days.grid.lon2d[row, column], 360.0))
