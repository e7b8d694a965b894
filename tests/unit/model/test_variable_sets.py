"""Variables that come and go: absent equals missing, added by fine-tuning without a trace, five hundred without their tokens."""

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from orbit2.config.network import ArchitectureConfig
from orbit2.grid import global_grid, uniform
from orbit2.model.aggregate import VariableAggregation
from orbit2.model.residual import interpolate
from orbit2.model.reslim import Reslim
from orbit2.model.transfer import transfer
from tests.data.small_models import INPUTS, OUTPUTS, STATICS, batch_for, demo_model, wake


def stirred(model: Reslim) -> Reslim:
    """Also the validity weights and biases, which start at zero."""
    wake(model)
    for parameter in (model.aggregate.missing, model.aggregate.bias):
        torch.nn.init.normal_(parameter, std=0.3)
    return model.eval()


@pytest.mark.parametrize("conserve", [False, True])
@pytest.mark.parametrize("absent", ["2m_temperature", "precipitation_rate"])
def test_absent_equals_all_missing(conserve: bool, absent: str) -> None:
    model = stirred(demo_model(conserve=conserve))
    coarse, statics, geometry = batch_for(global_grid(15.0), batch=2)
    coarse[1, 2, 3:5] = torch.nan
    k = INPUTS.index(absent)
    others = [i for i in range(4) if i != k]
    gone = coarse.clone()
    gone[:, k] = torch.nan
    with torch.no_grad():
        without = model(coarse[:, others], statics, geometry, [INPUTS[i] for i in others])
        missing = model(gone, statics, geometry)
        there = model(coarse, statics, geometry)
    assert torch.isfinite(without).all() and (without - missing).abs().max() < 1e-6 < (without - there).abs().max()


def test_order_of_the_channels_does_not_matter() -> None:
    model = stirred(demo_model())
    coarse, statics, geometry = batch_for(uniform(10, 40, 0, 50, 6, 10))
    order = [2, 0, 3, 1]
    with torch.no_grad():
        found = model(coarse[:, order], statics, geometry, [INPUTS[i] for i in order])
        assert (found - model(coarse, statics, geometry)).abs().max() < 1e-5


def test_absent_static_equals_all_missing_static() -> None:
    """Fine statics a dataset lacks arrive as NaN: its weights then see nothing, and get no gradient."""
    model = stirred(demo_model())
    coarse, statics, geometry = batch_for(global_grid(15.0))
    statics[:, 1] = torch.nan
    model(coarse[:, :3], statics, geometry, INPUTS[:3]).square().mean().backward()
    weight = model.residual.enter_statics.weight.grad
    assert (weight[:, 16:32] == 0).all() and (weight[:, :16] != 0).any()


@pytest.mark.parametrize("new_output", [False, True])
def test_adding_a_variable_keeps_the_parent_to_the_bit(new_output: bool) -> None:
    parent = stirred(demo_model())
    outputs = (*OUTPUTS, "2m_temperature_max") if new_output else OUTPUTS
    torch.manual_seed(5)
    child = Reslim(parent.config, ("2m_temperature", "2m_temperature_max", *INPUTS[1:], "land_sea_mask"), outputs,
                   (*STATICS, "land_sea_mask")).eval()  # fmt: skip
    report = transfer(parent, child)
    assert report.new == ["2m_temperature_max", "land_sea_mask"] and report.dropped == []
    for table in ("weight", "missing", "bias", "embedding"):
        old, new = getattr(parent.aggregate, table), getattr(child.aggregate, table)
        assert torch.equal(new[[0, 2, 3, 4]], old)
    assert torch.equal(child.residual.enter[[0, 2, 3, 4]], parent.residual.enter)
    assert all(torch.equal(tensor, parent.state_dict()[name]) for name, tensor in child.state_dict().items() if name.startswith("blocks."))
    coarse, statics, geometry = batch_for(global_grid(15.0), batch=2)
    coarse[0, 0, 2:4, 3:7] = torch.nan
    wider = torch.cat([statics, torch.full_like(statics[:, :1], torch.nan)], 1)
    given = torch.cat([coarse, torch.full_like(coarse[:, :2], torch.nan)], 1)
    with torch.no_grad():
        expected = parent(coarse, statics, geometry)
        absent = child(coarse, wider, geometry, INPUTS)[:, :2]
        missing = child(given, wider, geometry, (*INPUTS, "2m_temperature_max", "land_sea_mask"))[:, :2]
    assert (absent - expected).abs().max() < 1e-5 and (missing - expected).abs().max() < 1e-5


class Largest(TorchDispatchMode):
    """The most elements any tensor has that an operation returns."""

    def __init__(self) -> None:
        super().__init__()
        self.elements = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        self.elements = max([self.elements, *(t.numel() for t in tree_leaves(result) if isinstance(t, torch.Tensor))])
        return result


@pytest.mark.parametrize("missing", [False, True])
def test_five_hundred_variables_without_their_tokens(missing: bool) -> None:
    variables, width, heads, patch = 500, 256, 4, 2
    names = [f"v{i}" for i in range(variables)]
    room = VariableAggregation(names, patch, width, heads)
    fields = torch.randn(1, variables, 8, 32, generator=torch.Generator().manual_seed(0))
    if missing:
        fields[:, ::7, 2:5] = torch.nan
    tokens = 8 * 32 // patch**2
    with Largest() as seen:
        room(fields, names, True).square().mean().backward()
    cells = patch**2 * (2 if missing else 1)
    weights = variables * 2 * patch**2 * width  # the folded maps: no token in them
    assert seen.elements <= max(heads * (cells + 1) * variables * tokens, weights) <= variables * tokens * width / 7
    assert room.weight.grad is not None and (room.weight.grad.abs().sum((1, 2)) > 0).all()


def test_five_hundred_variables_through_the_whole_model() -> None:
    names = [f"v{i}" for i in range(500)]
    model = Reslim(ArchitectureConfig(embed_dim=16, depth=1, heads=2, decoder_depth=0, residual_width=4, residual_blocks=0), names,
                   names[:3], ())  # fmt: skip
    _, _, geometry = batch_for(global_grid(30.0))
    with torch.no_grad():
        assert model(torch.randn(1, 500, 6, 12), None, geometry).shape == (1, 3, 24, 48)


def test_a_hole_changes_the_interpolation_only_near_by() -> None:
    fields = torch.randn(2, 2, 12, 24, generator=torch.Generator().manual_seed(0))
    whole = interpolate(fields, 4, "bicubic", True)
    holed = fields.clone()
    holed[1, 0, 5, 0] = torch.nan
    found = interpolate(holed, 4, "bicubic", True)
    changed = (found != whole).reshape(2, 2, 12, 4, 24, 4).any(5).any(3)
    assert not changed[0].any() and not changed[1, 1].any()
    rows, columns = changed[1, 0].nonzero().T
    assert set(rows.tolist()) <= set(range(3, 8)) and set(columns.tolist()) <= {22, 23, 0, 1, 2}
    gone = found.isnan()[1, 0].nonzero()
    assert len(gone) and set(gone[:, 0].tolist()) <= set(range(20, 24)) and set(gone[:, 1].tolist()) <= set(range(4))
    flat = interpolate(torch.where(holed.isnan(), torch.nan, 7.0), 4, "bicubic", True)
    assert (flat[~flat.isnan()] - 7).abs().max() < 1e-5  # no hole leaks in as a zero
