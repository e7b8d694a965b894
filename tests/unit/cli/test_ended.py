"""What a command says at its end: what it wrote and what comes next, to people alone."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orbit2.cli import ended


def test_what_was_written_and_what_comes_next(capsys: pytest.CaptureFixture[str]) -> None:
    ended.wrote(Path("my fine.zarr"), "judge it", "orbit2", "evaluate", Path("my fine.zarr"), "truth.nc", "-o", "judged")
    assert capsys.readouterr().out == "wrote my fine.zarr; judge it:\n  orbit2 evaluate 'my fine.zarr' truth.nc -o judged\n"
    ended.page("report/index.html")
    assert capsys.readouterr().out == "wrote report/index.html; open it in a browser\n"


def test_silent_in_the_workflow_and_on_other_ranks(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(ended.STOPPED, "logs/.train.stopped")
    ended.page("report/index.html")
    monkeypatch.delenv(ended.STOPPED)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    ended.page("report/index.html")
    assert capsys.readouterr().out == ""


def test_words_that_nobody_reads_end_a_command_as_its_like() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run([sys.executable, "-m", "orbit2", "--version"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (128 + signal.SIGPIPE, "")
