"""The operators of a rehearsed step: FLOPs are those of torch's own counter on a real one, bytes what can be added up by hand."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.grid import global_grid
from orbit2.model.build import Downscaling, build
from orbit2.model.flops import count
from orbit2.parallel.apply import apply
from orbit2.parallel.mesh import Sizes
from orbit2.plan.casts import BLAS_BYTES, GpuCasts
from orbit2.plan.rehearse import Rehearsal, Stage, prediction, rehearse, rehearse_prediction, world
from tests.data.small_models import INPUTS, OUTPUTS, STATICS

GRID = global_grid(12.0)
NETWORK = {"embed_dim": 32, "depth": 2, "heads": 2, "decoder_depth": 1, "residual_width": 8, "residual_blocks": 1}
CASES: dict[str, tuple[dict[str, object], dict[str, object]]] = {  # of the network, of the training
    "reslim": (NETWORK, {}),
    "recomputed in four parts": (NETWORK, {"accumulate": 4, "checkpointing": "all"}),
    "compressed": ({**NETWORK, "compression": {"mode": "budget", "ratio": 4, "max_leaf": 4}}, {}),
    "an ensemble": ({**NETWORK, "noise": {"channels": 1}}, {"loss": "crps", "ensemble": 2}),
    "vit": ({"kind": "vit", "embed_dim": 32, "depth": 1, "heads": 2}, {}),
    "unet": ({"kind": "unet"}, {}),
    "conv": ({"kind": "conv"}, {}),
}


def model(network: dict[str, object] = NETWORK) -> Downscaling:
    with torch.device("meta"):
        return build(ArchitectureConfig.model_validate(network), INPUTS, OUTPUTS, STATICS)


def of(together: int = 2, **train: object) -> Rehearsal:
    return rehearse(model(), TrainConfig.model_validate(train), Sizes(), GRID, together)


@pytest.mark.parametrize("network, asked", CASES.values(), ids=CASES)
def test_flops_are_those_of_torchs_counter(network: dict[str, object], asked: dict[str, object]) -> None:
    train = TrainConfig.model_validate(asked)
    with world(Sizes()) as mesh:
        real = model(network).train()
        apply(real, mesh, checkpointing=train.checkpointing)
        stage = Stage(real, train, mesh, GRID, 2, train.accumulate)  # tensors with values
    assert rehearse(model(network), train, Sizes(), GRID, 2).flops == count(stage.step) > 0
    predict, _, _ = prediction(model(network), GRID, 2)
    with torch.inference_mode():
        assert rehearse_prediction(model(network), GRID, 2).flops == count(predict) > 0


def test_a_grouped_convolution_costs_what_its_groups_cost() -> None:
    """The counter of torch knows one group; two are half of it."""

    def step(groups: int) -> None:
        fields, weight = torch.ones(2, 6, 8, 8, requires_grad=True), torch.ones(4, 6 // groups, 3, 3, requires_grad=True)
        torch.nn.functional.conv2d(fields, weight, groups=groups).sum().backward()

    with FlopCounterMode(display=False) as counter:
        step(1)
    assert count(lambda: step(1)) == counter.get_total_flops() == 2 * count(lambda: step(2))


def test_operators_of_a_step() -> None:
    found = of()
    update = [each for each in found.operators if each.name == "aten._fused_adamw_"]
    # weights and gradients come in with both moments and a step counter each, once; and whether all was finite
    assert sum((each.read - 4) * each.count for each in update) - 4 * len(found.shapes) == 4 * found.weights
    assert all(each.phase == "update" and not each.flops for each in update)
    attention = {each.phase: each for each in found.operators if "flash_attention" in each.name}
    assert {phase: each.count for phase, each in attention.items()} == {"forward": 2, "backward": 2}
    assert attention["backward"].flops == 2.5 * attention["forward"].flops  # five products for two
    half = rehearse_prediction(model(), GRID, 2, torch.bfloat16)
    assert {each.dtype for each in half.operators if "flash_attention" in each.name} == {"bfloat16"}


def test_a_network_is_computed_in_the_same_types_on_a_gpu() -> None:
    """A GPU's autocast alone would have norms in float32, and all that reads them."""
    values, weight = torch.zeros(2, 8, dtype=torch.bfloat16), torch.ones(8)
    with torch.autocast("cpu", torch.bfloat16), GpuCasts():
        assert F.layer_norm(values, (8,), weight, weight).dtype == torch.float32
    there, here = (rehearse_prediction(model(), GRID, 2, torch.bfloat16, gpu=gpu) for gpu in (True, False))
    assert there.operators == here.operators
    assert {each.dtype for each in there.operators if each.name == "aten.native_layer_norm" and each.read > 1000} == {"bfloat16"}
    assert there.workspace == here.workspace + BLAS_BYTES
    plain = [rehearse_prediction(model(), GRID, 2, gpu=gpu) for gpu in (True, False)]  # without autocast nothing is cast
    assert plain[0].operators == plain[1].operators


def test_parts_of_a_step_add_up() -> None:
    """What is rehearsed is three parts; a step of five parts has five times as much as one of one."""
    one, five = of(1), of(1, accumulate=5)
    assert five.flops == 5 * one.flops
    assert five.peak > one.peak


def test_the_same_question_is_answered_once() -> None:
    first = of()
    assert of(learning_rate=0.5, batch_size=64) is first
    assert of(loss="mse") is not first and of(1) is not first
