"""`orbit2 new` without the planner's rehearsals, which take seconds: every size trains a step in the same stated time."""

from __future__ import annotations

import pytest

from orbit2.start import era5, own, size


def quick(monkeypatch: pytest.MonkeyPatch, seconds: float = 0.01) -> None:
    """A step takes so many seconds, other stages nothing; the plan is a line."""
    monkeypatch.setattr(size, "_time", lambda config, on: (size.PROBED * seconds, {}))
    monkeypatch.setattr(size, "_beside", lambda config, on: ({"batch": 8}, 0.0))
    monkeypatch.setattr(size, "plan_on", lambda config, on: None)
    for module in (own, era5):
        monkeypatch.setattr(module, "verdict", lambda plan: ["fits on what was assumed"])
