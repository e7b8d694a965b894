"""Which reader opens which source. Never downloads: it reads what `retrieve` left in `resources/`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import xarray as xr

from orbit2.errors import OrbitError
from orbit2.sources.era5 import open_era5
from orbit2.sources.manifest import VERSION, files

READERS = {"sample": open_era5, "era5": open_era5}  # the sample is real ERA5 in the provider's format


def open_source(source: str, resources: Path, names: Sequence[str]) -> xr.Dataset:
    """The variables `names` of a retrieved source, lazily: (time, lat, lon), canonical names and units.

    Raises OrbitError when the source has no reader or its files are not complete.
    """
    if source not in READERS:
        raise OrbitError("no reader for this source", got=source, allowed=", ".join(READERS))
    return READERS[source](files(resources / source / VERSION), names)
