"""The ViT that the paper compares Reslim with: interpolate first, then attend on the FINE grid. Never slim: (sH / p)(sW / p) tokens.

As ClimateLearn and Prithvi-WxC do; aggregation, embeddings and blocks are Reslim's, and so is the interpolation as residual, which
those models lack: without it the comparison of skill would not be fair.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from orbit2.config.network import ArchitectureConfig
from orbit2.model.aggregate import VariableAggregation
from orbit2.model.blocks import Blocks
from orbit2.model.decoder import Decoder
from orbit2.model.embed import ResolutionEmbedding, TimeEmbedding, position_of
from orbit2.model.geometry import Geometry
from orbit2.model.norm import Norm
from orbit2.model.upsampled import Upsampled


class UpsampledViT(Upsampled):
    """Patches of p x p FINE cells, Reslim's blocks, a linear head back to p x p fine cells (after `decoder_depth` layers)."""

    def __init__(self, config: ArchitectureConfig, inputs: Sequence[str], outputs: Sequence[str], statics: Sequence[str]) -> None:
        super().__init__(config, inputs, outputs, statics)
        width = config.embed_dim
        self.aggregate = VariableAggregation(self.inputs, config.patch, width, config.heads)
        self.position = position_of(config)
        self.resolution = ResolutionEmbedding(width)
        self.time = TimeEmbedding(width) if config.time_embedding else None
        self.blocks = Blocks.of(config)
        self.norm = Norm(width)
        self.decoder = Decoder(width, len(self.outputs), config.decoder_depth, config.patch, refinement=1)

    def detail(self, fields: Tensor, names: Sequence[str], geometry: Geometry, clock: Tensor | None, whole: bool) -> Tensor:
        p = self.config.patch
        height, width = fields.shape[-2:]
        tokens = self.aggregate(fields, names, geometry.periodic, whole)
        place = self.resolution(geometry) if self.time is None or clock is None else self.resolution(geometry) + self.time(clock)
        tokens = self.blocks((tokens + (self.position(geometry, p) + place)).to(tokens.dtype))
        shape = (-(-height // p), -(-width // p))
        fine: Tensor = self.decoder(self.norm(tokens), shape, geometry.periodic and width % p == 0)
        return fine[..., :height, :width]
