"""The training block of a dataset's pair store: all that statistics and fits are made from. Never names a sample of another block."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from orbit2.config.dataset import DatasetConfig, Period
from orbit2.config.load import dataset_slice, validate
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError


@dataclass(frozen=True)
class Training:
    """A dataset as its configuration slice has it, its store, and the indices [T] of its training samples."""

    name: str
    hash: str
    dataset: DatasetConfig
    store: PairStore
    period: Period
    samples: npt.NDArray[np.int64]


def open_training(config: Path, store: Path) -> Training:
    """`config` is the dataset's slice (JSON).

    Raises OrbitError when the store is not finalised, belongs to another configuration or holds no training sample, and when a
    training sample lies in another block too.
    """
    job = dataset_slice(config)
    dataset, pairs = validate(DatasetConfig, job["dataset"], config), PairStore(store)
    found = str(pairs.attributes.get("config_hash", job["hash"]))
    if found != job["hash"]:
        raise OrbitError("pair store belongs to another configuration", where=store, got=found, allowed=job["hash"],
                         hint="run the regrid stage of this configuration, or give its own store")  # fmt: skip
    period = dataset.split.train
    if period is None:
        raise OrbitError("dataset has no training block", where="split", hint="only datasets that are trained on have statistics and fits")
    samples = samples_within(pairs, period.start, period.end)
    for name, other in dataset.split.blocks.items():
        if name != "train" and np.isin(samples, pairs.indices(other.start, other.end)).any():
            raise OrbitError(f"training and {name} periods share samples", where=pairs.path, hint="leave a gap between the blocks")
    return Training(job["name"], job["hash"], dataset, pairs, period, samples)


def samples_within(store: PairStore, start: str, end: str) -> npt.NDArray[np.int64]:
    """Indices of the usable samples of a training period. Raises OrbitError when there is none."""
    samples = store.indices(start, end)
    if not len(samples):
        raise OrbitError("no samples in the training period", where=store.path, got=f"{start} to {end}",
                         allowed=f"{store.times[0]} to {store.times[-1]}", hint="choose a training period within the store's")  # fmt: skip
    return samples


def evenly(samples: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    """At most `most` of the samples, spread evenly, the first and the last among them."""
    return samples[np.unique(np.linspace(0, len(samples) - 1, min(len(samples), most)).round().astype(np.int64))]
