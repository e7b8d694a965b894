"""Random numbers of ranks that hold parts of the same samples. Never a generator whose state a checkpoint would not have.

All ranks of a model group (sp x tp) keep torch's own generator in the SAME state: what is drawn per sample (stochastic depth) is then
drawn alike. Dropout, of which each rank has other tokens or features, takes one number from it, the same on all, and seeds a generator of
its own with that number and the rank: independent over ranks, the same again from a checkpoint or in a recomputed block.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

STRIDE = 0x9E3779B97F4A7C15  # odd: seeds of different ranks never meet


class RankDropout(nn.Dropout):
    """Dropout with a mask of this rank's own; `part` is its number among those that share a sample."""

    def __init__(self, p: float, part: int) -> None:
        super().__init__(p)
        self.part = part

    def forward(self, values: Tensor) -> Tensor:
        if not self.training or self.p == 0:
            return values
        mask: Tensor = self.mask(values)
        return values * mask / (1 - self.p)

    @torch.compiler.disable  # type: ignore[untyped-decorator]  # a generator of its own cannot be compiled
    def mask(self, values: Tensor) -> Tensor:
        """What is kept of `values`: ones and zeros of their shape."""
        number = int(torch.randint(2**62, (), device="cpu"))
        generator = torch.Generator(values.device).manual_seed((number + (self.part + 1) * STRIDE) % 2**63)
        return torch.empty_like(values).bernoulli_(1 - self.p, generator=generator)


def part_dropout(module: nn.Module, ranks: int, rank: int) -> None:
    """Give every dropout in `module` a mask per rank, in place. Axes may follow each other: the parts of one are cut by the next."""
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.Dropout) and child.p:
                before = child.part if isinstance(child, RankDropout) else 0
                setattr(parent, name, RankDropout(child.p, before * ranks + rank))
