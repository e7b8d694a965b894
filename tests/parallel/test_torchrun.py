"""Ranks on one machine by `python -m orbit2.parallel.torchrun`: their signals, their exit code, and the same weights whatever happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import run as torch_run

from orbit2.parallel import torchrun
from tests.data.small_downscaling import exit_code, forked
from tests.data.tiny_training import Tiny, build

pytestmark = pytest.mark.parallel
ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ("--standalone", "--nproc-per-node=2")
TERM, USR1, KILL = signal.SIGTERM, signal.SIGUSR1, signal.SIGKILL
STEPS, PATIENCE = 60, 400.0


@pytest.mark.parametrize(
    ("codes", "heard", "expected"),
    [
        ([75, 75], [], 75),  # the ranks' own deadline
        ([75, -TERM], [], 75),  # torchrun ended the other, which had saved too
        ([75, 75], [TERM], 75),
        ([-USR1, -KILL], [USR1], 75),  # before it could listen
        ([-TERM, 75], [], 143),  # nobody asked for that
        ([2, 2], [], 2),
        ([2, -TERM], [TERM], 2),
        ([-KILL, 1], [], 137),
        ([-KILL, 2], [TERM], 137),
        ([1, -TERM], [], 1),
        ([], [], 0),
    ],
)
def test_the_first_end_decides(codes: list[int], heard: list[int], expected: int) -> None:
    assert torchrun.code_of(codes, heard) == expected


def waited(happened: Callable[[], object], what: str) -> None:
    until = time.monotonic() + PATIENCE
    while not happened():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def stand_in(folder: Path, script: str, patch: Callable[[], None] = lambda: None) -> int:
    """The launcher in a child, with two shells as ranks; returns its process."""
    def act() -> None:
        patch()
        sys.exit(torchrun.main([*OPTIONS, "sh", "-c", f"cd {folder}; {script}"]))

    return forked(act)


LISTENS = "trap 'sleep 0.4; touch saved-$RANK; exit 75' TERM USR1 HUP INT; touch ready-$RANK; while :; do sleep 0.05; done"


@pytest.mark.parametrize("number", [TERM, USR1, *(pytest.param(n, marks=pytest.mark.slow) for n in (signal.SIGINT, signal.SIGHUP))])
def test_a_stop_signal_reaches_the_ranks_and_their_75_comes_back(tmp_path: Path, number: int) -> None:
    launcher = stand_in(tmp_path, LISTENS)
    waited(lambda: len(list(tmp_path.glob("ready-*"))) == 2, "no ranks")
    os.kill(launcher, number)
    assert exit_code(launcher) == 75 and len(list(tmp_path.glob("saved-*"))) == 2


@pytest.mark.parametrize(("early", "said"), [("parse_args", "SIGTERM came before any rank was started"), ("run", "")])
def test_a_signal_before_there_are_ranks_is_not_lost(tmp_path: Path, capfd: pytest.CaptureFixture[str], early: str, said: str) -> None:
    def patch() -> None:
        real = getattr(torch_run, early)
        setattr(torch_run, early, lambda *given: (os.kill(os.getpid(), TERM), real(*given))[1])

    assert exit_code(stand_in(tmp_path, LISTENS, patch)) == 75
    assert said in capfd.readouterr().err


@pytest.mark.parametrize(
    ("script", "code"), [("[ $RANK = 0 ] && sleep 9; exit 2", 2), ("[ $RANK = 0 ] && sh -c 'kill -9 $PPID'; sleep 9", 137)]
)
def test_a_mistake_stays_one_and_a_dead_rank_is_named(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], script: str, code: int
) -> None:
    assert exit_code(stand_in(tmp_path, script)) == code
    said = capfd.readouterr().err
    assert ("rank 0 was ended by SIGKILL, before the others" in said) == (code == 137) and "Traceback" not in said


def test_a_wrong_option_is_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert exit_code(forked(lambda: sys.exit(torchrun.main(["--standalone", "--nproc-per-node=none", "true"])))) == 2
    assert capfd.readouterr().err.count("\n") == 1


@dataclass
class Run:
    """A training by two ranks, as a rule of profiles/dgx starts it, in a folder of its own."""

    tiny: Tiny
    folder: Path

    def start(self, *options: str) -> subprocess.Popen[str]:
        config = self.tiny.slice(self.folder / "config.json", steps=STEPS, validate_every=20, checkpoint_every=5, learning_rate=1e-3)
        command = [sys.executable, "-m", "orbit2.parallel.torchrun", *OPTIONS, sys.executable, "-m", "orbit2", "train"]
        return subprocess.Popen([*command, *self.tiny.command(config, self.folder), *options], text=True, stderr=subprocess.PIPE,
                                env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"})  # fmt: skip

    def end(self, process: subprocess.Popen[str]) -> tuple[int, str]:
        """(exit code, what was said), with no rank left."""
        _, said = process.communicate(timeout=PATIENCE)
        waited(lambda: not self.ranks(), "a rank outlives its launcher")
        return process.returncode, said

    def records(self) -> list[dict[str, float]]:
        try:
            return [json.loads(line) for line in (self.folder / "checkpoints/metrics.jsonl").read_text().splitlines()]
        except (OSError, ValueError):
            return []

    def ranks(self) -> list[psutil.Process]:
        """Those of this training, the first one first."""
        found = {}
        for process in psutil.process_iter():
            try:
                if str(self.folder / "model") in process.cmdline() and "RANK" in (variables := process.environ()):
                    found[int(variables["RANK"])] = process
            except psutil.Error:
                continue
        return [found[rank] for rank in sorted(found)]

    def at_work(self) -> list[psutil.Process]:
        waited(lambda: len(self.records()) > 2, "no step was taken")
        ranks = self.ranks()
        assert len(ranks) == 2
        return ranks


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def undisturbed(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    run = Run(tiny, tmp_path_factory.mktemp("undisturbed"))
    assert run.end(run.start())[0] == 0
    yield run


def strike(run: Run, process: subprocess.Popen[str], what: str) -> None:
    ranks = run.at_work()
    match what:
        case "rank killed":
            ranks[1].kill()
        case "first rank killed":
            ranks[0].kill()
        case "rank stopped":
            ranks[1].suspend()
        case "torchrun killed":
            process.kill()
        case _:
            process.send_signal(signal.Signals[what])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("what", "code", "seconds", "said"),
    [
        *((name, 75, 60, "stopped early, can be resumed") for name in ("SIGTERM", "SIGHUP", "SIGUSR1", "SIGINT")),
        ("rank killed", 137, 100, "rank 1 was ended by SIGKILL, before the others"),
        ("first rank killed", 137, 100, "rank 0 was ended by SIGKILL, before the others"),
        ("rank stopped", 1, 100, "is gone: no sign of life for 30 s"),
        ("torchrun killed", -KILL, 60, "torchrun, which started the ranks, is gone"),
    ],
)
def test_interrupted_training_goes_on_to_the_same_weights(
    tiny: Tiny, undisturbed: Run, tmp_path: Path, what: str, code: int, seconds: float, said: str
) -> None:
    run = Run(tiny, tmp_path)
    process = run.start()
    strike(run, process, what)
    began = time.monotonic()
    found, told = run.end(process)
    took = time.monotonic() - began
    assert (found, said in told) == (code, True) and took < seconds, f"{found} after {took:.0f} s\n{told}"
    if code == 75:
        assert "Traceback" not in told and "error" not in told.lower()
    again, told = run.end(run.start())
    assert again == 0 and "resumes at step" in told, told
    assert [r["step"] for r in run.records() if "loss" in r] == list(range(5, STEPS + 1, 5))
    assert [r["step"] for r in run.records() if "validation_loss" in r] == [20, 40, 60]
    one, other = (load_file(r.folder / "model/weights.safetensors") for r in (undisturbed, run))
    assert one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.slow
def test_a_deadline_makes_slices_of_one_run(tiny: Tiny, undisturbed: Run, tmp_path: Path) -> None:
    """Each stops by itself with 75; the sum is the run that never stopped."""
    run, codes, minutes = Run(tiny, tmp_path), list[int](), 0.12
    while not codes or (codes[-1] == 75 and len(codes) < 20):
        before = len(run.records())
        codes.append(run.end(run.start("--wall-minutes", str(minutes)))[0])
        if len(run.records()) == before:  # a busy machine takes that long to begin
            minutes *= 1.5
    assert codes == [75] * (len(codes) - 1) + [0] and len(codes) > 1
    one, other = (load_file(r.folder / "model/weights.safetensors") for r in (undisturbed, run))
    assert all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.mark.slow
def test_a_save_may_take_longer_than_torchrun_waits(tmp_path: Path) -> None:
    """torchrun alone kills what is not done 30 s after its signal."""
    launcher = stand_in(tmp_path, LISTENS.replace("0.4", "33"))
    waited(lambda: len(list(tmp_path.glob("ready-*"))) == 2, "no ranks")
    os.kill(launcher, TERM)
    assert exit_code(launcher) == 75 and len(list(tmp_path.glob("saved-*"))) == 2
