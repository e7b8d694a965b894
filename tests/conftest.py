"""What every test may use. Keeps the tests off the network, on one thread and out of the repository's results/."""

from __future__ import annotations

import gc
import os
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("MPLCONFIGDIR", str(Path(tempfile.gettempdir()) / f"orbit2-tests-matplotlib-{os.getuid()}"))  # its list of fonts
ROOT = Path(__file__).resolve().parents[1]
gc.disable()  # until all tests are collected: nothing that an import makes is garbage, and looking for it is a quarter of the time


def heed_signals() -> None:
    """Give the children of the tests the default dispositions of signals that this process was started to ignore.

    `nohup`, cron and `command &` of a shell without job control start it with SIGHUP, SIGINT and SIGQUIT ignored, and what is ignored
    passes on to every program that it starts: a test that sends one would wait for ever. A handler does not pass on. This one does
    nothing, so the tests themselves go on ignoring what they were told to ignore. A mask of blocked signals passes on too.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*signal.valid_signals()} - {signal.SIGKILL, signal.SIGSTOP})
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGCHLD):
        if signal.getsignal(number) is signal.SIG_IGN:
            signal.signal(number, lambda *_: None)


heed_signals()

# What takes longest, longest first: begun last, one of them would leave the other workers idle at the end.
LONGEST = ("docs/test_pages.py", "unit/report", "parallel/test_mesh_steps.py", "docs/test_types.py",
           "workflow/test_dag.py", "workflow", "parallel", "unit/train", "unit/downscale", "unit/model", "faults", "docs", "science")
# Folders whose files share what takes long to make (a report, a trained model): one process has them all, and makes it once.
TOGETHER = ("tests/unit/report/", "tests/unit/downscale/")


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("numprocesses", None) and not hasattr(config, "workerinput"):  # before workers are started
        from tests.rewritten import beforehand

        beforehand(ROOT / "tests", config)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files first; `--dist loadfile --no-loadscope-reorder` of pytest-xdist keeps a file, and its fixtures, in one process.

    (`--dist loadgroup` groups nothing with pytest 9.2: pytest-xdist 3.8 renames tests in a way that pytest no longer sees.)
    """

    def rank(item: pytest.Item) -> int:
        place = item.path.relative_to(ROOT / "tests").as_posix()
        return next((k for k, start in enumerate(LONGEST) if place.startswith(start)), len(LONGEST))

    items.sort(key=rank)  # stable


def pytest_collection_finish() -> None:
    """What is there now (libraries, test items) stays to the end: no search for garbage need look through it."""
    gc.collect()
    gc.freeze()
    gc.enable()


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """`--dist loadfile`, but files that stand TOGETHER are as one."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class Files(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((place for place in TOGETHER if nodeid.startswith(place)), super()._split_scope(nodeid))

    return Files(config, log)


@pytest.fixture(scope="module", autouse=True)
def declarations_forgotten() -> Iterator[None]:
    """A name means one thing in a process: what others declared or opened (fixtures of the session, too) counts for no file of tests."""
    from orbit2.variables.registry import forgetting

    with forgetting(afresh=True):
        yield


@pytest.fixture(scope="session")
def root() -> Path:
    """Top of the repository."""
    return ROOT
