"""The record of two ranks: their work adds up to one process's, and what they exchange is told."""

import json
from pathlib import Path
from typing import Any

import pytest

from orbit2.train import run
from tests.data.small_ranks import forked_ranks
from tests.data.tiny_training import Tiny, build

pytestmark = pytest.mark.parallel


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny"))


def train(tiny: Tiny, out: Path, world: int, **settings: Any) -> dict[str, Any]:
    config = tiny.slice(out / "config.json", steps=6, batch_size=4, communication_step=5, **settings)
    given = {"stores": {"tiny": tiny.store}, "statistics": {"tiny": tiny.statistics}}

    def act(rank: int) -> None:
        run(config=config, **given, out=out / "model", checkpoints=out / "checkpoints")

    if world == 1:
        act(0)
    else:
        codes, _ = forked_ranks(act, world)
        assert codes == [0] * world
    return json.loads((out / "checkpoints" / "timing.json").read_text())


@pytest.fixture(scope="module")
def one(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return train(tiny, tmp_path_factory.mktemp("one"), 1)["total"]


def test_two_ranks_do_the_work_of_one_and_tell_what_they_exchange(tiny: Tiny, one: dict[str, Any], tmp_path: Path) -> None:
    made = train(tiny, tmp_path / "two", 2, mesh={"fsdp": 2})
    (entry,), total = made["tries"], made["total"]
    assert entry["ranks"] == 2 and total["samples"] == one["samples"] == 24 and total["flops"] == one["flops"]
    assert total["device_seconds"] == pytest.approx(2 * total["elapsed"])
    assert all(entry["slowest"][part] >= seconds for part, seconds in entry["seconds"].items() if part != "other")
    assert sum(entry["seconds"].values()) == pytest.approx(entry["elapsed"], rel=0.1)
    assert entry["profiled"]["steps"] == 1 and 0 < entry["profiled"]["exposed"] <= entry["profiled"]["exchanging"] < 1
    steps = sum(entry["seconds"].get(part, 0.0) for part in ("waiting", "copy", "forward", "backward", "optimiser"))
    assert total["communication"] == pytest.approx(entry["profiled"]["exposed"] * steps, rel=1e-3) and one["communication"] == 0


def test_ranks_that_share_tokens_count_their_work_once(tiny: Tiny, one: dict[str, Any], tmp_path: Path) -> None:
    assert train(tiny, tmp_path, 2, mesh={"sp": 2})["total"]["flops"] == one["flops"]
