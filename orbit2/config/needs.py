"""What the datasets of a run want from each source: raw variables, days with their margins, a box. From the configuration alone."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from orbit2.config.base import science
from orbit2.config.dataset import DatasetConfig
from orbit2.config.schema import RunConfig
from orbit2.config.sources import HOURLY, SourcesConfig
from orbit2.files import short_hash
from orbit2.grid import named

Days = tuple[np.datetime64, np.datetime64]
STATIC = "static"
MADE = ("latitude", "slope")  # static fields that are computed at the target grid
MARGIN = 1.0  # degrees of source around a regional grid, so that cells at its edge are whole


def raw_names(source: str, names: Iterable[str], settings: SourcesConfig) -> dict[str, str]:
    """variable -> the variable of the source's files that it is made of (ERA5's 24-hour fields come from hourly ones)."""
    own = settings.era5.extremes == "since_previous"
    made = {
        "total_precipitation_24hr": "precipitation_rate",
        "2m_temperature_max": "2m_temperature_max_1hr" if own else "2m_temperature",
        "2m_temperature_min": "2m_temperature_min_1hr" if own else "2m_temperature",
    }
    return {name: made.get(name, name) if source in HOURLY else name for name in names}


def names_from(dataset: DatasetConfig, source: str) -> tuple[str, ...]:
    """The variables of a dataset that come from `source`, each once."""
    inputs = [name for name in dataset.inputs if dataset.source_of(name) == source]
    return tuple(dict.fromkeys((*inputs, *(dataset.outputs if dataset.source == source else ()))))


def bounds(dataset: DatasetConfig) -> tuple[np.datetime64, np.datetime64]:
    """First and last second (datetime64[s]) of the dataset's three periods together."""
    periods = dataset.split.blocks.values()
    return min(p.first for p in periods), max(p.last for p in periods)


def days(dataset: DatasetConfig, source: str) -> Days:
    """First and last day of `source`'s files that the dataset's samples are made of.

    ERA5: a trailing day begins on the day before, and a day's last accumulated hour is stamped 00:00 of the day after.
    """
    first, last = (value.astype("datetime64[D]") for value in bounds(dataset))
    if source == "era5":
        margin = np.timedelta64(1, "D")
        return (first - margin, last) if dataset.step_hours == 1 else (first, last + margin)
    return first, last


def box(dataset: DatasetConfig) -> tuple[float, float, float, float] | None:
    """South, north, west, east of what a dataset needs of a global source; None: the globe."""
    grid = named(dataset.coarse_grid)
    if grid.periodic:
        return None
    south, north = float(grid.lat_edges[0]), float(grid.lat_edges[-1])
    west, east = float(grid.lon_edges[0]), float(grid.lon_edges[-1])
    return (
        max(float(np.floor(south - MARGIN)), -90.0),
        min(float(np.ceil(north + MARGIN)), 90.0),
        float(np.floor(west - MARGIN)),
        float(np.ceil(east + MARGIN)),
    )


def sources_of(run: RunConfig) -> list[str]:
    """Every source that the run retrieves, static fields among them."""
    return sorted({source for dataset in run.datasets.values() for source in dataset.sources} | {STATIC})


def retrieve(run: RunConfig, source: str) -> dict[str, Any]:
    """The slice that the retrieve stage of one source is given: its needs and the settings of all sources."""
    needs = [need(dataset, source, run.sources) for dataset in run.datasets.values() if source in (*dataset.sources, STATIC)]
    if any(n["box"] is None for n in needs):  # the globe holds every box
        needs = [{**n, "box": None} for n in needs]
    return {"source": source, "needs": merged(needs), "settings": science(run.sources)}


def need(dataset: DatasetConfig, source: str, settings: SourcesConfig) -> dict[str, Any]:
    """What one dataset needs of one source."""
    if source == STATIC:
        return {"variables": sorted(set(dataset.statics) - set(MADE)), "first": None, "last": None, "box": None}
    names = sorted(set(raw_names(source, names_from(dataset, source), settings).values()))
    first, last = days(dataset, source)
    region = box(dataset)
    return {"variables": names, "first": str(first), "last": str(last), "box": None if region is None else list(region)}


def merged(needs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Needs that differ in their variables only are one need."""
    result: dict[str, dict[str, Any]] = {}
    for item in needs:
        key = short_hash([item["first"], item["last"], item["box"]])
        known = result.get(key, {"variables": []})
        result[key] = {**item, "variables": sorted({*known["variables"], *item["variables"]})}
    return list(result.values())


def requests_hash(slice_: dict[str, Any]) -> str:
    """8 hex digits of what is asked for, whatever the addresses and the pace of the download."""
    source = slice_["source"]
    settings = SourcesConfig.model_validate(slice_["settings"])
    backend = settings.era5.backend if source == "era5" else None
    return short_hash({"needs": slice_["needs"], "values": settings.values([source]), "backend": backend})
