"""What the rows of seasons and sections are made of: one reading of the kept days of a model. Never holds more days than a chunk's."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.climate import bombardi, circular, monsoon
from orbit2.climate.seasonality import INDICES, driest_month, seasonality
from orbit2.climate.years import about_years, pentads, placed, placing
from orbit2.diagnose.climate.places import Place
from orbit2.diagnose.kept import TRUTH, KeptDays

Array = npt.NDArray[np.float64]
AT_ONCE = 1024  # cells: their years in double precision are 70 MB for 24 years
EVENTS = ("onset", "withdrawal")
MOST_MISSING_YEARS = 1 / 3  # Bombardi et al. 2019: cells with more have no mean date


@dataclass
class Gathered:
    """Of one model's rain. Cells are in row order; dates are days of the year from 0, of years counted from the calendar's first.

    `dates`, `of_truth`: (cell, season, year), by the cumulative anomaly from its own mean and from the truth's, of a model in the order of
    the truth's seasons and years (`beside`); `start` (cell, season) of
    the climatology; `wang` (cell); `bombardi` (cell, year); `cells`: `bimodal`, `annual_range`, `semiannual_range`, `mean` mm/day,
    `amount`, `first_month`, `driest_day` and the seasonality indices (cell), with `yearly_<index>` (cell, year); `series` (domain, year,
    day); `sections` by domain: (row, year, pentad).
    """

    years: Array
    leap: npt.NDArray[np.bool_]
    length: int
    dates: dict[str, Array] = field(default_factory=dict)
    of_truth: dict[str, Array] = field(default_factory=dict)
    start: Array = field(default_factory=lambda: np.empty(0))
    wang: dict[str, Array] = field(default_factory=dict)
    bombardi: dict[str, Array] = field(default_factory=dict)
    cells: dict[str, Array] = field(default_factory=dict)
    series: Array = field(default_factory=lambda: np.empty(0))
    sections: dict[str, Array] = field(default_factory=dict)

    def maps(self, dates: Array) -> Array:
        """(cell, season) circular mean over years of dates (cell, season, year); NaN where more than a third of the years have none (the
        record's first or last may be cut)."""
        enough = np.isfinite(dates).sum(axis=-1) >= max(1, np.ceil((1 - MOST_MISSING_YEARS) * (dates.shape[-1] - 1)))
        return np.where(enough, circular.mean(dates, axis=-1, length=self.length), np.nan)

    def whole_years(self) -> Sequence[int]:
        return [int(year) for year in self.years]


def gather(days: KeptDays, name: str, model: str, places: Sequence[Place], truth: Gathered | None) -> Gathered:
    """Of a model; `truth`: what was gathered of TRUTH (None: this is it), whose hydrological years it is given."""
    area = days.area.to_numpy().ravel()
    found = Gathered(np.empty(0), np.empty(0, dtype=np.bool_), 0)
    parts: list[dict[str, npt.NDArray[Any]]] = []
    sums: list[Array] = []
    lines = {p.domain.name: [np.empty(0), np.empty(0)] for p in places if p.sector is not None}
    weights = np.stack([p.weights for p in places]) if places else np.zeros((0, len(area)))
    for cells, years, southern in _chunks(days, name, model):
        values = years.to_numpy()
        if not parts:
            found = Gathered(years["year"].to_numpy(), years["leap"].to_numpy(), values.shape[-1])
            sums = [np.zeros((len(places), *values.shape[1:])) for _ in range(2)]
        parts.append(_of_cells(years, southern, truth, cells))
        here, known = weights[:, cells], np.isfinite(values)
        if known.all():
            sums[0] += np.tensordot(here, values, axes=1)
            sums[1] += here.sum(axis=1)[:, None, None]
        else:
            for total, of in zip(sums, (np.where(known, values, 0.0), known), strict=True):
                total += np.tensordot(here, of, axes=1)
        each = pentads(values, found.leap)
        for p in places:
            if p.sector is not None:
                _add(lines[p.domain.name], each, p.sector.row[cells], area[cells], len(p.sector.latitude))
    joined = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
    for event in (*EVENTS, "duration"):
        found.dates[event] = joined.pop(event)
        found.of_truth[event] = joined.pop(f"{event}_of_truth")
    found.wang = {event: joined.pop(f"{event}_wang") for event in EVENTS}
    found.bombardi = {event: joined.pop(f"{event}_bombardi") for event in EVENTS}
    found.start = joined.pop("start")
    found.cells = joined
    if truth is not None:
        found.dates, found.of_truth = (beside(found, truth, dates) for dates in (found.dates, found.of_truth))
    found.series = _ratio(*sums)
    found.sections = {domain: _ratio(*both) for domain, both in lines.items() if both[0].ndim == 3}
    return found


def _chunks(days: KeptDays, name: str, model: str) -> Iterator[tuple[slice, xr.DataArray, xr.DataArray]]:
    """Positions of cells, their years (cell, year, day), and whether each lies in the south; rows of blocks as the days are chunked."""
    calendar, years = placing(days.times)
    about, south = about_years(calendar, years), (days.grid.lat2d < 0).ravel()
    for stretch in days.stretches():
        values = days.rows("means", name, model, stretch)
        flat, offset = values.reshape(len(values), -1).T, stretch.start * values.shape[2]
        for begin in range(0, len(flat), AT_ONCE):
            piece = placed(flat[begin : begin + AT_ONCE], calendar, years)
            where = slice(offset + begin, offset + begin + len(piece))
            yield (where, xr.DataArray(piece, dims=("cell", "year", "day"), coords=about), xr.DataArray(south[where], dims="cell"))


def _of_cells(years: xr.DataArray, southern: xr.DataArray, truth: Gathered | None, cells: slice) -> dict[str, npt.NDArray[Any]]:
    """Arrays whose first dimension is `cell`."""
    means = [None] if truth is None else [None, xr.DataArray(truth.cells["mean"][cells], dims="cell")]
    normal = monsoon.mean_year(years)
    own, *others = monsoon.cumulative_anomalies(years, means, normal)
    given = others[0] if others else own
    mean = normal.mean("day")
    wang = monsoon.wang_linho(years, southern, normal)
    month = driest_month(years) if truth is None else xr.DataArray(truth.cells["first_month"][cells].astype(np.int64), dims="cell")
    index = seasonality(years, month)
    values = years.transpose("cell", "year", "day").to_numpy()
    driest, *rads = bombardi.turns(values, None if truth is None else truth.cells["driest_day"][cells], normal.to_numpy())
    each = "cell", "season", "year"  # in single precision: days are exact in it
    made: dict[str, npt.NDArray[Any]] = {}
    made |= {event: own[event].transpose(*each).to_numpy().astype(np.float32) for event in (*EVENTS, "duration")}
    made |= {f"{event}_of_truth": given[event].transpose(*each).to_numpy().astype(np.float32) for event in (*EVENTS, "duration")}
    made |= {f"{event}_wang": wang[event].to_numpy() for event in EVENTS}
    made |= {"start": own["start"].transpose("cell", "season").to_numpy(), "bimodal": own["bimodal"].to_numpy(), "mean": mean.to_numpy(),
             "annual_range": monsoon.annual_range(years, southern, normal).to_numpy(), "first_month": month.to_numpy().astype(np.float64),
             "semiannual_range": monsoon.semiannual_range(years, normal).to_numpy(), "amount": index["amount"].to_numpy()}  # fmt: skip
    made |= {"driest_day": driest} | {f"{event}_bombardi": x for event, x in zip(EVENTS, rads, strict=True)}
    for name in INDICES:
        made |= {name: index[name].to_numpy(), f"{name}_climatological": index[f"{name}_climatological"].to_numpy(),
                 f"yearly_{name}": index[f"yearly_{name}"].transpose("cell", "year").to_numpy().astype(np.float32)}  # fmt: skip
    return made


def _add(sums: list[Array], each: Array, row: npt.NDArray[np.int64], area: Array, rows: int) -> None:
    """Add cells [cells, Y, P] to a section's sums over its rows."""
    if sums[0].ndim < 3:
        sums[:] = [np.zeros((rows, *each.shape[1:])) for _ in range(2)]
    chosen = row >= 0
    if chosen.any():
        known = np.isfinite(each[chosen])
        weight = known * area[chosen][:, None, None]
        np.add.at(sums[0], row[chosen], np.where(known, each[chosen], 0.0) * weight)
        np.add.at(sums[1], row[chosen], weight)


def _ratio(total: Array, weight: Array) -> Array:
    made: Array = np.divide(total, weight, out=np.full(total.shape, np.nan), where=weight > 0)
    return made


def beside(model: Gathered, truth: Gathered, dates: dict[str, Array]) -> dict[str, Array]:
    """`dates` of a model, (cell, season, year), put in the order of the truth's seasons and years.

    Of two seasons those that begin nearest belong together; a season that begins before the new year belongs to one that begins after it,
    when that is nearer. A season that either does not have is NaN.
    """
    length = truth.length
    away = np.abs(circular.difference(model.start[:, None, :], truth.start[:, :, None], length))  # [cell, truth's, model's]
    away = np.asarray(np.where(np.isfinite(away), away, np.inf))
    nearest = away.argmin(axis=2)
    both = np.isfinite(model.start).all(axis=1) & np.isfinite(truth.start).all(axis=1)
    swapped = both & (away[:, 0, 1] + away[:, 1, 0] < away[:, 0, 0] + away[:, 1, 1])
    order = nearest.copy()
    order[both] = np.where(swapped[both, None], [1, 0], [0, 1])
    one = np.asarray(np.isfinite(model.start).sum(axis=1) == 1)  # its season is that of the truth's nearest, of the other it has none
    farther = np.asarray(away[:, :, 0] > np.asarray(away.min(axis=(1, 2))).reshape(-1, 1))
    lacking = ~np.isfinite(truth.start) | (one[:, None] & farther)
    start = np.take_along_axis(model.start, order, axis=1)
    turn = np.where(start - truth.start > length / 2, 1, np.where(start - truth.start < -length / 2, -1, 0))
    made = {}
    for event, values in dates.items():
        moved = np.take_along_axis(values, order[:, :, None], axis=1)
        years = np.arange(values.shape[-1]) - turn[:, :, None]
        inside = (years >= 0) & (years < values.shape[-1])
        moved = np.where(inside, np.take_along_axis(moved, np.clip(years, 0, values.shape[-1] - 1), axis=2), np.nan)
        made[event] = np.where(lacking[:, :, None], np.nan, moved)
    return made


def truth_of(days: KeptDays, name: str, places: Sequence[Place]) -> Gathered:
    return gather(days, name, TRUTH, places, None)
