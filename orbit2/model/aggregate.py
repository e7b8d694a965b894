"""Patch tokens of every variable, aggregated by one learned query (paper section III-A). Never materialises per-variable tokens.

The query q is constant, so with u[h,v] = W_v^T K_h^T q_h / sqrt(d) the score of a token is a p^2-vector dot product and
sum_v a U_h (W_v x + b_v + e_v) = sum_v (U_h W_v)(a x) + a U_h (b_v + e_v): the same function, about 100 times fewer FLOPs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from orbit2.errors import OrbitError, did_you_mean
from orbit2.model.geometry import complete, pad, select, to_multiple


class VariableAggregation(nn.Module):
    """[B, V, H, W] fields (NaN = missing) -> [B, N, D] tokens, N = ceil(H/p) ceil(W/p).

    Each variable has its own linear patch embedding and embedding vector, found by NAME in `vocabulary`; a variable
    that is not passed, or has no valid cell in a patch, drops out of the softmax there.
    """

    def __init__(self, vocabulary: Sequence[str], patch: int, embed_dim: int, heads: int) -> None:
        super().__init__()
        self.vocabulary, self.patch, self.embed_dim, self.heads = tuple(vocabulary), patch, embed_dim, heads
        count, cells = len(self.vocabulary), patch * patch
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
                raise OrbitError(
                    "the model does not know this input variable",
                    got=name,
                    allowed=", ".join(self.vocabulary),
                    hint=did_you_mean(name, self.vocabulary),
                )
        return [self.vocabulary.index(name) for name in variables]

    def folded(self, chosen: list[int], whole: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Score vectors [h, V, P], score offsets [h, V], value maps [h, P V, d], value offsets [h, V, d].

        P = p^2 cells when `whole`, else 2p^2: cells, then their validity.
        """
        heads, depth = self.heads, self.embed_dim // self.heads
        weight, missing = select(self.weight, chosen, 0), select(self.missing, chosen, 0)
        # adding nothing gives `missing` a gradient of zero, so that the optimiser treats it alike in every batch and on every rank
        weight = torch.add(weight, missing, alpha=0) if whole else torch.cat([weight, missing], 1)
        weight = _wide(weight)  # [V, P, D]
        constant = _wide(select(self.bias + self.embedding, chosen, 0))  # [V, D]
        query = torch.einsum("hk,hkd->hd", _wide(self.query).view(heads, depth), _wide(self.key).view(heads, depth, -1)) / math.sqrt(depth)
        value = _wide(self.value).view(heads, depth, -1)
        return (
            torch.einsum("hd,vpd->hvp", query, weight),
            torch.einsum("hd,vd->hv", query, constant),
            torch.einsum("hkd,vpd->hvpk", value, weight).transpose(1, 2).flatten(1, 2),
            torch.einsum("hkd,vd->hvk", value, constant),
        )

    def forward(self, fields: Tensor, variables: Sequence[str], periodic: bool, whole: bool | None = None) -> Tensor:
        patches = self.patches(fields, periodic)  # [B, V, p^2, N]
        present = torch.isfinite(patches)
        if whole is None:
            whole = complete(patches)
        # fp32 keeps the log-sum-exp exact under autocast; this room is a few per cent of the FLOPs
        with torch.autocast("cpu" if patches.is_meta else patches.device.type, enabled=False):
            score_map, score_offset, value_map, value_offset = self.folded(self.select(variables), whole)
            x = _wide(patches)
            features = x if whole else torch.cat([torch.nan_to_num(x), (~present).to(x.dtype)], 2)
            scores = torch.einsum("bvpn,hvp->bhvn", features, score_map) + score_offset[None, :, :, None]
            if not whole:
                here = present.any(2)  # [B, V, N]
                scores = scores.masked_fill(~here[:, None], -torch.inf)
                scores = scores.masked_fill(~here.any(1)[:, None, None], 0.0)  # nothing here: uniform, validity says so
            attention = scores.softmax(2)  # over variables
            # cells before variables, as they lie in memory, so that the product below needs no copy
            weighted = attention[:, :, None] * features.transpose(1, 2)[:, None]  # [B, h, P, V, N]
            mixed = torch.einsum("bhcn,hck->bnhk", weighted.flatten(2, 3), value_map)
            mixed = mixed + torch.einsum("bhvn,hvk->bnhk", attention, value_offset)
        tokens: Tensor = self.output(mixed.flatten(2))
        return tokens

    def patches(self, fields: Tensor, periodic: bool) -> Tensor:
        """[B, V, H, W] -> [B, V, p^2, N], padded to whole patches."""
        p = self.patch
        fields = pad(fields, to_multiple(fields.shape[-2], p), to_multiple(fields.shape[-1], p), periodic)
        b, v, height, width = fields.shape
        fields = fields.view(b, v, height // p, p, width // p, p)
        return fields.permute(0, 3, 5, 1, 2, 4).reshape(b, p * p, v, -1).transpose(1, 2)


def _wide(tensor: Tensor) -> Tensor:
    """At least float32."""
    return tensor if tensor.dtype == torch.float64 else tensor.float()
