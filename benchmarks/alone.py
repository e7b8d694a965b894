"""A measurement in a process of its own, so that its memory is nobody else's. Runs nothing by itself."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from typing import Any


def alone(act: Callable[..., None], *arguments: Any) -> dict[str, Any]:
    """What `act(*arguments, told)` puts into `told`, in a fresh process. Raises SystemExit where it ends with an error."""
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    process = context.Process(target=act, args=(*arguments, told))
    process.start()
    process.join()
    if process.exitcode:
        raise SystemExit(f"the measurement ended with {process.exitcode}")
    answer: dict[str, Any] = told.get()
    return answer
