"""Answers that take seconds to find and depend on the program alone, kept between commands. A damaged or foreign file is no answer."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import time
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar

from orbit2.files import atomic

KEPT_DAYS = 30  # of another version's answers
T = TypeVar("T")


class Notebook:
    """Answers in memory; while it is `opened` also those of earlier commands of this very program, and new ones are kept for later.

    The program is every byte of its source, torch's version and the kind of processor: another of these asks anew.
    """

    def __init__(self) -> None:
        self._known: dict[Hashable, Any] = {}
        self._kept: dict[str, Any] = {}
        self._new: dict[str, Any] = {}
        self._path: Path | None = None

    def ask(self, question: Hashable, find: Callable[[], T], write: Callable[[T], Any], read: Callable[[Any], T]) -> T:
        """The answer to `question`, whose repr says all that it depends on; `write` makes JSON of it, `read` makes it of that."""
        if question not in self._known:
            key = hashlib.sha256(repr(question).encode()).hexdigest()[:32]
            answer: T | None = None
            if key in self._kept:
                with suppress(Exception):  # whatever is wrong with it: it is found again
                    answer = read(self._kept[key])
            if answer is None:
                answer = find()
                if self._path is not None:
                    self._new[key] = write(answer)
            self._known[question] = answer
        found: T = self._known[question]
        return found

    @contextmanager
    def opened(self, folder: Path | None = None) -> Iterator[None]:
        """Know what earlier commands found out; `folder` defaults to $ORBIT2_CACHE, else ~/.cache/orbit2."""
        place = folder or Path(os.environ.get("ORBIT2_CACHE") or Path.home() / ".cache" / "orbit2")
        self._path = place / "plan" / f"{_program()}.json"
        self._kept = _read(self._path)
        try:
            yield
        finally:
            self._keep(self._path)
            self._path, self._kept, self._new = None, {}, {}

    def _keep(self, path: Path) -> None:
        """A folder that cannot be written is no reason to stop."""
        if not self._new:
            return
        with suppress(OSError):
            told = json.dumps({**_read(path), **self._new}, separators=(",", ":"))
            with atomic(path) as temporary:
                temporary.write_text(told, encoding="utf-8")
            for other in path.parent.glob("*.json"):
                if time.time() - other.stat().st_mtime > KEPT_DAYS * 86400:
                    other.unlink(missing_ok=True)


def _read(path: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        found = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(found, dict):
            return found
    return {}


def _program() -> str:
    """A digest of this package's source and of what computes."""
    digest = hashlib.sha256(f"{version('torch')}|{platform.python_version()}|{platform.machine()}".encode())
    package = Path(__file__).parent
    for path in sorted(package.rglob("*.py")):
        digest.update(str(path.relative_to(package)).encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()[:32]


NOTEBOOK = Notebook()
