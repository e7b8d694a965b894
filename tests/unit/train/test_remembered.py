"""A second stage with noise beside its parent's site memory: which cells, a sample's own share, what is delivered, a stop."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from orbit2.config.load import validate
from orbit2.config.schema import ModelConfig
from orbit2.data.view import Box
from orbit2.errors import Interrupted
from orbit2.model import folder
from orbit2.parallel.launch import Ranks, ranks
from orbit2.train import remembered, site, trainer
from orbit2.train.build import Setup
from orbit2.train.remembered import Beside, Remembered
from tests.data.tiny_training import CPU, Tiny
from tests.data.waits import no_waiting
from tests.unit.train.test_members_training import MEMBERS, loaded, train


@pytest.fixture(scope="module")
def parent(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny, tmp_path_factory.mktemp("parent"), steps=4, validate_every=4)


@pytest.fixture(scope="module")
def setup(tiny: Tiny, parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Setup:
    """Before its first step."""
    config = tiny.slice(tmp_path_factory.mktemp("setup") / "config.json", **MEMBERS, site_memory=True)
    section = json.loads(config.read_text())
    section["architecture"].update(dropout=0.0, drop_path=0.0, conserve=True, noise={"channels": 1})
    section["model"].update(finetune_from="parent", architecture={"noise": {"channels": 1}})
    with ranks(device="cpu") as here:
        assert isinstance(here, Ranks)
        model = validate(ModelConfig, section["model"], config)
        return Setup(section, model, {"tiny": tiny.store}, {"tiny": tiny.statistics}, parent, here)


@pytest.fixture(scope="module")
def beside(setup: Setup, tmp_path_factory: pytest.TempPathFactory) -> Beside:
    """With offsets in full, so that something is there to be told apart. Samples are an hour apart: those an hour away count as others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(remembered, "DAY_SECONDS", 2 * 3600)
        patch.setattr(remembered, "_shares", lambda memory, outputs: (torch.ones(len(outputs)), torch.zeros(len(outputs))))
        found = remembered.prepare(setup, tmp_path_factory.mktemp("kept"))
    assert found is not None
    offset = residuals(setup).mean(0)
    maps = site.Maps(offset, torch.zeros_like(offset), torch.zeros(len(offset), 0, *offset.shape[1:]))
    return Beside({"tiny": dataclasses.replace(found.memories["tiny"], maps=maps)}, found.fields)


@torch.no_grad()
def residuals(setup: Setup) -> torch.Tensor:
    """[N, C, H, W] of the training block, 0 where there is no truth."""
    batch = setup.training[0].batch([int(i) for i in setup.training[0].indices])
    return torch.nan_to_num(batch.fine - setup.model.eval()(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock))


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("own", [False, True])
def test_a_moved_or_mirrored_view_gets_what_is_known_of_its_own_cells(setup: Setup, beside: Beside, own: bool, mirrored: bool) -> None:
    """Of a training sample what the samples two hours away or more have left."""
    model, pairs, index = setup.model, setup.training[0], 2
    view = dataclasses.replace(pairs.whole.moved((1, 2), pairs.store.grid("coarse")), mirrored=mirrored)
    part = pairs.packed([int(pairs.indices[index])], view)
    batch = part.to(CPU)
    rows, columns = batch.fine.shape[-2:]
    others = [k for k in range(len(pairs.indices)) if abs(k - index) >= 2]
    whole = residuals(setup)[others if own else slice(None)].mean(0)
    expected = torch.roll(whole, -2, -1)[:, 1 : 1 + rows, :columns]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Remembered, "_conserved", lambda self, members, batch: members)
        field = Remembered(model, beside).added(torch.zeros(1, 2, *expected.shape), batch, part, own)  # type: ignore[arg-type]
    for member in field[0]:
        torch.testing.assert_close(member, expected.flip(-2) if mirrored else expected, atol=1e-5, rtol=1e-4)
    assert float(expected.abs().max()) > 0.01


def test_what_the_others_make_of_a_wave_is_that_wave(setup: Setup) -> None:
    """Residuals that are a mean and a rhythm of the day are told from the other samples, to rounding."""
    pairs = setup.training[0]
    times = pairs.store.times[:1] + np.arange(24) * np.timedelta64(5, "h")
    kept, box = remembered.Residuals(), Box(0, 0, 2, 3)
    kept.begin(pairs, times, site.Sums(1, box, 3, ("day",), times))
    angle = torch.from_numpy(2 * np.pi * (np.arange(24) * 5 % 24) / 24).float()
    values = (0.5 + torch.sin(angle + 0.3))[:, None, None, None] * torch.arange(1.0, 7.0).view(1, 1, 2, 3)
    for name, value in zip(kept.names, values, strict=True):
        kept.update((torch.arange(2)[:, None], torch.arange(3)), name, value)
    made = kept.fields(torch.ones(1), torch.ones(1))
    torch.testing.assert_close(torch.stack([made.of[name] for name in kept.names]), values, atol=1e-4, rtol=1e-4)


def test_members_keep_the_inputs_block_means_and_their_spread(setup: Setup, beside: Beside) -> None:
    from orbit2.model.constraints import block_mean, cell_weights

    pairs = setup.training[0]
    part = pairs.packed([int(pairs.indices[0])])
    batch = part.to(CPU)
    with torch.no_grad():
        prediction = setup.model.eval()(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)
        member = torch.stack([prediction, prediction + 0.1 * torch.randn(prediction.shape, generator=torch.Generator().manual_seed(0))], 1)
        memory = Remembered(setup.model, beside)  # type: ignore[arg-type]
        made = memory.added(member, batch, part, own=False)
        with no_waiting():
            again, others = (memory.added(member, batch, part, own) for own in (False, True))
        assert torch.equal(again, made) and not torch.equal(others, made)
    which = list(batch.variables).index("2m_temperature")
    means = block_mean(made[:, 0, setup.outputs.index("2m_temperature")][:, None], cell_weights(batch.geometry, 4), 4)
    torch.testing.assert_close(means[:, 0], batch.coarse[:, which], atol=1e-4, rtol=1e-4)
    assert not torch.allclose(made[:, 0], prediction, atol=1e-3)


def test_what_it_was_trained_beside_is_delivered_also_after_a_stop(
    tiny: Tiny, parent: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {**MEMBERS, "site_memory": True, "checkpoint_every": 2}
    whole = train(tiny, tmp_path / "whole", parent, **settings)
    kept = torch.load(tmp_path / "whole" / "checkpoints" / remembered.FILE, weights_only=False)
    about = json.loads((whole / "config.json").read_text())["site_memory"]["tiny"]
    assert about["factors"] == kept.memories["tiny"].about["factors"] and len(kept.fields["tiny"].of) == about["samples"]
    original, learned = trainer.take, []

    def stops(setup, batch, step):  # type: ignore[no-untyped-def]
        if step == 4:
            raise Interrupted("stopped", reached=None, asked=True)  # type: ignore[arg-type]
        return original(setup, batch, step)

    monkeypatch.setattr(trainer, "take", stops)
    with pytest.raises(Interrupted):
        train(tiny, tmp_path / "cut", parent, **settings)
    monkeypatch.setattr(trainer, "take", original)
    monkeypatch.setattr(site, "learn", lambda *_, **__: learned.append(1))
    cut = train(tiny, tmp_path / "cut", parent, **settings)
    assert not learned  # the second try goes on beside what the first one learned
    for name, value in loaded(whole).state_dict().items():
        assert torch.equal(value, loaded(cut).state_dict()[name]), name
    assert folder.load(cut)[0].outputs == folder.load(whole)[0].outputs and np.isfinite(about["gain"]["2m_temperature"])
