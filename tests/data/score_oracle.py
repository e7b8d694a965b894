"""scoringrules, without the kernels that it compiles for numba whenever it is imported (six core seconds): tests ask its numpy ones."""

from __future__ import annotations

import sys
from types import ModuleType

import pytest


def scoringrules() -> ModuleType:
    """The library; skips the test where it is not installed."""
    with pytest.MonkeyPatch.context() as without:
        without.setitem(sys.modules, "numba", None)
        return pytest.importorskip("scoringrules")
