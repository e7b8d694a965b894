"""orbit2: coarse climate fields into fine ones with the Reslim foundation model. Importing it loads nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orbit2.downscale import load_model

__version__ = "0.1.0"
__all__ = ["load_model", "__version__"]

_LAZY = {"load_model": "orbit2.downscale"}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'orbit2' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
