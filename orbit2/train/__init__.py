"""Stages train and finetune: from paired stores to a self-describing model. `orbit2.train(config)` trains a run (orbit2/api)."""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from orbit2.train.trainer import run

__all__ = ["run"]


class _Callable(ModuleType):
    """This package, which a notebook calls."""

    def __call__(self, *arguments: Any, **options: Any) -> Any:
        """See `orbit2.api.training.train`."""
        return import_module("orbit2.api.training").train(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        """The stage, without loading torch before it is asked for."""
        if name != "run":
            raise AttributeError(f"module '{self.__name__}' has no attribute '{name}'")
        return import_module("orbit2.train.trainer").run


sys.modules[__name__].__class__ = _Callable
