"""Fits the baselines that learn: reads the training block of a pair store, once, and nothing outside it."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr
from tqdm import tqdm

from orbit2.baselines.fitted import Fit
from orbit2.baselines.truth import Truth
from orbit2.data.packing import unpack
from orbit2.data.training import evenly, open_training
from orbit2.errors import OrbitError
from orbit2.metrics.netcdf import coordinates, write_netcdf
from orbit2.metrics.weighting import area_weights

MOST_SAMPLES = 2000  # spread evenly over the block: a cell's mean and slope need no more
log = logging.getLogger(__name__)


def fit(*, config: Path, store: Path, out: Path) -> None:
    """Write baselines.nc of one dataset: what its truth is like (`Truth`), and per cell the mean residual and slope of the baselines
    `delta` and `regression`, the lapse rate (`Fit`).

    `config` is the dataset's slice (JSON). At most MOST_SAMPLES samples of the training block, evenly spread, are read one by one, one
    calendar month after the other; sums only are kept, those of the block's two halves apart: between them the prior of `regression` is
    chosen by cross-validation. Raises OrbitError as `open_training`, and for a store without an output.
    """
    block = open_training(config, store)
    pairs = block.store
    outputs = pairs.variables("fine")
    if not outputs:
        raise OrbitError("nothing to fit: the store has no output", where=store)
    chosen, total = evenly(block.samples, MOST_SAMPLES), len(block.samples)
    statics = dict(zip(pairs.statics("fine"), pairs.static_values("fine").astype(np.float64), strict=True))
    grid = pairs.grid("fine")
    names = [name for name in outputs if name in pairs.variables("coarse")]
    truth = Truth(pairs.packings("fine"), grid, area_weights(grid), len(chosen))
    sums = Fit(names, pairs.grid("coarse"), pairs.refinement, area_weights(grid), statics.get("orography"))
    places = [(name, pairs.variables("coarse").index(name), outputs.index(name)) for name in names]
    progress = tqdm(total=len(chosen), desc="fit baselines", disable=None)
    calendar = xr.DataArray(pairs.times[chosen], dims="sample").dt
    for month in range(1, 13):
        for position in np.flatnonzero(calendar.month == month):
            coarse, codes = pairs.read("coarse", int(chosen[position])), pairs.read_packed("fine", int(chosen[position]))
            fine = unpack(codes, pairs.packings("fine"))
            truth.update(codes, fine)
            for name, i, j in places:
                sums.update(name, coarse[i], fine[j], half=int(2 * position // len(chosen)))
            progress.update()
        truth.close(month)
    progress.close()
    data = sums.dataset().assign(truth.data()).assign_coords({**truth.coordinates(), **coordinates(grid)})
    data.attrs |= {"samples": len(chosen), "of_samples": total, "period": f"{block.period.start} to {block.period.end}",
                   "years": seasons(pairs.times[block.samples])}  # fmt: skip
    write_netcdf(data, out, f"Baselines fitted to the training block of {block.name}, and what its truth is like")
    log.info("fitted the baselines of %s to %d of %d training samples", ", ".join(names) or "none", len(chosen), total)


def seasons(times: npt.ArrayLike) -> int:
    """In how many years the rarest month of the calendar was seen; 0 where a month never was."""
    calendar = xr.DataArray(times, dims="sample").dt
    seen = np.unique(np.stack([calendar.month, calendar.year]), axis=1)[0]
    return int(np.bincount(seen, minlength=13)[1:].min())
