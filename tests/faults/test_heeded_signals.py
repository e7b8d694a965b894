"""The tests pass wherever they are started: in a terminal, in the background, under nohup, from cron."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

# Inside: a test session as `nohup make test &` starts it. It prints what a child of a test gets, and outlives a SIGHUP itself.
CHILD = "import signal; print(signal.getsignal(signal.SIGINT) is signal.default_int_handler, signal.getsignal(signal.SIGHUP).name)"
SESSION = f"""
import os, runpy, signal, subprocess, sys
runpy.run_path(sys.argv[1])
os.kill(os.getpid(), signal.SIGHUP)
print(subprocess.run([sys.executable, "-c", {CHILD!r}], capture_output=True, text=True, check=True).stdout.strip())
"""


def ignore() -> None:
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})


@pytest.mark.parametrize("start", [None, ignore], ids=["terminal", "nohup"])
def test_children_of_the_tests_heed_signals(root: Path, start: object) -> None:
    script = SESSION if start is not None else SESSION.replace("os.kill(os.getpid(), signal.SIGHUP)", "")
    done = subprocess.run([sys.executable, "-c", script, str(root / "tests/conftest.py")], capture_output=True, text=True, check=False,
                          preexec_fn=start)  # type: ignore[arg-type] # fmt: skip
    assert done.stdout.split() == ["True", "SIG_DFL"], done.stderr
