"""What `orbit2 plan` prints agrees with counts made by hand."""

from pathlib import Path

import pytest

from orbit2.config.load import load
from orbit2.errors import OrbitError
from orbit2.grid import global_grid
from orbit2.model.inspect import forward_flops
from orbit2.plan import run
from tests.data.small_models import demo_model


def test_attention_and_mlp_flops_by_hand() -> None:
    grid = global_grid(15.0)  # 12 x 24 cells: 72 tokens at patch 2
    shallow, deep = (demo_model(depth=depth) for depth in (1, 2))
    width, tokens = 32, 72
    by_hand = 2 * tokens * width * width * (3 + 1 + 8) + 2 * 2 * tokens * tokens * width
    assert forward_flops(deep.to("meta"), grid) - forward_flops(shallow.to("meta"), grid) == by_hand


def test_plan_of_the_demo(root: Path) -> None:
    text = run(load(root / "config" / "config.yaml"), device="h200", nodes=2)
    assert "1,035 tokens" in text and "16 h200" in text and "fits" in text


def test_unknown_device_is_refused(root: Path) -> None:
    with pytest.raises(OrbitError, match="unknown device"):
        run(load(root / "config" / "config.yaml"), device="tpu")
