"""Tiny pair stores and predictions for tests of the stages that score. Everything is synthetic and smooth, with a known truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import xarray as xr

from orbit2.areas import relative_areas
from orbit2.baselines import interpolate
from orbit2.baselines.interpolation import block_mean
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.downscale.cf import grid_attribute
from orbit2.grid import AnyGrid, Grid, global_grid
from orbit2.variables import is_precipitation, variable

VARIABLES = ("2m_temperature", "precipitation_rate")
STATICS = ("land_sea_mask", "orography")
BASELINES = ["nearest", "bilinear", "bicubic", "conservative"]
FACTOR = 4


def weather(grid: AnyGrid, sample: int, seed: int = 0) -> np.ndarray:
    """[2, H, W]: temperature (K) from random waves up to wavenumber 20, non-negative precipitation (mm/day)."""
    generator = np.random.default_rng([seed, sample])
    lat, lon = np.radians(grid.lat2d), np.radians(grid.lon2d)
    waves = np.zeros(grid.shape)
    for m in range(1, 21):
        for n in range(1, 6):
            phase, angle = generator.uniform(0, 2 * np.pi, 2)
            waves += generator.normal() / m * np.cos(m * lon + phase) * np.cos(n * 2 * lat + angle)
    temperature = 250 + 40 * np.cos(lat) + 3 * np.cos(lat) * waves
    return np.stack([temperature, np.maximum(waves - 1, 0) ** 2]).astype(np.float32)


def make_store(
    path: Path, *, degrees: float = 10.0, samples: int = 4, hole: bool | tuple[slice, slice] = False, times: np.ndarray | None = None,
    coarse_grid: AnyGrid | None = None,
) -> PairStore:
    """A finalised global store, coarse `degrees` (or on `coarse_grid`), fine a quarter of it; land between 0 and 140 E. `hole`: missing
    fine cells."""
    coarse_grid = global_grid(degrees) if coarse_grid is None else coarse_grid
    fine_grid = coarse_grid.refine(FACTOR)
    if times is None:
        times = np.datetime64("2026-03-30T18:00:00", "s") + np.arange(samples) * np.timedelta64(7 * 3600, "s")
    specs = []
    for grid in (coarse_grid, fine_grid):
        land = (grid.lon2d % 360 < 140).astype(np.float32)
        specs.append(SideSpec(grid, VARIABLES, STATICS, np.stack([land, 500 * land])))
    initialise(path, specs[0], specs[1], times, shard=samples, attributes={"source": "sample"})
    fine = np.stack([weather(fine_grid, i) for i in range(samples)])
    coarse = block_mean(fine, relative_areas(fine_grid), FACTOR).astype(np.float32)
    if hole:
        rows, columns = (slice(30, 40), slice(60, 80)) if hole is True else hole
        fine[:, :, rows, columns] = np.nan
    write_part(path, 0, coarse, fine)
    finalise(path)
    return PairStore(path)


def bicubic(store: PairStore, side: str, index: int, name: str) -> np.ndarray:
    """A prediction without a model: bicubic interpolation of the input."""
    field = store.read(side, index)[store.variable_index(side, name)]
    return interpolate(field, store.grid(side), store.refinement, "bicubic", lower=0.0 if is_precipitation(name) else None)


def perfect(store: PairStore, side: str, index: int, name: str) -> np.ndarray:
    return store.read("fine", index)[store.variable_index("fine", name)]


def make_prediction(
    path: Path, store: PairStore, *, task: str = "test", side: str = "coarse", box: tuple[float, float, float, float] | None = None,
    names: tuple[str, ...] = VARIABLES, field: Callable[[PairStore, str, int, str], np.ndarray] = bicubic, finalised: bool = True,
    samples: int | None = None, members: int = 0, at: slice | None = None,
) -> Path:
    """A prediction as the downscale stage writes it, of the first `samples` or of those `at`, from `field(store, side, index, name)`;
    members differ by `noise`."""
    grid = store.grid("fine") if side == "coarse" else store.grid("fine").refine(store.refinement)
    rows, columns = grid.window(box) if box else (slice(None), slice(None))
    part = grid.crop(rows, columns)
    indices = range(len(store.times) if samples is None else samples) if at is None else range(len(store.times))[at]
    data = {}
    for name in names:
        values = np.stack([field(store, side, i, name)[rows, columns] for i in indices]).astype(np.float32)
        dimensions: tuple[str, ...] = ("time", *part.dims)
        if members:
            values, dimensions = np.stack([values + noise(member, values.shape) for member in range(members)]), ("member", *dimensions)
        data[name] = (dimensions, values, {"units": variable(name).units, "standard_name": variable(name).standard_name})
    times = store.times[list(indices)].astype("datetime64[ns]")
    dataset = xr.Dataset(data, coords={"time": times, **part.coordinates()})
    dataset.attrs = {**grid_attribute(part), "Conventions": "CF-1.11", "finalised": finalised, "task": task, "dataset": "era5_week",
                     "split": "test", "input": side, "model": "reslim", "model_hash": "0" * 8, "refinement": store.refinement,
                     "seconds_per_sample": 0.1}
    dataset.to_zarr(str(path), zarr_format=3, consolidated=False)
    return path


def noise(member: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng([9, member]).gamma(1.0, 0.5, shape).astype(np.float32)


def write_dataset(path: Path, store: PairStore, train: slice, test: slice) -> Path:
    """The configuration slice of a dataset whose training and test blocks are these samples of `store`."""
    def period(times: np.ndarray) -> dict[str, str]:
        return {"start": str(times[0])[:16], "end": str(times[-1])[:16]}

    between = store.times[train][-1] + np.timedelta64(60, "s")
    gap = {"start": str(between), "end": str(between)}
    split = {"train": period(store.times[train]), "test": period(store.times[test]), "validation": gap, "gap_days": 0}
    coarse = store.grid("coarse")
    degrees = coarse.resolution if isinstance(coarse, Grid) else 10.0  # no name says what a map's grid is: the store does
    dataset = {"source": "sample", "inputs": list(VARIABLES), "outputs": list(VARIABLES), "statics": list(STATICS),
               "coarse_grid": f"global_{degrees:g}", "fine_grid": f"global_{degrees / FACTOR:g}", "split": split}
    path.write_text(json.dumps({"name": "era5_week", "hash": "1" * 8, "dataset": dataset}))
    return path


def write_slice(
    path: Path, stage: str, *, task: str = "test", side: str = "coarse", settings: dict | None = None, baselines: list[str] = BASELINES,
    parent: dict | None = None,
) -> Path:
    """The configuration slice of an evaluate or diagnose task, or of its parts, by default with interpolations only."""
    section = {"model": "reslim", "dataset": "era5_week", "split": "test", "input": side, "max_samples": 0, "tile": 0, "halo": 8}
    slice_ = {
        "task": task, "downscale": section,
        "model_hash": "0" * 8, "dataset_hash": "1" * 8, "period": {"start": "2026-03-30T18:00", "end": "2026-03-31T23:00"},
        "parent": parent, stage: settings or {},
    }
    if stage == "diagnose":
        slice_["baselines"] = baselines
    else:
        slice_["evaluate"] = {"baselines": baselines, **slice_.pop(stage)}
    if stage == "part":
        slice_["diagnose"] = {}
    path.write_text(json.dumps(slice_))
    return path
