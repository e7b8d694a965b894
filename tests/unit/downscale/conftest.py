from pathlib import Path

import pytest

from orbit2.train import run
from tests.data.tiny_training import Tiny, build


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny_downscale"))


@pytest.fixture(scope="session")
def model(tiny: Tiny) -> Path:
    """A trained tiny model folder."""
    out = tiny.folder / "model"
    config = tiny.slice(tiny.folder / "config.json", steps=20, validate_every=10)
    run(config=config, stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics}, out=out, checkpoints=tiny.folder / "checkpoints")
    return out
