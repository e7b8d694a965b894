"""Folded variable aggregation against the naive form, in float64."""

import math

import pytest
import torch

from orbit2.errors import OrbitError
from orbit2.model.aggregate import VariableAggregation

NAMES = ["a", "b", "c", "d"]


def naive(room: VariableAggregation, fields: torch.Tensor, names: list[str]) -> torch.Tensor:
    """Tokens per variable, keys, values and softmax spelled out as in the paper."""
    p, heads, width = room.patch, room.heads, room.embed_dim
    b, v, height, w = fields.shape
    patches = fields.reshape(b, v, height // p, p, w // p, p).permute(0, 1, 2, 4, 3, 5).reshape(b, v, -1, p * p)
    here = torch.isfinite(patches)
    tokens = []
    for i, name in enumerate(names):
        k = NAMES.index(name)
        tokens.append(
            torch.nan_to_num(patches[:, i]) @ room.weight[k] + (~here[:, i]).double() @ room.missing[k] + room.bias[k] + room.embedding[k]
        )
    stacked = torch.stack(tokens, 2)  # [B, N, V, D]
    keys = (stacked @ room.key.T).unflatten(-1, (heads, -1))
    values = (stacked @ room.value.T).unflatten(-1, (heads, -1))
    scores = (keys * room.query.view(heads, -1)).sum(-1) / math.sqrt(width // heads)  # [B, N, V, h]
    scores = scores.masked_fill(~here.any(-1).transpose(1, 2)[..., None], -torch.inf)
    mixed = (scores.softmax(2)[..., None] * values).sum(2).flatten(2)
    return room.output(mixed)


@pytest.mark.parametrize("missing", [False, True])
def test_folded_equals_naive(missing: bool) -> None:
    torch.manual_seed(0)
    room = VariableAggregation(NAMES, 2, 16, 4).double()
    torch.nn.init.normal_(room.missing)
    torch.nn.init.normal_(room.bias)
    fields = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    if missing:
        fields[0, 0, :4, :5] = torch.nan
        fields[1, 2, 3, 3] = torch.nan
    names = ["d", "a", "b"]
    assert (room(fields, names, True) - naive(room, fields, names)).abs().max() < 1e-10


def test_variable_missing_everywhere_equals_variable_not_passed() -> None:
    torch.manual_seed(0)
    room = VariableAggregation(NAMES, 2, 16, 4).double()
    fields = torch.randn(1, 3, 4, 4, dtype=torch.float64)
    fields[:, 1] = torch.nan
    assert (room(fields, ["a", "b", "c"], False) - room(fields[:, [0, 2]], ["a", "c"], False)).abs().max() < 1e-12


def test_unknown_variable_names_the_nearest() -> None:
    room = VariableAggregation(["2m_temperature"], 2, 8, 2)
    with pytest.raises(OrbitError, match="2m_temperature"):
        room(torch.zeros(1, 1, 4, 4), ["2m_temperatur"], False)
