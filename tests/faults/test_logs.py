"""What every stage says in a log while it works: soon, then at least once a minute, and that it is done."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orbit2 import progress

# Each stage's verb with a stage that takes 1.2 s of silent work; a minute is half a second, "soon" 0.2 s.
SLOW = """
import sys, time, types
from orbit2 import progress
progress.FIRST_SECONDS, progress.LINE_SECONDS = 0.2, 0.5
from orbit2.cli import main

class Slow(types.ModuleType):
    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return slow

def slow(*args, **kwargs):
    progress.doing("half way")
    time.sleep(1.2)

rest = ["-c", "x.json", "-o", "x"]
for verb, options in {
    "retrieve": ["sample", *rest],
    "regrid": ["part", *rest, "--resources", "r", "--store", "s", "--part", "000"],
    "statistics": [*rest, "--store", "s"],
    "downscale": ["x.nc", "--model", "m", "-o", "x.zarr"],
    "evaluate": [*rest, "--prediction", "p", "--store", "s"],
    "diagnose": [*rest, "--prediction", "p", "--store", "s"],
    "report": rest,
}.items():
    sys.modules["orbit2." + verb] = Slow("orbit2." + verb)
    sys.modules["orbit2.plan.after"] = Slow("orbit2.plan.after")  # what the stages are handed
    sys.argv = ["orbit2", verb, *options]
    try:
        main()
    except SystemExit as stop:
        assert not stop.code, verb
"""


def test_every_stage_says_that_it_lives(root: Path) -> None:
    done = subprocess.run([sys.executable, "-c", SLOW], cwd=root, capture_output=True, text=True, check=True)
    for verb in ("retrieve", "regrid", "statistics", "downscale", "evaluate", "diagnose", "report"):
        lines = re.findall(rf"^\d\d:\d\d:\d\d {verb}: (.*)$", done.stderr, flags=re.MULTILINE)
        assert len(lines) >= 3 and re.fullmatch(r"done, 00:0\d", lines[-1]), done.stderr
        assert re.fullmatch(r"half way; 00:0\d so far", lines[-2])


def heard(what: Callable[[], object], seconds: float = 30.0) -> None:
    """Wait until it has been said, or for so long: on a busy machine the thread that speaks comes late."""
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.02)


def test_a_stage_that_counts_says_how_far_it_is(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "orbit2")
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.05)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.3)
    with progress.telling("evaluate"):
        for number in progress.counted(range(3), "reslim", 3, "field"):
            if number == 1:
                heard(lambda: any("1 of 3" in line for line in caplog.messages))
    said = r"evaluate: reslim: 1 of 3 fields, 00:00 left; 00:00 so far"
    assert any(re.fullmatch(said, line) for line in caplog.messages), caplog.messages


def test_other_ranks_hear_nothing(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    caplog.set_level(logging.INFO, "orbit2")
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.01)
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    with progress.telling("downscale"):
        time.sleep(0.1)
    assert caplog.messages == []


def test_a_terminal_hears_of_long_silent_work_but_not_beside_a_bar(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.INFO, "orbit2")
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.01)
    monkeypatch.setattr(progress, "TERMINAL_SECONDS", 1.0)
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.telling("downscale"):
        time.sleep(0.05)
    assert caplog.messages == []  # short work ends without a word
    with progress.telling("evaluate"):
        for _ in progress.counted(range(2), "reslim", 2, "field"):
            time.sleep(0.8)
        assert caplog.messages == [] and "reslim: " in capsys.readouterr().err  # the bar speaks
        progress.doing("drawing lots")
        heard(lambda: caplog.messages)
    silent, *_, done = caplog.messages
    assert re.fullmatch(r"evaluate: drawing lots; 00:0\d so far", silent) and re.fullmatch(r"evaluate: done, 00:0\d", done)
