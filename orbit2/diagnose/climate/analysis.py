"""From kept days to rows, climate.nc, and what could not be computed and why. Never a number of a record that is too short."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import xarray as xr

from orbit2 import times
from orbit2.climate.domains import SETS
from orbit2.climate.years import MOST_MISSING
from orbit2.diagnose import areas
from orbit2.diagnose.climate import waves
from orbit2.diagnose.climate.draws import Draws
from orbit2.diagnose.climate.files import dataset
from orbit2.diagnose.climate.gathered import gather, truth_of
from orbit2.diagnose.climate.places import places
from orbit2.diagnose.climate.rows import Climate
from orbit2.diagnose.kept import INPUT, TRUTH, KeptDays
from orbit2.diagnose.kept.days import STAND_IN
from orbit2.metrics.collector import Settings
from orbit2.metrics.compared import Compared
from orbit2.metrics.extremes import RAIN, role
from orbit2.metrics.table import Table

LEAST_YEARS = 2  # whole ones: of a single year the season is its own climatology
SEASONS, YEARS = "monsoon onset and withdrawal", "precipitation seasonality and entropy, sections of the mean year (73 pentads)"
NEEDS = {
    SEASONS: f"at least {LEAST_YEARS} complete years of daily precipitation, better 10: seasons are found from the mean year, then year "
        "by year",
    waves.WHAT: waves.NEEDS,
    YEARS: "at least 1 complete year of daily precipitation, better 20",
}  # fmt: skip


@dataclass
class Analysis:
    """`file`: the contents of climate.nc; `missing`: entries of notes.json (diagnostic, needs, has, status)."""

    file: xr.Dataset
    missing: list[dict[str, str]] = field(default_factory=list)


def analyse(days: KeptDays | None, matched: Compared, settings: Settings, table: Table) -> Analysis:
    """Add the rows of every variable that is rain in mm to `table`; what cannot be scored is named in `missing`, with the reason."""
    rain = [name for name in days.variables if role(name) == RAIN] if days is not None else []
    if days is None or not rain:
        has = f"{len(matched.times)} samples, no day of precipitation with a truth among them"
        return Analysis(xr.Dataset(), [_missing(what, has) for what in NEEDS])
    lacks = waves.lacking(days)
    without = [_missing(waves.WHAT, lacks)] if lacks else []
    travelling = [] if lacks else [waves.rows(table, days, name, settings.evaluate.bootstrap) for name in rain]
    whole = whole_years(times.stamps(days.times), days.calendar)
    short = [_missing(what, f"{len(days.times)} days of precipitation, {whole} complete years", SHORT) for what in (SEASONS, YEARS)]
    if not whole:
        return Analysis(joined(xr.Dataset(), travelling), short + without)
    chosen, left_out = places(SETS[settings.diagnose.domains], matched.grid, days.step, np.asarray(matched.land_fraction))
    missing = [*without, *(short[:1] if whole < LEAST_YEARS else []),
               *(_missing(f"monsoon domain {name}", why) for name, why in left_out.items())]  # fmt: skip
    blocks = "" if days.step == 1 else f" of blocks of {days.step} x {days.step} cells"
    found = {}
    for name in rain:
        truth = truth_of(days, name, chosen)
        models = {model: gather(days, name, model, chosen, truth) for model in days.models_of(name) if model not in (TRUTH, INPUT)}
        if INPUT in days.models_of(name):
            models[INPUT] = models[STAND_IN] if STAND_IN in models else gather(days, name, INPUT, chosen, truth)
        draws = Draws.of(whole, settings.evaluate.bootstrap, len(truth.years))
        climate = Climate(name, truth, models, chosen, blocks, whole >= LEAST_YEARS, draws)
        missing += [_missing(f"monsoon dates in {domain}, {name}", why) for domain, why in climate.rows(table).items()]
        regions = (areas.given(days, matched.region) + areas.own(days, settings.diagnose.regions)).some()
        climate.region_rows(table, regions.names, regions.weights.reshape(len(regions.names), -1))
        found[name] = truth, models
    return Analysis(joined(dataset(days, found, chosen, whole >= LEAST_YEARS), travelling), missing)


def joined(file: xr.Dataset, more: list[xr.Dataset]) -> xr.Dataset:
    """`file` with the arrays of others, in its order of models, those that only others have last."""
    for one in more:
        if "model" not in one.coords:
            file = file.merge(one)
            continue
        models = list(dict.fromkeys([*(file["model"].values if "model" in file.coords else ()), *one["model"].values]))
        beside = {str(name): value for name, value in one.coords.items() if name != "model"}
        file = file.reindex(model=models) if "model" in file.coords else file
        file = file.assign(one.reindex(model=models).data_vars).assign_coords(beside)
    return file


def whole_years(samples: list[str], calendar: str) -> int:
    """Calendar years of which at most MOST_MISSING days lack."""
    years = [times.year(sample) for sample in samples]
    length = 360 if calendar == "360_day" else 365
    return int((np.bincount(np.asarray(years) - min(years)) >= length - MOST_MISSING).sum()) if years else 0


SHORT = "the record is too short"


def _missing(what: str, has: str, why: str = "the record cannot give it") -> dict[str, str]:
    return {"diagnostic": what, "needs": NEEDS.get(what, "a domain on the grid with a monsoon climate in the reference"), "has": has,
            "status": f"not computed: {why}"}  # fmt: skip
