"""Pre-norm transformer blocks over token sets, dense [B, N, D] or packed [T, D]. Never mixes tokens of two samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from orbit2.config.network import ArchitectureConfig
from orbit2.model.attention import Attention, Kernel, Packing, pack, unpack
from orbit2.model.norm import Norm

Run = Callable[[Tensor, Packing | None], Tensor]


class Block(nn.Module):
    """x + attention(norm(x)), then x + MLP(norm(x)); `drop_path` drops a whole branch per sample while training."""

    def __init__(
        self, embed_dim: int, heads: int, mlp_ratio: float, drop_path: float = 0.0, dropout: float = 0.0, kernel: Kernel = "auto"
    ) -> None:
        super().__init__()
        hidden = int(embed_dim * mlp_ratio)
        self.norm1, self.norm2 = Norm(embed_dim), Norm(embed_dim)
        self.attention = Attention(embed_dim, heads, kernel)
        drop = nn.Dropout(dropout) if dropout else nn.Identity()
        self.mlp = nn.Sequential(nn.Linear(embed_dim, hidden), nn.GELU(), drop, nn.Linear(hidden, embed_dim))
        self.drop_path = drop_path

    def forward(self, tokens: Tensor, packing: Packing | None = None) -> Tensor:
        """tokens [B, N, D], or packed [T, D] with `packing` -> the same shape."""
        if not self.training or self.drop_path == 0:
            return self.undropped(tokens, packing)
        tokens = tokens + self._keep(self.mixed(tokens, packing), packing)
        return tokens + self._keep(self.fed(tokens), packing)

    def undropped(self, tokens: Tensor, packing: Packing | None = None) -> Tensor:
        """Both branches, in one go: a compiler joins each addition with the norm that follows."""
        tokens = tokens + Block.mixed(self, tokens, packing)
        return tokens + Block.fed(self, tokens)

    def mixed(self, tokens: Tensor, packing: Packing | None = None) -> Tensor:
        """What tokens say to each other."""
        result: Tensor = self.attention(self.norm1(tokens), packing)
        return result

    def fed(self, tokens: Tensor) -> Tensor:
        """What each token is told by itself."""
        result: Tensor = self.mlp(self.norm2(tokens))
        return result

    def _keep(self, branch: Tensor, packing: Packing | None) -> Tensor:
        keep = 1 - self.drop_path
        samples = branch.shape[0] if packing is None else len(packing.lengths)
        drawn = branch.new_empty(samples, 1, 1).bernoulli_(keep)
        return branch * (drawn if packing is None else packing.per_token(drawn[:, 0])) / keep


class Blocks(nn.ModuleList):
    """Blocks one after the other.

    `divided`, where set, is asked instead of `run`, with it and its arguments: by processes that have some of the tokens each.
    """

    def __init__(self, blocks: Iterable[nn.Module]) -> None:
        super().__init__(blocks)
        self.divided: Callable[[Run, Tensor, Packing | None], Tensor] | None = None

    @classmethod
    def of(cls, config: ArchitectureConfig) -> Blocks:
        """Those of an architecture: deeper ones are dropped more often."""
        rates = torch.linspace(0, config.drop_path, config.depth, device="cpu").tolist()
        return cls(Block(config.embed_dim, config.heads, config.mlp_ratio, rate, config.dropout, config.attention) for rate in rates)

    def forward(self, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
        """All blocks over padded tokens [B, N, D] whose real ones are True in `mask` [B, N] (None: all are real).

        Masked sets are packed first, so padding costs nothing and cannot leak; it comes back as zeros.
        """
        if mask is None:
            return self._all(tokens, None)
        packed, packing = pack(tokens, mask)
        return unpack(self._all(packed, packing), packing)

    def _all(self, tokens: Tensor, packing: Packing | None) -> Tensor:
        return self.run(tokens, packing) if self.divided is None else self.divided(self.run, tokens, packing)

    def run(self, tokens: Tensor, packing: Packing | None = None) -> Tensor:
        """tokens [B, N, D], or packed [T, D] with `packing` -> the same shape."""
        for block in self:
            tokens = block(tokens, packing)
        return tokens
