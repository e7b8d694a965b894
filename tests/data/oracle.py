"""The oracle of the published network: random weights, inputs, every stage, outputs. A small part is committed."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from orbit2.grid import uniform
from orbit2.model.build import build
from orbit2.model.geometry import Geometry
from orbit2.model.published import Published
from orbit2.model.published_weights import architecture, converted, read

COMMITTED = Path(__file__).with_name("published")
FULL = Path(__file__).parents[3] / "shared" / "published_weights"
CONTAINER = COMMITTED / "oracle_A_container.ckpt"
RANKS = [COMMITTED / f"oracle_T.ckpt_rank_{rank}" for rank in (0, 1)]
STATICS = ("land_sea_mask", "orography", "lattitude", "landcover")


@dataclass
class Case:
    """One case: its network with the oracle's weights, and what it makes of `input` [B, V, H, W] stage by stage."""

    model: Published
    names: tuple[str, ...]
    stages: dict[str, Tensor]

    @property
    def geometry(self) -> Geometry:
        height, width = self.stages["input"].shape[-2:]
        return Geometry.of(uniform(0, 60, 0, 120, height, width), self.model.config.refinement, len(self.stages["input"]))

    def output(self) -> Tensor:
        with torch.no_grad():
            made: Tensor = self.model(self.stages["input"], None, self.geometry, self.names)
        return made


def known(folder: Path) -> list[tuple[str, str]]:
    """(network, case) of every case in a folder."""
    return [(name, case["case"]) for name in "ABC" if (folder / f"oracle_{name}.json").is_file()
            for case in json.loads((folder / f"oracle_{name}.json").read_text())["cases"]]  # fmt: skip


def case(folder: Path, network: str, which: str) -> Case:
    if folder != COMMITTED and not folder.is_dir():  # what is committed is there
        pytest.skip(f"the full oracle is not at {folder.name}/ beside the repository")
    facts = json.loads((folder / f"oracle_{network}.json").read_text())
    told: dict[str, Any] = next(entry for entry in facts["cases"] if entry["case"] == which)
    arrays = np.load(folder / f"oracle_{network}.npz")
    weights = folder / f"oracle_{network}_state.pt"
    state = read([weights if weights.is_file() else CONTAINER])[0]
    for name in told.get("scale_keys", ()):
        state[name] = state[name] * told["scale"]
    config, order = facts["config"], facts["config"]["default_vars"]
    found = architecture(state, config["num_heads"], told["km"], folder)
    names = tuple(told["in_vars"])
    model = build(found, names, told["out_vars"], STATICS)
    assert isinstance(model, Published)
    model.load_state_dict(converted(state, found, [order.index(name) for name in names]), strict=False)
    stages = {key.split("/")[1]: torch.from_numpy(arrays[key]) for key in arrays.files if key.startswith(f"{which}/")}
    return Case(model.eval(), names, stages)
