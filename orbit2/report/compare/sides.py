"""Two finished runs, opened for a comparison: their tables, and their sums by day where both scored the same. Never opens a prediction."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr

from orbit2.config.load import read_slice
from orbit2.config.sources import banner
from orbit2.errors import OrbitError
from orbit2.metrics import table
from orbit2.metrics.bootstrap import Interval
from orbit2.metrics.parts import stored_at
from orbit2.metrics.record import Record, difference
from orbit2.metrics.statistics import Moments

SAME = 1e-6  # of the truth's spread: to this the truths of two runs are one
DRAWS = 1000


@dataclass(frozen=True)
class Side:
    """A run: its name in the comparison, its folder and tables, and the model of each task."""

    name: str
    folder: Path
    title: str
    models: Mapping[str, str]
    scores: pd.DataFrame
    regions: pd.DataFrame | None
    banner: str = ""  # of a run whose data are none of the real world


@dataclass(frozen=True)
class Paired:
    """Second less first on the days that both scored: RMSE differences [B] with intervals, the p-value of the first bin, the days."""

    interval: Interval
    p: float
    days: int


def opened(folder: Path, name: str) -> Side:
    """Raises OrbitError for a folder that holds no scored run."""
    config = folder / "config" / "report.json"
    if not config.is_file():
        raise OrbitError("not the folder of a run", where=folder, got="no config/report.json", hint="give e.g. results/demo, scored")
    told = read_slice(config)
    regions = folder / "diagnose" / "metrics.parquet"
    return Side(name, folder, str(told["label"]), {task: str(section["model"]) for task, section in told["run"]["downscale"].items()},
                table.read(folder / "evaluate" / "metrics.parquet"), table.read(regions) if regions.is_file() else None,
                _banner(told["run"].get("datasets", {})))  # fmt: skip


def _banner(datasets: Mapping[str, Mapping[str, Any]]) -> str:
    """From the sources that the run's slice names."""
    named = [str(name) for dataset in datasets.values() for name in (dataset.get("source", ""), *dataset.get("input_sources", ()))]
    return banner(named)


def common(first: Side, second: Side) -> list[str]:
    """Tasks of one name in both, with a truth. Raises OrbitError where there is none."""
    found = [[task for task in side.models if ((side.scores["task"] == task) & (side.scores["metric"] == "rmse")).any()]
             for side in (first, second)]  # fmt: skip
    both = [task for task in found[0] if task in found[1]]
    if not both:
        raise OrbitError("the runs have no task in common that was scored", where="--compare",
                         got=f"{', '.join(found[0])} and {', '.join(found[1])}", hint="tasks are matched by their names in `downscale`")
    return both


def paired(first: Side, second: Side, task: str, label: str, where: str) -> Paired | None:
    """The RMSE difference of a field (`label`) from the sums by day in both runs' parts, `where` in them.

    None where a part is gone, no day was scored by both, or the truths differ: then differences are no matter of the models alone.
    """
    sides = [_moments(side, task, where.format(label=label, model=side.models[task])) for side in (first, second)]
    days = sorted(set(sides[0]) & set(sides[1]))
    if not days or sides[0][days[0]].shape != sides[1][days[0]].shape:
        return None
    stacks = [Moments(*np.moveaxis(np.stack([side[day] for day in days]), 1, 0)) for side in sides]
    if not _same_truth(*stacks):
        return None
    record = Record(tuple(days), {"first": stacks[0], "second": stacks[1]})
    key, score = next(iter(difference("second", "first").items()))
    interval = record.intervals({key: score}, DRAWS)[key]
    return Paired(interval, record.diebold_mariano("second", "first"), len({day[:10] for day in days}))


def _moments(side: Side, task: str, where: str) -> dict[str, npt.NDArray[np.float64]]:
    """Sample -> moments [9, B], of all parts."""
    found: dict[str, npt.NDArray[np.float64]] = {}
    for path in sorted((side.folder / "evaluate" / task / "parts").glob("*.h5")):
        with h5py.File(path, "r") as file:
            stored = stored_at(file, where)
            if stored:
                found |= dict(zip(stored["samples"].astype(str), stored["moments"].astype(np.float64), strict=True))
    return found


def _same_truth(one: Moments, other: Moments) -> bool:
    """Whether both saw the same truth with the same weights on every day."""
    with np.errstate(invalid="ignore"):
        spread = np.sqrt(np.nanmax(one.oo / np.where(one.w > 0, one.w, np.nan)))
    alike = [np.allclose(a, b, rtol=1e-5, atol=0, equal_nan=True) for a, b in ((one.n, other.n), (one.w, other.w))]
    scored = one.w > 0
    return all(alike) and bool(np.all(np.abs(one.mean_o - other.mean_o)[scored] <= SAME * max(float(spread), 1e-30)))


def region_names(side: Side, task: str) -> dict[str, str]:
    """Abbreviation -> name of the regions of a task, in the order of its bins."""
    path = side.folder / "diagnose" / task / "regions.nc"
    if not path.is_file():
        return {}
    with xr.open_dataset(path, engine="h5netcdf") as data:
        return {str(key): str(name) for key, name in zip(data["region"].values, data["region_name"].values, strict=True)}
