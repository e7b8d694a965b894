"""Loops over cells that numpy would make many passes for, compiled on first use. Never runs on more than one core.

Processes that start side by side (parts of a stage, workers of the tests) need the same function at the same time: one compiles it, the
others wait for what it keeps. numba alone lets each compile for itself, and where they keep two kinds of it at once one may be lost.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numba

F = TypeVar("F", bound=Callable[..., Any])
INFINITY = float("inf")
SUMS = {"reassoc", "contract", "nsz"}  # sums may be taken in another order; missing values (NaN) keep their meaning
known = list[tuple[Any, tuple[str, ...]]]()  # functions that can be kept, with the calls of them that are foreseen
PATIENCE, LOOK = 120.0, 0.02  # seconds that another's compilation is waited for at the most, and between two looks


def compiled(*signatures: str) -> Callable[[F], F]:
    """The function in machine code, kept beside its source (else in the user's cache folder, else for this process) for later processes.

    `signatures`: of the calls that orbit2 makes, as numba writes their arguments ("f8[:,::1], i8"), for `ahead`; what others
    call it with is compiled when they do. None for what only compiled functions call.
    """
    return lambda function: _compiled(function, SUMS, signatures)


def exact(*signatures: str) -> Callable[[F], F]:
    """The same with every operation as it is written: for what cuts numbers into their bits."""
    return lambda function: _compiled(function, {"contract"}, signatures)


def _compiled(function: F, fastmath: set[str], signatures: tuple[str, ...]) -> F:
    try:
        made = numba.njit(cache=True, fastmath=fastmath)(function)
    except RuntimeError:  # neither folder can be written to
        return cast(F, numba.njit(fastmath=fastmath)(function))
    if hasattr(made, "_cache"):  # not with NUMBA_DISABLE_JIT
        _in_turn(made._cache, f"{made._cache.cache_path}:{function.__module__}.{function.__qualname__}")
        known.append((made, signatures))
    return cast(F, made)


def _in_turn(cache: Any, name: str) -> None:
    """Give numba's cache of one function a lock on this machine, held from a look that found nothing until what was lacking is kept."""
    load, save, held = cache.load_overload, cache.save_overload, list[IO[bytes]]()

    def load_overload(signature: Any, target: Any) -> Any:
        found = load(signature, target)
        if found is None and not held:
            with suppress(OSError):
                held.append(_turn(name))
            found = load(signature, target)
            if found is not None:
                _release(held)
        return found

    def save_overload(signature: Any, made: Any) -> None:
        try:
            save(signature, made)
        finally:
            _release(held)

    cache.load_overload, cache.save_overload = load_overload, save_overload


def _turn(name: str) -> IO[bytes]:
    """The open lock of a function; where nobody lets go of it in time, work is done twice."""
    place = Path(tempfile.gettempdir()) / f"orbit2-jit-{os.getuid()}"
    place.mkdir(mode=0o700, exist_ok=True)
    file = (place / hashlib.sha256(name.encode()).hexdigest()[:16]).open("wb")
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            time.sleep(LOOK)
        else:
            break
    return file


def _release(held: list[IO[bytes]]) -> None:
    while held:
        held.pop().close()


@compiled("f8", "f4")
def finite(value: float) -> bool:
    """Neither missing nor infinite. numba's `isfinite` asks whether value - value is 0, which SUMS lets the compiler answer by itself."""
    return bool(abs(value) < INFINITY)
