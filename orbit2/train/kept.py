"""The checkpoints in a folder: names, order, verification, removal. Files only; what ranks agree on is in checkpoint.py."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from orbit2.errors import OrbitError
from orbit2.files import sha256
from orbit2.train import earlier
from orbit2.train.shards import MANIFEST, manifest, temporary

log = logging.getLogger(__name__)
NAME = re.compile(r"(step|best)-(\d+)(?:-(\d+))?")


def found(folder: Path, kind: str) -> list[Path]:
    """Folders `<kind>-<n>` and manifests of an earlier orbit2 (`step-<n>.json`, `best.json`), the oldest first."""
    now = [path for path in folder.glob(f"{kind}-*") if path.is_dir() and NAME.fullmatch(path.name)]
    before = folder.glob("step-*.json") if kind == "step" else [folder / earlier.BEST] if (folder / earlier.BEST).exists() else []
    return sorted([*now, *before], key=order)


def order(path: Path) -> tuple[int, int]:
    """By step, then in the order they were written; `best.json` is older than any folder."""
    match = NAME.fullmatch(path.name.removesuffix(".json"))
    return (-1, 0) if match is None else (int(match[2]), int(match[3] or 0) - path.name.endswith(".json"))


def free(folder: Path, kind: str, step: int) -> Path:
    """The folder of a new checkpoint: `<kind>-<n>`, or with a number behind it where that one exists."""
    path, number = folder / f"{kind}-{step:08d}", 0
    while path.exists():
        number += 1
        path = folder / f"{kind}-{step:08d}-{number}"
    return path


def manifest_of(path: Path) -> Path:
    return path / MANIFEST if path.suffix != ".json" else path


def facts(path: Path) -> dict[str, Any]:
    """What a checkpoint says of itself: step, config, files. Raises ValueError, KeyError, TypeError or OrbitError for a damaged one."""
    told = manifest(path) if path.suffix != ".json" else earlier.facts(path)
    if not isinstance(told["step"], int) or not isinstance(told["config"], Mapping) or not isinstance(told["files"], Mapping):
        raise ValueError("not a manifest")
    return told


def verify(path: Path, files: Mapping[str, Any]) -> None:
    """Raises ValueError when one of these files is missing, or of another size or checksum; KeyError, TypeError, OSError."""
    for name, told in files.items():
        file = (path if path.suffix != ".json" else path.parent) / name
        if Path(name).name != name or not file.is_file():
            raise ValueError(f"{name} is missing")
        if (size := file.stat().st_size) != told["bytes"]:
            raise ValueError(f"{name} has {size} bytes, not {told['bytes']}")
        if sha256(file) != told["sha256"]:
            raise ValueError(f"{name} has another checksum")


def drop(path: Path, keep: int) -> None:
    """What `path`, now whole, replaces: of the steps all but the `keep - 1` before it, of the best any other."""
    kind = path.name.partition("-")[0]
    others = [other for other in found(path.parent, kind) if other != path]
    before = [other for other in others if order(other) < order(path)]
    for old in others if kind == "best" else before[: max(len(before) - (keep - 1), 0)]:
        try:
            for file in _files(old):
                file.rename(temporary(file))  # at once no checkpoint any more, however long its removal takes
                remove(temporary(file))
        except OSError as error:
            log.warning("%s is not needed any more and cannot be removed (%s)", old, error.strerror)


def set_aside(path: Path) -> list[str]:
    """Rename to the first free `damaged-<n>-<name>`: no longer a checkpoint, and never deleted."""
    number, names = 1, []
    while list(path.parent.glob(f"damaged-{number}-*")):
        number += 1
    for file in _files(path):
        names.append(f"damaged-{number}-{file.name}")
        file.rename(file.with_name(names[-1]))
    return names


def remove(path: Path) -> None:
    """A file or a folder, and no error where it cannot be."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _files(path: Path) -> list[Path]:
    """What belongs to a checkpoint: its folder, or manifest and data."""
    if path.suffix != ".json":
        return [path]
    with suppress(OrbitError, TypeError, AttributeError):
        return [path, *([earlier.data(path)] if earlier.data(path).exists() else [])]
    return [path]
