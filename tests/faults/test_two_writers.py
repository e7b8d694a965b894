"""Two real processes that make the same product: one waits, takes over or is refused, and nothing is recorded twice."""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orbit2 import owner
from orbit2.cli import main
from orbit2.downscale import job as jobs
from orbit2.downscale import run
from orbit2.train import trainer
from tests.data.small_downscaling import arguments, computed, exit_code, forked, random_model, shards, task
from tests.data.tiny_training import Tiny, build

STEPS = 16


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("BEAT", 0.2), ("SILENCE", 1.5)):
        monkeypatch.setattr(owner, name, seconds)
    monkeypatch.setattr(owner, "PATIENCE", (0.5, 0.5))
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)


def train(tiny: Tiny, out: Path) -> None:
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)  # in a child: what a terminal shows
    config = tiny.slice(out / "config.json", steps=STEPS, checkpoint_every=3, validate_every=4)
    main(["train", *tiny.command(config, out)])


def halts(step: int) -> Callable[..., object]:
    """`take` that suspends its process before a step, once."""
    original = trainer.take

    def take(setup, batch, number):  # type: ignore[no-untyped-def]
        if number == step:
            os.kill(os.getpid(), signal.SIGSTOP)
        return original(setup, batch, number)

    return take


def suspended(pid: int) -> None:
    """Waits until a child is."""
    assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])


def test_of_two_trainers_one_writes(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """On this machine the second is refused while the first lives. One that seems to run on another machine, and shows no life, is
    replaced; awake again it ends, and what it would have written is in the curve once."""
    assert exit_code(forked(lambda: train(tiny, tmp_path / "alone"))) == 0
    out = tmp_path / "two"

    def first() -> None:
        owner.machine = lambda: "another boot of another machine"  # type: ignore[assignment]
        trainer.take = halts(8)  # type: ignore[assignment]
        train(tiny, out)

    pid = forked(first)
    suspended(pid)
    os.kill(pid, signal.SIGCONT)
    time.sleep(0.01)
    os.kill(pid, signal.SIGSTOP)  # in the middle of whatever it is doing
    assert exit_code(forked(lambda: train(tiny, out))) == 0
    said = capfd.readouterr().err
    assert f"waits: process {pid} on " in said and f"takes over from process {pid} on " in said and "try 2, resumes at step" in said
    curve, alone = ((folder / "checkpoints" / "metrics.jsonl").read_text() for folder in (out, tmp_path / "alone"))
    os.kill(pid, signal.SIGCONT)
    assert exit_code(pid) in (1, 2)
    assert "another process has taken over what this one was writing" in capfd.readouterr().err
    assert (out / "checkpoints" / "metrics.jsonl").read_text() == curve and not (out / "checkpoints" / owner.NAME).exists()
    records = [[(r["step"], "validation_loss" in r) for r in map(json.loads, text.splitlines())] for text in (curve, alone)]
    assert records[0] == records[1] and len(set(records[0])) == len(records[0])
    weights, undisturbed = (load_file(folder / "model" / "weights.safetensors") for folder in (out, tmp_path / "alone"))
    assert all(torch.equal(tensor, weights[name]) for name, tensor in undisturbed.items())


@pytest.mark.slow
def test_of_two_that_predict_the_same_block_one_computes(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A second block beside it goes; the same one, or all of it, is refused until the first is dead, and then no item is made twice."""
    given = arguments(tiny, random_model(tmp_path / "model"), task(tmp_path / "c.json", tile=6, halo=2, blend=0, blocks=2),
                      tmp_path / "p.zarr")  # fmt: skip

    def downscale(*block: str) -> int:
        def act() -> None:
            logging.basicConfig(level=logging.INFO, stream=sys.stderr, force=True)
            main(["downscale", *[f"--{key}={value}" for key, value in given.items()], *block])

        return exit_code(forked(act))

    def first() -> None:
        original, seen = jobs.Job.compute, []

        def compute(self, item, fields):  # type: ignore[no-untyped-def]
            seen.append(item)
            if len(seen) == 3:
                os.kill(os.getpid(), signal.SIGSTOP)
            return original(self, item, fields)

        jobs.Job.compute = compute  # type: ignore[method-assign]
        run(**given, block="0/2")

    blocks = [("--block", f"{i}/2", "--receipt", str(tmp_path / f"{i}.json")) for i in range(2)]
    assert downscale("--block", "init", "--receipt", str(tmp_path / "init.json")) == 0
    pid = forked(first)
    suspended(pid)
    try:
        assert downscale(*blocks[1]) == 0
        for same in (blocks[0], (), ("--block", "init", "--receipt", str(tmp_path / "init.json"))):
            assert downscale(*same) == 2
            assert f"another process computes block 0/2 of this prediction; got 'process {pid} on " in capfd.readouterr().err
    finally:
        os.kill(pid, signal.SIGKILL)
        exit_code(pid)
    assert downscale(*blocks[0]) == 0 and f"takes over from process {pid} on " in capfd.readouterr().err
    assert downscale("--block", "finalise") == 0
    assert computed(given["out"]) == list(range(len(computed(given["out"]))))
    made = shards(given["out"])
    given["out"] = tmp_path / "alone.zarr"
    assert downscale() == 0 and shards(given["out"]) == made
    assert not list(tmp_path.glob(f".*{owner.NAME}"))
