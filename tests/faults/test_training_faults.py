"""Training under fire: signals to the whole process group. What was learnt stays, and the same command goes on."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orbit2.cli import main
from orbit2.train import trainer
from tests.data.small_downscaling import exit_code, forked
from tests.data.tiny_training import Tiny, build

STEPS = 12
SIGNALS = (signal.SIGUSR1, signal.SIGTERM, signal.SIGINT, signal.SIGHUP)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny_training_faults"))


@pytest.fixture(scope="module")
def undisturbed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> dict[str, torch.Tensor]:
    out = tmp_path_factory.mktemp("undisturbed")
    assert ended(lambda: train(tiny, out)) == 0
    return weights(out)


def train(tiny: Tiny, out: Path, **settings: object) -> None:
    config = tiny.slice(out / "config.json", **{"steps": STEPS, **settings})
    main(["train", *tiny.command(config, out)])


def weights(out: Path) -> dict[str, torch.Tensor]:
    return load_file(out / "model" / "weights.safetensors")


def ended(act: Callable[[], object]) -> int:
    """Exit code of `act` in a process group of its own, which heeds every signal."""

    def alone() -> None:
        os.setpgid(0, 0)
        for number in SIGNALS:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
        act()

    return exit_code(forked(alone))


def at_step(number: int, act: Callable[[], object]) -> Callable[..., object]:
    """`optimise` that does `act` at its end."""
    original = trainer.optimise

    def optimise(setup, batch, step):  # type: ignore[no-untyped-def]
        record = original(setup, batch, step)
        if step == number:
            act()
        return record

    return optimise


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_to_the_group_saves_and_the_same_command_goes_on(
    tiny: Tiny,
    undisturbed: dict[str, torch.Tensor],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    workers: int,
    number: signal.Signals,
) -> None:
    def disturbed() -> None:
        trainer.optimise = at_step(5, lambda: os.killpg(0, number))  # type: ignore[assignment]
        train(tiny, tmp_path, workers=workers)

    assert ended(disturbed) == 75
    said = capfd.readouterr().err
    assert f"stopped and saved at step 6 of {STEPS} ({number.name}); run the same command to resume" in said and "Traceback" not in said
    status = json.loads((tmp_path / "checkpoints" / "status.json").read_text())
    assert status["state"] == "resumable" and status["step"] == 6 and status["reason"] == number.name
    assert (tmp_path / "checkpoints" / "step-00000006.pt").is_file()
    assert ended(lambda: train(tiny, tmp_path, workers=workers)) == 0
    assert same(weights(tmp_path), undisturbed)


def test_a_second_interrupt_ends_at_once_and_says_so(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def twice() -> None:
        trainer.optimise = at_step(5, lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])  # type: ignore[assignment]
        train(tiny, tmp_path, workers=2, checkpoint_every=3)

    assert ended(twice) == 130
    assert "Ctrl-C again ends at once, and only what was saved before is kept" in capfd.readouterr().err
    assert [p.name for p in (tmp_path / "checkpoints").glob("step-*.pt")] == ["step-00000003.pt"]


def test_a_signal_during_the_imports_is_not_lost(tiny: Tiny, undisturbed: dict[str, torch.Tensor], tmp_path: Path) -> None:
    config = tiny.slice(tmp_path / "config.json", steps=STEPS)
    command = [sys.executable, "-m", "orbit2", "train", *tiny.command(config, tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        while not caught(process.pid, signal.SIGTERM):
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=60)[1]
    assert process.returncode == 75 and "stopped and saved at step 0" in said
    assert ended(lambda: train(tiny, tmp_path)) == 0
    assert same(weights(tmp_path), undisturbed)


def caught(pid: int, number: int) -> bool:
    """Whether a process has a handler for this signal (Linux)."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)
