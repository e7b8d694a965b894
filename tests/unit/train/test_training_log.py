"""The lines of a training's log."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from orbit2.train import progress


def test_short_steps_are_told_by_their_losses(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever looks at the clock first: the end of a step, or the thread that speaks when nothing else does."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 2.0)
    with progress.Progress(tmp_path, 9, enabled=True) as told:
        told.begin(0, scored=False)
        time.sleep(0.3)
        told.advance(1, "loss 0.5")
        time.sleep(2.2)  # the second step takes longer than what is left of a minute (2 s here)
    lines = [line.partition(" ")[2] for line in capfd.readouterr().err.splitlines()]
    assert lines == ["step 1/9  loss 0.5"]
