"""What the datasets of a run want from each source: raw variables, days with their margins, a box. From the configuration alone."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from orbit2 import longitudes, times
from orbit2.config.base import science
from orbit2.config.dataset import DatasetConfig
from orbit2.config.files import BRIDGED
from orbit2.config.recipes import recipes, windows
from orbit2.config.schema import RunConfig
from orbit2.config.sources import SourcesConfig, traits
from orbit2.config.variables import named_in
from orbit2.files import short_hash
from orbit2.grid import AnyGrid, Grid, named
from orbit2.grid.sphere import latitudes

Days = tuple[np.datetime64, np.datetime64]
STATIC = "static"
MADE = ("latitude", "slope")  # static fields that are computed at the target grid
MARGIN = 1.0  # degrees of source around a regional grid, so that cells at its edge are whole


def names_from(dataset: DatasetConfig, source: str) -> tuple[str, ...]:
    """The variables of a dataset that come from `source`, each once."""
    inputs = [name for name in dataset.inputs if dataset.source_of(name) == source]
    return tuple(dict.fromkeys((*inputs, *(dataset.outputs if dataset.source == source else ()))))


def stretches(dataset: DatasetConfig) -> list[tuple[times.Time, times.Time]]:
    """First and last second (in the dataset's calendar) of each stretch of time that the dataset's samples come from, in order.

    Blocks with less than BRIDGED between them are one stretch (providers' files are months); longer holes are neither fetched nor built.
    """
    found: list[tuple[times.Time, times.Time]] = []
    for first, last in sorted(p.bounds(dataset.counted) for p in dataset.split.blocks.values()):
        if found and times.apart(found[-1][1], first) < BRIDGED:
            found[-1] = (found[-1][0], last)
        else:
            found.append((first, last))
    return found


def spans(dataset: DatasetConfig, source: str, settings: SourcesConfig) -> Iterator[tuple[str, Days]]:
    """Each raw variable and the first and last day of `source`'s files that one stretch's samples are made of, stretch by stretch.

    A trailing day begins on the day before; a day's last accumulated hour is stamped 00:00 of the day after; the moment needs neither.
    """
    made = recipes(source, names_from(dataset, source), settings)
    for first, last in stretches(dataset):
        if dataset.step_hours >= 24:
            first, last = (value.astype("datetime64[D]").astype("datetime64[s]") for value in (first, last))
        own = windows(made, first, last, dataset.step_hours) if traits(source).hourly else {r.raw: (first, last) for r in made.values()}
        for raw, (begin, end) in own.items():
            yield raw, (begin.astype("datetime64[D]"), end.astype("datetime64[D]"))


def box(dataset: DatasetConfig) -> tuple[float, float, float, float] | None:
    """South, north, west, east of what a dataset needs of a global source; None: the globe."""
    grid: AnyGrid = named(dataset.coarse_grid)
    if grid.periodic:
        return None
    if isinstance(grid, Grid):
        south, north, west, east = (float(edge) for edge in (*grid.lat_edges[[0, -1]], *grid.lon_edges[[0, -1]]))
    else:
        lon, lat = grid.boundary
        south, north = latitudes(lon, lat)
        lon = longitudes.follow(lon, float(grid.lon2d[grid.shape[0] // 2, grid.shape[1] // 2]) - 180.0)
        west, east = float(lon.min()), float(lon.max())
        if not np.isfinite([south, north, west, east]).all() or east - west > 300 or max(abs(south), abs(north)) > 90 - MARGIN:
            return None  # round a pole, or nearly round the globe
    return (
        max(float(np.floor(south - MARGIN)), -90.0),
        min(float(np.ceil(north + MARGIN)), 90.0),
        float(np.floor(west - MARGIN)),
        float(np.ceil(east + MARGIN)),
    )


def sources_of(run: RunConfig) -> list[str]:
    """Every source that the run retrieves, static fields among them."""
    return sorted({source for dataset in run.datasets.values() for source in dataset.sources} | {STATIC})


def retrieve(run: RunConfig, source: str, name: str | None = None) -> dict[str, Any]:
    """What is wanted of one source, by the whole run or by its dataset `name`, and the settings that decide what that is.

    Other settings are no part of it: what one dataset waits for changes with nothing else, so that no finished store is built again.
    """
    datasets = list(run.datasets.values()) if name is None else [run.datasets[name]]
    found = asked(source, datasets, run.sources)
    if traits(source).adopted:  # the user's files are looked through by what their variables are
        declared = named_in(run, (name for dataset in datasets if source in dataset.sources for name in names_from(dataset, source)))
        found |= {"variables": science(declared)} if declared else {}
    return found


def asked(source: str, datasets: Iterable[DatasetConfig], settings: SourcesConfig) -> dict[str, Any]:
    """The same of any datasets."""
    wanted = [n for dataset in datasets if source in (*dataset.sources, STATIC) for n in needs(dataset, source, settings)]
    section = traits(source).section
    own = {} if traits(source).packaged or traits(source).adopted else {section: science(getattr(settings, section))}
    return {"source": source, "needs": merged(wanted), "settings": own}


def needs(dataset: DatasetConfig, source: str, settings: SourcesConfig) -> list[dict[str, Any]]:
    """What one dataset needs of one source: for each stretch of time and variable its days."""
    if source == STATIC:
        return [{"variables": sorted(set(dataset.statics) - set(MADE)), "first": None, "last": None, "box": None}]
    if traits(source).adopted and dataset.files is not None:
        own = {"patterns": list(dataset.files.patterns(source)), "rename": dataset.files.rename}
        days = [(str(first)[:10], str(last)[:10]) for first, last in stretches(dataset)]
        return [{"variables": list(names_from(dataset, source)), "first": days[0][0], "last": days[-1][1], "box": None, "files": own}]
    region = box(dataset)
    return [{"variables": [raw], "first": str(first), "last": str(last), "box": None if region is None else list(region)}
            for raw, (first, last) in spans(dataset, source, settings)]


def merged(needs: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Needs that differ in their variables only are one need."""
    result: dict[str, dict[str, Any]] = {}
    for item in needs:
        key = short_hash([item["first"], item["last"], item["box"], *([item["files"]] if "files" in item else [])])
        known = result.get(key, {"variables": []})
        result[key] = {**item, "variables": sorted({*known["variables"], *item["variables"]})}
    return list(result.values())


def requests_hash(slice_: dict[str, Any]) -> str:
    """8 hex digits of what is asked for, whatever the addresses and the pace of the download."""
    source = slice_["source"]
    settings = SourcesConfig.model_validate(slice_["settings"])
    if traits(source).adopted:
        return short_hash({"needs": slice_["needs"]})
    section = getattr(settings, traits(source).section)
    routes = {"backend": None} | {key: getattr(section, key) for key in section.ROUTES if not traits(source).packaged}
    return short_hash({"needs": slice_["needs"], "values": settings.values([source]), **routes})
