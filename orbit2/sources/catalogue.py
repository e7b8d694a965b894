"""Which class knows which provider, and its retrieved files opened. Never downloads: it reads what `retrieve` left in `resources/`."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

import numpy as np
import xarray as xr

from orbit2.config.sources import SourcesConfig
from orbit2.errors import OrbitError, did_you_mean
from orbit2.sources import manifest
from orbit2.sources.manifest import VERSION
from orbit2.sources.source import Box, Need, Source

# source -> module, class and the section of `sources` that it is built from; imported when asked for. The sample is real ERA5.
PROVIDERS = {
    "sample": ("era5", "Era5", "era5"),
    "era5": ("era5", "Era5", "era5"),
    "prism": ("prism", "Prism", "prism"),
    "daymet": ("daymet", "Daymet", "daymet"),
    "imerg": ("imerg", "Imerg", "imerg"),
    "static": ("static", "Static", "static"),
}
DAILY = ("prism", "daymet", "imerg")
_DAY = np.timedelta64(1, "D")


def source(name: str, settings: SourcesConfig) -> Source:
    """The provider of that name, built from its section. Raises OrbitError for an unknown name."""
    if name not in PROVIDERS:
        raise OrbitError("no such source", got=name, allowed=", ".join(PROVIDERS), hint=did_you_mean(name, PROVIDERS))
    module, kind, section = PROVIDERS[name]
    return cast(Source, getattr(import_module(f"orbit2.sources.{module}"), kind)(getattr(settings, section)))


def open_source(
    name: str, resources: Path, settings: SourcesConfig, names: Sequence[str], first: np.datetime64, last: np.datetime64,
    box: Box | None = None,
) -> xr.Dataset:
    """The variables `names` of a retrieved source between two stamps (inclusive), lazily, as `Source.open` promises.

    `box`: what the dataset asked for when it was retrieved. Recorded gaps are NaN. Raises OrbitError when files are not there.
    """
    provider = source(name, settings)
    folder = resources / name / VERSION
    paths = manifest.files(folder, names, first, last) if name == "sample" else _files(provider, folder, names, first, last, box)
    data = provider.open(paths, names, first, last)
    return _with_gaps(data, folder, names, first, last) if name in DAILY else data


def _files(
    provider: Source, folder: Path, names: Sequence[str], first: np.datetime64, last: np.datetime64, box: Box | None
) -> list[Path]:
    """The files that retrieve planned for this box, or for the whole; else all that the manifest has of these variables and times."""
    known = manifest.read(folder)
    there = {str(record["file"]): record for record in manifest.select(known["files"], names, first, last)}
    gaps = {str(gap["file"]) for gap in manifest.select(known["gaps"], names, first, last)}
    partly: list[str] = []
    for region in dict.fromkeys((box, None)):
        need = Need(tuple(names), first.astype("datetime64[D]"), last.astype("datetime64[D]"), region)
        planned = [request.file for request in provider.plan(need)]
        absent = [file for file in planned if file not in there and file not in gaps]
        if planned and not absent:
            return manifest.paths(folder, (there[file] for file in planned if file in there))
        partly = partly or (absent if len(absent) < len(planned) else [])
    if partly:
        raise OrbitError(f"{len(partly)} files of these variables and times are not retrieved, the first: {partly[0]}", where=folder,
                         got=f"{', '.join(names[:4])}, {first} to {last}", hint="run the retrieve stage, or change the periods")
    found = manifest.select(there.values(), None, None, None, box)
    if not found:
        raise OrbitError("no retrieved file holds these variables at these times", where=folder,
                         got=f"{', '.join(names[:4])}, {first} to {last}", hint="run the retrieve stage, or change the periods")
    return manifest.paths(folder, found)


def _with_gaps(data: xr.Dataset, folder: Path, names: Sequence[str], first: np.datetime64, last: np.datetime64) -> xr.Dataset:
    """Days that the provider does not have, as NaN."""
    held = data["time"].values.astype("datetime64[ns]")
    begin, end = first.astype("datetime64[D]"), last.astype("datetime64[D]")
    days = [np.arange(max(np.datetime64(gap["first"], "D"), begin), min(np.datetime64(gap["last"], "D"), end) + _DAY)
            for gap in manifest.gaps(folder, names, first, last)]
    absent = np.setdiff1d(np.concatenate([held[:0], *days]).astype("datetime64[ns]"), held)
    if not len(absent):
        return data
    filled = data.reindex(time=np.sort(np.concatenate([held, absent])), fill_value={"stability": "missing"})
    return filled.assign_attrs(gaps=", ".join(str(day)[:10] for day in absent))
