"""What saves memory changes nothing else: accumulation, and activations computed again."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from orbit2.config.load import validate
from orbit2.config.schema import ModelConfig
from orbit2.errors import OrbitError
from orbit2.parallel.launch import Ranks
from orbit2.train.build import Setup
from orbit2.train.taken import optimise
from tests.data.tiny_training import Tiny

TILES = {"tile": [5, 7], "halo": 2, "tiles_per_sample": 4}


def steps(tiny: Tiny, folder: Path, architecture: dict[str, Any], **train: Any) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """Records of three steps, and the weights after them."""
    settings = {"batch_size": 6, "augment": False, "tv_weight": 0.5, **train}
    section = json.loads(tiny.slice(folder / "config.json", **settings).read_text())
    section["architecture"] |= {"dropout": 0.0, "drop_path": 0.0, **architecture}
    section["model"]["architecture"] = section["architecture"]
    torch.manual_seed(0)
    made = Setup(section, validate(ModelConfig, section["model"], "tiny"), {"tiny": tiny.store}, {"tiny": tiny.statistics}, None,
                 Ranks(0, 1, torch.device("cpu")))  # fmt: skip
    return [optimise(made, made.steps[step], step) for step in range(3)], made.model.state_dict()


@pytest.mark.parametrize(
    ("train", "architecture"),
    [
        ({}, {}),
        ({"loss": "spectral", "spectral_segment": 16}, {"compression": {"mode": "budget", "ratio": 4, "max_leaf": 4}}),
        (TILES, {"compression": {"mode": "threshold", "max_leaf": 4}, "conserve": True}),
    ],
    ids=["whole", "spectral_compressed", "tiles"],
)
def test_parts_of_a_step_add_up_to_it(tiny: Tiny, tmp_path: Path, train: dict[str, Any], architecture: dict[str, Any]) -> None:
    once, weights = steps(tiny, tmp_path, architecture, **train)
    for parts in (2, 4):  # four: shares of one and of two samples
        records, found = steps(tiny, tmp_path, architecture, accumulate=parts, **train)
        for record, expected in zip(records, once, strict=True):
            for key, value in expected.items():  # a norm is a sum of squares of float32: a little noisier
                assert record[key] == pytest.approx(value, rel=1e-5 if architecture or key == "gradient_norm" else 1e-6), key
        whole, error = (torch.cat([v.flatten() for v in values]).norm()
                        for values in (weights.values(), [found[name] - value for name, value in weights.items()]))  # fmt: skip
        assert float(whole) > 0 and float(error) < 1e-5 * float(whole)


@pytest.mark.parametrize("which", ["blocks", "all"])
def test_activations_computed_again_are_the_same(tiny: Tiny, tmp_path: Path, which: str) -> None:
    """To the bit, dropout and stochastic depth included: the random numbers are drawn again too."""
    noisy = {"dropout": 0.2, "drop_path": 0.3, "depth": 2, "compression": {"mode": "budget", "ratio": 4, "max_leaf": 4}}
    seed = {"seed": 2**40 + 1}  # any is good: the random streams of a step are many times as many
    once, weights = steps(tiny, tmp_path, noisy, **seed)
    records, found = steps(tiny, tmp_path, noisy, checkpointing=which, **seed)
    assert records == once and all(torch.equal(found[name], value) for name, value in weights.items())


def test_more_parts_than_samples_are_refused(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(OrbitError, match=r"train\.accumulate"):
        steps(tiny, tmp_path, {}, accumulate=7)
