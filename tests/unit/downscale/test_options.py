"""What the configuration and the command line accept of a downscaling task."""

from typing import Any

import pytest

from orbit2.cli.stages import tile_size
from orbit2.config.load import CONFIG_ROOT, load
from orbit2.errors import OrbitError


def task(**settings: Any) -> Any:
    return load(CONFIG_ROOT / "config.yaml", [f"downscale.test.{key}={value}" for key, value in settings.items()]).downscale["test"]


def test_a_tile_is_a_number_or_two() -> None:
    assert task(tile=45).tile == 45 and task(tile="[30,60]").tile == (30, 60)
    for wrong in (-1, "[1,2,3]", "[-1,4]", "x"):
        with pytest.raises(OrbitError, match="tile"):
            task(tile=wrong)
    assert tile_size("45") == 45 and tile_size("30,60") == (30, 60)
    for text in ("", "a", "1,2,3", "-4", "4,"):
        with pytest.raises(OrbitError, match="--tile"):
            tile_size(text)


def test_members_need_dropout() -> None:
    with pytest.raises(OrbitError, match=r"downscale\.test\.members: drawn by dropout"):
        task(members=4)
    run = load(CONFIG_ROOT / "config.yaml", ["downscale.test.members=4", "models.reslim.architecture.dropout=0.1"])
    assert run.downscale["test"].members == 4
