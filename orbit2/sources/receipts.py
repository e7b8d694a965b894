"""What a receipt of `retrieve` stands for, and which of it is gone since. Never fetches, changes or reads a provider's file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from orbit2.files import read_json
from orbit2.sources.manifest import Record, select
from orbit2.sources.source import Window
from orbit2.times import shifted

KEPT = ("file", "bytes", "first", "last")  # of a file's record
DAY = 86400.0  # seconds: a sample is made of hours before and after its stamp


def held(records: Iterable[Record]) -> list[dict[str, Any]]:
    """The files that a receipt stands for, as it lists them."""
    return [{key: record[key] for key in KEPT if key in record} for record in records]


def lost(receipt: Path, folder: Path, windows: Sequence[Window]) -> list[Path]:
    """The receipt's files below `folder` that are needed within one of the `windows` and are not there, or not whole.

    Files without times are needed in any window. Receipts of earlier versions list no files: nothing is known to be lost.
    Raises OrbitError for a receipt that is not JSON.
    """
    content = read_json(receipt)
    listed = content.get("held", []) if isinstance(content, dict) else []
    needed = {str(r["file"]): r for first, last in windows for r in select(listed, None, shifted(first, -DAY), shifted(last, DAY))}
    return [folder / name for name, record in sorted(needed.items()) if _size(folder / name) != record["bytes"]]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1
