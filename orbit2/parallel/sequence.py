"""Tokens split over ranks round the transformer's blocks (Ulysses, arXiv 2309.14509). Never approximates: attention sees every token.

Between attentions a rank has some of the tokens and all heads; inside, by one exchange each way, all tokens and some of the heads. Sets
that compression made different in length are one packed row of tokens here, cut anywhere.

Ranks of the group compute the same up to the blocks and after them. Each divides its loss by their number; gradients are added over them.
Stochastic depth needs torch's generator in the same state on all of them (see draws.py).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed import ProcessGroup
from torch.distributed.device_mesh import DeviceMesh

from orbit2.errors import OrbitError
from orbit2.model.attention import Attention, Packing
from orbit2.model.blocks import Blocks, Run
from orbit2.parallel.adjoints import alike, exchanged, gathered
from orbit2.parallel.draws import part_dropout
from orbit2.parallel.sharded import local


def split_sequence(model: nn.Module, sp_mesh: DeviceMesh) -> None:
    """Split the tokens of `model.blocks` over a mesh of one dimension, in place; after `split_hidden` where both are wanted.

    Raises OrbitError for a model without blocks, and where ranks do not divide the heads that a process has.
    """
    blocks = getattr(model, "blocks", None)
    if not isinstance(blocks, Blocks):
        raise OrbitError("tokens can be split in transformers only", where="train.mesh.sp", got=type(model).__name__,
                         allowed="Reslim, UpsampledViT", hint="set it to 1")  # fmt: skip
    group, ranks, rank = sp_mesh.get_group(), sp_mesh.size(), sp_mesh.get_local_rank()
    for attention in (module for module in blocks.modules() if isinstance(module, Attention)):
        heads = _heads(attention)
        if heads % ranks:
            valid = [n for n in range(1, heads + 1) if heads % n == 0]
            raise OrbitError("sp must divide the attention heads of a rank", where="train.mesh.sp", got=f"{ranks} for {heads} heads",
                             allowed=", ".join(map(str, valid)), hint="change train.mesh.sp or architecture.heads")  # fmt: skip
        attention.core = Ulysses(attention.core, group, ranks)
    blocks.divided = _divided(group, ranks, rank)
    part_dropout(blocks, ranks, rank)
    agree_on_leaves(model, group)


def agree_on_leaves(model: nn.Module, group: ProcessGroup) -> None:
    """Ranks that hold the same samples compress them alike, whatever a device's rounding: by the first one's density."""
    compression = getattr(model, "compression", None)
    if compression is not None:
        compression.density.register_forward_hook(lambda module, inputs, output: alike(output, group))


@dataclass(frozen=True)
class Piece(Packing):
    """This rank's part of a packed set, `whole`: a Packing of its own tokens, of which samples may have none. Padding is the last's."""

    whole: Packing


@dataclass(frozen=True)
class Cut(Packing):
    """This rank's part of dense tokens: `count` of each sample over all ranks, padding not counted."""

    count: int

    def per_token(self, values: Tensor) -> Tensor:
        """One value per sample [B, ...] -> one per token [B, 1, ...]."""
        return values[:, None]


class Ulysses(nn.Module):
    """`core`, an attention's, on all tokens and this rank's share of the heads."""

    def __init__(self, core: nn.Module, group: ProcessGroup, ranks: int) -> None:
        super().__init__()
        self.core, self.group, self.ranks = core, group, ranks

    def forward(self, qkv: Tensor, packing: Packing | None = None) -> Tensor:
        """[B, n, h, 3, d] of n tokens here, or packed [t, h, 3, d] -> [B, n, h, d] or [t, h, d]."""
        if isinstance(packing, Cut):  # tokens first
            every = self.to_heads(qkv.transpose(0, 1))[: packing.count]
            return self._back(self.core(every.transpose(0, 1)).transpose(0, 1), qkv.shape[1]).transpose(0, 1)
        assert isinstance(packing, Piece)
        whole = packing.whole
        return self._back(self.core(self.to_heads(qkv)[: sum(whole.lengths)], whole), len(qkv))

    def _back(self, mixed: Tensor, each: int) -> Tensor:
        """[T, ..., h / R, d] of all tokens -> [each, ..., h, d] of this rank's."""
        return self.to_tokens(F.pad(mixed, [0, 0] * (mixed.ndim - 1) + [0, each * self.ranks - len(mixed)]))

    def to_heads(self, tokens: Tensor) -> Tensor:
        """[n, ..., h, 3, d] -> [R n, ..., h / R, 3, d]."""
        parts = tokens.unflatten(-3, (self.ranks, -1)).movedim(-4, 0)  # type: ignore[no-untyped-call]
        return exchanged(parts, self.group).flatten(0, 1)

    def to_tokens(self, mixed: Tensor) -> Tensor:
        """[R n, ..., h / R, d] -> [n, ..., h, d]."""
        parts = exchanged(mixed.unflatten(0, (self.ranks, -1)), self.group)  # type: ignore[no-untyped-call]
        return parts.movedim(0, -3).flatten(-3, -2)


def _divided(group: ProcessGroup, ranks: int, rank: int) -> Callable[[Run, Tensor, Packing | None], Tensor]:
    def divided(run: Run, tokens: Tensor, packing: Packing | None) -> Tensor:
        """`run` on this rank's tokens of [B, N, D], or of packed [T, D] -> all of them on all ranks."""
        rows = tokens.transpose(0, 1) if packing is None else tokens  # tokens first
        count = len(rows)
        each = -(-count // ranks)
        padded = F.pad(rows, [0, 0] * (rows.ndim - 1) + [0, each * ranks - count])
        mine = padded[rank * each : (rank + 1) * each]
        if packing is None:
            out = run(mine.transpose(0, 1), _cut(tokens, count)).transpose(0, 1)
        else:
            out = run(mine, _piece(packing, rank * each, each))
        full = gathered(out, group)[:count]
        return full.transpose(0, 1) if packing is None else full

    return divided


def _cut(tokens: Tensor, count: int) -> Cut:
    nothing = tokens.new_empty(0)  # nobody asks a dense set where its tokens lie
    return Cut(nothing, (count,) * len(tokens), nothing, count)


def _piece(whole: Packing, start: int, each: int) -> Piece:
    """Rows start to start + each of a packed set; rows after its end count as the last sample's."""
    offsets = (whole.offsets - start).clamp(0, each)
    lengths, end = [], 0
    for length in whole.lengths:
        first, end = end, end + length
        lengths.append(min(max(end - start, 0), each) - min(max(first - start, 0), each))
    spare = each - sum(lengths)
    if spare:
        lengths[-1] += spare
        offsets = F.pad(offsets[:-1], (0, 1), value=each)
    return Piece(offsets, tuple(lengths), whole.mask, whole)


def _heads(attention: Attention) -> int:
    """Heads of this process: all, or a tensor-parallel share of them."""
    return len(local(attention.qkv_by_head.weight)) // (3 * attention.head_dim)
