"""What is asked of a task's kept days once its parts are summed: regions of the user's own, thresholds. Never reads a prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import xarray as xr

from orbit2.diagnose import areas, cells, events, extreme_years, own_regions, thresholds
from orbit2.diagnose.climate import joined
from orbit2.diagnose.kept import Kept, KeptDays
from orbit2.diagnose.kept.days import STAND_IN
from orbit2.metrics.collector import Collector, Settings
from orbit2.metrics.compared import Compared
from orbit2.metrics.quantiles import LEAST_BEYOND
from orbit2.metrics.table import Table

Note = dict[str, str]
Answer = tuple[Mapping[str, xr.Dataset], list[Note]]  # contents of files by name, and what cannot be told
CLIMATE = "climate.nc"


def kept_days(collectors: Sequence[Collector]) -> KeptDays | None:
    """Of a task, with at least one whole day; None where nothing was kept."""
    days = next((collector.days() for collector in collectors if isinstance(collector, Kept)), None)
    return days if days is not None and len(days.numbers) else None


def outlines(table: Table, settings: Settings) -> dict[str, str]:
    """Of the user's regions that have rows: what a map of them draws."""
    if not settings.diagnose.regions:
        return {}
    return areas.outlines(settings.diagnose.regions, {str(row["region"]) for row in table.rows if ":" in str(row["region"])})


def fields(days: KeptDays, matched: Compared, settings: Settings, table: Table) -> Answer:
    """What climate.nc holds of extreme days and of cells, the rows of the former, and why something is not there."""
    extreme = events.events(table, days, areas.given(days, matched.region), matched)
    maps = cells.maps(days, {matched.model, STAND_IN})
    count = len(days.numbers)
    lacking = {
        f"maps of correlation over time: {cells.LEAST_DAYS} days": not maps.data_vars,
        f"maps of a high quantile: {round(LEAST_BEYOND / (1 - cells.LEVELS[-1]))} days": cells.level_of(count) is None,
    }
    notes = [{"diagnostic": what.partition(":")[0], "needs": f"at least{what.partition(':')[2]}", "has": f"{count} whole days",
              "status": "not computed: the record is too short"} for what, lacks in lacking.items() if lacks]  # fmt: skip
    return {CLIMATE: joined(maps, [extreme]) if extreme.data_vars else maps}, notes


def regions(days: KeptDays, matched: Compared, settings: Settings, table: Table) -> Answer:
    """Rows of the user's own regions, and apart of those that were left out of training; why some have none."""
    own = areas.own(days, settings.diagnose.regions)
    apart = areas.left_out(days, settings.left_out).some() if settings.left_out is not None else None
    asked = own.some() + apart if apart is not None else own.some()
    scored = own_regions.rows(table, days, asked, matched, settings.evaluate.bootstrap)
    return {}, [{"diagnostic": f"scores of the region {name}", "needs": "cells in its polygon that were scored",
                 "has": days.grid.describe(), "status": "not computed: nothing was scored there"}
                for name in own.names if name not in scored]  # fmt: skip


def years(days: KeptDays, matched: Compared, settings: Settings, table: Table) -> Answer:
    """Rows of the record's extreme years and of its halves; what cannot be told."""
    return {}, extreme_years.rows(table, days, matched, settings.evaluate.bootstrap)


def counts(days: KeptDays, matched: Compared, settings: Settings, table: Table) -> Answer:
    """Rows of days beyond thresholds; what cannot be counted."""
    asked = areas.given(days, matched.region) + areas.own(days, settings.diagnose.regions).some()
    return {}, thresholds.rows(table, days, asked, settings.thresholds, matched, settings.evaluate.bootstrap)


ASKED = fields, regions, years, counts  # in the order of their rows; none needs what another made
