"""Progress: bytes, rate and time left, a bar for people and a line a minute for logs."""

from __future__ import annotations

import io
import logging
import sys

import numpy as np
import pytest

from orbit2.retrieve.progress import Progress
from orbit2.sources.source import Request

DAY = np.datetime64("2020-01-01", "s")
FOUR = [Request(f"{n}", "http", {}, ("x",), DAY, DAY, 1_000_000) for n in range(4)]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_rate_and_time_left_count_what_came_over_the_network_only() -> None:
    clock = Clock()
    with Progress("p", FOUR, clock=clock) as progress:
        assert progress.line() == "p: 0/4 files, 0 B of about 4.0 MB, 0 B/s, unknown time left"
        progress.begin("0", 500_000)  # resumed
        clock.now = 10.0
        progress.update("0", 1_500_000, 2_000_000)  # its real size is known now
        assert progress.line() == "p: 0/4 files, 1.5 MB of about 5.0 MB, 100.0 kB/s, 0:00:35 left"
        progress.finish("0", 2_000_000)
        progress.finish("1", 0)  # a gap
        assert progress.line().startswith("p: 2/4 files, 2.0 MB of about 4.0 MB")


def test_a_line_a_minute_in_a_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="orbit2")
    clock = Clock()
    with Progress("p", FOUR, clock=clock) as progress:
        for clock.now in range(0, 150, 5):
            progress.show()
    assert len(caplog.messages) == 2 and caplog.messages[0].startswith("p: 0/4 files")


def test_a_bar_on_a_terminal(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="orbit2")
    terminal = io.StringIO()
    monkeypatch.setattr(terminal, "isatty", lambda: True)
    monkeypatch.setattr(sys, "stderr", terminal)
    clock = Clock()
    with Progress("prism", FOUR, clock=clock) as progress:
        clock.now = 100.0
        progress.update("0", 1_000_000, 1_000_000)
        progress.finish("0", 1_000_000)
        progress.show()
    assert "prism:  25%" in terminal.getvalue() and "1/4 files" in terminal.getvalue() and "1.00M/4.00M" in terminal.getvalue()
    assert caplog.messages == []
