"""Reslim: y = interpolation + convolutions(coarse, fine statics) + ViT on the coarse grid (arXiv 2505.04802, section III).

Letters: B batch, V input variables, C outputs, H x W coarse grid, s refinement, p patch, D embedding, N tokens.
The model works on normalised fields (NaN = missing) and knows variables by name; nothing is upsampled before attention.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from orbit2.config.network import ArchitectureConfig
from orbit2.model.aggregate import VariableAggregation
from orbit2.model.blocks import Blocks
from orbit2.model.compress import Compression
from orbit2.model.constraints import conserve_blocks
from orbit2.model.decoder import Decoder, patchify
from orbit2.model.embed import ResolutionEmbedding, TimeEmbedding, position_of
from orbit2.model.gaps import Gapped, Gaps
from orbit2.model.geometry import Geometry, pad, to_multiple
from orbit2.model.norm import Norm
from orbit2.model.quadtree import Leaves
from orbit2.model.residual import ResidualPath

LEAK = 0.05  # of a gradient that goes on to members' rain below dry, while training


@dataclass(frozen=True)
class Trunk:
    """What all members of some samples share: interpolation `base` [B, C, sH, sW] (0 where nothing is known), the transformer's `tokens`
    [B, N, D], what has `entered` the residual path [B, width, H, W], and what was given: coarse [B, V, H, W], its names, where."""

    base: Tensor
    tokens: Tensor
    entered: Tensor | None
    coarse: Tensor
    names: tuple[str, ...]
    geometry: Geometry


class Reslim(Gapped):
    """Residual slim ViT.

    `inputs` (dynamic, then static) and `statics` (fine) are the vocabularies; `outputs` the predicted variables.
    `scale` [C] is the typical size of (truth - interpolation) in normalised units: both paths predict in it.
    `output_moments` [C, 2] are the outputs' normalising mean and standard deviation, for conservation of rain in mm.
    With `config.noise` it has members: noise changes the decoder and the residual path, after the `trunk` that they share.
    `noise_scale`: noise is multiplied by it, which sets the members' spread (fitted after training, saved with the model).
    """

    output_moments: Tensor
    noise_scale: float = 1.0

    def __init__(self, config: ArchitectureConfig, inputs: Sequence[str], outputs: Sequence[str], statics: Sequence[str]) -> None:
        super().__init__()
        self.config, self.inputs, self.outputs, self.statics = config, tuple(inputs), tuple(outputs), tuple(statics)
        width = config.embed_dim
        self.aggregate = VariableAggregation(self.inputs, config.patch, width, config.heads)
        self.position = position_of(config)
        self.resolution = ResolutionEmbedding(width)
        self.time = TimeEmbedding(width) if config.time_embedding else None
        self.blocks = Blocks.of(config)
        self.norm = Norm(width)
        self.decoder = Decoder(width, len(self.outputs), config.decoder_depth, config.patch, config.refinement)
        self.residual = ResidualPath(
            self.inputs, self.statics, self.outputs, config.refinement, config.interpolation, config.residual_width, config.residual_blocks
        )
        # built last, so that every other weight starts as without it
        self.compression = Compression(config.compression, width, config.patch) if config.compression.active else None
        if config.noise.channels:
            cells = config.noise.channels * config.refinement**2
            self.residual.add_noise(cells)
            self.decoder.add_noise(cells * config.patch**2)
        self.register_buffer("output_scale", torch.ones(len(self.outputs)))
        self.register_buffer("output_moments", torch.tensor([[0.0, 1.0]]).repeat(len(self.outputs), 1))

    def forward(
        self,
        coarse: Tensor,
        statics: Tensor | None,
        geometry: Geometry,
        variables: Sequence[str] | None = None,
        clock: Tensor | None = None,
        gaps: Gaps | None = None,
        noise: Tensor | None = None,
    ) -> Tensor:
        """coarse [B, V, H, W] (normalised, NaN = missing), statics [B, S, sH, sW] -> [B, C, sH, sW] (normalised).

        `variables` names the V channels (default: all inputs, in order); `clock` [B, 4] feeds the time embedding;
        `gaps`: what is missing, where the caller knows. With `noise` [B, M, K, sH, sW] the M members [B, M, C, sH, sW] that it makes.
        Raises OrbitError for a variable the model does not know.
        """
        return self.members(self.trunk(coarse, statics, geometry, variables, clock, gaps), noise)

    def trunk(
        self,
        coarse: Tensor,
        statics: Tensor | None,
        geometry: Geometry,
        variables: Sequence[str] | None = None,
        clock: Tensor | None = None,
        gaps: Gaps | None = None,
    ) -> Trunk:
        """The part of `forward`, with its arguments, that no noise enters."""
        names = tuple(variables) if variables is not None else self.inputs
        gaps = self.gaps(coarse, names) if gaps is None else gaps
        base, entered = self.residual(coarse, names, statics, geometry.periodic, not gaps.interpolated, not gaps.inputs)
        tokens = self.norm(self.attend(self.embed(coarse, names, geometry, clock, gaps), geometry))
        if gaps.interpolated:
            base = torch.nan_to_num(base, 0.0, 0.0, 0.0)
        return Trunk(base, tokens, entered, coarse, names, geometry)

    def members(self, trunk: Trunk, noise: Tensor | None) -> Tensor:
        """The rest of `forward`: as many members [B, M, C, sH, sW] as `noise` [B, M, K, sH, sW] has, each conserved; without, the one
        prediction [B, C, sH, sW] of no noise. What is made of a member does not depend on the others."""
        geometry, count = trunk.geometry, 1 if noise is None else noise.shape[1]
        tokens, entered, coarse = trunk.tokens, trunk.entered, trunk.coarse
        cells = None
        if noise is not None:
            cells = patchify(noise.flatten(0, 1) * self.noise_scale, self.config.refinement)  # [B M, H, W, K s^2]
            geometry = geometry.repeat(count)
            tokens, coarse = tokens.repeat_interleave(count, 0), coarse.repeat_interleave(count, 0)
            entered = None if entered is None else entered.repeat_interleave(count, 0)
        detail = self.main(tokens, geometry, cells)
        if entered is not None:
            detail = detail + self.residual.correction(entered, geometry.periodic, cells)
        scale = self.scale(geometry)[:, None, None]
        fine = torch.addcmul(trunk.base[:, None], detail.view(-1, count, *detail.shape[1:]), scale).flatten(0, 1)  # float32, in one pass
        if self.config.conserve:
            exempt, leak = self.training and noise is None, LEAK if self.training and noise is not None else 0.0
            fine = self.conserved(fine, coarse, trunk.names, geometry, exempt, leak)
        return fine if noise is None else fine.view(-1, count, *fine.shape[1:])

    def conserved(
        self, fine: Tensor, coarse: Tensor, names: Sequence[str], geometry: Geometry, exempt: bool = False, leak: float = 0.0
    ) -> Tensor:
        """Predictions [B, C, sH, sW] with the block means of coarse [B, V, H, W], named `names`, as the architecture asks for."""
        s, conserve = self.config.refinement, self.config.conserve
        return conserve_blocks(fine, coarse, names, self.outputs, geometry, s, self.output_moments, conserve, exempt, leak)

    def trunk_parameters(self) -> Iterator[nn.Parameter]:
        """Those that `trunk` computes with."""
        after = ("decoder.", "residual.blocks.", "residual.leave.")
        yield from (parameter for name, parameter in self.named_parameters() if not name.startswith(after))

    def main(self, tokens: Tensor, geometry: Geometry, noise: Tensor | None = None) -> Tensor:
        """The transformer path's end: tokens [B, N, D], noise [B, H, W, n] of the coarse cells -> [B, C, sH, sW]."""
        s, p = self.config.refinement, self.config.patch
        height, width = geometry.shape
        if noise is not None:
            whole = pad(noise.permute(0, 3, 1, 2), to_multiple(height, p), to_multiple(width, p), False)
            noise = patchify(whole, p).flatten(1, 2)
        fine: Tensor = self.decoder(tokens, (-(-height // p), -(-width // p)), geometry.periodic and width % p == 0, noise)
        return fine[..., : height * s, : width * s]

    def embed(self, coarse: Tensor, names: Sequence[str], geometry: Geometry, clock: Tensor | None, gaps: Gaps) -> Tensor:
        """Tokens [B, N, D] of the coarse grid, with where, at what resolution and when."""
        tokens: Tensor = self.aggregate(coarse, names, geometry.periodic, not gaps.inputs)
        place = self.resolution(geometry) if self.time is None or clock is None else self.resolution(geometry) + self.time(clock)
        embedded: Tensor = tokens + (self.position(geometry, self.config.patch) + place)
        return embedded.to(tokens.dtype)

    @torch.no_grad()
    def leaves(self, coarse: Tensor, names: Sequence[str], geometry: Geometry, clock: Tensor | None = None) -> Leaves | None:
        """What the transformer sees of coarse [B, V, H, W] (normalised): the quadtree's leaves; None without compression."""
        if self.compression is None:
            return None
        return self.compression.leaves(self.embed(coarse, names, geometry, clock, self.gaps(coarse, names)), geometry)

    def attend(self, tokens: Tensor, geometry: Geometry) -> Tensor:
        """The transformer blocks [B, N, D] -> [B, N, D], over the leaves only when compressing."""
        if self.compression is None:
            attended: Tensor = self.blocks(tokens)
            return attended
        packed, cells, real = self.compression.compressed(tokens, geometry)
        return self.compression.unpack(self.blocks(packed, real), tokens, cells)

    def auxiliary(
        self, coarse: Tensor, variables: Sequence[str], target: Tensor, weights: Tensor, periodic: bool, scale: Tensor | None = None,
        gaps: Gaps | None = None,
    ) -> tuple[Tensor, Tensor] | None:  # fmt: skip
        """(numerator, denominator) of the compression's own loss after a training forward pass, to be added over ranks; else None.

        target [B, C, sH, sW] (normalised, NaN = masked), weights broadcastable to it; `scale` [C]: this grid's, where several are known.
        """
        if self.compression is None:
            return None
        base = self.residual.interpolation_of(coarse, list(variables), periodic, None if gaps is None else not gaps.interpolated)
        return self.compression.auxiliary(base, target, weights, self.output_scale if scale is None else scale)
