"""Training with constraint layers: on tiles, of the input as it lies in the store, whatever counts as dry elsewhere."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from orbit2.data.dataset import CPU
from orbit2.model.constraints import block_mean, row_weights
from orbit2.train.taken import optimise
from tests.data.tiny_training import Tiny
from tests.unit.train.test_tiles_training import setup


@pytest.mark.parametrize("conserve", ["additive", "multiplicative", "softmax"])
def test_a_training_step_on_tiles_conserves_the_stored_rain(tiny: Tiny, tmp_path: Path, conserve: str) -> None:
    made = setup(tiny, tmp_path, {"conserve": conserve}, precipitation_threshold=0.25, augment=False)
    rain = made.outputs.index("precipitation_rate")
    place = made.training[0].variables.index("precipitation_rate")
    mean, std = made.normaliser.moments["precipitation_rate"]
    for step in range(2):
        batch = made.steps[step][0].to(CPU)
        model = made.model.train()
        with torch.no_grad():
            fine = model(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)
        given, found = (torch.expm1(x.double() * std + mean) for x in (batch.coarse[:, place], fine[:, rain]))
        weights = row_weights(batch.geometry, 4)[:, None, :, None].double()
        back = block_mean(found[:, None], weights, 4)[:, 0]
        assert ((given > 0.01) & (given < 0.25)).any()  # what is dry for a network without a layer
        known = torch.isfinite(given)
        assert ((back - given).abs() / given.clamp_min(1))[known].max() < 1e-5
        optimise(made, batch, step)  # raises for a loss or gradient that is not finite
    assert made.normaliser.threshold == 0
    assert setup(tiny, tmp_path / "free", {"conserve": False}, precipitation_threshold=0.25).normaliser.threshold == 0.25
