"""Training under fire: signals to the whole process group. What was learnt stays, and the same command goes on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orbit2.cli import main
from orbit2.errors import OrbitError
from orbit2.train import progress as train_progress
from orbit2.train import step as stepping
from orbit2.train import trainer
from orbit2.train.checkpoint import Checkpoints
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
    with pytest.raises(SystemExit) as stop:  # in this process: its children find everything imported and warm
        train(tiny, out)
    assert stop.value.code == 0
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
    """`take` that does `act` at its end."""
    original = trainer.take

    def take(setup, batch, step):  # type: ignore[no-untyped-def]
        record = original(setup, batch, step)
        if step == number:
            act()
        return record

    return take


def shard(checkpoint: Path) -> Path:
    """The one file of tensors that one process writes."""
    (file,) = checkpoint.glob("*.safetensors")
    return file


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(("number", "workers"), [(n, w) for n in SIGNALS for w in (0, 2) if n != signal.SIGHUP or w])
def test_a_signal_to_the_group_saves_and_the_same_command_goes_on(
    tiny: Tiny,
    undisturbed: dict[str, torch.Tensor],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    workers: int,
    number: signal.Signals,
) -> None:
    def disturbed() -> None:
        trainer.take = at_step(5, lambda: os.killpg(0, number))  # type: ignore[assignment]
        train(tiny, tmp_path, workers=workers)

    assert ended(disturbed) == 75
    said = capfd.readouterr().err
    assert f"stopped and saved at step 6 of {STEPS} ({number.name}); run the same command to resume" in said and "Traceback" not in said
    status = json.loads((tmp_path / "checkpoints" / "status.json").read_text())
    assert status["state"] == "resumable" and status["step"] == 6 and status["reason"] == number.name
    assert (tmp_path / "checkpoints" / "step-00000006").is_dir()
    assert ended(lambda: train(tiny, tmp_path, workers=workers)) == 0
    assert same(weights(tmp_path), undisturbed)


def test_a_signal_while_workers_start_is_not_their_affair(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Between fork and `worker_init_fn` too."""
    heed = trainer.heed_parent

    def first(worker: int) -> None:
        if worker == 0:
            os.killpg(0, signal.SIGTERM)
        time.sleep(0.2)
        heed(worker)

    def disturbed() -> None:
        trainer.heed_parent = first
        train(tiny, tmp_path, workers=2)

    assert ended(disturbed) == 75
    assert "(SIGTERM); run the same command to resume" in capfd.readouterr().err


def test_a_second_interrupt_ends_at_once_and_says_so(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def twice() -> None:
        trainer.take = at_step(5, lambda: [os.kill(os.getpid(), signal.SIGINT) for _ in range(2)])  # type: ignore[assignment]
        train(tiny, tmp_path, workers=2, checkpoint_every=3)

    assert ended(twice) == 130
    assert "Ctrl-C again ends at once, and only what was saved before is kept" in capfd.readouterr().err
    assert [p.name for p in (tmp_path / "checkpoints").glob("step-*")] == ["step-00000003"]


def test_a_signal_during_the_imports_is_not_lost(tiny: Tiny, undisturbed: dict[str, torch.Tensor], tmp_path: Path) -> None:
    config = tiny.slice(tmp_path / "config.json", steps=STEPS)
    command = [sys.executable, "-m", "orbit2", "train", *tiny.command(config, tmp_path)]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "OMP_NUM_THREADS": "1"}) as process:
        while not caught(process.pid, signal.SIGTERM):
            time.sleep(0.002)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(timeout=300)[1]
    assert process.returncode == 75 and "stopped and saved at step 0" in said
    assert ended(lambda: train(tiny, tmp_path)) == 0
    assert same(weights(tmp_path), undisturbed)


def caught(pid: int, number: int) -> bool:
    """Whether a process has a handler for this signal (Linux)."""
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("SigCgt"))
    return bool(int(line.split()[1], 16) >> (number - 1) & 1)


def test_damaged_checkpoints_are_set_aside_and_the_new_ones_stay(
    tiny: Tiny, undisturbed: dict[str, torch.Tensor], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "checkpoints"

    def stopped() -> None:
        trainer.take = at_step(7, lambda: os.kill(os.getpid(), signal.SIGTERM))  # type: ignore[assignment]
        train(tiny, tmp_path, checkpoint_every=4, keep_checkpoints=2)

    assert ended(stopped) == 75
    for step in (1900, 2000):  # of a run that went further, and lost its data
        other = shutil.copytree(folder / "step-00000004", folder / f"step-{step:08d}")
        shard(other).write_bytes(b"half")
    os.truncate(shard(folder / "step-00000008"), 1000)
    assert ended(lambda: train(tiny, tmp_path, checkpoint_every=4, keep_checkpoints=2)) == 0
    said = capfd.readouterr().err
    for step in (8, 1900, 2000):
        assert len(list(folder.glob(f"damaged-*-step-{step:08d}"))) == 1
    assert f"try 2, resumes at step 4 of {STEPS}; weights from checkpoint {folder}/step-00000004" in said
    assert sorted(p.name for p in folder.glob("step-*")) == ["step-00000008", "step-00000012"]
    assert same(weights(tmp_path), undisturbed)
    steps = [r["step"] for r in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if "loss" in r]
    assert steps == sorted(set(steps))


def test_an_infinite_gradient_is_found_before_the_step(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A finite loss, an infinite norm: no weight, average or checkpoint ever sees it."""

    def broken() -> None:
        original = stepping.clip

        def infinite(parameters, limit):  # type: ignore[no-untyped-def]
            chosen = list(parameters)
            if len(calls) == 5:
                chosen[0].grad.view(-1)[0] = torch.inf
            calls.append(1)
            return original(chosen, limit)

        calls: list[int] = []
        stepping.clip = infinite
        train(tiny, tmp_path, checkpoint_every=1)

    assert ended(broken) == 2
    said = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "step 6: the gradient norm is not finite; got 'inf'" in said[0] and "tiny:2026-01-01T" in said[0]
    status = json.loads((tmp_path / "checkpoints" / "status.json").read_text())
    assert status["state"] == "failed" and status["step"] == 5 and "gradient norm" in status["reason"]
    newest = sorted((tmp_path / "checkpoints").glob("step-*"))[-1]
    state = load_file(shard(newest))
    assert newest.name == "step-00000005" and any(name.startswith("average.") for name in state)
    assert all(bool(torch.isfinite(tensor).all()) for tensor in state.values())


def test_weights_that_overflow_in_the_last_step_are_not_saved(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, {})
    kept.save({"model": {"weight": torch.ones(3)}}, 1)
    kept.save_best({"model": {"weight": torch.ones(3)}}, 1)
    into = {"model": {"weight": torch.zeros(3)}}
    for save in (kept.save, kept.save_best):
        with pytest.raises(OrbitError, match=r"not saved.*not finite.*model\.weight"):
            save({"model": {"weight": torch.tensor([1.0, torch.nan])}}, 2)
    newest, best = kept.choose(), kept.best()
    assert newest is not None and newest.step == 1 and best is not None
    kept.read(best, into)
    assert float(into["model"]["weight"].sum()) == 3


@pytest.mark.parametrize("background", [True, False])
def test_a_full_disk_leaves_the_best_weights_findable(tmp_path: Path, background: bool) -> None:
    """On a tmpfs of 3 MB: neither `best` nor the newest checkpoint is lost to one that has no room."""
    with small_disk(tmp_path, 3):
        kept, room = Checkpoints(tmp_path, {}, background=background), {"model": {"weight": torch.ones(300_000)}}
        kept.save(room, 1)
        kept.save_best({"model": {"weight": torch.full((300_000,), 2.0)}}, 1)
        for save in (kept.save, kept.save_best):
            with pytest.raises(OrbitError, match=r"could not be written \(No space left on device\).*make room") as full:
                save(room, 2)
                kept.wait()
            assert "\n" not in str(full.value)
        best, newest = kept.best(), kept.choose()
        assert best is not None and newest is not None and newest.step == 1
        kept.read(best, room)
        assert float(room["model"]["weight"][0]) == 2.0
        assert not list(tmp_path.glob(".*.part"))


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[None]:
    mount = ["mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)]
    if os.getuid() or shutil.which("mount") is None or subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("a small tmpfs needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_two_trainers_do_not_share_a_folder(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The second one is refused; the lock of a process that was killed, its workers still alive, is none."""

    def killed() -> None:
        def meanwhile() -> None:
            assert ended(lambda: train(tiny, tmp_path)) == 2
            os.kill(os.getpid(), signal.SIGKILL)

        trainer.take = at_step(5, meanwhile)  # type: ignore[assignment]
        train(tiny, tmp_path, workers=2, checkpoint_every=3)

    assert ended(killed) == -signal.SIGKILL
    assert "another process trains in this folder; got 'process " in capfd.readouterr().err
    assert json.loads((tmp_path / "checkpoints" / "status.json").read_text())["state"] == "running"
    assert ended(lambda: train(tiny, tmp_path, checkpoint_every=3)) == 0
    assert "try 2, resumes at step 3" in capfd.readouterr().err


def test_a_log_is_never_silent_for_long_and_says_which_try(
    tiny: Tiny, undisturbed: dict[str, torch.Tensor], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Slow set-up, validation and saving are named while they last (a minute is half a second here)."""

    def slow(act: Callable[..., object]) -> Callable[..., object]:
        def slowed(*args, **kwargs):  # type: ignore[no-untyped-def]
            time.sleep(1.2)
            return act(*args, **kwargs)

        return slowed

    def run() -> None:
        train_progress.LINE_SECONDS = 0.5
        trainer.Setup.__init__ = slow(trainer.Setup.__init__)  # type: ignore[method-assign]
        trainer.validate_model = slow(trainer.validate_model)  # type: ignore[assignment]
        Checkpoints.save = slow(Checkpoints.save)  # type: ignore[method-assign]
        trainer.take = at_step(5, lambda: os.kill(os.getpid(), signal.SIGTERM))  # type: ignore[assignment]
        train(tiny, tmp_path)

    assert ended(run) == 75
    lines = [line.partition(" ")[2] for line in capfd.readouterr().err.splitlines()]
    assert lines[0] == f"tiny: try 1, opening {tiny.store}"
    for what in ("setting up", "validating", "saving a checkpoint"):
        assert any(what in line and line.endswith("s so far") for line in lines), what
    assert json.loads((tmp_path / "checkpoints" / "status.json").read_text())["try"] == 1
    assert ended(lambda: train(tiny, tmp_path)) == 0
    assert (
        f"tiny: try 2, resumes at step 6 of {STEPS}; weights from checkpoint {tmp_path}/checkpoints/step-00000006"
        in capfd.readouterr().err
    )
    assert json.loads((tmp_path / "checkpoints" / "status.json").read_text()) == {"state": "done", "try": 2, "step": STEPS, "of": STEPS}
    assert same(weights(tmp_path), undisturbed)
