"""timing.json of real trainings: whole, added up over tries, and no weight differs because of it."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from orbit2.errors import Interrupted, OrbitError
from orbit2.model import folder, threads
from orbit2.model.inspect import forward_flops
from orbit2.train import run, trainer
from orbit2.train.timing import Timing
from tests.data.tiny_training import Tiny


def train(tiny: Tiny, out: Path, **settings: Any) -> dict[str, Any]:
    config = tiny.slice(out / "config.json", steps=6, validate_every=3, checkpoint_every=2, **settings)
    run(
        config=config, stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics}, out=out / "model", checkpoints=out / "checkpoints"
    )
    return record(out)


def record(out: Path) -> dict[str, Any]:
    return json.loads((out / "checkpoints" / "timing.json").read_text())


def test_the_parts_of_a_run_are_its_whole_time_and_the_model_s_work_is_counted(tiny: Tiny, tmp_path: Path) -> None:
    began = time.perf_counter()
    made = train(tiny, tmp_path, augment=False)
    wall = time.perf_counter() - began
    (one,), total = made["tries"], made["total"]
    assert made["state"] == "done" and one["steps"] == 6 and total["samples"] == 18 and one["ranks"] == 1
    assert sum(one["seconds"].values()) == pytest.approx(one["elapsed"], abs=0.01) and one["elapsed"] < wall
    assert {"setup", "waiting", "copy", "forward", "backward", "optimiser", "validation", "saving"} <= set(one["seconds"])
    assert one["loader"]["reading"] > 0 and one["loader"]["decoding"] > 0
    model, _, about = folder.load(tmp_path / "model", weights=False)
    assert total["flops"] == 18 * 3 * forward_flops(model, folder.grids(about)["tiny"])
    assert total["flops_per_second"] == pytest.approx(total["flops"] / total["elapsed"])
    assert total["device_bytes"] is None and total["host_bytes"] > 50e6
    beside = json.loads((tmp_path / "model" / "timing.json").read_text())
    assert beside["state"] == "done" and beside["total"]["elapsed"] <= total["elapsed"]
    told = [json.loads(line) for line in (tmp_path / "model" / "metrics.jsonl").read_text().splitlines()]
    seconds = [line["seconds"] for line in told if "validation_loss" in line]
    assert len(seconds) == 2 and 0 < seconds[0] < seconds[1] < total["elapsed"]


class Stop:
    """Stops a run after some steps, as a signal would."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        step, left = trainer.take, [after]

        def counted(*given: Any) -> Any:
            left[0] -= 1
            if not left[0]:
                self.error()
            return step(*given)

        monkeypatch.setattr(trainer, "take", counted)

    def error(self) -> None:
        raise OrbitError("as a damaged sample would", where="here", hint="none")


def test_tries_add_up_also_one_that_failed(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        Stop(patch, 4)
        with pytest.raises(OrbitError):
            train(tiny, tmp_path)
    failed = record(tmp_path)
    assert failed["state"] == "failed" and failed["tries"][0]["steps"] == 3  # the third was lost: the last checkpoint is of step 2
    made = train(tiny, tmp_path)
    assert [(one["try"], one["state"], one["steps"]) for one in made["tries"]] == [(1, "failed", 3), (2, "done", 4)]
    assert made["total"]["samples"] == 21 and made["tries"][0] == failed["tries"][0]
    assert made["total"]["elapsed"] == pytest.approx(sum(one["elapsed"] for one in made["tries"]))
    with pytest.raises(Interrupted):
        train(tiny, tmp_path / "other", wall_minutes=1e-6)
    assert record(tmp_path / "other")["state"] == "resumable"


def test_no_weight_differs_because_of_it(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    train(tiny, tmp_path / "with")
    for name in ("write", "stepped"):
        monkeypatch.setattr(Timing, name, lambda *_, **__: None)
    (tmp_path / "without" / "checkpoints").mkdir(parents=True)
    (tmp_path / "without" / "checkpoints" / "timing.json").write_text("{}")
    train(tiny, tmp_path / "without")
    one, other = (folder.load(tmp_path / name / "model")[0].state_dict() for name in ("with", "without"))
    assert all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.parametrize(("configured", "each", "expected"), [(0, 1e12, 1), (0, 1.0, 2), (2, 1e12, 2)])
def test_a_step_takes_as_many_threads_as_it_is_worth(
    configured: int, each: float, expected: int, tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "EACH", each)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        (one,) = train(tiny, tmp_path, threads=configured)["tries"]
        assert torch.get_num_threads() == 2  # as before
    finally:
        torch.set_num_threads(before)
    assert one["threads"] == expected


def test_small_networks_take_one_thread_and_large_ones_all() -> None:
    assert [threads.worthwhile(flops, 8) for flops in (0, 2.5e9, 8e9, 5e10, float("inf"))] == [1, 1, 2, 8, 8]
    assert threads.worthwhile(1e12, 1) == 1
