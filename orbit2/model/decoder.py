"""Tokens back to fine fields: token (i, j) fills exactly the fine block rows i*p*s.., columns j*p*s.. (paper section III-A)."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.model.geometry import pad


class SphereConv(nn.Conv2d):
    """k x k convolution whose padding wraps in longitude (periodic grids) and replicates in latitude."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, groups=groups)

    def forward(self, fields: Tensor, periodic: bool = False) -> Tensor:
        margin = self.kernel_size[0] // 2
        padded = pad(fields, margin, margin, periodic, south=margin, west=margin)
        return F.conv2d(padded, self.weight, self.bias, groups=self.groups)


class DecoderLayer(nn.Module):
    """Residual: norm, 3x3 depthwise convolution over the token grid, linear projection, GELU."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(embed_dim)
        self.depthwise = SphereConv(embed_dim, embed_dim, groups=embed_dim)
        self.linear = nn.Linear(embed_dim, embed_dim)

    def forward(self, tokens: Tensor, shape: tuple[int, int], periodic: bool) -> Tensor:
        grid = self.norm(tokens).transpose(1, 2).unflatten(2, shape)
        mixed = self.depthwise(grid, periodic).flatten(2).transpose(1, 2)
        return tokens + F.gelu(self.linear(mixed))


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

    def forward(self, tokens: Tensor, shape: tuple[int, int], periodic: bool) -> Tensor:
        for layer in self.layers:
            tokens = layer(tokens, shape, periodic)
        fine = self.unpatchify(self.head(tokens), shape)
        result: Tensor = self.smooth(fine, periodic)
        return result

    def unpatchify(self, tokens: Tensor, shape: tuple[int, int]) -> Tensor:
        """[B, h*w, C*(p*s)^2] -> [B, C, h*p*s, w*p*s]."""
        b, side = tokens.shape[0], self.block
        grid = tokens.view(b, *shape, -1, side, side)  # [B, h, w, C, k, l]
        return grid.permute(0, 3, 1, 4, 2, 5).reshape(b, -1, shape[0] * side, shape[1] * side)
