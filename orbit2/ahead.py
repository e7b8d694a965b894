"""Compiles the loops of orbit2 ahead of their first use, several at a time: `make install` does. Never needed: what lacks is compiled when
it is called."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from orbit2 import jit
from orbit2.hands import apart


def known() -> list[tuple[Any, tuple[str, ...]]]:
    """Every compiled loop of orbit2, with the calls of it that are foreseen."""
    folder = Path(__file__).parent
    for source in sorted(folder.rglob("*.py")):
        if re.search(r"^from orbit2\.jit import", source.read_text(encoding="utf-8"), re.MULTILINE):
            importlib.import_module(".".join(("orbit2", *source.relative_to(folder).with_suffix("").parts)))
    return list(jit.known)


def run(hands: int | None = None) -> int:
    """Compile what is not kept yet, by `hands` processes (default: all cores); gives back how many calls were foreseen."""
    work: list[Callable[[], None]] = [partial(_compile, made, signature) for made, signatures in known() for signature in signatures]
    apart(work, hands)
    return len(work)


def _compile(made: Any, signature: str) -> None:
    made.compile(f"({signature},)")


if __name__ == "__main__":
    run()
