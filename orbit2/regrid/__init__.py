"""Stage `regrid`: coarse/fine pairs in a PairStore, part by part. Never computes with data outside the configured periods."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orbit2.regrid.build import build_part, finalise, initialise
    from orbit2.regrid.health import inspect
    from orbit2.regrid.parts import Part, plan_parts, unbuilt

__all__ = ["Part", "build_part", "finalise", "initialise", "inspect", "plan_parts", "unbuilt"]
_LAZY = {
    "build_part": "orbit2.regrid.build", "finalise": "orbit2.regrid.build", "initialise": "orbit2.regrid.build",
    "inspect": "orbit2.regrid.health",
    "Part": "orbit2.regrid.parts", "plan_parts": "orbit2.regrid.parts", "unbuilt": "orbit2.regrid.parts",
}  # fmt: skip


def __getattr__(name: str) -> Any:
    """What is asked for by this package's name: its other modules can be had without all that these load."""
    if name not in _LAZY:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
