"""A run that is killed, stopped or moved to other ranks is the same run."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orbit2.errors import OrbitError
from orbit2.train import run
from tests.data.tiny_training import Tiny

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}


KILLED = """
import os, signal
from orbit2.cli import main
from orbit2.train import trainer
plain = trainer.take
def take(setup, batch, step):
    if step == 13:
        os.kill(os.getpid(), signal.SIGKILL)
    return plain(setup, batch, step)
trainer.take = take
main()
"""  # in the middle of a training of 30 steps, however fast or busy the machine is


def train(tiny: Tiny, out: Path, name: str = "config.json", parent: Path | None = None, **settings: object) -> dict[str, torch.Tensor]:
    config = tiny.slice(out / name, **settings)
    run(
        config=config,
        stores={"tiny": tiny.store},
        statistics={"tiny": tiny.statistics},
        out=out / "model",
        checkpoints=out / "checkpoints",
        parent=parent,
    )
    return load_file(out / "model" / "weights.safetensors")


def curve(out: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (out / "model" / "metrics.jsonl").read_text().splitlines()]


def test_killed_and_resumed_equals_uninterrupted_bit_for_bit(tiny: Tiny, tmp_path: Path) -> None:
    straight = train(tiny, tmp_path / "straight", steps=30, checkpoint_every=5)
    out = tmp_path / "killed"
    config = tiny.slice(out / "config.json", steps=30, checkpoint_every=5)
    command = [sys.executable, "-c", KILLED, "train", *tiny.command(config, out)]
    died = subprocess.run(command, env=ENVIRONMENT, stderr=subprocess.PIPE, check=False)
    assert died.returncode == -signal.SIGKILL and not (out / "model" / "config.json").exists(), died.stderr.decode()
    assert (out / "checkpoints" / "step-00000005").exists()
    resumed = train(tiny, out, steps=30, checkpoint_every=5)
    assert straight.keys() == resumed.keys()
    for name, tensor in straight.items():
        assert torch.equal(tensor, resumed[name]), name
    steps = [r["step"] for r in curve(out) if "loss" in r]
    assert steps == sorted(set(steps))


def test_user_signal_saves_and_exits_75(tiny: Tiny, tmp_path: Path) -> None:
    config = tiny.slice(tmp_path / "config.json", steps=100000, validate_every=50000)
    process = subprocess.Popen(
        [sys.executable, "-m", "orbit2", "train", *tiny.command(config, tmp_path)], env=ENVIRONMENT, stderr=subprocess.PIPE
    )
    until, metrics = time.monotonic() + 300, tmp_path / "checkpoints" / "metrics.jsonl"
    while not (metrics.exists() and metrics.stat().st_size) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGUSR1)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 75, errors.decode()
    status = json.loads((tmp_path / "checkpoints" / "status.json").read_text())
    assert status["state"] == "resumable" and status["reason"] == "SIGUSR1" and status["step"] > 0
    assert [p.name for p in (tmp_path / "checkpoints").glob("step-*")] == [f"step-{status['step']:08d}"]


def test_damaged_newest_checkpoint_falls_back_to_the_one_before(tiny: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = train(tiny, tmp_path, steps=8, checkpoint_every=4)
    (newest,) = (tmp_path / "checkpoints" / "step-00000008").glob("*.safetensors")
    newest.write_bytes(newest.read_bytes()[:-100])
    again = train(tiny, tmp_path, steps=8, checkpoint_every=4)
    assert "step-00000008" in caplog.text and newest.name in caplog.text and "damaged" in caplog.text
    assert all(torch.equal(expected[name], again[name]) for name in expected)


def test_checkpoint_of_another_configuration_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny, tmp_path, steps=4)
    with pytest.raises(OrbitError, match=r"model\.train\.learning_rate"):
        train(tiny, tmp_path, steps=4, learning_rate=1e-3)


@pytest.mark.slow
def test_two_ranks_take_the_same_steps(tiny: Tiny, tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    settings = {"steps": 6, "validate_every": 3}
    config = tiny.slice(plain / "config.json", **settings)
    text = json.loads(config.read_text())
    text["architecture"].update(dropout=0.0, drop_path=0.0)
    text["model"]["architecture"].update(dropout=0.0, drop_path=0.0)
    config.write_text(json.dumps(text))
    run(
        config=config,
        stores={"tiny": tiny.store},
        statistics={"tiny": tiny.statistics},
        out=plain / "model",
        checkpoints=plain / "checkpoints",
    )
    two = tmp_path / "two"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "orbit2",
        "train",
        *tiny.command(config, two),
    ]
    subprocess.run(command, env=ENVIRONMENT, check=True, capture_output=True, timeout=180)
    one, both = curve(plain), curve(two)
    assert [r["step"] for r in one] == [r["step"] for r in both]
    for a, b in zip(one, both, strict=True):
        for key in ("loss", "validation_loss"):
            if key in a:
                assert b[key] == pytest.approx(a[key], rel=1e-5)


def test_finetune_keeps_what_it_can_and_says_so(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny, tmp_path / "parent", steps=4)
    child = tmp_path / "child"
    section = {"finetune_from": "tiny", "region": [-30, 60, 20, 200], "outputs": ["precipitation_rate"]}
    train(tiny, child, parent=tmp_path / "parent" / "model", model=section, steps=4)
    about = json.loads((child / "model" / "config.json").read_text())
    assert about["outputs"] == ["precipitation_rate"] and about["region"] == [-30, 60, 20, 200]
    assert "dropped: none" in about["origin"] and "kept: 2m_temperature" in about["origin"]


def test_nan_loss_names_the_samples(tiny: Tiny, tmp_path: Path) -> None:
    with pytest.raises(OrbitError, match="tiny:2026-01-01T"):
        train(tiny, tmp_path, steps=60, learning_rate=1e25, warmup_steps=0, clip=1e30)


def test_trained_model_beats_interpolation_and_loads(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny, tmp_path, steps=60, validate_every=20)
    scores = [r["validation_loss"] for r in curve(tmp_path) if "validation_loss" in r]
    assert scores[-1] < 0.9 and scores[-1] < scores[0]
    card = (tmp_path / "model" / "card.md").read_text()
    assert "2026-01-01T00:00" in card and "How to load" in card


def test_bf16_follows_fp32(tiny: Tiny, tmp_path: Path) -> None:
    settings = {"steps": 20, "validate_every": 10, "tv_weight": 0.0}
    train(tiny, tmp_path / "fp32", precision="fp32", **settings)
    train(tiny, tmp_path / "bf16", precision="bf16", **settings)
    full, half = ([r["validation_loss"] for r in curve(tmp_path / name) if "validation_loss" in r] for name in ("fp32", "bf16"))
    assert half == pytest.approx(full, rel=0.02) and half != full
