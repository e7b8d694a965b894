"""How often a job may start again, by what its tries left beside the log; what Snakemake makes of it is tests/workflow/test_logged.py's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from orbit2.signals import STOPPED
from orbit2.tries import Tries


@pytest.fixture(autouse=True)
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ORBIT2_RUN", "host:1:2.00")


def left(name: str, kind: str, run: str = "host:1:2.00", when: int = 0) -> None:
    marker = Path("logs") / f".{name}.log.{kind}"
    marker.parent.mkdir(exist_ok=True)
    marker.write_text(f"{run} further\n")
    os.utime(marker, (when, when))


def test_failures_count_and_slices_do_not() -> None:
    known = Tries()
    assert known.allowed(2, ["logs/a.log"]) == 2
    for when in (1, 2, 2):  # asked twice about the same end
        left("a", "slice", when=when)
        allowed = known.allowed(2, ["logs/a.log"])
    assert allowed == 4 and known.allowed(2, ["logs/b.log"]) == 2
    Path("logs/.a.log.slice").unlink()  # the next try has begun, and died
    assert known.allowed(2, ["logs/a.log"]) == 4
    assert known.allowed(0, ["logs/a.log"]) == 0  # a profile that tries nothing again


def test_a_mistake_ends_the_tries_of_a_job_and_of_its_group() -> None:
    left("a", "refused", run="host:1:1.00")  # of an earlier run: the user has started it again
    assert Tries().allowed(2, ["logs/a.log"]) == 2
    left("a", "refused")
    assert Tries().allowed(2, ["logs/a.log"]) == 0 == Tries().allowed(2, ["logs/b.log", "logs/a.log"])


def test_nothing_is_tried_again_while_the_run_is_being_stopped() -> None:
    left("a", "slice")
    STOPPED.parent.mkdir(parents=True)
    STOPPED.touch()
    assert Tries().allowed(2, ["logs/a.log"]) == 0
