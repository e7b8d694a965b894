"""The unit that a model predicts in and is judged in: the interpolation's typical error, per output and dataset."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from orbit2.model.geometry import Geometry

SAME = 1e-3  # spacings that differ by less, relatively, are one


class Scaled(nn.Module):
    """A model with a buffer `output_scale`: [C] for all data, or [K, C] for K datasets of coarse spacings `scale_km` (ascending) and names
    `scale_datasets` (none in models from before, which had one scale for all datasets of a spacing).

    Interpolation errs more on coarse grids, and of two datasets on grids alike more on the one with more fine structure: in one unit for
    all, one dataset of a foundation model would outweigh the others. A grid of data that it does not know gets the scale of its spacing.
    """

    output_scale: Tensor
    scale_km: tuple[float, ...] = ()
    scale_datasets: tuple[str, ...] = ()

    def set_scale(self, km: Sequence[float], table: Tensor, datasets: Sequence[str] = ()) -> None:
        """Take over a table [K, C] for the spacings `km` [K], ascending, of `datasets` [K]."""
        table = table.to(self.output_scale)
        self.output_scale = (table[0] if len(km) == 1 else table).clone()
        self.scale_km, self.scale_datasets = tuple(km), tuple(datasets) if len(km) > 1 else ()

    def scale(self, geometry: Geometry) -> Tensor:
        """Typical size [C] of (truth - interpolation) in normalised units on this grid, of its dataset where that is known."""
        return self.scale_at(geometry.coarse_km, geometry.dataset)

    def scale_at(self, km: float, dataset: str = "") -> Tensor:
        """[C] of a dataset; of one that is not known at its coarse spacing: the mean of those of that spacing, between two spacings linear,
        all in logarithms, beyond them the nearest one's."""
        if self.output_scale.ndim == 1:
            return self.output_scale
        if dataset and dataset in self.scale_datasets:
            return self.output_scale[self.scale_datasets.index(dataset)]
        above = 0
        while above < len(self.scale_km) and self.scale_km[above] < km * (1 - SAME):
            above += 1
        if above == len(self.scale_km):
            return self._mean(above - 1)
        upper = self.scale_km[above]
        if above == 0 or upper <= km * (1 + SAME):
            return self._mean(above)
        lower = self.scale_km[above - 1]
        share = math.log(km / lower) / math.log(upper / lower)
        return self._mean(above - 1) ** (1 - share) * self._mean(above) ** share

    def _mean(self, row: int) -> Tensor:
        """The geometric mean [C] of all rows with the spacing of one."""
        rows = [k for k, km in enumerate(self.scale_km) if abs(km - self.scale_km[row]) < SAME * km]
        if len(rows) == 1:
            return self.output_scale[row]
        return torch.stack([self.output_scale[k] for k in rows]).log().mean(0).exp()

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any) -> None:
        """Weights from before scales depended on the resolution keep their one scale for all."""
        given = state_dict.get(f"{prefix}output_scale")
        if given is not None and given.ndim == 1 and self.output_scale.ndim == 2:
            self.output_scale = torch.empty_like(self.output_scale[0])
        super()._load_from_state_dict(state_dict, prefix, *arguments)
