"""Embeddings added to every token: where it is, at what resolution, and when (paper section III-A, corrected)."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.config.network import ArchitectureConfig
from orbit2.model.geometry import Geometry, token_centres
from orbit2.model.norm import Norm

OCTAVES = 5  # finest Fourier wavelength is 1/16 of the Earth's diameter: about 800 km


class GeographicPosition(nn.Module):
    """Fourier features of the token centre's unit vector -> MLP -> [B, N, D]; periodic in longitude, no grid size."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.mlp = _mlp(3 + 6 * OCTAVES, embed_dim)

    def forward(self, geometry: Geometry, patch: int) -> Tensor:
        return self.at(token_centres(geometry, patch).flatten(1, 2))

    def at(self, centres: Tensor) -> Tensor:
        """Unit vectors [B, N, 3] -> [B, N, D]."""
        angles = centres[..., None] * (math.pi * 2.0 ** torch.arange(OCTAVES, device=centres.device))
        features = torch.cat([centres, angles.sin().flatten(2), angles.cos().flatten(2)], -1)
        embedded: Tensor = self.mlp(features)
        return embedded


class TablePosition(nn.Module):
    """Learned table [h0, w0, D] initialised sin-cos and interpolated to the token grid (the published parameter counts)."""

    def __init__(self, embed_dim: int, shape: tuple[int, int]) -> None:
        super().__init__()
        self.table = nn.Parameter(_sincos(shape, embed_dim))

    def forward(self, geometry: Geometry, patch: int) -> Tensor:
        size = (-(-geometry.shape[0] // patch), -(-geometry.shape[1] // patch))
        if self.table.shape[:2] == size:
            return self.table.flatten(0, 1)[None]
        (row, down), (column, right) = (_taps(n, length, self.table) for n, length in zip(size, self.table.shape[:2], strict=True))
        entries = row[:, None, :, None] * self.table.shape[1] + column[:, None]  # [h, w, 2, 2]: bilinear, four entries a token
        shares = down[:, None, :, None] * right[:, None]
        # reads only these entries, and its gradient is written in one pass over the table, which is larger than all activations
        return F.embedding_bag(entries.view(-1, 4), self.table.flatten(0, 1), mode="sum", per_sample_weights=shares.view(-1, 4))[None]


def _taps(size: int, length: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """Linear interpolation of `length` cells to `size` (cell centres): the two cells that each reads [n, 2], and their shares."""
    place = ((torch.arange(size, device=like.device) + 0.5) * (length / size) - 0.5).clamp_min(0)
    first = place.long().clamp_max(length - 1)
    share = (place - first).to(like.dtype)
    return torch.stack([first, (first + 1).clamp_max(length - 1)], 1), torch.stack([1 - share, share], 1)


class ResolutionEmbedding(nn.Module):
    """MLP of the logarithms of the coarse and fine spacing in km -> [1, 1, D]."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.mlp = _mlp(2, embed_dim)

    def forward(self, geometry: Geometry) -> Tensor:
        # filled on the device: a copy from the host would stop a GPU's queue and cannot be captured in a CUDA graph
        scales = torch.cat([torch.full((1,), km, device=geometry.lat.device) for km in (geometry.coarse_km, geometry.fine_km)])
        embedded: Tensor = self.mlp((scales.log() - math.log(50.0)) / 2)  # 50 km in the middle, e^2 apart per unit
        return embedded[None, None]


class SizeEmbedding(nn.Module):
    """MLP of the logarithm of a leaf's area in cells [B, K] -> [B, K, D]."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.mlp = _mlp(1, embed_dim)

    def forward(self, cells: Tensor) -> Tensor:
        embedded: Tensor = self.mlp(cells.log2()[..., None] / 4 - 0.5)  # sides of 1, 2, 4, 8 cells: -0.5, 0, 0.5, 1
        return embedded


class TimeEmbedding(nn.Module):
    """MLP of sin/cos of day of year and hour of day [B, 4] -> [B, 1, D]."""

    def __init__(self, embed_dim: int) -> None:
        super().__init__()
        self.mlp = _mlp(4, embed_dim)

    def forward(self, clock: Tensor) -> Tensor:
        embedded: Tensor = self.mlp(clock)
        return embedded[:, None]


def position_of(config: ArchitectureConfig) -> nn.Module:
    """Where a token is, as an architecture has it."""
    return GeographicPosition(config.embed_dim) if config.position == "geographic" else TablePosition(config.embed_dim, config.table_shape)


def _mlp(inputs: int, embed_dim: int) -> nn.Sequential:
    """Two layers and a norm, so that every embedding starts with unit spread and none drowns another."""
    return nn.Sequential(nn.Linear(inputs, embed_dim), nn.GELU(), nn.Linear(embed_dim, embed_dim), Norm(embed_dim))


def _sincos(shape: tuple[int, int], embed_dim: int) -> Tensor:
    if torch.empty(0).device.type == "meta":
        return torch.empty(*shape, embed_dim)
    quarter = max(embed_dim // 4, 1)
    frequency = 1 / 10000 ** (torch.arange(quarter) / quarter)
    rows, columns = (torch.arange(n)[:, None] * frequency for n in shape)
    parts = [part.expand(*shape, quarter) for part in (rows.sin()[:, None], rows.cos()[:, None], columns.sin()[None], columns.cos()[None])]
    table = torch.cat(parts, -1)
    return F.pad(table, (0, embed_dim - table.shape[-1])) if table.shape[-1] < embed_dim else table[..., :embed_dim].contiguous()
