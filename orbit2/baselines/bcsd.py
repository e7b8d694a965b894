"""Bias correction and spatial disaggregation (BCSD; Wood et al. 2004, Climatic Change 62:189): quantile mapping on the input's grid, then
its anomaly on the fine climatology. Never sees a test sample.

The input is mapped, cell by cell, from its own distribution to that of the truth's area means over its cells (quantiles.py). The anomaly
from the truth's mean, for precipitation the ratio to it, is interpolated conserving area and put on the truth's mean in each fine cell.
By calendar month where the training block saw each month in two years (`bcsd_monthly`), else with one distribution and mean (`bcsd`).
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2.areas import relative_areas
from orbit2.baselines.corrections import on_mean
from orbit2.baselines.interpolation import Interpolation, bands, block_mean
from orbit2.baselines.quantiles import NODES, codes_of, mapped, node_codes
from orbit2.baselines.truth import Monthly
from orbit2.data.packing import MISSING, Packing
from orbit2.grid import AnyGrid
from orbit2.variables import floor, is_precipitation, variable

Array = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int16]
MOST = 500  # samples that one distribution is taken from where months are not told apart
DRY = 0.01  # mm/day: where it rains less on average there is no ratio to it, and no rain
GROUPED = ("group", "node", "coarse_lat", "coarse_lon")


class Disaggregation:
    """Streams training samples, a calendar month after the other; keeps the codes of one month, or of at most MOST samples, on the coarse
    grid. `monthly`: one distribution per calendar month."""

    def __init__(self, packings: Mapping[str, Packing], coarse: AnyGrid, factor: int, monthly: bool, samples: int) -> None:
        self.packings, self.coarse, self.factor, self.monthly = dict(packings), coarse, factor, monthly
        self.every = 1 if monthly else -(-samples // MOST)
        groups = 12 if monthly else 1
        self.nodes = {name: np.full((2, groups, len(NODES), *coarse.shape), MISSING, dtype=np.int16) for name in packings}
        self.means = {name: Monthly(coarse.shape) for name in packings}
        self._codes: dict[str, list[Codes]] = {name: [] for name in packings}
        self._seen = dict.fromkeys(packings, 0)
        self._weights = relative_areas(coarse.refine(factor))

    def update(self, name: str, coarse: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> None:
        """One sample of a variable: the coarse field [H, W] and the truth [sH, sW], canonical units."""
        wanted = block_mean(truth.astype(np.float64), self._weights, self.factor)
        self.means[name].update(wanted)
        if self._seen[name] % self.every == 0:
            both = np.stack([codes_of(coarse.astype(np.float64), self.packings[name]), codes_of(wanted, self.packings[name])])
            self._codes[name].append(np.where((both == MISSING).any(0), np.int16(MISSING), both))
        self._seen[name] += 1

    def close(self, month: int) -> None:
        """What came since the last call was of `month` (1 to 12)."""
        if self.monthly:
            self._take(month - 1)

    def _take(self, group: int) -> None:
        for name, codes in self._codes.items():
            if codes:
                self.nodes[name][:, group] = np.moveaxis(node_codes(np.stack(codes)), 1, 0)
                codes.clear()
            self.means[name].close(group + 1)

    def data(self) -> dict[str, xr.DataArray]:
        """`<variable>_bcsd_given`, `_bcsd_wanted` (group, node, coarse_lat, coarse_lon) packed; `_bcsd_mean` (the same without node).

        To be called once, at the end.
        """
        if not self.monthly:
            self._take(0)
        found: dict[str, xr.DataArray] = {}
        groups = 12 if self.monthly else 1
        for name, (given, wanted) in self.nodes.items():
            for key, values, what in (("given", given, "the input"), ("wanted", wanted, "the truth's area means")):
                found[f"{name}_bcsd_{key}"] = xr.DataArray(values, dims=GROUPED, attrs={
                    "long_name": f"Quantiles of {what} over the training samples", **packed(self.packings[name])})  # fmt: skip
            found[f"{name}_bcsd_mean"] = xr.DataArray(self.means[name].means[:groups], dims=(GROUPED[0], *GROUPED[2:]), attrs={
                "long_name": "Mean of the truth over the input's cells", "units": variable(name).units})  # fmt: skip
        return found


def packed(packing: Packing) -> dict[str, object]:
    """Attributes that `packing_from` understands (not CF's: nothing is to decode quantiles by itself)."""
    return {"packed_transform": packing.transform, "packed_range": [packing.low, packing.high]}


def packing_from(name: str, attributes: Mapping[str, object]) -> Packing:
    low, high = (float(x) for x in np.asarray(attributes["packed_range"], dtype=np.float64))
    return Packing(name, str(attributes["packed_transform"]), low, high)


def disaggregated(
    field: Array, given: Codes, wanted: Codes, mean: Array, climatology: Array, packing: Packing, coarse: AnyGrid, factor: int,
    window: tuple[slice, slice],
) -> Array:  # fmt: skip
    """The input `field` [H, W] with distributions `given`, `wanted` [H, W, NODES] and the truth's `mean` [H, W], on the fine `climatology`
    [h, w] of the `window` of the fine grid; NaN where anything is missing."""
    of, result = anomalies(field, given, wanted, mean, packing, coarse, factor), np.empty(climatology.shape)
    anomaly = np.concatenate([of.part(band) for band in bands(coarse, factor)])[window]
    none = climatology[:0]
    on_mean(result, np.full(result.shape, np.nan), np.ascontiguousarray(anomaly), climatology, none, none > 0, *limits(packing))
    return result


def anomalies(
    field: Array, given: Codes, wanted: Codes, mean: Array, packing: Packing, coarse: AnyGrid, factor: int
) -> Interpolation:  # fmt: skip
    """The mapped input's anomaly from `mean`, for precipitation the ratio to it, interpolated to the fine grid."""
    corrected = mapped(field, given, wanted, packing)
    if not is_precipitation(packing.name):
        return Interpolation(corrected - mean, coarse, factor, "conservative")
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio = np.where(mean > DRY, corrected / mean, np.where(np.isfinite(mean), 0.0, np.nan))
    return Interpolation(ratio, coarse, factor, "conservative", lower=0.0)


def limits(packing: Packing) -> tuple[bool, float, float]:
    """(whether anomalies are ratios, the least and the greatest value that they give)."""
    if is_precipitation(packing.name):
        return True, 0.0, packing.high
    return (False, -np.inf, np.inf) if floor(packing.name) is None else (False, 0.0, packing.high)
