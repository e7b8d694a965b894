"""Every stage under fire, through the command line: each row ends in a state from which the SAME command goes on to the same result, and
what is printed is true. Most rows are slow: `make test-faults`. Elsewhere: training and fine-tuning (test_training_faults: signals,
kill -9, a dead parent's workers, a full disk, a stale lock), tiled prediction (test_downscale_faults), the workflow and its lock
(test_workflow_faults). The other locks (a manifest's, that of blended tiles) are the kernel's and die with their process: their rows are
those of SIGKILL."""

from __future__ import annotations

import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import orbit2.diagnose
import orbit2.downscale
import orbit2.evaluate
import orbit2.regrid
import orbit2.report  # noqa: F401 (and those above: the children, forked, find everything imported)
from orbit2.cli import main
from tests.data import small_chain
from tests.data.small_chain import call, configure, state
from tests.data.small_downscaling import exit_code, forked

STAGES = ("retrieve sample", "regrid init", "regrid part", "regrid finalise", "statistics", "evaluate fit", "downscale", "evaluate",
          "evaluate merge", "diagnose", "diagnose merge", "report")  # fmt: skip
SAVES = ("retrieve sample", "downscale")  # stages that stop by themselves: what they have is kept
QUICK = ("regrid part", "downscale", "evaluate merge")  # the other stages' rows are slow: `make test-faults`
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGKILL)


def rows(*faults: Any) -> list[Any]:
    """Every stage with every fault."""
    return [pytest.param(stage, fault, marks=() if stage in QUICK else pytest.mark.slow, id=f"{stage}-{getattr(fault, 'name', fault)}")
            for stage in STAGES for fault in faults]  # fmt: skip


class Chain:
    """A folder in which the stages are run one after the other, as far as a row needs, and copies of it as they were before each."""

    def __init__(self, root: Path) -> None:
        self.root, self.here = root, root / "work"
        self.here.mkdir()
        self.commands = configure(self.here)
        self._after: dict[str, dict[str, Any]] = {}

    def before(self, stage: str, place: Path) -> None:
        """Lay the folder into `place` as it is before a stage."""
        self.after(stage)
        shutil.copytree(self.root / f"before {stage}", place)

    def after(self, stage: str) -> dict[str, Any]:
        """What is there after a stage that nothing disturbed."""
        for each in [*self.commands][: [*self.commands].index(stage) + 1]:
            if each not in self._after:
                shutil.copytree(self.here, self.root / f"before {each}")
                assert exit_code(forked(lambda command=self.commands[each]: sys.exit(self._run(command)))) == 0, each  # type: ignore[misc]
                self._after[each] = state(self.here)
        return self._after[stage]

    def _run(self, command: list[str]) -> int:
        os.chdir(self.here)
        return call(command)


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ORBIT2_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield Chain(tmp_path_factory.mktemp("chain"))


def struck(chain: Chain, stage: str, place: Path, errors: Path, arrange: Callable[[], object] = lambda: None) -> int:
    """Run a stage as the shell does, in a child of its own in which `arrange` lays a trap first; its exit code."""

    def act() -> None:
        os.chdir(place)
        for each in SIGNALS[:-1]:
            signal.signal(each, signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL)
        handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 2)
        sys.stderr = os.fdopen(2, "w")
        arrange()
        as_the_shell(chain.commands[stage])

    return exit_code(forked(act))


def as_the_shell(command: list[str]) -> None:
    logging.getLogger().handlers.clear()  # pytest's
    sys.argv = ["orbit2", *command]
    main()


def strike(number: signal.Signals) -> None:
    """From now on: this process gets a signal as it renames its first file."""
    rename = os.replace

    def once(*arguments: Any, **options: Any) -> None:
        os.replace = rename
        os.kill(os.getpid(), number)
        rename(*arguments, **options)

    os.replace = once


@pytest.mark.parametrize(("stage", "number"), rows(*SIGNALS))
def test_a_signal(stage: str, number: signal.Signals, chain: Chain, tmp_path: Path) -> None:
    place, errors = tmp_path / "work", tmp_path / "errors"
    chain.before(stage, place)
    code, said = struck(chain, stage, place, errors, lambda: strike(number)), errors.read_text()
    assert "Traceback" not in said
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
    elif code == 75:
        assert stage in SAVES and "stopped early, can be resumed: " in said, said
    elif code == 0:
        assert stage == "downscale", said  # the only item was in hand, and was finished
    else:
        expected = (130, "interrupted; ") if number == signal.SIGINT else (128 + number, f"ended by {number.name}; ")
        assert code == expected[0] and expected[1] in said and "the same command goes on or starts again" in said, said
    assert number == signal.SIGKILL or not begun(state(place)), "what was begun is removed on the way out"
    assert struck(chain, stage, place, errors) == 0, errors.read_text()
    made = state(place)
    if number == signal.SIGKILL:  # nobody was left to remove it
        made = {name: held for name, held in made.items() if name not in begun(made)}
    assert made == chain.after(stage)


def begun(made: dict[str, Any]) -> list[str]:
    """What lies half-written under names that count for nothing (docs/files.md). A download's partial is none of these: it resumes."""
    return [name for name in made if re.search(r"(^|/)\.[^/]+\.(part|old)(/|$)", name)]


@pytest.mark.parametrize(("stage", "how"), rows("nobody reads"))
def test_a_dead_reader(stage: str, how: str, chain: Chain, tmp_path: Path) -> None:
    """Standard output and error lead into a pipe whose reader is gone, as after the death of the parent: the work goes on."""
    place, errors = tmp_path / "work", tmp_path / "errors"
    chain.before(stage, place)

    def act() -> None:
        reader, writer = os.pipe()
        os.close(reader)
        os.dup2(writer, 1)
        sys.stdout = os.fdopen(1, "w")
        os.dup2(writer, 2)
        sys.stderr = os.fdopen(2, "w")
        os.chdir(place)
        as_the_shell(chain.commands[stage])

    code = exit_code(forked(act))
    assert code in (0, 128 + signal.SIGPIPE)
    if code:
        assert struck(chain, stage, place, errors) == 0, errors.read_text()
    assert state(place) == chain.after(stage)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 MB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = shutil.which("mount") and not subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64m", "none", str(place)]).returncode
    if not mounted:
        pytest.skip("a small file system needs the right to mount tmpfs")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=True)


def fill(disk: Path) -> None:
    with open(disk / "filler", "ab", buffering=0) as handle, suppress(OSError):
        while True:
            handle.write(bytes(4096))


def keep_full(disk: Path) -> None:
    """From now on: whatever room this process makes is taken at once by another."""
    rename = os.replace

    def greedily(*arguments: Any, **options: Any) -> None:
        rename(*arguments, **options)
        fill(disk)

    os.replace = greedily


@pytest.mark.parametrize(("stage", "how"), rows("full disk"))
def test_a_full_disk(stage: str, how: str, chain: Chain, disk: Path, tmp_path: Path) -> None:
    place, errors = disk / "work", tmp_path / "errors"
    chain.before(stage, place)
    fill(disk)
    assert os.statvfs(disk).f_bfree == 0
    code, said = struck(chain, stage, place, errors, lambda: keep_full(disk)), errors.read_text()
    assert code == 2 and "Traceback" not in said, said
    last = said.strip().splitlines()[-1]
    assert last.startswith("error: ") and "No space left" in last, said
    (disk / "filler").unlink()
    assert struck(chain, stage, place, errors) == 0, errors.read_text()
    assert state(place) == chain.after(stage)


def test_the_table_has_every_stage_of_the_chain(chain: Chain) -> None:
    assert {*STAGES, "retrieve static"} == set(chain.commands) and small_chain.RUN["label"] == "chain"
