"""What may lie where an output goes: nothing, or an earlier output of the same kind. Anything else is never replaced (docs/files.md)."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

from orbit2.errors import OrbitError

HINT = "nothing of yours is overwritten: move it away, or write elsewhere"


def file(path: Path | None, *keys: str) -> None:
    """For an output file. Raises OrbitError for a folder, or a file that is no output of the same kind.

    A JSON file must hold `keys`, NetCDF, HDF5 and Parquet carry the version of the code. An empty file is no loss, a link is followed.
    """
    if path is None:
        return
    try:
        there = path.resolve()
    except (OSError, RuntimeError) as error:
        raise OrbitError(f"not a place to write to ({error})", where=path, hint="choose another place") from None
    if there.is_dir():
        raise OrbitError("a folder is where the output file would go", where=path, hint=HINT)
    if there.exists() and not (there.is_file() and (there.stat().st_size == 0 or _ours(there, path.suffix, keys))):
        raise OrbitError("a file is there that this stage did not write", where=path, hint=HINT)


def files(folder: Path, names: Mapping[str, Sequence[str]]) -> None:
    """For the output files `names` (with their JSON keys) in a folder, which may hold other things. Raises OrbitError as `file` does."""
    if os.path.lexists(folder) and not folder.is_dir():
        raise OrbitError("a file is where the output folder would go", where=folder, hint=HINT)
    for name, keys in names.items():
        file(folder / name, *keys)


def model(folder: Path, name: str, digest: str) -> None:
    """For a model folder. Raises OrbitError for another model, a damaged one, and a folder that holds other things."""
    files(folder, {})
    if not folder.is_dir() or not any(folder.iterdir()):
        return
    try:
        about = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        other = f"model {about['name']}-{about['hash']}"
    except (OSError, ValueError, TypeError, KeyError):
        known = {"weights.safetensors", "normalisation.json", "card.md", "provenance.json", "metrics.jsonl", "timing.json", "statics"}
        if {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")} <= known:
            return  # a kill in the middle of writing it: config.json comes last
        other = "something else"
    if other != f"model {name}-{digest}":
        raise OrbitError("another model is there, or something else", where=folder, got=other, allowed=f"model {name}-{digest}", hint=HINT)


def page(folder: Path) -> None:
    """For a report, whose folder is replaced as a whole. Raises OrbitError when it holds anything but an earlier report."""
    files(folder, {})
    if not folder.is_dir():
        return
    entries = {entry.name for entry in folder.iterdir() if not entry.name.startswith(".")}
    index = folder / "index.html"
    if not entries:
        return
    foreign = entries - {"index.html", "figures", "tables"}
    if not index.is_file() or 'content="orbit2' not in index.read_text(encoding="utf-8", errors="replace")[:4000] or foreign:
        found = ", ".join(sorted(foreign or entries)[:5])
        raise OrbitError("the report would replace a folder that holds other things", where=folder, got=found, hint=HINT)


def _ours(path: Path, suffix: str, keys: Sequence[str]) -> bool:
    try:
        if suffix == ".json":
            found = json.loads(path.read_text(encoding="utf-8"))
            return isinstance(found, dict) and set(keys) <= set(found)
        if suffix in (".nc", ".h5"):
            import h5py

            with h5py.File(path) as opened:
                return "code_version" in opened.attrs
        if suffix == ".parquet":
            from pyarrow import parquet

            return {"task", "metric", "code_version"} <= set(parquet.read_schema(path).names)
    except (OSError, ValueError):
        return False
    return False
