"""Statistics of one pair store. Never reads a sample outside the training period: that would leak the test into training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from orbit2.config.load import validate
from orbit2.config.schema import DatasetConfig, Period
from orbit2.data.pairs import SIDES, PairStore, Side
from orbit2.errors import OrbitError
from orbit2.files import read_json, write_json
from orbit2.provenance import record
from orbit2.statistics.accumulator import Moments
from orbit2.variables import is_precipitation


def run(*, config: Path, store: Path, out: Path) -> None:
    """Write statistics.json: per side and variable the area-weighted mean, std, min, max in canonical units; for precipitation
    also mean and std of ln(1 + x); mean and std of static fields; the training period and number of samples.

    Raises OrbitError when the store is not finalised, belongs to another configuration or holds no training sample.
    """
    job = read_json(config)
    dataset = validate(DatasetConfig, job["dataset"], config)
    opened = PairStore(store)
    if opened.attributes.get("config_hash", job["hash"]) != job["hash"]:
        raise OrbitError("pair store belongs to another configuration", where=store,
                         got=str(opened.attributes["config_hash"]), allowed=job["hash"])
    samples = training_indices(opened, dataset)
    result: dict[str, Any] = {
        "dataset": job["name"], "hash": job["hash"], "period": training_block(dataset).model_dump(mode="json"), "samples": len(samples),
        "first": str(opened.times[samples[0]]), "last": str(opened.times[samples[-1]]), "weighting": "cell area",
        "static": {side: static_statistics(opened, side) for side in SIDES},
        **{side: side_statistics(opened, side, samples) for side in SIDES},
        "provenance": record("statistics", config=dataset.model_dump(mode="json"), config_hash=job["hash"]),
    }
    write_json(out, result)


def training_block(dataset: DatasetConfig) -> Period:
    """Raises OrbitError for a dataset without one."""
    if dataset.split.train is None:
        raise OrbitError("dataset has no training block", where="split", hint="only datasets that are trained on have statistics")
    return dataset.split.train


def training_indices(store: PairStore, dataset: DatasetConfig) -> npt.NDArray[np.int64]:
    """Indices of the training samples. Raises OrbitError if there are none or one of them lies in another period."""
    period = training_block(dataset)
    samples = store.indices(period.start, period.end)
    if not len(samples):
        raise OrbitError("no samples in the training period", where=store.path, got=f"{period.start} to {period.end}",
                         allowed=f"{store.times[0]} to {store.times[-1]}")
    for name, other in dataset.split.blocks.items():
        if name != "train" and np.isin(samples, store.indices(other.start, other.end)).any():
            raise OrbitError(f"training and {name} periods share samples", where=store.path, hint="leave a gap between the blocks")
    return samples


def side_statistics(store: PairStore, side: Side, samples: npt.NDArray[np.int64]) -> dict[str, dict[str, float]]:
    """Statistics per variable over `samples`, one sample in memory at a time."""
    names = store.variables(side)
    weights = store.grid(side).area_km2
    moments = {name: Moments() for name in names}
    logarithms = {name: Moments() for name in names if is_precipitation(name)}
    for index in samples:
        fields = store.read(side, int(index))
        for name, field in zip(names, fields, strict=True):
            moments[name] += Moments.of(field, weights)
            if name in logarithms:
                logarithms[name] += Moments.of(np.log1p(np.maximum(field.astype(np.float64), 0.0)), weights)
    result = {name: moments[name].as_dict(f"{store.path}/{side}: {name}") for name in names}
    for name, found in logarithms.items():
        result[name] |= {"log1p_mean": found.mean, "log1p_std": found.std}
    return result


def static_statistics(store: PairStore, side: Side) -> dict[str, dict[str, float]]:
    weights = store.grid(side).area_km2
    result = {}
    for name, field in zip(store.statics(side), store.static_values(side), strict=True):
        found = Moments.of(field, weights)
        result[name] = {"mean": found.mean, "std": found.std}
    return result
