"""Training under kill -9 at random moments, also in the middle of a save: a run loses what one period is, and never more."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orbit2.cli import main
from orbit2.train import shards, trainer
from orbit2.train.checkpoint import Checkpoints
from tests.data.small_downscaling import exit_code, forked
from tests.data.tiny_training import Tiny, build

EVERY = 5  # steps between two checkpoints


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny_training_kills"))


def train(tiny: Tiny, out: Path, background: bool, steps: int) -> None:
    """A run with a disk slow enough to be caught writing; every finished step is told in `steps`, past any buffer."""
    out.mkdir(exist_ok=True)
    real, save, told = trainer.take, shards._save, os.open(out / "steps", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def take(setup, batch, step):  # type: ignore[no-untyped-def]
        record = real(setup, batch, step)
        os.write(told, f"{step + 1}\n".encode())
        return record

    def slow(tensors: dict[str, torch.Tensor], path: Path) -> None:
        save(tensors, path)
        time.sleep(0.03)

    trainer.take, shards._save = take, slow
    config = tiny.slice(out / "config.json", steps=steps, checkpoint_every=EVERY, checkpoint_background=background, validate_every=7)
    main(["train", *tiny.command(config, out)])


def steps_told(out: Path) -> list[int]:
    told = out / "steps"
    return [int(line) for line in told.read_text().split()] if told.exists() else []


@pytest.mark.parametrize(
    ("rounds", "background"),
    [(2, False), *(pytest.param(*each, marks=pytest.mark.slow) for each in ((2, True), (20, True), (20, False)))],
)
def test_a_run_killed_again_and_again_loses_no_more_than_a_period(tiny: Tiny, tmp_path: Path, rounds: int, background: bool) -> None:
    """Waiting for its saves a run loses at most the steps between two; in the background less than twice as many: one may be under way."""
    draw, steps, lost, during = random.Random(rounds), 20 * rounds, list[int](), 0
    out = tmp_path / "killed"
    for number in range(rounds):
        begun, until = len(steps_told(out)), time.monotonic() + 100
        child = forked(lambda: train(tiny, out, background, steps))
        wait = draw.randrange(2, 12)
        while len(steps_told(out)) < begun + wait:
            assert time.monotonic() < until and os.waitpid(child, os.WNOHANG) == (0, 0)
            time.sleep(0.002)
        while number % 2 and not list((out / "checkpoints").glob(".step-*.part")):  # every other time in the middle of a save
            assert time.monotonic() < until
        os.kill(child, signal.SIGKILL)
        assert exit_code(child) == -signal.SIGKILL
        during += bool(list((out / "checkpoints").glob(".*.part")))
        found = Checkpoints(out / "checkpoints", json.loads((out / "config.json").read_text())).choose()
        lost.append(steps_told(out)[-1] - (found.step if found else 0))
        assert not list((out / "checkpoints").glob("damaged*"))
    assert during >= rounds // 2 and all(0 <= count <= EVERY if not background else 0 <= count < 2 * EVERY for count in lost), lost
    for folder in (out, tmp_path / "undisturbed"):
        assert exit_code(forked(lambda folder=folder: train(tiny, folder, background, steps))) == 0  # type: ignore[misc]
    killed, undisturbed = (load_file(folder / "model" / "weights.safetensors") for folder in (out, tmp_path / "undisturbed"))
    assert killed.keys() == undisturbed.keys() and all(torch.equal(tensor, undisturbed[name]) for name, tensor in killed.items())
