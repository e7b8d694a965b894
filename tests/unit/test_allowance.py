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
    monkeypatch.setattr(allowance, "CGROUPS", Path("/nowhere"))


def test_memory_is_what_the_rule_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert abs(allowance.memory_bytes() - psutil.virtual_memory().available) < 2**30
    given = allowance.held() // 2**20 + 600  # this process may have run other tests
    monkeypatch.setenv(allowance.MEMORY, str(given))
    assert allowance.memory_bytes() == given * 2**20
    left = allowance.memory_left()
    assert 0 < left < given * 2**20 and left == pytest.approx(given * 2**20 - allowance.held(), abs=2**23)
    assert budget() == pytest.approx(left / 3, abs=2**23)
    monkeypatch.setenv(allowance.MEMORY, "30")  # less than the interpreter
    assert allowance.memory_left() == 0 and budget() == LEAST_BUDGET
    monkeypatch.setenv(allowance.MEMORY, "999999999")
    assert allowance.memory_bytes() <= psutil.virtual_memory().total


def test_what_slurm_says_counts_only_where_nothing_nearer_does(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """SLURM's jobstep plugin strips the variable, and a workflow inside a job passes that job's own on to every rule."""
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "300")
    assert allowance.memory_bytes() == 300 * 2**20
    container = tmp_path / "memory.max"
    monkeypatch.setattr(allowance, "CGROUPS", tmp_path)
    monkeypatch.setattr(allowance, "OWN_GROUPS", tmp_path / "absent")
    for unlimited in ("max\n", "9223372036854771712\n"):
        container.write_text(unlimited)
        assert allowance.memory_bytes() == 300 * 2**20
    container.write_text(f"{500 * 2**20}\n")
    assert allowance.memory_bytes() == 500 * 2**20
    monkeypatch.setenv(allowance.MEMORY, "400")
    assert allowance.memory_bytes() == 400 * 2**20
    monkeypatch.setenv(allowance.MEMORY, "700")
    assert allowance.memory_bytes() == 500 * 2**20  # the kernel ends what goes beyond its container
    monkeypatch.setattr(allowance, "CGROUPS", Path("/nowhere"))
    assert allowance.memory_bytes() == 700 * 2**20
    monkeypatch.setenv(allowance.MEMORY, "junk")
    assert allowance.memory_bytes() == 300 * 2**20
    monkeypatch.setenv("SLURM_MEM_PER_NODE", "0")  # SLURM's word for the whole node
    assert allowance.memory_bytes() > 2**30 or allowance.memory_bytes() == psutil.virtual_memory().available


@pytest.mark.parametrize(("own", "mount", "file", "none"), [
    ("0::/job_1/step_0\n", ".", "memory.max", "max"),
    ("3:cpu,cpuacct:/other\n7:memory:/job_1/step_0\n0::/elsewhere\n", "memory", "memory.limit_in_bytes", "9223372036854771712"),
])  # fmt: skip
def test_of_nested_control_groups_the_least_limit_counts(
    own: str, mount: str, file: str, none: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """SLURM limits a job and its steps, systemd a slice: what is read at the top says nothing of them."""
    step = tmp_path / mount / "job_1/step_0"
    step.mkdir(parents=True)
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(allowance, "CGROUPS", tmp_path)
    monkeypatch.setattr(allowance, "OWN_GROUPS", tmp_path / "own")
    assert allowance.memory_limit() is None
    for top, job, inner, least in ((none, none, 500, 500), (none, 400, 500, 400), (300, 400, none, 300), (none, none, none, None)):
        for folder, limit in ((step.parent.parent, top), (step.parent, job), (step, inner)):
            (folder / file).write_text(limit if isinstance(limit, str) else str(limit * 2**20))
        assert allowance.memory_limit() == (least and least * 2**20)
    (step.parent / file).write_text(str(200 * 2**20))
    assert allowance.memory_limit() == 200 * 2**20
    (tmp_path / "own").write_text(own.replace("/job_1", "/host/of/this/container"))  # a group that is not seen from here
    assert allowance.memory_limit() is None


def test_threads_are_what_the_rule_was_given(monkeypatch: pytest.MonkeyPatch) -> None:
    assert allowance.threads() >= 1
    monkeypatch.setenv(allowance.THREADS, "3")
    assert allowance.threads() == 3
    allowance.allow(None, None)
    assert allowance.threads() == 3
