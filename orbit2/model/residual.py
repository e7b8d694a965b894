"""The residual path: interpolation of the inputs plus a light convolution stack on the COARSE grid (paper section III-A).

Untrained it IS the interpolation. Fine static fields enter through PixelUnshuffle, so cost is linear in pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.model.borders import around
from orbit2.model.decoder import Modulation, SphereConv, patchify, unpatchify
from orbit2.model.geometry import complete, pad, select
from orbit2.model.precision import exact, stream

REACH = 2  # coarse cells to either side that bicubic interpolation reads
MARGIN = 3  # coarse cells of context that bicubic interpolation needs, and one to spare


def interpolate(fields: Tensor, factor: int, mode: str, periodic: bool, whole: bool | None = None) -> Tensor:
    """Interpolate [B, C, H, W] to [B, C, sH, sW] between cell centres; longitude wraps when periodic.

    Missing cells (NaN) take no part: near them (2 cells) it is bilinear over the valid ones; NaN stays where none is near.
    `whole`: whether there are none, where the caller knows.
    """
    if complete(fields) if whole is None else whole:
        return _resize(fields, factor, mode, periodic)
    valid = torch.isfinite(fields)
    weight = _resize(valid.to(fields.dtype), factor, "bilinear", periodic)
    value = _resize(torch.nan_to_num(fields), factor, "bilinear", periodic)
    near = torch.where(weight > 0.25, value / weight.clamp_min(0.25), torch.nan)
    # away from holes a field is interpolated as if there were none anywhere, in other channels and samples neither
    return torch.where(_clear(valid, factor, periodic), _resize(torch.nan_to_num(fields), factor, mode, periodic), near)


def _clear(valid: Tensor, factor: int, periodic: bool) -> Tensor:
    """Fine cells whose coarse cell has no invalid one within REACH cells."""
    reach = min(REACH, valid.shape[-1])
    holes = pad((~valid).float(), reach, reach, periodic, south=reach, west=reach)
    clear = F.max_pool2d(holes, 2 * reach + 1, 1) == 0
    return clear.repeat_interleave(factor, -2).repeat_interleave(factor, -1)


def _resize(fields: Tensor, factor: int, mode: str, periodic: bool) -> Tensor:
    margin = min(MARGIN, fields.shape[-1])
    padded = pad(fields, margin, margin, periodic, south=margin, west=margin)
    if fields.device.type == "cpu" and margin > REACH:
        return _convolved(padded[..., 1:-1, 1:-1], factor, mode)
    fine = F.interpolate(padded, scale_factor=factor, mode=mode, align_corners=False)
    cut = margin * factor
    return fine[..., cut:-cut, cut:-cut]


def _convolved(padded: Tensor, factor: int, mode: str) -> Tensor:
    """The same function as one convolution with s^2 filters: several times faster on a CPU than PyTorch's interpolation, which is scalar.

    padded [B, C, H + 2 REACH, W + 2 REACH] -> [B, C, sH, sW]. The filters are read off the interpolation of a single 1.
    """
    side = 4 * REACH + 1
    one = F.pad(padded.new_ones(1, 1, 1, 1), (side // 2,) * 4)
    response = patchify(F.interpolate(one, scale_factor=factor, mode=mode, align_corners=False), factor)  # [1, 9, 9, s^2]
    filters = response[0, REACH:-REACH, REACH:-REACH].flip(0, 1).permute(2, 0, 1)[:, None]  # what a cell reads: mirrored
    with exact(padded):
        fine = F.conv2d(padded.flatten(0, 1)[:, None], filters.contiguous())
    fine = unpatchify(fine.permute(0, 2, 3, 1), factor)  # [B C, 1, sH, sW]
    return fine.view(*padded.shape[:2], *fine.shape[2:])


class ResidualBlock(nn.Module):
    """x + conv(GELU(conv(x))) with 3x3 convolutions; `modulation`, where the model has noise, of what is between."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = SphereConv(width, width), SphereConv(width, width)
        self.modulation: Modulation | None = None

    def forward(self, fields: Tensor, periodic: bool, noise: Tensor | None = None) -> Tensor:
        """fields [B, C, H, W]; `noise` [B, H, W, n] of every cell, where there is any."""
        hidden = self.conv1(fields, periodic)
        if noise is not None and self.modulation is not None:
            hidden = self.modulation(noise, hidden.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        result: Tensor = fields + self.conv2(F.gelu(hidden), periodic)
        return result


class ResidualPath(nn.Module):
    """Interpolation of the outputs' own inputs + convolutions of all inputs and fine statics -> [B, C, sH, sW]."""

    def __init__(
        self,
        vocabulary: Sequence[str],
        statics: Sequence[str],
        outputs: Sequence[str],
        refinement: int,
        interpolation: str,
        width: int,
        blocks: int,
    ) -> None:
        super().__init__()
        self.vocabulary, self.statics, self.outputs = tuple(vocabulary), tuple(statics), tuple(outputs)
        self.refinement, self.mode, self.width = refinement, interpolation, width
        if width:
            count = len(self.vocabulary)
            self.enter = nn.Parameter(torch.empty(count, width, 3, 3))  # one 3x3 filter bank per variable, by name
            nn.init.normal_(self.enter, std=(9 * max(count, 1)) ** -0.5)
            self.enter_statics = SphereConv(len(self.statics) * refinement**2 + count, width) if self.statics else SphereConv(count, width)
            self.blocks = nn.ModuleList(ResidualBlock(width) for _ in range(blocks))
            self.leave = SphereConv(width, len(self.outputs) * refinement**2)
            nn.init.zeros_(self.leave.weight)
            assert self.leave.bias is not None
            nn.init.zeros_(self.leave.bias)

    def forward(
        self, fields: Tensor, variables: Sequence[str], statics: Tensor | None, periodic: bool, whole: bool | None = None,
        every: bool = False,
    ) -> tuple[Tensor, Tensor | None]:  # fmt: skip
        """(interpolation [B, C, sH, sW], what `correction` goes on from [B, width, H, W]: None when width is 0).

        `whole`: whether no field that is interpolated has a missing cell, where the caller knows; `every`: whether no field has any.
        """
        base = self.interpolation_of(fields, list(variables), periodic, whole)
        if not self.width:
            return base, None
        fixed = None
        if self.statics:
            assert statics is not None
            fixed = patchify(torch.nan_to_num(statics.to(stream(fields))), self.refinement)
        return base, self.entered(fields, variables, fixed, periodic, every)

    def entered(self, fields: Tensor, variables: Sequence[str], fixed: Tensor | None, periodic: bool, every: bool = False) -> Tensor:
        """All inputs, fine statics (as coarse cells [B, H, W, S s^2]) and what is missing, by one convolution [B, width, H, W]."""
        half, chosen = stream(fields), [self.vocabulary.index(name) for name in variables]
        layer, given = self.enter_statics, (fields if every else torch.nan_to_num(fields)).to(half).permute(0, 2, 3, 1)
        cells, weights, bias = [given], [select(self.enter, chosen, 0).transpose(0, 1)], layer.bias
        if fixed is not None:
            cells.append(fixed)
        if every:
            first = 0 if fixed is None else fixed.shape[-1]
            weights.append(layer.weight[:, :first])
            lacking = [first + i for i in range(len(self.vocabulary)) if i not in chosen]
            if lacking:  # everywhere: the same is added to every cell
                assert bias is not None
                same = select(layer.weight, lacking, 1).to(half)
                bias = bias.to(half) + same.sum((1, 2, 3), dtype=torch.promote_types(half, torch.float32))
        else:
            cells.append(_placed((~torch.isfinite(fields)).to(half), chosen, len(self.vocabulary), 1.0).permute(0, 2, 3, 1))
            weights.append(layer.weight)
        padded = around(torch.cat(cells, 3).permute(0, 3, 1, 2), 1, periodic)
        return F.gelu(F.conv2d(padded, torch.cat(weights, 1).to(half), None if bias is None else bias.to(half)))

    def correction(self, hidden: Tensor, periodic: bool, noise: Tensor | None = None) -> Tensor:
        """The convolution stack's share [B, C, sH, sW] from what has `entered`; `noise` [B, H, W, n] of every cell."""
        for block in self.blocks:
            hidden = block(hidden, periodic, noise)
        return self.left(hidden, periodic)

    def left(self, hidden: Tensor, periodic: bool) -> Tensor:
        """What follows the blocks: [B, width, H, W] -> [B, C, sH, sW]."""
        return unpatchify(self.leave(hidden, periodic).permute(0, 2, 3, 1), self.refinement)

    def add_noise(self, channels: int) -> None:
        """Let `channels` numbers a coarse cell change every block."""
        for block in self.blocks if self.width else ():
            assert isinstance(block, ResidualBlock)
            block.modulation = Modulation(channels, self.width)

    def interpolation_of(self, fields: Tensor, variables: list[str], periodic: bool, whole: bool | None = None) -> Tensor:
        """The outputs that are inputs, interpolated; an output that is not an input starts from zero.

        `whole`: whether none of these has a missing cell, where the caller knows.
        """
        present = [name for name in self.outputs if name in variables]
        b, _, height, width = fields.shape
        if not present:
            return fields.new_zeros(b, len(self.outputs), height * self.refinement, width * self.refinement)
        source = select(fields, [variables.index(name) for name in present], 1)
        fine = interpolate(source, self.refinement, self.mode, periodic, whole)
        return _placed(fine, [self.outputs.index(name) for name in present], len(self.outputs), 0.0)


def _placed(fields: Tensor, positions: list[int], count: int, otherwise: float) -> Tensor:
    """[B, K, H, W] at channels `positions` of [B, count, H, W], `otherwise` elsewhere."""
    if positions == list(range(count)):
        return fields
    blank = torch.full_like(fields[:, 0], otherwise)
    return torch.stack([fields[:, positions.index(i)] if i in positions else blank for i in range(count)], 1)
