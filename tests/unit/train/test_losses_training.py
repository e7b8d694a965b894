"""The new losses in the training loop: they train, resume to the bit, and the perceptual encoder is what it says."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.data.dataset import Pairs
from orbit2.data.pairs import PairStore
from orbit2.data.transforms import Normaliser
from orbit2.files import read_json
from orbit2.parallel.launch import Ranks
from orbit2.train.losses import Objective, perceptual
from tests.data.tiny_training import NAMES, Tiny
from tests.unit.train.test_resume import ENVIRONMENT, curve, train

SCALE = torch.tensor([0.2, 0.5])


def truths(tiny: Tiny) -> Pairs:
    normaliser = Normaliser.from_statistics(read_json(tiny.statistics), 0.25)
    return Pairs(PairStore(tiny.store), ("2026-01-01T00:00", "2026-01-01T07:00"), normaliser, NAMES)


@pytest.fixture(scope="module")
def network(tiny: Tiny) -> perceptual.Denoiser:
    return perceptual.denoiser([truths(tiny)], SCALE, 30, seed=0)


@pytest.mark.parametrize("loss", ["quantile", "spectral", "crps", "perceptual"])
def test_every_loss_improves_on_interpolation(tiny: Tiny, tmp_path: Path, loss: str) -> None:
    train(tiny, tmp_path, loss=loss, steps=24, validate_every=12, ensemble=2, perceptual_steps=5)
    scores = [r["validation_loss"] for r in curve(tmp_path) if "validation_loss" in r]
    assert scores[-1] < 0.95 and scores[-1] < scores[0]
    assert all((r["prior"] > 0) == (loss in ("spectral", "perceptual", "crps")) for r in curve(tmp_path) if "prior" in r)


@pytest.mark.parametrize("loss", ["crps", "perceptual"])
def test_resumed_from_half_way_equals_uninterrupted(tiny: Tiny, tmp_path: Path, loss: str, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"loss": loss, "steps": 6, "checkpoint_every": 3, "ensemble": 2, "perceptual_steps": 5}
    straight = train(tiny, tmp_path, **settings)
    for name in ("step-00000006", "best-00000006"):
        shutil.rmtree(tmp_path / "checkpoints" / name)
    shutil.rmtree(tmp_path / "model")

    def again(*_: object) -> None:
        raise AssertionError("the encoder comes from the checkpoint")

    monkeypatch.setattr(perceptual, "fit", again)
    resumed = train(tiny, tmp_path, **settings)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items())


def test_encoder_depends_on_the_seed_alone_and_is_frozen(tiny: Tiny) -> None:
    before = torch.get_rng_state()
    first = perceptual.fit([truths(tiny)], SCALE, 3, seed=0)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(77)
    same, other = (perceptual.fit([truths(tiny)], SCALE, 3, seed=seed).state_dict() for seed in (0, 1))
    assert all(torch.equal(tensor, same[name]) for name, tensor in first.state_dict().items())
    assert not torch.equal(other["enter.weight"], same["enter.weight"])
    assert not any(parameter.requires_grad for parameter in first.parameters())


def test_noise_as_large_as_the_interpolation_error_costs_about_one(tiny: Tiny, network: perceptual.Denoiser) -> None:
    truth = truths(tiny).batch([2]).fine / SCALE[:, None, None]
    noise = torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))
    total, weight = perceptual.feature_distance(network.encoder, truth + noise, truth, torch.ones_like(truth), True)
    assert ((total / weight) > 0.5).all() and ((total / weight) < 2).all()


def test_encoder_learned_the_fields(tiny: Tiny, network: perceptual.Denoiser) -> None:
    """With its head it finds most of the noise; guessing none leaves a mean square of 1."""
    clean, mask = perceptual.crops([truths(tiny)], SCALE[:, None, None], np.random.default_rng(9))
    noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        guess, _ = network(torch.cat([clean + noise, mask], 1))
    assert float(((guess - noise) ** 2).mean()) < 0.6


def test_encoder_travels_in_the_state() -> None:
    here = Ranks(0, 1, torch.device("cpu"))
    config = TrainConfig(loss="perceptual")
    first, second = (Objective(config, ("a",), ArchitectureConfig()) for _ in range(2))
    second.restore(first.state(), here)
    assert all(torch.equal(tensor, second.state()[name]) for name, tensor in first.state().items())
    assert Objective(TrainConfig(), ("a",), ArchitectureConfig()).state() == {}


@pytest.mark.slow
@pytest.mark.parametrize("loss", ["spectral", "perceptual", "quantile", "crps"])
def test_two_ranks_take_the_same_steps(tiny: Tiny, tmp_path: Path, loss: str) -> None:
    config = tiny.slice(tmp_path / "config.json", loss=loss, steps=4, validate_every=2, perceptual_steps=5)
    text = json.loads(config.read_text())
    for architecture in (text["architecture"], text["model"]["architecture"]):
        architecture.update(dropout=0.0, drop_path=0.0)
    config.write_text(json.dumps(text))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    for name, before in (("one", []), ("two", launch)):
        command = [sys.executable, *before, "-m", "orbit2", "train", *tiny.command(config, tmp_path / name)]
        subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, timeout=180)
    one, two = curve(tmp_path / "one"), curve(tmp_path / "two")
    for a, b in zip(one, two, strict=True):
        for key in ("loss", "data_term", "prior", "validation_loss"):
            if key in a:
                assert b[key] == pytest.approx(a[key], rel=1e-5)
