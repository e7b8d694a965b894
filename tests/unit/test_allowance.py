"""What a process may use: what it was told, never more than there is."""

from __future__ import annotations

import psutil
import pytest

from orbit2 import allowance
from orbit2.sources.slabs import LEAST_BUDGET, budget


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (allowance.MEMORY, allowance.THREADS, "SLURM_MEM_PER_NODE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setattr(allowance, "LIMITS", ())


def test_memory_is_what_the_rule_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert abs(allowance.memory_bytes() - psutil.virtual_memory().available) < 2**30
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "900")
    assert allowance.memory_bytes() == 900 * 2**20
    monkeypatch.setenv(allowance.MEMORY, "600")
    assert allowance.memory_bytes() == 600 * 2**20
    assert budget() == LEAST_BUDGET  # a third of it would be less
    monkeypatch.setenv(allowance.MEMORY, "999999999")
    assert allowance.memory_bytes() == 900 * 2**20


def test_threads_are_what_the_rule_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowance.threads() >= 1
    monkeypatch.setenv(allowance.THREADS, "3")
    assert allowance.threads() == 3
    allowance.allow(None, None)
    assert allowance.threads() == 3
