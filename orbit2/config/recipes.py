"""What a dataset's variables are made of in a source's files, and at which stamps those are needed. From the configuration alone.

Hourly samples: at stamp T precipitation, maximum and minimum of 24 hours cover the stamps T-23 h ... T. Every 3, 6 or 12 hours: the same,
and means and extremes of an hour become those of the hours since the sample before. Daily samples: what is accumulated or taken over the
hour ENDING at a stamp uses D 01:00 ... D+1 00:00, instantaneous fields D 00:00 ... 23:00.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from orbit2.config.sources import SourcesConfig, traits
from orbit2.variables import variable

HOUR = np.timedelta64(3600, "s")
DAY = 24
Window = tuple[np.datetime64, np.datetime64]  # first and last stamp, datetime64[s]


@dataclass(frozen=True)
class Recipe:
    """How a variable is made: from which raw variable, and by which reduction over 24 hours (None: it is the raw variable)."""

    raw: str
    over_day: Literal["mean", "max", "min"] | None = None


MADE_OF = {  # 24-hour fields -> what hourly files hold of them
    "total_precipitation_24hr": "precipitation_rate", "2m_temperature_max": "2m_temperature", "2m_temperature_min": "2m_temperature",
}  # fmt: skip
How = Literal["moment", "mean", "sum", "max", "min"]
_KIND: dict[str, How] = {"point": "moment", "mean": "mean", "sum": "sum", "maximum": "max", "minimum": "min"}


def over(name: str, raw: str) -> str:
    """What hourly files are read as where a variable is made of them: water that falls as a rate, so that amounts must say their period."""
    return MADE_OF[name] if raw == name == "total_precipitation_24hr" else raw


def reduction(name: str, raw: str, step_hours: int) -> How:
    """How hours of `raw` become samples of `name` every `step_hours`: by the variable's kind; moments are averaged over days, and taken as
    they are in shorter steps."""
    if name != raw and name in MADE_OF:
        return recipe(name, raw).over_day or "mean"
    kind = _KIND[variable(name).cell_methods.split()[1]]
    return "mean" if kind == "moment" and step_hours >= DAY else kind


def recipe(name: str, raw: str) -> Recipe:
    """24-hour precipitation in mm is the mean of the hourly rates in mm per day."""
    if raw == name:
        return Recipe(raw)
    ways: dict[str, Literal["mean", "max", "min"]] = {"2m_temperature_max": "max", "2m_temperature_min": "min"}
    return Recipe(raw, ways.get(name, "mean"))


def recipes(source: str, names: Iterable[str], settings: SourcesConfig) -> dict[str, Recipe]:
    """variable -> how it is made of the source's files (24-hour fields of an hourly source come from hourly ones)."""
    own = settings.era5.extremes == "since_previous"
    made = {
        "total_precipitation_24hr": "precipitation_rate",
        "2m_temperature_max": "2m_temperature_max_1hr" if own else "2m_temperature",
        "2m_temperature_min": "2m_temperature_min_1hr" if own else "2m_temperature",
    } if traits(source).hourly else {}
    return {name: recipe(name, made.get(name, name)) for name in names}


def ends_its_hour(raw: str) -> bool:
    """Whether the raw field describes the hour that ends at its stamp, rather than the moment."""
    return "interval: 1 hour" in variable(raw).cell_methods


def since(raw: str, step_hours: int) -> How | None:
    """How the hours that end at a stamp become the raw field of samples every `step_hours` < 24; None: it is the field at the stamp."""
    return reduction(raw, raw, step_hours) if step_hours > 1 and ends_its_hour(raw) else None


def windows(made: Mapping[str, Recipe], first: np.datetime64, last: np.datetime64, step_hours: int) -> dict[str, Window]:
    """Of each raw field of an hourly source the first and last stamp that samples at `first` ... `last` are made of."""
    found: dict[str, Window] = {}
    for r in made.values():
        if step_hours < DAY:
            before = DAY - 1 if r.over_day else step_hours - 1 if since(r.raw, step_hours) else 0
            begin, end = first - before * HOUR, last
        else:
            shift = int(ends_its_hour(r.raw)) * HOUR
            begin, end = first + shift, last + (DAY - 1) * HOUR + shift
        known = found.get(r.raw, (begin, end))
        found[r.raw] = (min(known[0], begin), max(known[1], end))
    return found
