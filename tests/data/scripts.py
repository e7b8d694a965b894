"""Scripts of benchmarks/ and docs/, as modules."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[2]


def script(path: str) -> ModuleType:
    """The script at `path` below the project's root; loaded by path, as there may be other modules of its name.

    Its folder is looked through while it loads, as when it is run.
    """
    spec = importlib.util.spec_from_file_location(f"script_{Path(path).stem}", ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as here:
        here.syspath_prepend(ROOT / Path(path).parent)
        spec.loader.exec_module(module)
    return module
