"""Files that appear whole or not at all, and their checksums. Never reads a half-written file as complete."""

from __future__ import annotations

import hashlib
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orbit2.errors import OrbitError


@contextmanager
def atomic(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; on success fsync it and rename it into place."""
    path = Path(os.path.realpath(path))  # through a link, which stays
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{uuid.uuid4().hex[:6]}.part")
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def to_text(value: Any) -> str:
    """`value` as the JSON that orbit2 writes."""
    return json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def write_json(path: str | Path, value: Any) -> None:
    write_text(path, to_text(value))


def write_if_changed(path: str | Path, text: str) -> bool:
    """Write `text` only when it differs from what is there, so that the file's time means its content changed."""
    path = Path(path)
    if path.exists() and path.read_text(encoding="utf-8") == text:
        return False
    write_text(path, text)
    return True


def sync_folder(path: str | Path) -> None:
    """What was created or renamed in a folder is there after a power cut too."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read_json(path: str | Path) -> Any:
    """Parse a JSON file. Raises OrbitError when it is missing or not JSON."""
    path = Path(path)
    if not path.is_file():
        raise OrbitError("file not found", where=path, hint="run the stage that writes it first")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise OrbitError(f"not valid JSON ({error})", where=path, hint="delete it and re-run its stage") from None


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The records of a JSON-lines file; none where it is missing, and a damaged line is left out."""
    if not path.is_file():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            continue
        if isinstance(record, dict):
            records.append(record)
    return records


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """`content` with a checksum of its own, by which `unsealed` knows that nothing in it has changed."""
    return {**content, "seal": _seal(content)}


def unsealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """What was sealed. Raises ValueError where it is not that any more."""
    rest = {key: value for key, value in content.items() if key != "seal"}
    if content.get("seal") != _seal(rest):
        raise ValueError("its own checksum differs")
    return rest


def _seal(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def sha256(path: str | Path) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as handle:
        while block := handle.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def short_hash(value: Any, digits: int = 8) -> str:
    """The first hex digits of the sha256 of `value` as canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:digits]
