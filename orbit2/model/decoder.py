"""Tokens back to fine fields: token (i, j) fills exactly the fine block rows i*p*s.., columns j*p*s.. (paper section III-A).

Tokens are never transposed for a convolution: memory is channels-last from the embedding to the output.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.model.borders import around
from orbit2.model.norm import Norm


class SphereConv(nn.Conv2d):
    """k x k convolution whose padding wraps in longitude (periodic grids) and replicates in latitude."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, groups=groups)

    def forward(self, fields: Tensor, periodic: bool = False) -> Tensor:
        """[B, C, H, W] -> [B, K, H, W], channels-last in memory."""
        padded = around(fields, self.kernel_size[0] // 2, periodic)
        if self.groups == self.in_channels == self.out_channels and torch.compiler.is_compiling():
            return self._shifted(padded)
        return F.conv2d(padded, self.weight, self.bias, groups=self.groups)

    def _shifted(self, padded: Tensor) -> Tensor:
        """A depthwise convolution as a sum over its places, at least in float32, of which a compiler makes one pass with the padding."""
        side = self.kernel_size[0]
        height, width = padded.shape[2] - side + 1, padded.shape[3] - side + 1
        assert self.bias is not None
        wide = torch.promote_types(padded.dtype, torch.float32)
        total, weight = self.bias[:, None, None].to(wide), self.weight[:, 0, :, :, None, None].to(padded.dtype).to(wide)
        for row in range(side):
            for column in range(side):
                total = total + weight[:, row, column] * padded[:, :, row : row + height, column : column + width].to(wide)
        return total.to(padded.dtype)


class Modulation(nn.Linear):
    """Noise as scale and shift of hidden features: h -> h (1 + a) + b, (a, b) linear in a place's noise. No noise, no change."""

    def __init__(self, noise: int, width: int) -> None:
        super().__init__(noise, 2 * width, bias=False)
        nn.init.normal_(self.weight, std=0.3 * max(noise, 1) ** -0.5)

    def forward(self, noise: Tensor, hidden: Tensor) -> Tensor:  # type: ignore[override]
        """noise [..., n], hidden [..., width], features last in both."""
        scale, shift = super().forward(noise).chunk(2, -1)
        return hidden * (1 + scale) + shift


class DecoderLayer(nn.Module):
    """Residual: norm, 3x3 depthwise convolution over the token grid, linear projection, GELU; `modulation` where the model has noise."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.norm = Norm(embed_dim)
        self.depthwise = SphereConv(embed_dim, embed_dim, groups=embed_dim)
        self.linear = nn.Linear(embed_dim, embed_dim)
        self.modulation: Modulation | None = None

    def forward(self, tokens: Tensor, shape: tuple[int, int], periodic: bool, noise: Tensor | None = None) -> Tensor:
        grid = self.norm(tokens)
        if noise is not None and self.modulation is not None:
            grid = self.modulation(noise, grid)
        grid = grid.unflatten(1, shape)  # [B, h, w, D]: channels last as it lies
        mixed = self.depthwise(grid.permute(0, 3, 1, 2), periodic).permute(0, 2, 3, 1)
        return tokens + F.gelu(self.linear(mixed.flatten(1, 2)))


class Decoder(nn.Module):
    """[B, N, D] tokens on an (h, w) grid -> [B, C, h*p*s, w*p*s]; the last convolution starts at zero."""

    def __init__(self, embed_dim: int, outputs: int, depth: int, patch: int, refinement: int) -> None:
        super().__init__()
        self.block = patch * refinement
        self.layers = nn.ModuleList(DecoderLayer(embed_dim) for _ in range(depth))
        self.head = nn.Linear(embed_dim, outputs * self.block**2)
        self.smooth = SphereConv(outputs, outputs)
        nn.init.zeros_(self.smooth.weight)
        assert self.smooth.bias is not None
        nn.init.zeros_(self.smooth.bias)

    def forward(self, tokens: Tensor, shape: tuple[int, int], periodic: bool, noise: Tensor | None = None) -> Tensor:
        """`noise` [B, N, n] of every token, where there is any."""
        for layer in self.layers:
            tokens = layer(tokens, shape, periodic, noise)
        return self.ended(tokens, shape, periodic)

    def ended(self, tokens: Tensor, shape: tuple[int, int], periodic: bool) -> Tensor:
        """What follows the layers."""
        result: Tensor = self.smooth(self.unpatchify(self.head(tokens), shape), periodic)
        return result

    def add_noise(self, channels: int) -> None:
        """Let `channels` numbers a token change every layer."""
        for layer in self.layers:
            assert isinstance(layer, DecoderLayer)
            layer.modulation = Modulation(channels, layer.linear.in_features)

    def unpatchify(self, tokens: Tensor, shape: tuple[int, int]) -> Tensor:
        """[B, h*w, C*(p*s)^2] -> [B, C, h*p*s, w*p*s]."""
        return unpatchify(tokens.view(len(tokens), *shape, -1), self.block)


def patchify(fields: Tensor, side: int) -> Tensor:
    """[B, C, h*k, w*k] -> [B, h, w, C*k*k] with k = `side`: a block becomes a cell; channels as PixelUnshuffle orders them."""
    b, c, height, width = fields.shape
    blocks = fields.reshape(b, c, height // side, side, width // side, side)
    return blocks.permute(0, 2, 4, 1, 3, 5).reshape(b, height // side, width // side, -1)


def unpatchify(cells: Tensor, side: int) -> Tensor:
    """The inverse of `patchify`: [B, h, w, C*k*k] -> [B, C, h*k, w*k], one copy whatever the layout."""
    b, height, width, _ = cells.shape
    blocks = cells.reshape(b, height, width, -1, side, side)
    return blocks.permute(0, 3, 1, 4, 2, 5).reshape(b, -1, height * side, width * side)
