"""Which items are finished: one line each, in a file per process, written after the item's data are on disk. Never rewrites a line."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

# path of a shard below the store -> its bytes; None where nothing but missing values left no file
Shards = Mapping[str, int | None]


class Line(NamedTuple):
    """A finished item."""

    item: int
    shards: Shards
    seconds: float


class Journal:
    """The journals of all processes that ever wrote to the store with this signature; they lie beside it."""

    def __init__(self, store: Path, signature: str) -> None:
        self.folder = store.with_name(f".{store.name}.{signature}.journal")
        self._handle: int | None = None
        self._opening = threading.Lock()

    @staticmethod
    def clear(store: Path) -> None:
        """Forget all that was ever written at this place; for others who are reading it, all at once."""
        for folder in store.parent.glob(f".{store.name}.*.journal"):
            with suppress(FileNotFoundError):  # another process was quicker
                folder.rename(folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:6]}.old"))
        for folder in store.parent.glob(f".{store.name}.*.journal.*.old"):
            shutil.rmtree(folder, ignore_errors=True)

    def empty(self) -> bool:
        """Whether no process has anything written here: never did, or it was cleared."""
        return not any(self.folder.glob("*.jsonl"))

    def lines(self) -> Iterator[Line]:
        """Every finished item's line; one that a killed process left unfinished is none."""
        for entry in self._entries():
            if "item" in entry:
                yield Line(int(entry["item"]), dict(entry["shards"]), float(entry["seconds"]))

    def _entries(self) -> Iterator[dict[str, Any]]:
        for file in sorted(self.folder.glob("*.jsonl")):
            for line in file.read_bytes().splitlines():
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue
                if isinstance(entry, dict):
                    yield entry

    def append(self, item: int, shards: Shards, seconds: float) -> None:
        """Record an item; returns when the line is on the disk."""
        self._append({"item": item, "seconds": round(seconds, 4), "shards": shards})

    def append_window(self, item: int, seconds: float) -> None:
        """Record what computing an item's window took, where items are mixed from windows."""
        self._append({"window": item, "seconds": round(seconds, 4)})

    def seconds(self) -> dict[str, float]:
        """What every window and item took, in whichever process and attempt was the last."""
        kinds = ("item", "window")
        return {f"{kind} {entry[kind]}": float(entry["seconds"]) for entry in self._entries() for kind in kinds if kind in entry}

    def _append(self, entry: Mapping[str, Any]) -> None:
        with self._opening:
            if self._handle is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                file = self.folder / f"{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex[:6]}.jsonl"
                self._handle = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o666)
                sync(self.folder)
        line = json.dumps(entry).encode() + b"\n"
        written = os.write(self._handle, line)
        if written != len(line):
            raise OSError(f"only {written} of {len(line)} bytes of the journal were written")
        os.fsync(self._handle)

    def close(self) -> None:
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None


def sync(path: Path) -> None:
    """A file's content, or a folder's list of names, to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
