"""A run that is cut five times, by its job's end and by SLURM's signal in turn, is the uncut one, on ranks that change in between too."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from orbit2 import signals
from orbit2.cli import main
from orbit2.train import step as stepping
from orbit2.train import trainer
from tests.data.small_ranks import forked_ranks
from tests.data.tiny_training import Tiny, build

pytestmark = pytest.mark.parallel
STEPS, CUTS = 20, (3, 6, 10, 13, 17)  # steps that a cut lets finish


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny"))


def job_ends() -> None:
    """Two hours go by at once: the job's end, which its variable told at the start, is near."""
    later = time.monotonic
    signals.time = SimpleNamespace(  # type: ignore[assignment]
        monotonic=lambda: later() + 7200, time=time.time, strftime=time.strftime, localtime=time.localtime
    )


def run(tiny: Tiny, out: Path, worlds: Sequence[int], cuts: Sequence[int], dropout: float) -> Path:
    """Train to the end, from cut to cut, on so many ranks each time; every start but the last ends with 75."""
    config = tiny.slice(out / "config.json", steps=STEPS)
    section = json.loads(config.read_text())
    section["architecture"] |= {"dropout": dropout, "drop_path": dropout}
    section["model"]["architecture"] = section["architecture"]
    config.write_text(json.dumps(section))
    for number, (world, cut) in enumerate(zip(worlds, (*cuts, -1), strict=True)):

        def act(rank: int, number: int = number, world: int = world, cut: int = cut) -> None:
            os.environ |= {"SLURM_JOB_ID": "7", "SLURM_JOB_END_TIME": str(int(time.time()) + 7200)}
            original = trainer.take

            def take(setup: Any, batch: Any, step: int) -> Any:
                if step == cut - 1 and rank == number % world:
                    job_ends() if number % 2 == 0 else os.kill(os.getpid(), signal.SIGUSR1)
                return original(setup, batch, step)

            trainer.take = take
            main(["train", *tiny.command(config, out)])

        codes, _ = forked_ranks(act, world)
        assert codes == [75 if cut > 0 else 0] * world
        status = json.loads((out / "checkpoints" / "status.json").read_text())
        if cut > 0:
            assert (status["state"], status["step"], status["try"]) == ("resumable", cut, number + 1)
            here = "the job's time limit" if number % 2 == 0 else "SIGUSR1"
            assert status["reason"] == (here if number % world == 0 else "another rank")
    return out


def losses(out: Path) -> list[float]:
    lines = (out / "model" / "metrics.jsonl").read_text().splitlines()
    return [r["loss"] for r in map(json.loads, lines) if "loss" in r]


def deviation(one: Path, other: Path) -> float:
    """Of the weights that are kept, relative to their norm."""
    a, b = (load_file(out / "model" / "weights.safetensors") for out in (one, other))
    assert a.keys() == b.keys()
    flat = [torch.cat([weights[name].double().flatten() for name in sorted(a)]) for weights in (a, b)]
    return float((flat[0] - flat[1]).norm() / flat[0].norm())


@pytest.mark.slow
@pytest.mark.parametrize("world", [1, 2])
def test_cut_five_times_it_is_the_uncut_run_bit_for_bit(tiny: Tiny, tmp_path: Path, world: int) -> None:
    uncut = run(tiny, tmp_path / "uncut", [world], [], 0.1)
    cut = run(tiny, tmp_path / "cut", [world] * 6, CUTS, 0.1)
    assert losses(cut) == losses(uncut) and len(losses(cut)) >= 4
    assert deviation(uncut, cut) == 0


@pytest.mark.slow
def test_on_changing_ranks_it_ends_at_the_same_loss(tiny: Tiny, tmp_path: Path) -> None:
    uncut = run(tiny, tmp_path / "uncut", [2], [], 0.0)
    cut = run(tiny, tmp_path / "cut", [2, 1, 3, 2, 1, 3], CUTS, 0.0)
    assert losses(cut)[-1] == pytest.approx(losses(uncut)[-1], rel=1e-5)
    assert deviation(uncut, cut) < 1e-4


@pytest.mark.slow
def test_a_cut_by_the_jobs_end_and_one_by_a_signal(tiny: Tiny, tmp_path: Path) -> None:
    """The same in short: two ranks, then one, then three."""
    uncut = run(tiny, tmp_path / "uncut", [1], [], 0.0)
    cut = run(tiny, tmp_path / "cut", [2, 1, 3], CUTS[1:4:2], 0.0)
    assert losses(cut)[-1] == pytest.approx(losses(uncut)[-1], rel=1e-5)


def test_a_sample_that_is_not_finite_is_one_error_on_all_ranks(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The second rank has it: its samples are named, and no others."""

    def act(rank: int) -> None:
        original, calls = stepping.forward, []

        def forward(setup: Any, batch: Any, packed: Any) -> Any:
            part, target = original(setup, batch, packed)
            calls.append(batch.samples)
            if len(calls) == 3:
                (tmp_path / f"samples-{rank}").write_text("\n".join(batch.samples))
                part.data = part.data * (torch.inf if rank else 1.0)
            return part, target

        stepping.forward = forward  # type: ignore[assignment]
        main(["train", *tiny.command(tiny.slice(tmp_path / str(rank) / "config.json", steps=STEPS), tmp_path)])

    assert forked_ranks(act)[0] == [2, 2]
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 2 and errors[0] == errors[1] and "step 3: the loss is not finite" in errors[0] and "(rank 1)" in errors[0]
    good, bad = ((tmp_path / f"samples-{rank}").read_text().splitlines() for rank in range(2))
    assert bad and all(name in errors[0] for name in bad) and not any(name in errors[0] for name in good)
