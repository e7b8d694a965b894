"""manifest.json: which files of a provider are complete, with checksums and licence. A file not listed does not exist."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orbit2.errors import OrbitError
from orbit2.files import read_json, sha256, write_json

NAME = "manifest.json"
VERSION = "v1"


def entry(path: Path, *, origin: str, licence: str, doi: str | None, attribution: str) -> dict[str, Any]:
    """The record of one complete file."""
    return {"file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path), "origin": origin, "licence": licence,
            "doi": doi, "attribution": attribution, "fetched": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")}


def write(folder: Path, source: str, entries: list[dict[str, Any]]) -> None:
    write_json(folder / NAME, {"source": source, "files": sorted(entries, key=lambda e: str(e["file"]))})


def intact(folder: Path, record: dict[str, Any]) -> bool:
    """True when the file is there with the recorded length and checksum."""
    path = folder / str(record["file"])
    return path.is_file() and path.stat().st_size == record["bytes"] and sha256(path) == record["sha256"]


def read(folder: Path) -> dict[str, Any]:
    """The manifest of a provider folder. Raises OrbitError when it is missing or not one."""
    content = read_json(folder / NAME)
    if not isinstance(content, dict) or not isinstance(content.get("files"), list):
        raise OrbitError("not a manifest", where=folder / NAME, hint="delete it and run retrieve again")
    return content


def files(folder: Path) -> list[Path]:
    """The complete files of a provider folder, sizes checked. Raises OrbitError for one that is missing or cut short."""
    if not (folder / NAME).is_file():
        raise OrbitError("provider files not found", where=folder, hint="run the retrieve stage first")
    found = []
    for record in read(folder)["files"]:
        path = folder / str(record["file"])
        if not path.is_file() or path.stat().st_size != record["bytes"]:
            raise OrbitError("file does not match the manifest", where=path, hint="run the retrieve stage again")
        found.append(path)
    return found
