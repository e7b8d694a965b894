"""Fits the baselines that learn: reads the training block of a pair store, once, and nothing outside it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
from tqdm import tqdm

from orbit2.baselines.fitted import Fit
from orbit2.data.training import evenly, open_training
from orbit2.errors import OrbitError
from orbit2.metrics.netcdf import coordinates, write_netcdf
from orbit2.metrics.weighting import area_weights

MOST_SAMPLES = 2000  # spread evenly over the block: a cell's mean and slope need no more
log = logging.getLogger(__name__)


def fit(*, config: Path, store: Path, out: Path) -> None:
    """Write baselines.nc of one dataset: per cell the mean residual and slope of the baselines `delta` and `regression`, the lapse rate.

    `config` is the dataset's slice (JSON). At most MOST_SAMPLES samples of the training block, evenly spread, are read one by one; sums
    only are kept, those of the block's two halves apart: between them the prior of `regression` is chosen by cross-validation.
    Raises OrbitError as `open_training`, and for a store without a variable on both sides.
    """
    block = open_training(config, store)
    pairs = block.store
    names = [name for name in pairs.variables("fine") if name in pairs.variables("coarse")]
    if not names:
        raise OrbitError("nothing to fit: no variable is both an input and an output", where=store)
    chosen, total = evenly(block.samples, MOST_SAMPLES), len(block.samples)
    statics = dict(zip(pairs.statics("fine"), pairs.static_values("fine").astype(np.float64), strict=True))
    grid = pairs.grid("fine")
    sums = Fit(names, pairs.grid("coarse"), pairs.refinement, area_weights(grid), statics.get("orography"))
    places = [(name, pairs.variables("coarse").index(name), pairs.variables("fine").index(name)) for name in names]
    for position, index in enumerate(tqdm(chosen, desc="fit baselines", disable=None)):
        coarse, fine = pairs.read("coarse", int(index)), pairs.read("fine", int(index))
        for name, i, j in places:
            sums.update(name, coarse[i], fine[j], half=2 * position // len(chosen))
    data = sums.dataset().assign_coords(coordinates(grid))
    data.attrs |= {"samples": len(chosen), "of_samples": total, "period": f"{block.period.start} to {block.period.end}"}
    write_netcdf(data, out, f"Baselines fitted to the training block of {block.name}")
    log.info("fitted the baselines of %s to %d of %d training samples", ", ".join(names), len(chosen), total)
