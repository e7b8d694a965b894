"""Compiled loops: of processes side by side one compiles, the others read what it kept; nobody waits for ever."""

from __future__ import annotations

import importlib
import os
import signal
import tempfile
import time
from pathlib import Path
from types import ModuleType

import numba.core.event
import numpy as np
import pytest

from orbit2 import jit
from tests.data.small_downscaling import exit_code, forked

SOURCE = """
from orbit2.jit import compiled

@compiled()
def inner(value):
    return value + 1

@compiled()
def total(values):
    found = 0.0
    for value in values:
        found += inner(value)
    return found
"""
FIELD = np.arange(5.0)


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a module of compiled loops, and of its locks."""
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "loops_of_a_test.py").write_text(SOURCE)
    return tmp_path


def loops() -> ModuleType:
    return importlib.import_module("loops_of_a_test")


def compilations() -> int:
    """How often this process compiles for a sum."""
    count = 0

    class Listener(numba.core.event.Listener):
        def on_start(self, event: object) -> None:
            nonlocal count
            count += 1

        def on_end(self, event: object) -> None:
            pass

    numba.core.event.register("numba:compile", Listener())
    assert loops().total(FIELD) == 15
    return count


def test_one_of_those_side_by_side_compiles(place: Path) -> None:
    begins = time.monotonic() + 0.3

    def act() -> None:
        time.sleep(max(0.0, begins - time.monotonic()))
        os._exit(compilations())

    children = [forked(act) for _ in range(3)]
    assert sorted(exit_code(child) for child in children) == [0, 0, 2]
    assert list(place.glob("orbit2-jit-*/*")) and exit_code(forked(act)) == 0


def test_a_lock_that_is_never_given_back_is_waited_for_no_longer_than_that(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jit, "PATIENCE", 0.2)

    def keep() -> None:
        total = loops().total
        kept = jit._turn(f"{total._cache.cache_path}:loops_of_a_test.total")
        (place / "kept").touch()
        signal.pause()
        kept.close()

    keeper = forked(keep)
    while not (place / "kept").exists():
        time.sleep(0.01)
    try:
        assert exit_code(forked(lambda: os._exit(compilations()))) == 2
    finally:
        os.kill(keeper, signal.SIGKILL)
        exit_code(keeper)


def test_without_a_place_for_locks_it_compiles_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: "/proc")
    assert exit_code(forked(lambda: os._exit(compilations()))) == 2
