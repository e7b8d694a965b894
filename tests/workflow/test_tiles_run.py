"""The demo trained and predicting on tiles, from end to end with a few training steps. Minutes, so marked slow."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

FEW = ["models.tiled.train.steps=4", "models.tiled.train.validate_every=2"]


@pytest.mark.slow
def test_the_demo_on_tiles_with_few_steps(project: Any) -> None:
    overrides = "set=[" + ",".join(f'"{item}"' for item in FEW) + "]"
    project("all", "--configfile", "config/runs/demo_tiles.yaml", "--config", overrides, timeout=1800)
    scores = pd.read_parquet(project.folder / "results/demo_tiles/evaluate/metrics.parquet")
    assert set(scores["task"]) == {"test", "tiles"}
    (about,) = (json.loads(path.read_text()) for path in (project.folder / "results/models").glob("tiled-*/model/config.json"))
    assert about["tiles"].startswith("tile 23 x 45, halo 4")
