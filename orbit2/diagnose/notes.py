"""What this run's record is too short for: each diagnostic with what it needs and what is there. Never a number in its place."""

from __future__ import annotations

from typing import Any

import numpy as np

from orbit2 import times
from orbit2.grid import AnyGrid, Grid
from orbit2.metrics.compared import Compared
from orbit2.variables import is_precipitation

LEAST_DAYS = 60  # as orbit2.metrics.bootstrap has it
INTERVALS, SEASONS = "confidence intervals (block bootstrap of days)", "scores by season"
NEEDS = (  # diagnostic, least record in days, needs daily values, needs precipitation, why
    ("ETCCDI extremes (Rx1day, CDD, CWD, R95p, TXx, TNn)", 350, True, False,
     "at least 1 year of daily values with no more than 15 missing; for R95p training years as a base"),
    ("return levels (GEV of annual maxima)", 20 * 365, True, False, "at least 20 complete years of daily values"),
    (INTERVALS, LEAST_DAYS, False, False, f"at least {LEAST_DAYS} days: from fewer, intervals hold the true score too seldom"),
    (SEASONS, 360, False, False, "samples in every season, at least 1 complete year"),
)
NO_PARALLELS = (  # on a map projection or a rotated pole: diagnostic, what is done about it
    ("zonal spectra and power by degree of spherical harmonics", "not computed: radial spectra of the whole domain are given instead"),
    ("Hovmöller diagrams", "made on a latitude-longitude grid of the same spacing, to which the fields are regridded conservatively"),
)
MADE = {"ETCCDI extremes (Rx1day, CDD, CWD, R95p, TXx, TNn)", "return levels (GEV of annual maxima)", INTERVALS, SEASONS}  # of long records


def notes(matched: Compared, band_missing: str | None) -> dict[str, Any]:
    """`record` (samples, first, last, days, daily) and `notes`: diagnostics that this record or this version cannot give."""
    stamps = times.stamps(matched.times)
    since = times.numbers(stamps, times.calendar_of(matched.times))
    days, steps = float(since[-1] - since[0]), np.diff(since)
    daily = bool(len(steps)) and bool(np.all(steps <= 1.0 + 1e-6))
    record = {"samples": len(stamps), "first": stamps[0], "last": stamps[-1], "days": round(days, 3), "gaps_over_a_day": not daily}
    has = f"{len(stamps)} samples over {days:.1f} days, {stamps[0]} to {stamps[-1]}"
    rain = any(is_precipitation(name) for name in matched.variables)
    entries = []
    for diagnostic, least, needs_daily, needs_rain, text in NEEDS:
        short = days < least - 1 or (needs_daily and not daily) or (needs_rain and not rain)
        if diagnostic in MADE and not short:
            continue
        missing = has if rain or not needs_rain else f"{has}; no precipitation in this task"
        status = "not computed: the record is too short" if short else "not computed: not yet part of this stage"
        entries.append({"diagnostic": diagnostic, "needs": text, "has": missing, "status": status})
    if band_missing:
        entries.append({"diagnostic": "time-longitude diagram in the configured band", "needs": f"rows in {band_missing}",
                        "has": "latitudes {:g} to {:g}".format(*_latitudes(matched.grid)),
                        "status": "drawn for the whole domain instead"})
    if not isinstance(matched.grid, Grid):
        has = matched.grid.describe()
        entries += [{"diagnostic": what, "needs": "rows of cells that are parallels", "has": has, "status": status}
                    for what, status in NO_PARALLELS]  # fmt: skip
    if not matched.has_truth:
        entries.append({"diagnostic": "scores against a truth", "needs": "observations or a reanalysis on the finer grid",
                        "has": matched.reference, "status": "not computed: only the consistency with the input is given"})
    return {"record": record, "notes": entries}


def _latitudes(grid: AnyGrid) -> tuple[float, float]:
    if isinstance(grid, Grid):
        return float(grid.lat_edges[0]), float(grid.lat_edges[-1])
    return round(float(grid.lat2d.min()), 2), round(float(grid.lat2d.max()), 2)
