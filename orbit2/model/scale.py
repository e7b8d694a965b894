"""The unit that a model predicts in and is judged in: the interpolation's typical error, per output and resolution."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from orbit2.model.geometry import Geometry


class Scaled(nn.Module):
    """A model with a buffer `output_scale`: [C] for one resolution, or [K, C] for the coarse spacings `scale_km` (K of them, ascending).

    Interpolation errs more on coarse grids: in one unit for all, the coarsest dataset of a foundation model would outweigh the others.
    """

    output_scale: Tensor
    scale_km: tuple[float, ...] = ()

    def set_scale(self, km: Sequence[float], table: Tensor) -> None:
        """Take over a table [K, C] for the spacings `km` [K], ascending."""
        table = table.to(self.output_scale)
        self.output_scale = (table[0] if len(km) == 1 else table).clone()
        self.scale_km = tuple(km)

    def scale(self, geometry: Geometry) -> Tensor:
        """Typical size [C] of (truth - interpolation) in normalised units on this grid."""
        return self.scale_at(geometry.coarse_km)

    def scale_at(self, km: float) -> Tensor:
        """[C] at a coarse spacing: between two known ones linear in the logarithms, beyond them the nearest one's."""
        if self.output_scale.ndim == 1:
            return self.output_scale
        above = 0
        while above < len(self.scale_km) and self.scale_km[above] < km * (1 - 1e-6):
            above += 1
        if above == len(self.scale_km):
            return self.output_scale[-1]
        upper = self.scale_km[above]
        if above == 0 or upper <= km * (1 + 1e-6):
            return self.output_scale[above]
        lower = self.scale_km[above - 1]
        share = math.log(km / lower) / math.log(upper / lower)
        return self.output_scale[above - 1] ** (1 - share) * self.output_scale[above] ** share

    def _load_from_state_dict(self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any) -> None:
        """Weights from before scales depended on the resolution keep their one scale for all."""
        given = state_dict.get(f"{prefix}output_scale")
        if given is not None and given.ndim == 1 and self.output_scale.ndim == 2:
            self.output_scale = torch.empty_like(self.output_scale[0])
        super()._load_from_state_dict(state_dict, prefix, *arguments)
