"""A compressing model in the real trainer: its density learns where interpolation errs, and fine-tuning on a box carries it on."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from orbit2.data.dataset import Pairs
from orbit2.data.pairs import PairStore
from orbit2.model import folder
from orbit2.model.reslim import Reslim
from orbit2.train import run
from tests.data.tiny_training import Tiny

COMPRESSION = {"mode": "budget", "ratio": 4, "max_leaf": 4, "auxiliary_weight": 1.0}


def train(tiny: Tiny, out: Path, parent: Path | None = None, region: list[float] | None = None, **settings: object) -> Path:
    model = {"region": region} | ({"finetune_from": "tiny"} if parent else {})
    config = tiny.slice(out / "config.json", model=model, **settings)
    section = json.loads(config.read_text())
    section["architecture"]["compression"] = COMPRESSION
    if parent is None:
        section["model"]["architecture"] = section["architecture"]
    config.write_text(json.dumps(section))
    stores, statistics = {"tiny": tiny.store}, {"tiny": tiny.statistics}
    run(config=config, stores=stores, statistics=statistics, out=out / "model", checkpoints=out / "checkpoints", parent=parent)
    return out / "model"


def density_error(tiny: Tiny, place: Path) -> float:
    """Mean square error of the density on the validation sample."""
    model, normaliser, _ = folder.load(place)
    assert isinstance(model, Reslim)
    batch = Pairs(PairStore(tiny.store), ("2026-01-01T09:00", "2026-01-01T09:00"), normaliser, model.outputs)
    held = batch.batch([int(batch.indices[0])])
    model.train()
    with torch.no_grad():
        model(held.coarse, held.statics, held.geometry, held.variables, held.clock)
        own = model.auxiliary(held.coarse, held.variables, held.fine, held.weights, held.geometry.periodic)
    assert own is not None
    return float(own[0] / own[1])


def test_density_learns_and_fine_tuning_carries_it(tiny: Tiny, tmp_path: Path) -> None:
    begun = train(tiny, tmp_path / "begun", steps=1, learning_rate=1e-9)
    trained = train(tiny, tmp_path / "trained", steps=24, validate_every=24)
    assert density_error(tiny, trained) < 0.5 * density_error(tiny, begun)
    tuned = train(tiny, tmp_path / "tuned", trained, [-60.0, 60.0, 200.0, 320.0], steps=1, learning_rate=1e-9)
    before, after = (folder.load(place)[0].state_dict() for place in (trained, tuned))
    names = [name for name in before if name.startswith("compression.")]
    assert names and all(torch.allclose(before[name], after[name], atol=1e-6) for name in names)
