"""Folded variable aggregation against the naive form, in float64."""

import math

import pytest
import torch

from orbit2.errors import OrbitError
from orbit2.model.aggregate import PER_VARIABLE, Share, Tables, VariableAggregation, merge

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


@pytest.mark.parametrize("groups", [["d", "ab"], ["a", "b", "d"], ["", "abd", ""]])
def test_groups_of_variables_add_up_exactly(groups: list[str]) -> None:
    """Each group apart, its share merged with the others', equals all together: where cells, variables or all of them are missing too."""
    torch.manual_seed(0)
    room = VariableAggregation(NAMES, 2, 16, 4).double()
    torch.nn.init.normal_(room.missing)
    torch.nn.init.normal_(room.bias)
    fields = torch.randn(2, 3, 6, 8, dtype=torch.float64)
    fields[0, 0, :4, :5] = torch.nan
    fields[1, 2, 3, 3] = torch.nan
    fields[0, :, 2:4] = torch.nan  # all of them
    fields[1, 1:, :4] = torch.nan
    names = ["d", "a", "b"]
    parts = []
    for group in groups:
        chosen = [NAMES.index(name) for name in group]
        rows = [getattr(room, name)[chosen] for name in PER_VARIABLE]
        passed = fields[:, [names.index(name) for name in group]]
        parts.append(room.share(passed, Tables(*rows, room.scoring(), room.values()), True, not bool(passed.isnan().any())))
    # the holders beside each other, as one batch
    holders = Share(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
    found = merge(
        holders,
        lambda x: x.unflatten(0, (len(groups), -1)).amax(0).repeat(len(groups), *[1] * (x.ndim - 1)),
        lambda x: x.unflatten(0, (len(groups), -1)).sum(0).repeat(len(groups), *[1] * (x.ndim - 1)),
    ).chunk(len(groups))
    expected = room.mixed(fields, names, True, False)
    assert all((one - expected).abs().max() < 1e-12 for one in found)
    parameters = [p for name, p in room.named_parameters() if not name.startswith("output")]
    weights = torch.randn_like(expected)
    gradients = [torch.autograd.grad((mixed * weights).sum(), parameters) for mixed in (found[0], expected)]
    assert all((g - e).abs().max() < 1e-10 * max(float(e.abs().max()), 1.0) for g, e in zip(*gradients, strict=True))


def test_unknown_variable_names_the_nearest() -> None:
    room = VariableAggregation(["2m_temperature"], 2, 8, 2)
    with pytest.raises(OrbitError, match="2m_temperature"):
        room(torch.zeros(1, 1, 4, 4), ["2m_temperatur"], False)
