"""How far networks really read: one cell is changed, and the changed fine cells are looked at."""

import pytest
import torch

from orbit2.config.network import ArchitectureConfig
from orbit2.grid import uniform
from orbit2.model.build import build
from orbit2.plan.reach import attends, reach, token_side
from tests.data.small_models import INPUTS, OUTPUTS, STATICS, batch_for

SIDE = 36
SMALL = {"embed_dim": 8, "heads": 1}


def furthest(config: ArchitectureConfig) -> int:
    """Coarse cells between a changed cell and the furthest fine cell that notices, over all its places in a patch."""
    grid = uniform(0, SIDE, 0, SIDE, SIDE, SIDE)
    model = build(config, INPUTS, OUTPUTS, STATICS).eval()
    torch.manual_seed(3)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    coarse, statics, geometry = batch_for(grid)
    found = 0
    with torch.no_grad():
        before = model(coarse, statics, geometry)
        for row, column in ((16, 16), (17, 19), (18, 17), (19, 18)):
            changed = coarse.clone()
            changed[:, 0, row, column] += 10
            places = (model(changed, statics, geometry) != before).any(1)[0].nonzero() // config.refinement
            found = max(found, int((places - torch.tensor([row, column])).abs().max()))
    return found


@pytest.mark.parametrize(
    ("settings", "slack"),
    [
        ({**SMALL, "depth": 0, "decoder_depth": 0, "residual_width": 4, "residual_blocks": 3}, 0),
        ({**SMALL, "depth": 0, "decoder_depth": 3, "residual_width": 0}, 0),
        ({**SMALL, "depth": 0, "decoder_depth": 1, "patch": 4, "residual_width": 4, "residual_blocks": 1}, 0),
        ({**SMALL, "kind": "vit", "depth": 0, "decoder_depth": 1, "patch": 4}, 0),
        ({"kind": "conv", "width": 4, "layers": 3}, 0),
        ({"kind": "conv", "width": 4, "layers": 6}, 1),
        ({"kind": "unet", "width": 4, "levels": 2}, 3),
    ],
)
def test_convolutions_reach_as_far_as_said(settings: dict[str, object], slack: int) -> None:
    config = ArchitectureConfig.model_validate(settings)
    assert not attends(config)
    assert reach(config) - slack <= furthest(config) <= reach(config)


def test_attention_reaches_everything() -> None:
    config = ArchitectureConfig.model_validate({**SMALL, "depth": 1, "residual_width": 0})
    assert attends(config) and furthest(config) >= SIDE // 2 - 1


@pytest.mark.parametrize(
    ("settings", "side"),
    [({"patch": 3}, 3), ({"kind": "conv"}, 1), ({"kind": "vit", "patch": 8}, 2), ({"kind": "vit", "patch": 2}, 1),
     ({"kind": "unet", "levels": 3}, 2), ({"kind": "unet", "levels": 1}, 1)],
)  # fmt: skip
def test_windows_on_whole_tokens(settings: dict[str, object], side: int) -> None:
    """The least number of coarse cells whose fine cells (4 a side) are whole patches, or whole cells of a U-Net's lowest level."""
    assert token_side(ArchitectureConfig.model_validate(settings)) == side
