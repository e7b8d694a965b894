"""What passes between rooms of a network: one type under autocast on any device, one layout; weights of predictions rounded once."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from orbit2.config.network import ArchitectureConfig
from orbit2.grid import global_grid
from orbit2.model.build import Downscaling, build
from orbit2.model.decoder import SphereConv
from orbit2.model.norm import Norm
from orbit2.model.precision import ExactLinear, rounded, stream
from orbit2.plan.casts import GpuCasts
from tests.data.small_models import INPUTS, OUTPUTS, STATICS, batch_for, demo_model, wake

BUDGET = {"compression": {"mode": "budget", "ratio": 4, "max_leaf": 4}}
HALF = torch.bfloat16


@pytest.mark.parametrize("changes", [{}, BUDGET, {"conserve": True, "time_embedding": False}])
@pytest.mark.parametrize("masked", [False, True])
def test_everything_between_rooms_is_bfloat16_as_on_a_gpu(changes: dict[str, object], masked: bool) -> None:
    """GpuCasts makes of torch's functions what a GPU's autocast does, which would have norms and all after them in float32."""
    model = wake(demo_model(**{"time_embedding": True, **changes}))
    coarse, statics, geometry = batch_for(global_grid(15.0), batch=2)
    if masked:
        coarse[0, 0, :3, :4] = torch.nan
    seen: dict[str, torch.dtype] = {}
    layouts: dict[str, bool] = {}

    def note(name: str) -> Any:
        def hook(module: nn.Module, given: tuple[Any, ...], result: Tensor) -> None:
            if isinstance(result, Tensor) and result.numel() > 1000:
                seen[name] = result.dtype
            if isinstance(module, SphereConv):
                layouts[name] = result.is_contiguous(memory_format=torch.channels_last)
        return hook

    for name, module in model.named_modules():
        if name and name != "compression" and not isinstance(module, ExactLinear):
            module.register_forward_hook(note(name))
    with torch.autocast("cpu", HALF), GpuCasts():
        result = model(coarse, statics, geometry, INPUTS, torch.randn(2, 4))
    assert {name for name, dtype in seen.items() if dtype != HALF} == set() and len(seen) > 20
    assert all(layouts.values()) and len(layouts) >= 4
    assert result.dtype == torch.float32  # the interpolation never is less


def test_a_norm_gives_the_type_that_it_is_given() -> None:
    norm, values = Norm(8), torch.randn(3, 8)
    nn.init.normal_(norm.weight)
    plain = nn.LayerNorm(8)
    plain.load_state_dict(norm.state_dict())
    assert torch.equal(norm(values), plain(values))
    assert norm.double()(values.double()).dtype == torch.float64
    with torch.autocast("cpu", HALF), GpuCasts():
        assert plain(values.to(HALF)).dtype == torch.float32
        for given in (values.to(HALF), values):
            assert norm.float()(given).dtype == given.dtype
        assert stream(values) == HALF
    error = (norm(values.to(HALF)).float() - plain(values.to(HALF).float())).abs()
    assert error.max() < 0.03 and stream(values) == torch.float32


KINDS: dict[str, dict[str, object]] = {
    "reslim": {"embed_dim": 32, "depth": 2, "heads": 2, "decoder_depth": 1, "residual_width": 8, "residual_blocks": 1},
    "compressed": {"embed_dim": 32, "depth": 1, "heads": 2, "decoder_depth": 1, "residual_width": 8, "residual_blocks": 1, **BUDGET},
    "vit": {"kind": "vit", "embed_dim": 32, "depth": 1, "heads": 2},
    "unet": {"kind": "unet"},
    "conv": {"kind": "conv"},
}


def awake(kind: str) -> Downscaling:
    torch.manual_seed(0)
    model = build(ArchitectureConfig.model_validate(KINDS[kind]), INPUTS, OUTPUTS, STATICS)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape))
    return model.eval()


@pytest.mark.parametrize("kind", KINDS)
def test_weights_rounded_once_make_the_predictions_of_those_rounded_every_time(kind: str) -> None:
    """Bit for bit, complete and with holes, with an input that is not given; rooms that are exact keep their weights."""
    plain = awake(kind)
    once = copy.deepcopy(plain)
    rounded(once, HALF)
    for masked, count in ((False, 4), (True, 4), (False, 3)):
        coarse, statics, geometry = batch_for(global_grid(15.0), batch=2)
        if masked:
            coarse[0, 0, :3, :4] = torch.nan
        with torch.inference_mode(), torch.autocast("cpu", HALF):
            found, wanted = (model(coarse[:, :count], statics, geometry, INPUTS[:count]) for model in (once, plain))
        assert torch.equal(found, wanted)
    bytes_of = [sum(p.nbytes for p in model.parameters()) for model in (plain, once)]
    assert bytes_of[1] < 0.75 * bytes_of[0]
    exact = {name for name, parameter in once.named_parameters() if parameter.dtype == torch.float32}
    assert not any("linear" in name or "conv" in name or "norm" in name for name in exact), exact
