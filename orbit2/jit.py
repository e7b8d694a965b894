"""Loops over cells that numpy would make many passes for, compiled on first use. Never runs on more than one core."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])
INFINITY = float("inf")
SUMS = {"reassoc", "contract", "nsz"}  # sums may be taken in another order; missing values (NaN) keep their meaning


def compiled(function: F) -> F:
    """`function` in machine code, kept beside its source (else in the user's cache folder, else for this process) for later processes."""
    return _compiled(function, SUMS)


def exact(function: F) -> F:
    """The same with every operation as it is written: for what cuts numbers into their bits."""
    return _compiled(function, {"contract"})


def _compiled(function: F, fastmath: set[str]) -> F:
    try:
        return cast(F, numba.njit(cache=True, fastmath=fastmath)(function))
    except RuntimeError:  # neither folder can be written to
        return cast(F, numba.njit(fastmath=fastmath)(function))


@compiled
def finite(value: float) -> bool:
    """Neither missing nor infinite. numba's `isfinite` asks whether value - value is 0, which SUMS lets the compiler answer by itself."""
    return bool(abs(value) < INFINITY)
