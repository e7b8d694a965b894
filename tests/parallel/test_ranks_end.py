"""Two real processes: one dies or fails, the other ends soon and says which."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from orbit2.cli import main
from orbit2.downscale import job as jobs
from orbit2.errors import OrbitError
from orbit2.parallel import launch, watch
from orbit2.train import trainer
from tests.data.small_downscaling import arguments, random_model, task
from tests.data.small_ranks import forked_ranks, two_ranks
from tests.data.tiny_training import Tiny, build

pytestmark = pytest.mark.parallel


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same watch at a fifth of its times, which promise less than a minute."""
    assert watch.SILENCE + 7 * watch.BEAT + 2 * watch.GRACE < 60
    assert watch.HUNG == 300
    for name in ("SILENCE", "BEAT", "GRACE"):
        monkeypatch.setattr(watch, name, getattr(watch, name) / 5)


def train(tiny: Tiny, out: Path, checkpoints: Path | None = None, **settings: object) -> None:
    config = tiny.slice(out / "config.json", **settings)
    command = tiny.command(config, out)
    main(["train", *command[:-1], str(checkpoints or command[-1])])


def when(step: int, rank: int, mine: int, act: Callable[[], object]) -> None:
    """In a child: `act` on `rank` before its share of `step`."""
    original = trainer.take

    def take(setup, batch, number):  # type: ignore[no-untyped-def]
        if number == step and rank == mine:
            act()
        return original(setup, batch, number)

    trainer.take = take


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Silence is none for five minutes: a rank that ends earlier was told to, however busy the machine is."""
    monkeypatch.setattr(watch, "SILENCE", 300.0)


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_killed_rank_ends_the_other_which_names_it(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str], victim: int) -> None:
    def act(rank: int) -> None:
        when(3, victim, rank, lambda: os.kill(os.getpid(), signal.SIGKILL))
        train(tiny, tmp_path, steps=20, checkpoint_every=2)

    codes, seconds = two_ranks(act)
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == 1 and seconds < 15
    said = capfd.readouterr().err
    assert f"rank {1 - victim} of 2 ends: rank {victim} of 2 (process " in said and "is gone" in said and "Traceback" not in said


def test_a_suspended_rank_ends_the_other(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own end is its launcher's affair (srun --kill-on-bad-exit, torchrun): here a shell's that sees the other one's."""
    monkeypatch.setattr(watch, "SILENCE", 3.0)
    first = tmp_path / "first"

    def halt() -> None:
        ends = f"while kill -0 {first.read_text()}; do sleep 0.1; done; kill -9 {os.getpid()}"
        subprocess.Popen(["sh", "-c", ends], start_new_session=True, stderr=subprocess.DEVNULL)
        os.kill(os.getpid(), signal.SIGSTOP)

    def act(rank: int) -> None:
        if rank == 0:
            first.write_text(str(os.getpid()))
        when(3, 1, rank, halt)
        train(tiny, tmp_path, steps=20)

    assert two_ranks(act)[0] == [1, -signal.SIGKILL]
    said = capfd.readouterr().err
    assert "rank 0 of 2 ends: rank 1 of 2 (process " in said and "is gone: no sign of life for 3 s" in said


@pytest.mark.slow
def test_a_rank_that_hangs_shows_where_and_ends_all(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its process lives and its heart beats, but it does not come to the sum that the other waits in."""
    monkeypatch.setattr(watch, "HUNG", 5.0)

    def stuck_for_ever() -> None:
        threading.Event().wait(300)

    def act(rank: int) -> None:
        when(8, 1, rank, stuck_for_ever)  # when every part of a step has been seen
        train(tiny, tmp_path, steps=20)

    codes, seconds = two_ranks(act)
    assert codes == [1, 1] and seconds < 30
    said = capfd.readouterr().err
    shown = said.index("rank 1 of 2 hangs here:")
    assert "in stuck_for_ever" in said[shown:] and shown < said.index("rank 0 of 2 ends: rank 1 of 2 (process ")
    assert re.search(r"ends: rank 1 of 2 \(process .*\) hangs: \d+ s in waiting; the same command goes on", said)
    assert "rank 1 of 2 ends" not in said and "Traceback" not in said


def test_a_teardown_that_hangs_does_not_keep_the_process(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "TEARDOWN", 1.0)
    monkeypatch.setattr(launch.dist, "destroy_process_group", lambda: threading.Event().wait(300))

    def act(rank: int) -> None:
        with launch.ranks(device="cpu"):
            pass

    codes, seconds = two_ranks(act)
    assert codes == [0, 0] and seconds < 10
    assert "did not end within 1 s" in capfd.readouterr().err


@pytest.mark.usefixtures("patient")
def test_a_rank_that_fails_says_why_first(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        raise OrbitError("this sample cannot be read", where="here", hint="none")

    def act(rank: int) -> None:
        when(3, 1, rank, fails)
        train(tiny, tmp_path, steps=20)

    codes, seconds = two_ranks(act)
    assert codes == [2, 2] and seconds < 10
    lines = [line for line in capfd.readouterr().err.splitlines() if "this sample" in line]
    assert lines[0] == "error: here: this sample cannot be read; none"
    assert len(lines) == 2 and lines[1].startswith("rank 0 of 2 ends: rank 1 of 2 (process ") and "failed: here: this sample" in lines[1]


@pytest.mark.usefixtures("patient")
@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_what_a_rank_lacks_before_it_meets_the_others_ends_them(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str], victim: int
) -> None:
    """A device that its node does not have; and of inference, a place that it cannot write."""
    (tmp_path / "file").write_text("in the way")
    given = arguments(tiny, random_model(tmp_path / "model"), task(tmp_path / "c.json", tile=6, halo=2), tmp_path / "p.zarr")

    def trains(rank: int) -> None:
        config = tiny.slice(tmp_path / f"config-{rank}.json", steps=20)
        main(["train", *tiny.command(config, tmp_path), "--device", "tpu" if rank == victim else "cpu"])

    def predicts(rank: int) -> None:
        there = {**given, "out": tmp_path / "file" / "p.zarr"} if rank == victim else given
        main(["downscale", *[f"--{key}={value}" for key, value in there.items()]])

    for act, what in ((trains, "--device: unknown device"), (predicts, f"{tmp_path}/file")):
        codes, seconds = two_ranks(act)
        assert codes == [2, 2] and seconds < 10
        said = capfd.readouterr().err.splitlines()
        assert any(line.startswith("error: ") and what in line for line in said)
        assert any(f"rank {1 - victim} of 2 ends: rank {victim} of 2 (process " in line and what in line for line in said)


def test_a_dead_rank_ends_inference_too(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    given = arguments(tiny, random_model(tmp_path / "model"), task(tmp_path / "c.json", tile=6, halo=2), tmp_path / "p.zarr")

    def act(rank: int) -> None:
        original = jobs.Job.compute

        def compute(self, item, fields):  # type: ignore[no-untyped-def]
            if rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            return original(self, item, fields)

        jobs.Job.compute = compute  # type: ignore[method-assign]
        main(["downscale", *[f"--{key}={value}" for key, value in given.items()]])

    codes, seconds = two_ranks(act)
    assert codes == [1, -signal.SIGKILL] and seconds < 20
    assert "rank 0 of 2 ends: rank 1 of 2 (process " in capfd.readouterr().err


@pytest.mark.slow
def test_all_ranks_resume_from_what_the_first_one_chose(tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One whose own checkpoint folder is empty goes on from the same step, one that drew other weights starts from the first one's."""
    assert two_ranks(lambda _: train(tiny, tmp_path / "straight", steps=8))[0] == [0, 0]

    def stopped(rank: int) -> None:
        prepare = trainer.prepare
        trainer.prepare = lambda *given: (prepare(*given), torch.manual_seed(100 + rank) if rank else None)  # type: ignore[assignment, return-value]
        when(4, rank, rank, lambda: os.kill(os.getpid(), signal.SIGTERM))
        train(tiny, tmp_path / "stopped", steps=8)

    assert two_ranks(stopped)[0] == [75, 75]
    assert capfd.readouterr().err.count("stopped early, can be resumed: ") == 1  # the first one speaks for all
    checkpoints = tmp_path / "stopped" / "checkpoints"
    assert json.loads((checkpoints / "status.json").read_text())["step"] == 5
    mine = [checkpoints, tmp_path / "elsewhere"]
    assert two_ranks(lambda rank: train(tiny, tmp_path / "stopped", mine[rank], steps=8))[0] == [0, 0]
    straight, resumed = (load_file(tmp_path / name / "model" / "weights.safetensors") for name in ("straight", "stopped"))
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items())
    assert not list((tmp_path / "elsewhere").iterdir())


@pytest.mark.parametrize("victim", [pytest.param(0, marks=pytest.mark.slow), 1])
def test_a_rank_that_dies_before_the_others_come_ends_them(
    tiny: Tiny, tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, victim: int
) -> None:
    """Killed while two of three wait for the last one, who never comes."""
    monkeypatch.setattr(watch, "SAY", 0.5)

    def act(rank: int) -> None:
        if rank == 2:
            os._exit(0)
        if rank == victim:
            threading.Timer(2.0, lambda: os.kill(os.getpid(), signal.SIGKILL)).start()
        train(tiny, tmp_path, steps=20)

    codes, ended = forked_ranks(act, 3)
    assert codes[victim] == -signal.SIGKILL and codes[1 - victim] == 1 and ended[1 - victim] - ended[victim] < 15
    said = capfd.readouterr().err
    assert "1 of 3 ranks have not come: 2" in said and f"rank {victim} of 3 (process " in said and "is gone" in said


def test_where_the_first_two_ranks_are_missing_another_says_so(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The third, not the fourth: of many ranks a few speak."""
    monkeypatch.setattr(launch, "SAY", 0.5)

    def act(rank: int) -> None:
        if rank < 2:
            os._exit(0)
        threading.Timer(3.0, lambda: os._exit(9)).start()
        with launch.ranks(device="cpu"):
            pass

    assert forked_ranks(act, 4)[0] == [0, 0, 9, 9]
    said = re.findall(r"waiting since \d+ s: rank 0 is not at 127.0.0.1:\d+", capfd.readouterr().err)
    assert 1 <= len(said) <= 6
