"""Stage plan: what a run would cost, and whether a machine can do it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orbit2.plan.estimate import plan, plan_on
    from orbit2.plan.text import render

__all__ = ["plan", "plan_on", "render"]
_LAZY = {"plan": "orbit2.plan.estimate", "plan_on": "orbit2.plan.estimate", "render": "orbit2.plan.text"}


def __getattr__(name: str) -> Any:
    """What is asked for by this package's name: the doctor needs nothing of what these load."""
    if name not in _LAZY:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
