"""One dataset's slice of the configuration, and its sources opened for some samples. Never writes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import xarray as xr

from orbit2.config import checks
from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import dataset_slice, validate
from orbit2.config.needs import box, names_from
from orbit2.config.recipes import DAY, recipes, windows
from orbit2.config.sources import SourcesConfig, traits
from orbit2.data.pairs import SIDES, Side
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, Grid, from_centres, named, projected
from orbit2.regrid.fields import DailyFields, HourlyFields, Times
from orbit2.remap import Regridder
from orbit2.sources.catalogue import open_source

MOST_OUTSIDE = 0.5  # of a grid's area: beyond that it is the wrong grid, or the wrong files


@dataclass(frozen=True)
class Job:
    """One dataset's slice of the configuration. `settings` holds the keys of `sources` that change its values."""

    name: str
    hash: str
    dataset: DatasetConfig
    settings: SourcesConfig

    def names(self, side: Side) -> tuple[str, ...]:
        return self.dataset.inputs if side == "coarse" else self.dataset.outputs

    def grid(self, side: Side) -> AnyGrid:
        return named(self.dataset.coarse_grid if side == "coarse" else self.dataset.fine_grid)

    def source_of(self, side: Side, name: str) -> str:
        return self.dataset.source_of(name) if side == "coarse" else self.dataset.source


def read_job(config: Path) -> Job:
    """The dataset slice written by the workflow. Raises OrbitError when it is not one."""
    content = dataset_slice(config)
    settings = validate(SourcesConfig, content.get("sources", {}), config)
    return Job(str(content["name"]), str(content["hash"]), validate(DatasetConfig, content["dataset"], config), settings)


class Opened:
    """One source opened for the samples at `times`: its fields, and regridders to the grids that want them."""

    def __init__(self, job: Job, source: str, resources: Path, times: Times) -> None:
        names = names_from(job.dataset, source)
        made = recipes(source, names, job.settings)
        hourly = traits(source).hourly
        wanted = windows(made, times[0], times[-1], job.dataset.step_hours) if hourly else {
            r.raw: (times[0], times[-1]) for r in made.values()}
        data = open_source(source, resources, job.settings, wanted, box(job.dataset), job.dataset.files)
        self.slab, self.work = data.attrs.pop("decoding_bytes", (0, 0))
        grids = {side: job.grid(side) for side in SIDES if any(job.source_of(side, name) == source for name in job.names(side))}
        self.data, self.native = _cropped(data, max(grids.values(), key=lambda grid: grid.shape[0]))
        self.finer = {side: told for side, grid in grids.items() if (told := checks.finer(grid, self.native.resolution))}
        if self.finer and not job.dataset.finer_than_source:
            side, told = next(iter(self.finer.items()))
            where = f"datasets.{job.name}.{side}_grid"
            raise OrbitError(f"the {side} grid is finer than {source}'s own files: its cells would repeat", where=where, got=told,
                             allowed=f"at least {self.native.resolution:.4g} degrees, or finer_than_source: true",
                             hint="choose a coarser grid")  # fmt: skip
        self.fields = HourlyFields(self.data, made, job.dataset.step_hours) if hourly else DailyFields(self.data, made)
        self.regridders = {side: Regridder(self.native, grid, "conservative", min_valid_fraction=job.dataset.min_valid_fraction,
                                           backend=job.dataset.regrid_backend)
                           for side, grid in grids.items()}
        self.outside = {side: _outside(self.native, regridder) for side, regridder in self.regridders.items()}
        for side, share in self.outside.items():
            if share > MOST_OUTSIDE:
                raise OrbitError(f"most of the {side} grid lies outside {source}'s files", where=f"datasets.{job.name}.{side}_grid",
                                 got=f"{share:.0%} outside {self.native.describe()}", allowed=f"at most {MOST_OUTSIDE:.0%}",
                                 hint="choose a grid within the files' region")  # fmt: skip

    def sample_bytes(self, samples: int) -> int:
        """Of the source's fields in memory for one shard of `samples`: every hour of a trailing day, once more while it is reduced."""
        whole = self.fields.whole_days() if isinstance(self.fields, HourlyFields) else 0
        return 3 * whole * (samples + DAY) * int(np.prod(self.native.shape)) * 4


def _outside(native: AnyGrid, regridder: Regridder) -> float:
    """Share of the target's area beyond the source's edges, whatever is missing inside; 0 for a projection, whose outline is no box, on
    latitudes and longitudes."""
    grid = regridder.target
    if not isinstance(grid, Grid):
        area = grid.area_km2
        return max(0.0, float(1 - (np.minimum(regridder.coverage, 1) * area).sum() / area.sum()))
    if not isinstance(native, Grid):
        return 0.0
    south, north = (np.clip(grid.lat_edges, native.lat_edges[0], native.lat_edges[-1])[i] for i in (0, -1))
    rows = (np.sin(np.radians(north)) - np.sin(np.radians(south))) / grid.lat_weights.sum()
    west, east = grid.lon_edges[0], grid.lon_edges[-1]
    covered = 0.0
    for turn in (-720.0, -360.0, 0.0, 360.0, 720.0):
        covered += max(0.0, min(east, native.lon_edges[-1] + turn) - max(west, native.lon_edges[0] + turn))
    return float(1 - rows * min(covered / (east - west), 1.0))


def _cropped(data: xr.Dataset, target: AnyGrid) -> tuple[xr.Dataset, AnyGrid]:
    """The source cells that `target` touches, and their grid: a regional dataset never reads the rest of the continent."""
    whole: AnyGrid
    if "grid" in data.attrs:
        whole = data.attrs["grid"]
    elif "crs" in data.attrs:
        down, along = ("rlat", "rlon") if "rlat" in data.dims else ("y", "x")
        whole = projected(data[down].values, data[along].values, str(data.attrs["crs"]))
    else:
        whole = from_centres(data["lat"].values, data["lon"].values)
    rows, columns = whole.around(target)
    return data.isel(dict(zip(whole.dims, (rows, columns), strict=True))), whole.crop(rows, columns)
