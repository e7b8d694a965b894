"""Small models and inputs for the model's tests."""

import torch

from orbit2.config.network import ArchitectureConfig
from orbit2.grid import Grid
from orbit2.model.geometry import Geometry
from orbit2.model.reslim import Reslim

INPUTS = ("2m_temperature", "precipitation_rate", "orography", "slope")
OUTPUTS = ("2m_temperature", "precipitation_rate")
STATICS = ("orography", "slope")


def demo_model(outputs: tuple[str, ...] = OUTPUTS, **changes: object) -> Reslim:
    settings = {"embed_dim": 32, "depth": 2, "heads": 2, "decoder_depth": 1, "residual_width": 8, "residual_blocks": 1, **changes}
    return Reslim(ArchitectureConfig.model_validate(settings), INPUTS, outputs, STATICS)


def wake(model: Reslim) -> Reslim:
    """Give the zero-initialised last layers weights, as training would."""
    torch.manual_seed(1)
    for parameter in (model.decoder.smooth.weight, model.residual.leave.weight):
        torch.nn.init.normal_(parameter, std=0.1)
    return model


def batch_for(grid: Grid, batch: int = 1) -> tuple[torch.Tensor, torch.Tensor, Geometry]:
    torch.manual_seed(2)
    height, width = grid.shape
    return torch.randn(batch, 4, height, width), torch.randn(batch, 2, 4 * height, 4 * width), Geometry.of(grid, 4, batch)
