"""Patch tokens of every variable, aggregated by one learned query (paper section III-A). Never materialises per-variable tokens.

The query q is constant, so with u[h,v] = W_v^T K_h^T q_h / sqrt(d) the score of a token is a p^2-vector dot product and
sum_v a U_h (W_v x + b_v + e_v) = sum_v (U_h W_v)(a x) + a U_h (b_v + e_v): the same function, about 100 times fewer FLOPs.

What groups of variables say apart (`Share`) adds up, by the log-sum-exp of their scores, to what they say together (`merge`): exact for
any split.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from orbit2.errors import OrbitError, one_of
from orbit2.model.geometry import complete, pad, select, to_multiple
from orbit2.model.precision import exact, stream

PER_VARIABLE = ("weight", "missing", "bias", "embedding")  # parameters with a row for each variable of the vocabulary


class Tables(NamedTuple):
    """What variables are aggregated with. Per variable: weight and missing [V, p^2, D], bias and embedding [V, D].

    For all: scoring [h, D], whose product with a token is its score (K_h^T q_h / sqrt(d)), and value [h, d, D].
    """

    weight: Tensor
    missing: Tensor
    bias: Tensor
    embedding: Tensor
    scoring: Tensor
    value: Tensor

    def folded(self, whole: bool) -> tuple[Tensor, Tensor]:
        """Score vectors [h, V, P] and value maps [h, P V, d] of features.

        P = p^2 + 1 features when `whole`: cells, then a one; else 2p^2 + 1, with the cells' validity between.
        """
        # adding nothing gives `missing` a gradient of zero, so that the optimiser treats it alike in every batch and on every rank
        cells = [torch.add(self.weight, self.missing, alpha=0)] if whole else [self.weight, self.missing]
        weight = _wide(torch.cat([*cells, (self.bias + self.embedding)[:, None]], 1))  # [V, P, D]
        return (
            torch.einsum("hd,vpd->hvp", self.scoring, weight),
            torch.einsum("hkd,vpd->hvpk", self.value, weight).transpose(1, 2).flatten(1, 2),
        )


class Share(NamedTuple):
    """What some of a batch's variables (or none) say, aggregated over them alone.

    mixed [B, N, h, d]; weight [B, h, N], the log-sum-exp of their scores; present [B, N]: where any of them has a valid cell. Elsewhere
    each has a score of 0.
    """

    mixed: Tensor
    weight: Tensor
    present: Tensor


Reduction = Callable[[Tensor], Tensor]


def merge(share: Share, largest: Reduction, total: Reduction) -> Tensor:
    """What the variables of all shares say together [B, N, h, d].

    Every holder of a share calls this. `largest` and `total` give the maximum and the sum of a tensor over them; gradients go through
    `total` only.
    """
    weight = share.weight.masked_fill(~share.present[:, None], -torch.inf)
    top = largest(weight.detach())
    nothing = top == -torch.inf  # here, whoever is asked: uniform over all variables, as many as each share has
    weight = torch.where(nothing, share.weight, weight)
    factor = (weight - top.masked_fill(nothing, 0.0)).exp().transpose(1, 2)[..., None]  # [B, N, h, 1]
    sums = total(torch.cat([share.mixed * factor, factor], -1))
    return sums[..., :-1] / sums[..., -1:]


class VariableAggregation(nn.Module):
    """[B, V, H, W] fields (NaN = missing) -> [B, N, D] tokens, N = ceil(H/p) ceil(W/p).

    Each variable has its own linear patch embedding and embedding vector, found by NAME in `vocabulary`; a variable
    that is not passed, or has no valid cell in a patch, drops out of the softmax there.

    `divided`, where set, is asked instead of `mixed`, with this module and the same arguments: by processes that hold some variables' rows
    each.
    """

    def __init__(self, vocabulary: Sequence[str], patch: int, embed_dim: int, heads: int) -> None:
        super().__init__()
        self.vocabulary, self.patch, self.embed_dim, self.heads = tuple(vocabulary), patch, embed_dim, heads
        count, cells = len(self.vocabulary), patch * patch
        self.divided: Callable[[VariableAggregation, Tensor, Sequence[str], bool, bool], Tensor] | None = None
        self.weight = nn.Parameter(torch.empty(count, cells, embed_dim))  # W_v, transposed
        self.missing = nn.Parameter(torch.zeros(count, cells, embed_dim))  # validity channel
        self.bias = nn.Parameter(torch.zeros(count, embed_dim))
        self.embedding = nn.Parameter(torch.empty(count, embed_dim))
        self.query = nn.Parameter(torch.empty(embed_dim))
        self.key = nn.Parameter(torch.empty(embed_dim, embed_dim))
        self.value = nn.Parameter(torch.empty(embed_dim, embed_dim))
        self.output = nn.Linear(embed_dim, embed_dim)
        nn.init.normal_(self.weight, std=1 / math.sqrt(cells))
        nn.init.normal_(self.embedding, std=0.5)
        nn.init.normal_(self.query, std=1.0)
        nn.init.normal_(self.key, std=1 / math.sqrt(embed_dim))
        nn.init.normal_(self.value, std=1 / math.sqrt(embed_dim))

    def select(self, variables: Sequence[str]) -> list[int]:
        """Positions of `variables` in the vocabulary. Raises OrbitError for an unknown name."""
        for name in variables:
            if name not in self.vocabulary:
                raise OrbitError("the model does not know this input variable", where="inputs", got=name,
                                 allowed=", ".join(self.vocabulary), hint=one_of(name, self.vocabulary))  # fmt: skip
        return [self.vocabulary.index(name) for name in variables]

    def scoring(self) -> Tensor:
        """K_h^T q_h / sqrt(d) [h, D]."""
        depth = self.embed_dim // self.heads
        query, key = _wide(self.query).view(self.heads, depth), _wide(self.key).view(self.heads, depth, -1)
        return torch.einsum("hk,hkd->hd", query, key) / math.sqrt(depth)

    def values(self) -> Tensor:
        """[h, d, D]."""
        return _wide(self.value).view(self.heads, self.embed_dim // self.heads, -1)

    def forward(self, fields: Tensor, variables: Sequence[str], periodic: bool, whole: bool | None = None) -> Tensor:
        if whole is None:
            whole = complete(fields)
        if self.divided is None:
            mixed = self.mixed(fields, variables, periodic, whole)
        else:
            mixed = self.divided(self, fields, variables, periodic, whole)
        # heads beside each other, in the type of what follows, in one copy
        tokens: Tensor = self.output(mixed.to(stream(fields), memory_format=torch.contiguous_format).flatten(2))
        return tokens

    def mixed(self, fields: Tensor, variables: Sequence[str], periodic: bool, whole: bool) -> Tensor:
        """[B, V, H, W] -> [B, N, h, d]. `whole`: no cell is missing."""
        patches = self.patches(fields, periodic)
        with exact(patches):
            chosen = self.select(variables)
            weight, missing, bias, embedding = (select(getattr(self, name), chosen, 0) for name in PER_VARIABLE)
            tables = Tables(weight, missing, bias, embedding, self.scoring(), self.values())
            return _aggregated(patches, tables, whole)[0]

    def share(self, fields: Tensor, tables: Tables, periodic: bool, whole: bool) -> Share:
        """[B, V, H, W] of some variables, which have these tables -> what they say. `whole`: none of their cells is missing."""
        patches = self.patches(fields, periodic)
        with exact(patches):
            mixed, scores = _aggregated(patches, tables, whole)
            return Share(mixed, scores.logsumexp(2), torch.isfinite(patches).any(2).any(1))

    def patches(self, fields: Tensor, periodic: bool) -> Tensor:
        """[B, V, H, W] -> [B, V, p^2, N], padded to whole patches."""
        p = self.patch
        if not fields.shape[1]:
            return fields.new_empty(len(fields), 0, p * p, -(-fields.shape[2] // p) * -(-fields.shape[3] // p))
        fields = pad(fields, to_multiple(fields.shape[-2], p), to_multiple(fields.shape[-1], p), periodic)
        b, v, height, width = fields.shape
        fields = fields.view(b, v, height // p, p, width // p, p)
        return fields.permute(0, 3, 5, 1, 2, 4).reshape(b, p * p, v, -1).transpose(1, 2)


def _aggregated(patches: Tensor, tables: Tables, whole: bool) -> tuple[Tensor, Tensor]:
    """Patches [B, V, p^2, N] -> what they say [B, N, h, d], and their scores [B, h, V, N]."""
    score_map, value_map = tables.folded(whole)
    x = _wide(patches)
    one = torch.ones_like(x[:, :, :1])
    if whole:
        features = torch.cat([x.transpose(1, 2), one.transpose(1, 2)], 1).transpose(1, 2)
    else:
        present = torch.isfinite(patches)
        features = torch.cat([torch.nan_to_num(x), (~present).to(x.dtype), one], 2)
    scores = torch.einsum("bvpn,hvp->bhvn", features, score_map)
    if not whole:
        here = present.any(2)  # [B, V, N]
        scores = scores.masked_fill(~here[:, None], -torch.inf)
        scores = scores.masked_fill(~here.any(1)[:, None, None], 0.0)  # nothing here: uniform, validity says so
    attention = scores.softmax(2)  # over variables
    # cells before variables, as they lie in memory, so that the product below needs no copy
    weighted = attention[:, :, None] * features.transpose(1, 2)[:, None]  # [B, h, P, V, N]
    return (weighted.flatten(2, 3).transpose(2, 3) @ value_map).transpose(1, 2), scores


def _wide(tensor: Tensor) -> Tensor:
    """At least float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
