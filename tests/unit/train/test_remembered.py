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
from orbit2.data.view import View
from orbit2.errors import Interrupted
from orbit2.model import folder
from orbit2.parallel.launch import Ranks, ranks
from orbit2.train import remembered, site, trainer
from orbit2.train.build import Setup
from orbit2.train.remembered import Remembered
from tests.data.tiny_training import CPU, Tiny
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
def memories(setup: Setup) -> site.Memories:
    """With offsets in full, so that something is there to be told apart."""
    found = site.learn(setup, members=1)
    assert found is not None
    memory = found["tiny"]
    pairs, sums = setup.training[0], torch.zeros(2, len(setup.outputs), *setup.training[0].store.grid("fine").shape)
    batch = pairs.batch([int(i) for i in pairs.indices])
    residual = batch.fine - setup.model(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)
    known = torch.isfinite(residual)
    sums[0], sums[1] = torch.where(known, residual, 0.0).sum(0), known.sum(0)
    offset = (sums[0] / sums[1].clamp_min(1)).detach()
    maps = site.Maps(offset, torch.zeros_like(offset), torch.zeros(len(offset), 0, *offset.shape[1:]))
    about = {**memory.about, "samples": len(pairs.indices),
             "factors": {name: {"offset": 1.0, "slope": 0.0, "cycles": 0.0} for name in setup.outputs}}  # fmt: skip
    return {"tiny": dataclasses.replace(memory, maps=maps, about=about)}


@pytest.mark.parametrize("mirrored", [False, True])
def test_a_moved_or_mirrored_view_gets_the_maps_of_its_own_cells(setup: Setup, memories: site.Memories, mirrored: bool) -> None:
    model, pairs = setup.model, setup.training[0]
    plain = Remembered(model, memories)  # type: ignore[arg-type]
    view = dataclasses.replace(pairs.whole.moved((1, 2), pairs.store.grid("coarse")), mirrored=mirrored)
    assert isinstance(view, View)
    part = pairs.packed([int(pairs.indices[1])], view)
    batch = part.to(CPU)
    rows, columns = batch.fine.shape[-2:]
    maps = memories["tiny"].maps
    assert maps is not None
    expected = torch.roll(maps.offset, -2, -1)[:, 1 : 1 + rows, :columns]
    field = plain._field(memories["tiny"], part.boxes[0].finer(view.factor, view.shift), mirrored, batch, 0)
    torch.testing.assert_close(field, expected.flip(-2) if mirrored else expected)


def test_a_sample_gets_the_mean_of_the_others(setup: Setup, memories: site.Memories) -> None:
    pairs, index = setup.training[0], 2
    every = pairs.batch([int(i) for i in pairs.indices])
    with torch.no_grad():
        prediction = setup.model.eval()(every.coarse, every.statics, every.geometry, every.variables, every.clock)
        residual = every.fine - prediction
        others = torch.cat([residual[:index], residual[index + 1 :]]).mean(0)
        part = pairs.packed([int(pairs.indices[index])])
        batch, member = part.to(CPU), prediction[index][None, None].expand(1, 2, -1, -1, -1)
        both = Remembered(setup.model, memories)  # type: ignore[arg-type]
        whole = both._field(memories["tiny"], part.boxes[0].finer(4, (0, 0)), False, batch, 0)[None]
        field = both._others(whole, memories["tiny"], batch, member)
    known = torch.isfinite(others)
    assert float(known.float().mean()) > 0.9
    torch.testing.assert_close(field[0][known], others[known], atol=2e-5, rtol=1e-4)


def test_members_keep_the_inputs_block_means_and_their_spread(setup: Setup, memories: site.Memories) -> None:
    from orbit2.model.constraints import block_mean, cell_weights

    pairs = setup.training[0]
    part = pairs.packed([int(pairs.indices[0])])
    batch = part.to(CPU)
    with torch.no_grad():
        prediction = setup.model.eval()(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)
        member = torch.stack([prediction, prediction + 0.1 * torch.randn(prediction.shape, generator=torch.Generator().manual_seed(0))], 1)
        made = Remembered(setup.model, memories).added(member, batch, part, own=False)  # type: ignore[arg-type]
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
    assert about["factors"] == kept["tiny"].about["factors"] and about["samples"] == kept["tiny"].about["samples"]
    original, learned = trainer.optimise, []

    def stops(setup, batch, step):  # type: ignore[no-untyped-def]
        if step == 4:
            raise Interrupted("stopped", reached=None, asked=True)  # type: ignore[arg-type]
        return original(setup, batch, step)

    monkeypatch.setattr(trainer, "optimise", stops)
    with pytest.raises(Interrupted):
        train(tiny, tmp_path / "cut", parent, **settings)
    monkeypatch.setattr(trainer, "optimise", original)
    monkeypatch.setattr(site, "learn", lambda *_, **__: learned.append(1))
    cut = train(tiny, tmp_path / "cut", parent, **settings)
    assert not learned  # the second try goes on beside what the first one learned
    for name, value in loaded(whole).state_dict().items():
        assert torch.equal(value, loaded(cut).state_dict()[name]), name
    assert folder.load(cut)[0].outputs == folder.load(whole)[0].outputs and np.isfinite(about["gain"]["2m_temperature"])
