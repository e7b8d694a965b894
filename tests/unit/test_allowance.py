"""What a process may use: what it was told, never more than there is."""

from __future__ import annotations

from pathlib import Path

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
    monkeypatch.setenv(allowance.MEMORY, "600")
    assert allowance.memory_bytes() == 600 * 2**20
    assert budget() == LEAST_BUDGET  # a third of it would be less
    monkeypatch.setenv(allowance.MEMORY, "999999999")
    assert allowance.memory_bytes() <= psutil.virtual_memory().total


def test_what_slurm_says_counts_only_where_nothing_nearer_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SLURM's jobstep plugin strips the variable, and a workflow inside a job passes that job's own on to every rule."""
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "300")
    assert allowance.memory_bytes() == 300 * 2**20
    container = tmp_path / "memory.max"
    monkeypatch.setattr(allowance, "LIMITS", (str(container), str(tmp_path / "absent")))
    for unlimited in ("max\n", "9223372036854771712\n"):
        container.write_text(unlimited)
        assert allowance.memory_bytes() == 300 * 2**20
    container.write_text(f"{500 * 2**20}\n")
    assert allowance.memory_bytes() == 500 * 2**20
    monkeypatch.setenv(allowance.MEMORY, "400")
    assert allowance.memory_bytes() == 400 * 2**20
    monkeypatch.setenv(allowance.MEMORY, "700")
    assert allowance.memory_bytes() == 500 * 2**20  # the kernel ends what goes beyond its container
    monkeypatch.setattr(allowance, "LIMITS", ())
    assert allowance.memory_bytes() == 700 * 2**20
    monkeypatch.setenv(allowance.MEMORY, "junk")
    assert allowance.memory_bytes() == 300 * 2**20
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")  # SLURM's word for the whole node
    assert allowance.memory_bytes() > 2**30 or allowance.memory_bytes() == psutil.virtual_memory().available


def test_threads_are_what_the_rule_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowance.threads() >= 1
    monkeypatch.setenv(allowance.THREADS, "3")
    assert allowance.threads() == 3
    allowance.allow(None, None)
    assert allowance.threads() == 3
