"""A tiny ERA5 dataset on disk: twelve hours on a 30 degree grid, provider files with manifest, and a configuration slice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orbit2 import regrid, retrieve
from orbit2.config.dataset import DatasetConfig
from orbit2.files import short_hash, write_json
from orbit2.sources import manifest
from tests.data.era5_files import cds2024

SPLIT = {"train": {"start": "2020-01-01T00:00", "end": "2020-01-01T05:00"},
         "validation": {"start": "2020-01-01T07:00", "end": "2020-01-01T07:00"},
         "test": {"start": "2020-01-01T09:00", "end": "2020-01-01T11:00"}, "gap_days": 0}
NAMES = ["2m_temperature", "10m_v_component_of_wind", "precipitation_rate"]


def provider_files(resources: Path) -> Path:
    """`resources/era5/v1` and `resources/static/v1`, complete with manifests; returns the NetCDF file."""
    folder = resources / "era5" / manifest.VERSION
    folder.mkdir(parents=True)
    path = cds2024(folder / "hours.nc", ("t2m", "v10", "tp"), times=12)
    relist(folder)
    retrieve.run(source="static", out=resources / "static" / manifest.VERSION)
    return path


def relist(folder: Path) -> None:
    entries = [manifest.entry(p, origin="made by a test", licence="none", doi=None, attribution="") for p in sorted(folder.glob("*.nc"))]
    manifest.write(folder, "era5", entries)


def dataset(**changes: Any) -> DatasetConfig:
    raw: dict[str, Any] = {"source": "era5", "inputs": NAMES, "outputs": [NAMES[0], NAMES[2]],
                           "coarse_grid": "global_60", "fine_grid": "global_30",
                           "split": SPLIT, "samples_per_part": 4, "samples_per_shard": 4}
    return DatasetConfig.model_validate({**raw, **changes})


def config_file(path: Path, **changes: Any) -> Path:
    section = dataset(**changes).model_dump(mode="json")
    write_json(path, {"name": "tiny", "hash": short_hash(section), "dataset": section})
    return path


def build(folder: Path, resources: Path, **changes: Any) -> Path:
    """The whole regrid stage in `folder`; returns the finalised store."""
    config, store = config_file(folder / "config.json", **changes), folder / "pairs.zarr"
    regrid.initialise(config=config, resources=resources, store=store)
    parts = [p.id for p in regrid.plan_parts(dataset(**changes))]
    for part in parts:
        regrid.build_part(config=config, resources=resources, store=store, part=part, out=folder / "parts" / f"{part}.json")
    regrid.finalise(config=config, store=store, parts=[folder / "parts" / f"{p}.json" for p in parts], out=folder / "finalised.json")
    return store
