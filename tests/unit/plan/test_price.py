"""From a step to a whole training or task: by hand, from a step whose seconds are given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from orbit2.config.load import load
from orbit2.config.schema import RunConfig
from orbit2.grid import named
from orbit2.model.inspect import build
from orbit2.parallel.mesh import Sizes
from orbit2.plan import disk, price, tiling
from orbit2.plan.advise import Halo
from orbit2.plan.devices import DEVICES
from orbit2.plan.machine import Machine
from orbit2.plan.records import Memory, Pieces, Training
from orbit2.plan.time import Split, saving
from tests.unit.plan.test_estimate import TINY

STEP = Split(forward=1.0, backward=2.0, optimiser=0.25, communication=0.75, exposed=0.5, data=0.25, flops=8 * 10**12, watts=500.0)
A100 = Machine("a100", 3)


@pytest.fixture
def config(tmp_path: Path) -> RunConfig:
    (tmp_path / "tiny.yaml").write_text(yaml.safe_dump(TINY), encoding="utf-8")
    return load(tmp_path / "tiny.yaml", ["models.small.train.wall_minutes=1", "models.small.train.validate_every=4"])


def test_steps_by_hand() -> None:
    """4 s a step on 3 ranks: hidden exchanges take none of it; 2 TFLOP/s of the 312 that bf16 has."""
    time = price.steps(STEP, None, A100, 3, 100, True)
    assert time.wall == pytest.approx(400) and time.device_seconds == pytest.approx(1200) and time.joules == pytest.approx(3 * 400 * 500)
    assert time.split == {"forward": 100, "backward": 200, "optimiser": 25, "exchanges": 50, "waiting for data": 25}
    assert time.rate == pytest.approx(2e12) and time.share == pytest.approx(2 / 312)
    assert price.steps(None, "cannot run", A100, 3, 100, True).untold == "cannot run"


def test_a_training_by_hand(config: RunConfig) -> None:
    """10 steps of 4 s; 3 validations of a sample in 8 windows (a step has 15 of them on a rank: 1 s forward); slices of a minute."""
    piece = Pieces("tiled", 8, (6, 6), (10, 10), 25, 1, 0.0, 1)
    steps = price.steps(STEP, None, A100, 1, 10, True)
    one = Training("tiny", (12, 24), (48, 96), 8, 1.0, 10, 3, 15, 15, 5, 1, (piece,), Memory({}, 1), steps, Halo("x"))

    class Step:
        state = 10**9

    found = price.whole(config, "small", [one], A100, Sizes(), (Step(), STEP), True)  # type: ignore[arg-type]
    assert found.split["validation"] == pytest.approx(3 * 1 * 8 / 15)
    assert found.split["checkpoints"] == pytest.approx((40 + 1.6) / (60 * 5) * saving(Step(), A100))  # type: ignore[arg-type]
    assert found.wall is not None and found.wall == pytest.approx(sum(found.split.values())) and found.slices == 1
    again = price.whole(config, "small", [one, one], A100, Sizes(), (Step(), STEP), True)  # type: ignore[arg-type]
    assert again.slices == 2 and again.rate == pytest.approx(2 * 10 * 8e12 / again.wall)  # validations are no work of the training's


PROCESSOR = Machine("epyc-7763", 1)


@pytest.mark.parametrize("forward", [1.0, 1e-6])
@pytest.mark.parametrize(
    ("on", "stored", "writers", "rate"),
    [
        (PROCESSOR, "exact", 0, price.WRITTEN),  # beside the network, on the cores that share its one chunk
        (A100, "exact", 0, 8 * price.WRITER["exact"]),  # by processes of their own
        (A100, "rounded", 0, 8 * price.WRITER["rounded"]),
        (A100, "plain", 3, 3 * price.WRITER["plain"]),
    ],
)
def test_a_task_is_as_slow_as_the_slower_of_computing_and_writing(
    config: RunConfig, forward: float, on: Machine, stored: str, writers: int, rate: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One field in 6 windows of a core of 6 x 8, a pass each; shards of one chunk."""
    monkeypatch.setattr(price, "step_of", lambda *_: Split(forward, 0, 0, 0, 0, 0, 10**9, None))
    monkeypatch.setattr(price, "predictions", lambda _: {"test": config.downscale["test"].model_copy(
        update={"stored": stored, "writers": writers})})  # fmt: skip
    cut = tiling.inference(named("global_15.0"), None, (6, 8), 2, 2)
    found = price.task(config, "test", build(config, "small"), None, cut, 1, 1, 1, on, True)  # type: ignore[arg-type]
    writing = 48 * 96 * 4 * len(build(config, "small").outputs) / rate
    assert found.wall == pytest.approx(max(6 * forward, writing), rel=1e-6) and found.devices == 1 and found.joules is None
    assert sum(found.split.values()) == pytest.approx(found.wall)


def test_auto_is_bf16_where_that_is_faster() -> None:
    assert price.multiplies_bf16("auto", A100) and not price.multiplies_bf16("auto", Machine("epyc-7763"))
    assert price.multiplies_bf16("bf16", Machine("epyc-7763")) and not price.multiplies_bf16("fp32", A100)


def test_measured_numbers_are_the_benchmarks_own(root: Path) -> None:
    def results(name: str) -> dict[str, Any]:
        return dict(json.loads((root / f"benchmarks/results/{name}.json").read_text(encoding="utf-8")))

    chosen = results("pairstore_read")["candidates"]
    wanted = (("chosen", True), ("codec", "uncompressed"))
    packed, raw = (next(one["megabytes"] for one in chosen if one[key] == value) for key, value in wanted)
    left = packed / raw
    assert pytest.approx(left, abs=0.005) == disk.PAIRS_LEFT
    written = results("downscale_throughput")
    field = 4 * 3 * 2880 * 5760
    assert pytest.approx(written["megabytes_stored_per_field"] * 1e6 / field, abs=0.005) == disk.PREDICTION_LEFT["exact"]
    assert pytest.approx(max(turn["fields"] * field / turn["write"] for turn in written["turns"]), rel=0.01) == price.WRITTEN
    alone = {row["stored"]: row for row in results("writer")["rows"] if row["where"] == "disk" and row["processes"] == 1}
    for stored, row in alone.items():
        assert price.WRITER[stored] == pytest.approx(row["megabytes_per_second"] * 1e6, rel=0.05)
        assert disk.PREDICTION_LEFT[stored] == pytest.approx(row["megabytes_stored"] / row["megabytes"], abs=0.02)
    assert DEVICES["a100"].rate("bf16") == 312e12
