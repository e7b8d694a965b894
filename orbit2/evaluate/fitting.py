"""Fits the baselines that learn: reads the training block of a pair store, once, and nothing outside it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.baselines.bcsd import Disaggregation, packed
from orbit2.baselines.fitted import BASE, Fit
from orbit2.baselines.interpolation import interpolate
from orbit2.baselines.quantiles import NODES, codes_of, node_codes
from orbit2.baselines.truth import Truth
from orbit2.data.packing import MISSING, Packing, unpack
from orbit2.data.pairs import PairStore
from orbit2.data.training import evenly, open_training
from orbit2.errors import OrbitError
from orbit2.evaluate.own_quantiles import own_quantiles
from orbit2.metrics.netcdf import coordinates, write_netcdf
from orbit2.metrics.quantiles import LEVELS
from orbit2.metrics.weighting import area_weights
from orbit2.progress import Count, counted
from orbit2.variables import floor

LEAST_YEARS = 2  # of each calendar month: below, months are not told apart
MAP_SAMPLES = 500  # per cell of `quantile_mapping`: its outermost nodes are 1 and 99 %
MAP_CELLS = 1 << 22  # larger grids have none: two distributions per cell would be most of what an evaluation reads and keeps
BAND_BYTES = 1 << 30
MOST_SAMPLES = 2000  # spread evenly over the block: a cell's mean and slope need no more
log = logging.getLogger(__name__)


def fit(*, config: Path, store: Path, out: Path) -> None:
    """Write baselines.nc of one dataset: what its truth is like (`Truth`), and what the baselines that
    learn need: residuals, slopes, the lapse rate (`Fit`), distributions in fine cells (`quantile_maps`) and coarse ones (`Disaggregation`).

    `config` is the dataset's slice (JSON). At most MOST_SAMPLES samples of the training block, evenly spread, are read one by one, one
    calendar month after the other; sums only are kept, those of the block's two halves apart: between them the prior of `regression` is
    chosen by cross-validation. Raises OrbitError as `open_training`, and for a store without an output.
    """
    block = open_training(config, store)
    pairs = block.store
    outputs = pairs.variables("fine")
    if not outputs:
        raise OrbitError("nothing to fit: the store has no output", where=store, hint="name outputs of the dataset and build it again")
    chosen, total = evenly(block.samples, MOST_SAMPLES), len(block.samples)
    statics = dict(zip(pairs.statics("fine"), pairs.static_values("fine").astype(np.float64), strict=True))
    grid = pairs.grid("fine")
    names = [name for name in outputs if name in pairs.variables("coarse")]
    truth = Truth(pairs.packings("fine"), grid, area_weights(grid), len(chosen))
    years = seasons(pairs.times[block.samples])
    monthly = years >= LEAST_YEARS
    sums = Fit(names, pairs.grid("coarse"), pairs.refinement, area_weights(grid), statics.get("orography"), monthly)
    packings = {p.name: p for p in pairs.packings("fine") if p.name in names}
    disaggregation = Disaggregation(packings, pairs.grid("coarse"), pairs.refinement, monthly, len(chosen))
    places = [(name, pairs.variables("coarse").index(name), outputs.index(name)) for name in names]
    calendar = xr.DataArray(pairs.times[chosen], dims="sample").dt
    with Count("fitting baselines", len(chosen), "sample") as progress:
        for month in range(1, 13):
            for position in np.flatnonzero(calendar.month == month):
                coarse, codes = pairs.read("coarse", int(chosen[position])), pairs.read_packed("fine", int(chosen[position]))
                fine = unpack(codes, pairs.packings("fine"))
                truth.update(codes, fine)
                for name, i, j in places:
                    sums.update(name, coarse[i], fine[j], half=int(2 * position // len(chosen)))
                    disaggregation.update(name, coarse[i], fine[j])
                progress.step()
            for gathered in (truth, sums, disaggregation):
                gathered.close(month)
    found = {**truth.data(), **disaggregation.data(), **quantile_maps(pairs, packings, evenly(chosen, MAP_SAMPLES)),
             **own_quantiles(pairs, chosen)}  # fmt: skip
    levels = {"node": list(NODES), "own_level": list(LEVELS)}
    data = sums.dataset().assign(found).assign_coords({**truth.coordinates(), **levels, **coordinates(grid)})
    data.attrs |= {"samples": len(chosen), "of_samples": total, "period": f"{block.period.start} to {block.period.end}",
                   "years": years}  # fmt: skip
    write_netcdf(data, out, f"Baselines fitted to the training block of {block.name}, and what its truth is like")
    log.info("fitted the baselines of %s to %d of %d training samples", ", ".join(names) or "none", len(chosen), total)


def quantile_maps(pairs: PairStore, packings: Mapping[str, Packing], samples: npt.NDArray[np.int64]) -> dict[str, xr.DataArray]:
    """`<variable>_map_given`, `_map_wanted` (node, lat, lon): the distributions, in each fine cell, of the area-conserving interpolation
    and of the truth. By bands of rows, so that what is kept of all samples stays within BAND_BYTES; each band reads them anew."""
    grid, factor = pairs.grid("fine"), pairs.refinement
    rows, columns = grid.shape
    if rows * columns > MAP_CELLS or not packings:
        return {}
    found = {f"{name}_map_{key}": np.empty((len(NODES), rows, columns), dtype=np.int16) for name in packings for key in ("given", "wanted")}
    band = max(1, BAND_BYTES // (len(samples) * columns * len(packings) * 4))
    for start in range(0, rows, band):
        part = slice(start, min(start + band, rows))
        kept = {name: np.empty((len(samples), 2, part.stop - part.start, columns), dtype=np.int16) for name in packings}
        for t, index in enumerate(counted(samples, f"quantile maps, rows {part.start} to {part.stop} of {rows}", len(samples), "sample")):
            coarse, codes = pairs.read("coarse", int(index)), pairs.read_packed("fine", int(index))
            for name, packing in packings.items():
                field = coarse[pairs.variable_index("coarse", name)].astype(np.float64)
                base = interpolate(field, pairs.grid("coarse"), factor, BASE, lower=floor(name))[part]
                both = np.stack([codes_of(base, packing), codes[pairs.variable_index("fine", name), part]])
                kept[name][t] = np.where((both == MISSING).any(0), np.int16(MISSING), both)
        for name, both in kept.items():
            found[f"{name}_map_given"][:, part], found[f"{name}_map_wanted"][:, part] = np.moveaxis(node_codes(both), 1, 0)
    about = "Quantiles over the training samples of the area-conserving interpolation (given) or the truth (wanted)"
    return {
        key: xr.DataArray(values, dims=("node", *grid.dims), attrs={"long_name": about, **packed(packings[key.rsplit("_map_", 1)[0]])})
        for key, values in found.items()
    }


def seasons(times: npt.ArrayLike) -> int:
    """In how many years the rarest month of the calendar was seen; 0 where a month never was."""
    calendar = xr.DataArray(times, dims="sample").dt
    seen = np.unique(np.stack([calendar.month, calendar.year]), axis=1)[0]
    return int(np.bincount(seen, minlength=13)[1:].min())
