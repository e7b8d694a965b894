"""Fits the baselines that learn: reads the training block of a pair store, once, and nothing outside it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from orbit2.baselines.fitted import Fit
from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import validate
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError
from orbit2.files import read_json
from orbit2.metrics.netcdf import coordinates, write_netcdf
from orbit2.metrics.weighting import area_weights

MOST_SAMPLES = 2000  # spread evenly over the block: a cell's mean and slope need no more
log = logging.getLogger(__name__)


def fit(*, config: Path, store: Path, out: Path) -> None:
    """Write baselines.nc of one dataset: per cell the mean residual and slope of the baselines `delta` and `regression`, the lapse rate.

    `config` is the dataset's slice (JSON). At most MOST_SAMPLES samples of the training block, evenly spread, are read one by one; sums
    only are kept, those of the block's two halves apart: between them the prior of `regression` is chosen by cross-validation.
    Raises OrbitError when the store has no training sample or no variable on both sides.
    """
    job = read_json(config)
    if not isinstance(job, dict) or not {"name", "dataset"} <= set(job):
        raise OrbitError("not a dataset configuration slice", where=config, allowed="keys name, hash, dataset")
    dataset, pairs = validate(DatasetConfig, job["dataset"], config), PairStore(store)
    names = [name for name in pairs.variables("fine") if name in pairs.variables("coarse")]
    if not names:
        raise OrbitError("nothing to fit: no variable is both an input and an output", where=store)
    chosen, total = training_samples(pairs, dataset)
    statics = dict(zip(pairs.statics("fine"), pairs.static_values("fine").astype(np.float64), strict=True))
    grid = pairs.grid("fine")
    sums = Fit(names, pairs.grid("coarse"), pairs.refinement, area_weights(grid), statics.get("orography"))
    places = [(name, pairs.variables("coarse").index(name), pairs.variables("fine").index(name)) for name in names]
    for position, index in enumerate(tqdm(chosen, desc="fit baselines", disable=None)):
        coarse, fine = pairs.read("coarse", int(index)), pairs.read("fine", int(index))
        for name, i, j in places:
            sums.update(name, coarse[i], fine[j], half=2 * position // len(chosen))
    data = sums.dataset().assign_coords(coordinates(grid))
    assert dataset.split.train is not None
    data.attrs |= {"samples": len(chosen), "of_samples": total, "period": f"{dataset.split.train.start} to {dataset.split.train.end}"}
    write_netcdf(data, out, f"Baselines fitted to the training block of {job['name']}")
    log.info("fitted the baselines of %s to %d of %d training samples", ", ".join(names), len(chosen), total)


def training_samples(pairs: PairStore, dataset: DatasetConfig) -> tuple[npt.NDArray[np.int64], int]:
    """(indices of the samples to read, how many the training block has). Raises OrbitError for none, or one of another block."""
    period = dataset.split.train
    if period is None:
        raise OrbitError("dataset has no training block", where="split", hint="fitted baselines need one")
    samples = pairs.indices(period.start, period.end)
    if not len(samples):
        raise OrbitError("no samples in the training period", where=pairs.path, got=f"{period.start} to {period.end}",
                         allowed=f"{pairs.times[0]} to {pairs.times[-1]}")
    for name, other in dataset.split.blocks.items():
        if name != "train" and np.isin(samples, pairs.indices(other.start, other.end)).any():
            raise OrbitError(f"training and {name} periods share samples", where=pairs.path, hint="leave a gap between the blocks")
    spread = np.unique(np.linspace(0, len(samples) - 1, min(len(samples), MOST_SAMPLES)).round().astype(np.int64))
    return samples[spread], len(samples)
