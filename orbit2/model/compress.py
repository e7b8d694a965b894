"""Adaptive spatial compression: the transformer sees quadtree leaves instead of tokens (paper section III-B, corrected).

A linear map of the tokens gives one density image; its edges decide, without gradient, where the tree splits; features stay
differentiable. Never decides how many samples or ranks there are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from orbit2.config.network import CompressionConfig
from orbit2.model.edges import canny
from orbit2.model.embed import GeographicPosition, SizeEmbedding
from orbit2.model.geometry import Geometry, token_centres
from orbit2.model.precision import ExactLinear
from orbit2.model.quadtree import Leaves, Pyramid, by_budget, by_threshold, pool, rows_of


class Compression(nn.Module):
    """[B, N, D] tokens -> leaves -> [B, K, D] leaf tokens, and back.

    After a forward pass in training `predicted` [B, H, W] holds the density image until `auxiliary` has used it.
    """

    def __init__(self, config: CompressionConfig, embed_dim: int, patch: int) -> None:
        super().__init__()
        self.config, self.patch = config, patch
        self.density = ExactLinear(embed_dim, patch * patch)
        self.position = GeographicPosition(embed_dim)
        self.size = SizeEmbedding(embed_dim)
        self.predicted: Tensor | None = None

    def leaves(self, tokens: Tensor, geometry: Geometry) -> Leaves:
        """The quadtree of every sample. tokens [B, N, D] in the order of the grid. Raises OrbitError for an impossible ratio."""
        config, p = self.config, self.patch
        height, width = geometry.shape
        pyramid = Pyramid(-(-height // p), -(-width // p), config.min_leaf, config.max_leaf)
        image = self.image(tokens, pyramid)[:, :height, :width]
        self.predicted = image if self.training else None
        edges = canny(image, geometry.periodic)
        edges = F.pad(edges, (0, pyramid.columns * p - width, 0, pyramid.rows * p - height))
        mass = pool(edges, p)
        if config.mode == "threshold":
            return by_threshold(mass, pyramid, config.threshold)
        return by_budget(mass, pyramid, int(pyramid.rows * pyramid.columns / config.ratio))

    def image(self, tokens: Tensor, pyramid: Pyramid) -> Tensor:
        """The density [B, h p, w p], float32 also under autocast: edges of rounded fields would be edges of the rounding."""
        p = self.patch
        grid: Tensor = self.density(tokens).view(-1, pyramid.rows, pyramid.columns, p, p)
        return grid.transpose(2, 3).reshape(-1, pyramid.rows * p, pyramid.columns * p)

    def pack(self, tokens: Tensor, leaves: Leaves, geometry: Geometry) -> Tensor:
        """[B, N, D] -> [B, K, D]: mean of a leaf's tokens + where its centre is + how large it is."""
        pyramid = leaves.pyramid
        cells = leaves.take(pyramid.sizes(tokens.device).expand(len(tokens), -1)).clamp_min(1)
        centres = pyramid.sums(token_centres(geometry, self.patch)).expand(len(tokens), -1, -1)
        where = F.normalize(leaves.take(centres), dim=-1)
        mean = leaves.take(pyramid.sums(tokens.view(len(tokens), pyramid.rows, pyramid.columns, -1))) / cells[..., None]
        packed: Tensor = mean + self.position.at(where) + self.size(cells)
        return packed.to(tokens.dtype)

    def compressed(self, tokens: Tensor, geometry: Geometry) -> tuple[Tensor, Tensor, Tensor | None]:
        """[B, N, D] -> ([B, K, D] of the leaves, the leaf of every token [B, N], which leaves are real [B, K]: None where all are)."""
        leaves = self.leaves(tokens, geometry)
        return self.pack(tokens, leaves, geometry), leaves.cells, leaves.real

    def unpack(self, packed: Tensor, tokens: Tensor, cells: Tensor) -> Tensor:
        """[B, K, D] leaf tokens -> [B, N, D]: every token gets its leaf's (`cells` [B, N]), plus itself, uncompressed."""
        return rows_of(packed, cells) + tokens

    def auxiliary(self, base: Tensor, truth: Tensor, weights: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """(sum of squared errors, sum of weights) of the density against the interpolation's error, pooled to coarse cells.

        base and truth [B, C, sH, sW] in normalised units (NaN = missing), weights broadcastable to them, scale [C]. Both sums
        are to be added over ranks before dividing.
        """
        assert self.predicted is not None, "auxiliary follows a forward pass in training mode"
        image, self.predicted = self.predicted, None
        error = ((truth - base) / scale[:, None, None]).abs()
        area, summed = counted(error, weights, base.shape[-1] // image.shape[-1])
        target = summed / area.clamp_min(1e-12)
        return (area * (image - target) ** 2).sum(), area.sum()


def counted(error: Tensor, weights: Tensor, factor: int) -> tuple[Tensor, Tensor]:
    """(weight, weighted error) of every coarse cell [B, H, W] that `factor` fine cells a side make; error [B, C, sH, sW], NaN = masked."""
    weight = weights.to(error.dtype).expand_as(error) * torch.isfinite(error)
    return F.avg_pool2d(weight.sum(1), factor), F.avg_pool2d((weight * torch.nan_to_num(error)).sum(1), factor)
