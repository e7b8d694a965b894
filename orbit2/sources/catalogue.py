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
from orbit2.sources.holdings import choose, every
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
    known = manifest.read(folder)
    files, gaps = known["files"], manifest.select(known["gaps"], names, first, last)
    if name == "sample":
        return provider.open(manifest.paths(folder, files), names, first, last)
    day, end = first.astype("datetime64[D]"), last.astype("datetime64[D]")
    if name in DAILY:  # products of other settings (resolution, region, version) may lie beside these
        planned = {request.file for request in provider.plan(Need(tuple(names), day, end, box))}
        files, gaps = ([r for r in records if r["file"] in planned or not r.get("variables")] for records in (files, gaps))
        data = provider.open(manifest.paths(folder, every(files, gaps, names, first, last, folder)), names, first, last)
        return _with_gaps(data, gaps, first, last)
    # What a variable is made of (sea surface temperature, say) is in the plan of any day.
    made_of = [n for request in provider.plan(Need(tuple(names), day, day, box)) for n in request.variables]
    chosen = choose(files, gaps, tuple(dict.fromkeys((*names, *made_of))), first, last, box, folder)
    return provider.open(manifest.paths(folder, chosen), names, first, last)


def _with_gaps(data: xr.Dataset, gaps: Sequence[manifest.Record], first: np.datetime64, last: np.datetime64) -> xr.Dataset:
    """Days that the provider does not have, as NaN."""
    held = data["time"].values.astype("datetime64[ns]")
    begin, end = first.astype("datetime64[D]"), last.astype("datetime64[D]")
    days = [np.arange(max(np.datetime64(gap["first"], "D"), begin), min(np.datetime64(gap["last"], "D"), end) + _DAY)
            for gap in gaps]
    absent = np.setdiff1d(np.concatenate([held[:0], *days]).astype("datetime64[ns]"), held)
    if not len(absent):
        return data
    filled = data.reindex(time=np.sort(np.concatenate([held, absent])), fill_value={"stability": "missing"})
    return filled.assign_attrs(gaps=", ".join(str(day)[:10] for day in absent))
