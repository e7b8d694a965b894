"""A table of positions serves one grid, whole: anything else is refused when the configuration is read, in training and in prediction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from orbit2.config.load import CONFIG_ROOT, load, read_yaml
from orbit2.downscale import load_model
from orbit2.errors import OrbitError
from orbit2.grid import global_grid, uniform
from tests.data.shipped import RUNS
from tests.data.small_downscaling import random_model

TABLE = "architecture.position=table"


@pytest.mark.parametrize(("run", "sets", "says"), [
    ("demo", ["models.reslim." + TABLE, "downscale={}"], "serves one grid"),  # the demo fine-tunes it on a box
    ("demo_tiles", ["models.tiled." + TABLE], "the same for every tile"),
    ("demo_tiles", ["models.tiled." + TABLE, "models.tiled.train.tile=0"], "downscale.tiles: a `table` position is the same"),
    ("foundation", ["models.foundation." + TABLE], "era5_622km on .* era5_112km on"),
    ("us_finetune", ["models.foundation." + TABLE, "models.foundation.datasets=[prism_16km]", "downscale={}"], "serves one grid"),
    ("demo_conv", [], ""),
    ("demo_vit", ["models.vit." + TABLE], ""),
    ("demo_vit", ["models.vit." + TABLE, "downscale.test.input=fine"], "downscale.test: a `table` position serves one grid"),
])  # fmt: skip
def test_a_table_with_tiles_or_several_grids_is_refused_at_load(run: str, sets: list[str], says: str) -> None:
    path = CONFIG_ROOT / "runs" / f"{run}.yaml"
    if not says:
        assert load(path, sets).models
        return
    with pytest.raises(OrbitError, match=says) as error:
        load(path, sets)
    assert "position: geographic" in str(error.value)


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_shipped_run_knows_places_from_coordinates(path: Path) -> None:
    run = load(path)
    for name in run.models:
        architecture = run.architecture_of(name)
        assert architecture.kind in ("unet", "conv") or architecture.position == "geographic"


def test_prediction_refuses_what_a_table_cannot_know(tmp_path: Path) -> None:
    downscaler = load_model(random_model(tmp_path / "model", position="table", table_shape=(6, 12)))
    grid = global_grid(15.0)
    assert len(downscaler.tiling(grid)) == 1  # a folder that does not say what it was trained on
    with pytest.raises(OrbitError, match=r"the same for every tile.*allowed: tile: 0.*geographic"):
        downscaler.tiling(grid, tile=6, halo=2)
    about = {"datasets": {"globe": {"coarse_grid": "global_15.0"}}}
    downscaler.about.update(about)
    assert len(downscaler.tiling(grid)) == len(downscaler.tiling(uniform(-90, 90, 360, 720, 12, 24))) == 1  # another turn
    for other in (global_grid(22.5), uniform(-90, 90, -180, 180, 12, 24)):
        with pytest.raises(OrbitError, match="serves one grid"):
            downscaler.tiling(other)


def test_two_tiles_of_a_shipped_model_lie_at_different_places(tmp_path: Path) -> None:
    """A real prediction on tiles, listened to where positions enter."""
    architecture = read_yaml(CONFIG_ROOT / "models" / "reslim_9m.yaml")
    downscaler, grid = load_model(random_model(tmp_path / "model", **architecture)), global_grid(22.5)
    seen: list[torch.Tensor] = []
    downscaler.model.position.register_forward_hook(lambda _module, _given, found: seen.append(found.clone()))
    coarse, static = np.full((2, 8, 16), 280, np.float32), np.zeros((1, 32, 64), np.float32)
    out = downscaler.predict(coarse, ("2m_temperature", "precipitation_rate"), static, grid, np.datetime64("2026-01-01", "s"), 4, 1)
    assert out.shape == (2, 32, 64) and len(seen) == 8
    for i in range(8):
        for j in range(i):
            assert not torch.allclose(seen[i], seen[j], atol=1e-3)
