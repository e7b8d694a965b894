"""A second stage that learns members: noise by step and place, weights by name, a frozen trunk, the scale of the noise."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from orbit2.config import slices
from orbit2.config.load import from_mapping, load
from orbit2.config.network import ArchitectureConfig
from orbit2.config.schema import ModelConfig, RunConfig
from orbit2.data.cutting import Cutting
from orbit2.data.noisy import Noise
from orbit2.data.pairs import PairStore
from orbit2.data.steps import Steps
from orbit2.errors import OrbitError
from orbit2.model import folder
from orbit2.model.noise import white
from orbit2.model.reslim import Reslim
from orbit2.train import noise_scale, run
from tests.data.tiny_training import CPU, Tiny
from tests.unit.train.test_losses_training import truths

MEMBERS: dict[str, Any] = {"loss": "crps", "ensemble": 2, "steps": 6, "validate_every": 3, "spectral_segment": 16}


def train(tiny: Tiny, out: Path, parent: Path | None = None, noise: bool = False, **settings: Any) -> Path:
    config = tiny.slice(out / "config.json", **settings)
    section = json.loads(config.read_text())
    for each in (section["architecture"], section["model"]["architecture"]):
        each.update(dropout=0.0, drop_path=0.0, conserve=True)
    if parent is not None:
        section["model"].update(finetune_from="parent", architecture={"noise": {"channels": 1}})
    config.write_text(json.dumps(section))
    run(config=config, stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics}, out=out / "model",
        checkpoints=out / "checkpoints", parent=parent)  # fmt: skip
    return out / "model"


@pytest.fixture(scope="module")
def parent(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny, tmp_path_factory.mktemp("parent"), steps=4, validate_every=4)


@pytest.fixture(scope="module")
def members(tiny: Tiny, parent: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of the parent, its trunk frozen, with a site memory."""
    return train(tiny, tmp_path_factory.mktemp("members"), parent, **MEMBERS, freeze_trunk=True, site_memory=True)


def loaded(path: Path) -> Reslim:
    model = folder.load(path)[0]
    assert isinstance(model, Reslim)
    return model


def test_a_frozen_trunk_keeps_its_weights(parent: Path, members: Path) -> None:
    before, after = loaded(parent).state_dict(), loaded(members).state_dict()
    new = {name for name in after if name not in before}
    assert new == {"decoder.layers.0.modulation.weight", "residual.blocks.0.modulation.weight"}
    free = ("decoder.", "residual.blocks.", "residual.leave.")
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed and all(name.startswith(free) for name in changed)
    assert {name for name in before if name.startswith(free) and name.endswith("weight")} <= changed


def test_the_second_stage_begins_with_the_parents_prediction(tiny: Tiny, parent: Path, tmp_path: Path) -> None:
    """Without noise it is the parent, to the bit, before its first step: weights go by name, the noise's own are new."""
    child = loaded(train(tiny, tmp_path, parent, **{**MEMBERS, "steps": 1, "validate_every": 1, "learning_rate": 1e-30}))
    batch = truths(tiny).batch([2])
    with torch.no_grad():
        one, other = (model(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock) for model in (loaded(parent), child))
    assert torch.allclose(one, other, atol=1e-6)


def test_the_scale_of_the_noise_is_fitted_saved_and_told(members: Path) -> None:
    about = json.loads((members / "config.json").read_text())
    scores = about["noise"]["scores"]
    assert list(scores) in ([f"{scale:g}" for scale in noise_scale.SCALES[part]] for part in (slice(2, 5), slice(5), slice(2, None)))
    assert about["noise_scale"] == float(min(scores, key=lambda scale: scores[scale])) == loaded(members).noise_scale
    assert about["noise"]["members"] == 16 and about["noise"]["judged_samples"] == 1
    card = (members / "card.md").read_text()
    assert "## Members" in card and f"multiplied by {about['noise_scale']:g}" in card and "Fair CRPS of members" in card
    assert ("Too sure" in card) == (about["noise_scale"] > noise_scale.WIDE)
    lines = [json.loads(line) for line in (members / "metrics.jsonl").read_text().splitlines()]
    assert all(0 < line["validation_loss"] < 2 for line in lines if "validation_loss" in line)


def test_every_member_gets_the_same_map_of_the_site_memory(members: Path) -> None:
    """No slope on a member's own value, which would change the spread."""
    about = json.loads((members / "config.json").read_text())["site_memory"]["tiny"]
    assert all(row["slope"] == 0 for row in about["factors"].values())


def test_noise_of_a_step_is_by_place_in_the_global_batch(tiny: Tiny) -> None:
    """Any ranks, tiles and parts of a step: the same noise for the same cells, cut out of the whole sample's."""
    pairs, noise = truths(tiny), Noise(2, 2, seed=5)
    (whole,) = Steps([pairs], 3, 0, True, noise=noise)[4]
    assert whole.noise is not None and whole.noise.shape == (3, 2, 2, *whole.fine.shape[2:])
    rows, columns = whole.view.shape
    assert torch.equal(whole.noise[2, 1], white(5, 1, "step 4 sample 2", range(rows), range(columns), 2, 4))
    for rank in (0, 1):
        parts = [part.to(CPU) for part in Steps([pairs], 3, 0, True, rank, 2, noise=noise)[4]]
        assert torch.equal(torch.cat([part.noise for part in parts if part.noise is not None]), whole.noise[rank::2])
    cutting = Cutting((5, 7), 1)
    (tiles,) = Steps([pairs], 3, 0, True, cutting=cutting, noise=noise)[4]
    assert tiles.noise is not None and tiles.windows is not None
    each = len(tiles) // 3
    for k, window in enumerate(tiles.windows):
        assert torch.equal(tiles.noise[k], window.take(whole.noise[k // each], 4))
    assert not torch.equal(Steps([pairs], 3, 0, True, noise=noise)[5][0].noise[0, 0], whole.noise[0, 0])  # type: ignore[index]


def test_members_are_the_same_whatever_store_is_open(tiny: Tiny, members: Path) -> None:
    model, store = loaded(members), PairStore(tiny.store)
    batch = truths(tiny).batch([1])
    rows, columns = store.grid("coarse").shape
    z = torch.stack([white(0, m, "now", range(rows), range(columns), 1, 4) for m in range(16)])[None]
    with torch.no_grad():
        trunk = model.trunk(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)
        assert torch.equal(model.members(trunk, z[:, :4])[:, 3], model.members(trunk, z)[:, 3])


SECOND: dict[str, Any] = {"datasets": ["era5_week"], "finetune_from": "reslim", "train": {"loss": "crps"}}


def configured(root: Path, **changes: Any) -> RunConfig:
    raw = load(root / "config" / "runs" / "demo.yaml").model_dump(mode="json", exclude_unset=True)
    raw["models"]["second"] = {**SECOND, **changes}
    return from_mapping(raw)


def test_a_fine_tuned_model_may_add_noise_and_nothing_else(root: Path) -> None:
    run = configured(root, architecture={"noise": {"channels": 2}})
    added, inherited = run.architecture_of("second"), run.architecture_of("reslim")
    assert added.noise.channels == 2 and added.model_copy(update={"noise": inherited.noise}) == inherited
    told = slices.model(run, "second")["model"]  # what its job reads: no key of later that is at its default
    assert set(ArchitectureConfig.model_fields) > set(told["architecture"])
    assert ModelConfig.model_validate(told) == run.models["second"]
    with pytest.raises(OrbitError, match="inherits its architecture"):
        configured(root, architecture={"embed_dim": 128, "noise": {"channels": 2}})
    with pytest.raises(OrbitError, match="needs members"):
        configured(root)
    with pytest.raises(OrbitError, match="never sees the members"):
        configured(root, architecture={"noise": {"channels": 2}}, train={})
    with pytest.raises(OrbitError, match="freeze_trunk"):
        configured(root, finetune_from=None, architecture={"noise": {"channels": 2}}, train={"loss": "crps", "freeze_trunk": True})
