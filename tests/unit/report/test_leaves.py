"""The figure of the leaves: there when the model compresses, absent otherwise, and its boxes tile the globe."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import torch

from orbit2.config.load import from_mapping
from orbit2.data.transforms import Normaliser
from orbit2.model import folder
from orbit2.model.reslim import Reslim
from orbit2.report.inputs import Inputs, read
from orbit2.report.pages import leaves
from orbit2.report.pages.blocks import Section
from orbit2.report.style import look
from tests.unit.report.conftest import VARIABLES


def compressing(made: SimpleNamespace, path: Path) -> Inputs:
    """The tiny run as if its model compressed, with a real model folder."""
    inputs = read(made.slice, made.root)
    raw = inputs.config.model_dump(mode="json", exclude_unset=True)
    raw["models"]["reslim"]["architecture"] |= {"patch": 1, "compression": {"mode": "budget", "ratio": 4, "max_leaf": 8}}
    config = from_mapping(raw)
    torch.manual_seed(0)
    model = Reslim(config.architecture_of("reslim"), (*VARIABLES, "land_sea_mask"), VARIABLES, ("land_sea_mask",))
    moments = {name: (280.0, 20.0) if name == "2m_temperature" else (0.0, 1.0) for name in (*VARIABLES, "land_sea_mask")}
    folder.save(path, model, Normaliser(moments), {"name": "reslim"})
    models = {**inputs.models, "reslim": replace(inputs.models["reslim"], folder=path)}
    return replace(inputs, config=config, models=models)


def test_leaves_are_shown_and_tile_the_globe(made: SimpleNamespace, tmp_path: Path) -> None:
    inputs = compressing(made, tmp_path / "model")
    with look():
        section = Section("maps", "Maps", "Maps", leaves.blocks(inputs, inputs.main_task()))
    (figure,) = section.figures()
    figure.write(tmp_path)
    boxes = pd.read_csv(tmp_path / "tables" / "leaves.csv")
    words = " ".join(block.text for block in section.blocks)
    # 12 x 24 tokens, 2 x 3 roots (the last row half padded), 72 leaves allowed
    assert f"{len(boxes)} leaves instead of 288 tokens" in words and 6 < len(boxes) <= 72
    area = (np.sin(np.radians(boxes["north"])) - np.sin(np.radians(boxes["south"]))) * (boxes["east"] - boxes["west"])
    assert abs(area.sum() - 720) < 1e-6
    assert set(np.round(boxes["east"] - boxes["west"], 6)) <= {15.0, 30.0, 60.0, 120.0}
    assert len(figure.pictures) == 2 and all(len(picture.alt) > 15 for picture in figure.pictures)
    ink = [(picture.pixels.mean(2) < 90).mean() for picture in figure.pictures]
    assert min(ink) > 0.002


def test_nothing_is_shown_without_compression(made: SimpleNamespace) -> None:
    inputs = read(made.slice, made.root)
    assert leaves.blocks(inputs, inputs.main_task()) == []
