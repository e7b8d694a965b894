"""A small U-Net on the interpolated fine grid (Ronneberger et al. 2015, residual blocks). Never normalises over space: tiles agree."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.config.network import ArchitectureConfig
from orbit2.model.decoder import SphereConv
from orbit2.model.geometry import Geometry, pad, to_multiple
from orbit2.model.residual import ResidualBlock
from orbit2.model.upsampled import Upsampled, zeroed


class UNet(Upsampled):
    """`width` channels on the fine grid, doubled at each of `levels` halvings; skips are concatenated on the way back up."""

    def __init__(self, config: ArchitectureConfig, inputs: Sequence[str], outputs: Sequence[str], statics: Sequence[str]) -> None:
        super().__init__(config, inputs, outputs, statics)
        widths = [config.width * 2**level for level in range(config.levels + 1)]
        self.enter = SphereConv(2 * len(self.inputs), config.width)
        self.down = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.shrink = nn.ModuleList(nn.Conv2d(width, 2 * width, 2, stride=2) for width in widths[:-1])
        self.bottom = ResidualBlock(widths[-1])
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * width, width, 2, stride=2) for width in widths[:-1])
        self.merge = nn.ModuleList(SphereConv(2 * width, width) for width in widths[:-1])
        self.up = nn.ModuleList(ResidualBlock(width) for width in widths[:-1])
        self.leave = SphereConv(config.width, len(self.outputs))
        zeroed(self.leave)

    def detail(self, fields: Tensor, names: Sequence[str], geometry: Geometry, clock: Tensor | None, whole: bool) -> Tensor:
        """Grids that cannot be halved `levels` times are padded and cropped; a periodic row then continues on both sides."""
        height, width = fields.shape[-2:]
        side = 2**self.config.levels
        south, east = to_multiple(height, side), to_multiple(width, side)
        around = geometry.periodic and east == 0
        west = side if geometry.periodic and east and width >= 2 * side else 0
        hidden = pad(self.vocabulary(fields, names), south, east + west, geometry.periodic, west=west)
        hidden = F.gelu(self.enter(hidden, around))
        skips = []
        for block, shrink in zip(self.down, self.shrink, strict=True):
            hidden = block(hidden, around)
            skips.append(hidden)
            hidden = shrink(hidden)
        hidden = self.bottom(hidden, around)
        for block, merge, grow, skip in zip(self.up[::-1], self.merge[::-1], self.grow[::-1], reversed(skips), strict=True):
            hidden = F.gelu(merge(torch.cat([grow(hidden), skip], 1), around))
            hidden = block(hidden, around)
        result: Tensor = self.leave(hidden, around)
        return result[..., :height, west : west + width]
