"""A plain residual convolution net on the interpolated fine grid: the smallest learned baseline. Never sees beyond its few cells."""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.config.network import ArchitectureConfig
from orbit2.model.decoder import SphereConv
from orbit2.model.geometry import Geometry
from orbit2.model.upsampled import Upsampled, zeroed


class PlainConv(Upsampled):
    """`layers` 3x3 convolutions with GELU, `width` channels, then one to the outputs that starts at zero."""

    def __init__(self, config: ArchitectureConfig, inputs: Sequence[str], outputs: Sequence[str], statics: Sequence[str]) -> None:
        super().__init__(config, inputs, outputs, statics)
        self.enter = SphereConv(2 * len(self.inputs), config.width)
        self.layers = nn.ModuleList(SphereConv(config.width, config.width) for _ in range(config.layers - 1))
        self.leave = SphereConv(config.width, len(self.outputs))
        zeroed(self.leave)

    def detail(self, fields: Tensor, names: Sequence[str], geometry: Geometry, clock: Tensor | None, whole: bool) -> Tensor:
        hidden = F.gelu(self.enter(self.vocabulary(fields, names), geometry.periodic))
        for layer in self.layers:
            hidden = F.gelu(layer(hidden, geometry.periodic))
        result: Tensor = self.leave(hidden, geometry.periodic)
        return result
