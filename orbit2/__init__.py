"""orbit2: coarse climate fields into fine ones with the Reslim foundation model. Importing it loads nothing heavy."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from orbit2.version import __version__

if TYPE_CHECKING:
    from orbit2 import train as train
    from orbit2.api.data import open, sample
    from orbit2.api.model import Model, load_model
    from orbit2.api.shelf import listed as models
    from orbit2.api.training import Downscaler

__all__ = ["open", "sample", "load_model", "models", "train", "Model", "Downscaler", "__version__"]

_LAZY = {"open": "orbit2.api.data", "sample": "orbit2.api.data", "load_model": "orbit2.api.model", "Model": "orbit2.api.model",
         "Downscaler": "orbit2.api.training"}  # fmt: skip


def __getattr__(name: str) -> Any:
    if name == "train":
        return import_module("orbit2.train")  # which can be called
    if name == "models":
        return import_module("orbit2.api.shelf").listed
    if name not in _LAZY:
        raise AttributeError(f"module 'orbit2' has no attribute '{name}'")
    return getattr(import_module(_LAZY[name]), name)
