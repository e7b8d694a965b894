"""Which class knows which provider, and its retrieved files opened. Never downloads: it reads what `retrieve` left in `resources/`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import cast

import numpy as np
import xarray as xr

from orbit2.config.files import FilesConfig
from orbit2.config.sources import SourcesConfig, traits
from orbit2.door.plausible import checked
from orbit2.sources import manifest
from orbit2.sources.files import open_files
from orbit2.sources.holdings import choose, every
from orbit2.sources.manifest import VERSION
from orbit2.sources.source import Box, Need, Shared, Source, Window

# section of `sources` -> module and class; imported when asked for
PROVIDERS = {"era5": ("era5", "Era5"), "prism": ("prism", "Prism"), "daymet": ("daymet", "Daymet"), "imerg": ("imerg", "Imerg"),
             "static": ("static", "Static"), "synthetic": ("synthetic.provider", "Synthetic")}
_DAY = np.timedelta64(1, "D")


def source(name: str, settings: SourcesConfig) -> Source:
    """The provider of that name, built from its section. Raises OrbitError for an unknown name."""
    section = traits(name).section
    module, kind = PROVIDERS[section]
    return cast(Source, getattr(import_module(f"orbit2.sources.{module}"), kind)(getattr(settings, section)))


def open_source(
    name: str, resources: Path, settings: SourcesConfig, wanted: Mapping[str, Window], box: Box | None = None,
    own: FilesConfig | None = None,
) -> xr.Dataset:
    """The variables of a retrieved source, each between its two stamps (inclusive), lazily, as `Source.open` promises.

    Values that cannot be (a fill value that a file does not declare) raise OrbitError when they are read.
    `own`: the dataset's own files, where these are the source. `box`: what the dataset asked for when it was retrieved. Recorded gaps are
    NaN. Raises OrbitError when files are not there.
    """
    folder = resources / name / VERSION
    if traits(name).adopted:
        assert own is not None
        return checked(open_files(name, own, folder, wanted), name)
    provider = source(name, settings)
    known = manifest.read(folder)
    names = tuple(wanted)
    first, last = min(begin for begin, _ in wanted.values()), max(end for _, end in wanted.values())
    files, gaps = known["files"], manifest.select(known["gaps"], names, first, last)
    if traits(name).packaged:
        return checked(provider.open(manifest.paths(folder, files), names, first, last), name)
    day, end = first.astype("datetime64[D]"), last.astype("datetime64[D]")
    if not traits(name).shared:  # products of other settings (resolution, region, version) may lie beside these
        planned = {request.file for request in provider.plan(Need(tuple(names), day, end, box))}
        files, gaps = ([r for r in records if r["file"] in planned or not r.get("variables")] for records in (files, gaps))
        data = provider.open(manifest.paths(folder, every(files, gaps, names, first, last, folder)), names, first, last)
        return _with_gaps(checked(data, name), gaps, first, last)
    shared = cast(Shared, provider)
    return checked(shared.open_each(manifest.paths(folder, choose(files, gaps, shared.made_of(wanted), box, folder)), wanted), name)


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
