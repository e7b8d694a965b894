"""The plain side of the skill benchmark: a residual convolution net on the fine grid, given what Reslim is given."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.model.decoder import SphereConv
from orbit2.model.geometry import Geometry
from orbit2.model.residual import interpolate


class PlainConv(nn.Module):
    """bicubic(inputs) + convolutions of (bicubic(inputs), fine statics) at the FINE grid; the last layer starts at zero."""

    output_scale: Tensor

    def __init__(
        self, inputs: Sequence[str], statics: Sequence[str], outputs: Sequence[str], refinement: int, width: int = 32, depth: int = 3
    ) -> None:
        super().__init__()
        self.outputs, self.refinement = tuple(outputs), refinement
        self.dynamic = [name for name in inputs if name not in statics]
        channels = len(self.dynamic) + len(statics)
        self.layers = nn.ModuleList(SphereConv(channels if i == 0 else width, width) for i in range(depth))
        self.leave = SphereConv(width, len(outputs))
        nn.init.zeros_(self.leave.weight)
        assert self.leave.bias is not None
        nn.init.zeros_(self.leave.bias)
        self.register_buffer("output_scale", torch.ones(len(outputs)))

    def forward(self, coarse: Tensor, statics: Tensor, geometry: Geometry, variables: Sequence[str], clock: Tensor | None = None) -> Tensor:
        fields = coarse[:, [list(variables).index(name) for name in self.dynamic]]
        base = interpolate(fields, self.refinement, "bicubic", geometry.periodic)
        hidden = torch.cat([base, statics], 1)
        for layer in self.layers:
            hidden = F.gelu(layer(hidden, geometry.periodic))
        start = base[:, [self.dynamic.index(name) for name in self.outputs]]
        return start + self.leave(hidden, geometry.periodic).float() * self.output_scale[:, None, None]
