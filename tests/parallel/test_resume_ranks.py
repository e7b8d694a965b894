"""A run that goes on with other ranks and another mesh each time is the run of one process that never stopped."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from orbit2.cli import main
from orbit2.parallel import watch
from orbit2.train import shards, trainer
from tests.data.small_downscaling import exit_code, forked
from tests.data.small_ranks import free_port
from tests.data.tiny_training import Tiny, build

pytestmark = pytest.mark.parallel
STEPS = 9


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny"))


def started(world: int, act: Callable[[int], object]) -> list[int]:
    """Exit codes of `act(rank)` in `world` processes that find each other as torchrun's do."""
    port = free_port()

    def process(rank: int) -> None:
        if world > 1:
            os.environ.update(RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
        act(rank)

    return [exit_code(pid) for pid in [forked(lambda rank=rank: process(rank)) for rank in range(world)]]  # type: ignore[misc]


def train(tiny: Tiny, out: Path, rank: int, mesh: dict[str, int], stop: int | None = None) -> None:
    """Up to `stop`, where a signal comes, or to the end; what each step saw is told in `seen-<step>-<rank>`."""
    real = trainer.take

    def take(setup: Any, batch: Any, step: int) -> Any:
        samples = [name for part in batch for name in part.samples]
        (out / f"seen-{step}-{rank}").write_text(json.dumps(samples))
        if step + 1 == stop and rank == 0:
            os.kill(os.getpid(), signal.SIGUSR1)
        return real(setup, batch, step)

    trainer.take = take
    settings = {"steps": STEPS, "batch_size": 4, "validate_every": 5, "mesh": mesh, "learning_rate": 1e-3, "ema": 0.8}
    path = out / f"config-{rank}.json"
    content = json.loads(tiny.slice(path, **settings).read_text())
    for part in (content["architecture"], content["model"]["architecture"]):
        part.update(dropout=0.0, drop_path=0.0)
    path.write_text(json.dumps(content))
    main(["train", *tiny.command(path, out)])


def curve(out: Path) -> dict[int, dict[str, float]]:
    lines = [json.loads(line) for line in (out / "model" / "metrics.jsonl").read_text().splitlines()]
    return {line["step"]: line for line in lines if "loss" in line} | {-line["step"]: line for line in lines if "validation_loss" in line}


def seen(out: Path, step: int) -> list[str]:
    return sorted(name for file in out.glob(f"seen-{step}-*") for name in json.loads(file.read_text()))


@pytest.mark.slow
def test_four_ranks_then_two_then_three_are_one_run(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "LOG_EVERY", 1)
    whole, moved = tmp_path / "whole", tmp_path / "moved"
    for out in (whole, moved):
        out.mkdir()
    assert started(1, lambda rank: train(tiny, whole, rank, {})) == [0]
    for world, mesh, stop in ((4, {"fsdp": 2}, 3), (2, {"fsdp": 2}, 6), (3, {"fsdp": 3}, None)):
        ended = started(world, lambda rank, mesh=mesh, stop=stop: train(tiny, moved, rank, mesh, stop))  # type: ignore[misc]
        assert ended == [0 if stop is None else 75] * world
        if stop is not None:
            told = json.loads((moved / "checkpoints" / f"step-{stop:08d}" / "manifest.json").read_text())
            assert told["world"] == world and told["progress"]["step"] == stop
    for step in range(STEPS):
        assert seen(moved, step) == seen(whole, step) and len(seen(whole, step)) == 4
    one, other = curve(whole), curve(moved)
    assert one.keys() == other.keys() == {*range(1, STEPS + 1), -5, -STEPS}
    for key, line in one.items():
        measure = "loss" if key > 0 else "validation_loss"
        assert other[key][measure] == pytest.approx(line[measure], rel=1e-5), key
    straight, resumed = (load_file(out / "model" / "weights.safetensors") for out in (whole, moved))
    for name, tensor in straight.items():
        torch.testing.assert_close(resumed[name], tensor, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_rank_that_dies_in_the_middle_of_a_save_costs_that_save_alone(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SILENCE", "BEAT", "GRACE"):  # as in test_ranks_end
        monkeypatch.setattr(watch, name, getattr(watch, name) / 5)

    def killed(rank: int) -> None:
        real, calls = shards._save, list[int]()

        def save(tensors: dict[str, torch.Tensor], path: Path) -> None:
            calls.append(1)
            if rank == 1 and len(calls) == 2:
                path.write_bytes(b"half")
                os.kill(os.getpid(), signal.SIGKILL)
            real(tensors, path)

        shards._save = save
        config = tiny.slice(tmp_path / f"config-{rank}.json", steps=8, checkpoint_every=2, validate_every=8, mesh={"fsdp": 2})
        main(["train", *tiny.command(config, tmp_path)])

    codes = started(2, killed)
    assert codes[1] == -signal.SIGKILL and codes[0] == 1
    folder = tmp_path / "checkpoints"
    assert [p.name for p in folder.glob("step-*")] == ["step-00000002"] and list(folder.glob(".step-00000004.part/*"))
    capfd.readouterr()
    config = tiny.slice(tmp_path / "config.json", steps=8, checkpoint_every=2, validate_every=8)
    assert started(1, lambda _: main(["train", *tiny.command(config, tmp_path)])) == [0]
    assert "try 2, resumes at step 2" in capfd.readouterr().err and not list(folder.glob(".*.part"))
