"""Loops compiled ahead: every call that is foreseen can be, once, and the stages call them as foreseen."""

from __future__ import annotations

import importlib
import sys
import tempfile
from pathlib import Path

import numba
import pytest

from orbit2 import ahead, jit

SOURCE = """
from orbit2.jit import compiled

@compiled("f8[::1], i8", "f4[::1], i8")
def scaled(values, by):
    return values * by
"""

def test_every_call_that_is_foreseen_can_be_compiled_and_is_no_other() -> None:
    for made, signatures in ahead.known():
        types = [numba.core.sigutils.normalize_signature(f"({one},)")[0] for one in signatures]
        assert len(set(types)) == len(types), made
        assert all(len(one) == made.py_func.__code__.co_argcount for one in types), made


def test_what_is_compiled_ahead_is_not_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "ahead_of_a_test.py").write_text(SOURCE)
    monkeypatch.setattr(jit, "known", [])
    importlib.import_module("ahead_of_a_test")
    monkeypatch.setattr(ahead, "known", lambda: jit.known)
    assert ahead.run(hands=2) == 2
    kept = {path: path.stat().st_mtime_ns for path in tmp_path.glob("__pycache__/*.nbc")}
    assert len(kept) == 2
    jit.known.clear()
    made = importlib.reload(sys.modules["ahead_of_a_test"]).scaled
    assert ahead.run(hands=1) == 2 and not sum(made.stats.cache_misses.values()) and sum(made.stats.cache_hits.values()) == 2
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("__pycache__/*.nbc")} == kept
