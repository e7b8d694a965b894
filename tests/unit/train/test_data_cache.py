"""`data.cache` of a run's machine file is where its loaders keep what they read."""

import json
import shutil
from pathlib import Path

import pytest
import torch

from orbit2.config.load import validate
from orbit2.config.schema import ModelConfig
from orbit2.parallel.launch import Ranks
from orbit2.train.build import Setup
from tests.data.tiny_training import Tiny, batch_of


def test_training_reads_from_the_cache(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NODE_DISK", str(tmp_path / "disk"))
    store = tmp_path / "pairs.zarr"
    shutil.copytree(tiny.store, store)
    section = json.loads(tiny.slice(tmp_path / "config.json").read_text()) | {"data": {"cache": "$NODE_DISK", "cache_gb": 0.5}}
    config = validate(ModelConfig, section["model"], "model")
    made = Setup(section, config, {"tiny": store}, {"tiny": tiny.statistics}, None, Ranks(0, 1, torch.device("cpu")))
    first = batch_of(made.steps, 0)
    kept = [path for path in (tmp_path / "disk").rglob("*") if path.is_file() and path.name.isdigit()]
    assert kept
    for path in kept:
        (store / path.parent.name / "fields/c" / path.name / "0/0/0").unlink()
    assert torch.equal(batch_of(made.steps, 0).fine, first.fine)
