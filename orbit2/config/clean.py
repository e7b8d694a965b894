"""What under results/ no run needs any more. Looks; deletes only what orbit2 wrote, when asked to, whole folders at a time.

A run needs what its configuration names: the stores of its datasets, its models. Runs are those that left their slices in
results/<run>/config, and the files one names beside them. A folder whose slice says nothing of orbit2 is nobody's to delete.
"""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from orbit2 import lock, owner
from orbit2.config import slices
from orbit2.config.load import validate
from orbit2.config.schema import RunConfig
from orbit2.errors import OrbitError
from orbit2.files import read_json

GOING = ".deleted"  # what is being deleted is first renamed to .<name>.deleted: an interrupted run leaves nothing that counts
HASH = re.compile(r"\b[0-9a-f]{8}\b")
OLD = 86_400.0  # seconds after which a half-written file is nobody's work any more


@dataclass(frozen=True)
class Unneeded:
    """Something that may go: `path` (one folder or file), why, its size and when something in it last changed."""

    path: Path
    why: str
    size: int  # bytes
    changed: float  # seconds since the epoch


@dataclass
class Found:
    """What may go, and what was left alone, a reason each."""

    unneeded: list[Unneeded] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    runs: list[str] = field(default_factory=list)

    @property
    def size(self) -> int:
        return sum(one.size for one in self.unneeded)


def look(results: Path, keep: Sequence[RunConfig] = ()) -> Found:
    """Everything under `results` that neither the runs there nor those of `keep` need. Changes nothing.

    Raises OrbitError where `results` is no folder, or a run's configuration cannot be read as today's: what it needs is not known.
    """
    if not results.is_dir():
        raise OrbitError("not a folder of results", where=results, hint="give the folder that holds data/ and models/, usually results")
    found, runs = Found(), [*keep]
    for path in sorted(results.glob("*/config/report.json")):
        try:
            runs.append(validate(RunConfig, read_json(path)["run"], path))
        except (OrbitError, KeyError, TypeError) as error:
            reason = " ".join(str(error).split())[:120]
            raise OrbitError(f"what this run needs cannot be told ({reason})", where=path.parent.parent,
                             hint=f"orbit2 migrate {results} brings older runs up to date; or delete the run first") from None  # fmt: skip
    found.runs = sorted({run.label for run in runs})
    needed = {Path(folder).name for run in runs for folder in _folders(run)} | _mentioned(results)
    for kind in ("data", "models"):
        for folder in sorted(path for path in (results / kind).glob("*") if path.is_dir() and not path.name.startswith(".")):
            if _at_work(folder):
                found.left.append(f"{folder}: at work")
            elif folder.name not in needed:
                _add(found, folder, f"{'store' if kind == 'data' else 'model'} of no run") if _ours(folder, kind) else found.left.append(
                    f"{folder}: no folder of orbit2")  # fmt: skip
            elif kind == "models" and (folder / "model/config.json").is_file():
                for saved in sorted([*folder.glob("checkpoints/step-*"), *folder.glob("checkpoints/best-*")]):
                    _add(found, saved, "checkpoint of a finished model")
    for path in sorted(results.rglob(".*")):
        dead = path.name.endswith(GOING) or (path.name.endswith(".part") and time.time() - path.lstat().st_mtime > OLD)
        if dead and not any(one.path in path.parents for one in found.unneeded):
            _add(found, path, "left by a process that was killed")
    return found


def told(found: Found) -> str:
    """The list as text, largest first, with what to do next."""
    lines = [f"runs: {', '.join(found.runs) or 'none'}"]
    for one in sorted(found.unneeded, key=lambda one: -one.size):
        day = datetime.fromtimestamp(one.changed, UTC).strftime("%Y-%m-%d")
        lines.append(f"  {one.size / 1e9:9.3f} GB  {day}  {one.path}  ({one.why})")
    lines += [f"left alone: {reason}" for reason in found.left]
    if not found.unneeded:
        return "\n".join([*lines, "nothing that these runs do not need"])
    return "\n".join([*lines, f"{found.size / 1e9:.3f} GB in {len(found.unneeded)} places",
                      "--keep RUN.yaml keeps what a run needs that was not started here; --delete deletes the rest"])  # fmt: skip


def delete(found: Found, folder: Path = Path()) -> int:
    """Delete what may go; bytes freed. Raises OrbitError while a workflow runs in `folder`, or something of a dead one is at work."""
    if lock.locked(folder):
        raise OrbitError("the workflow is running here, or was killed", where=folder.absolute(),
                         hint="wait for it, or `orbit2 stop`, `orbit2 unlock`")  # fmt: skip
    if still := lock.left(folder):
        raise OrbitError("a run that ended left something at work here", where=folder.absolute(), got=str(still), hint="orbit2 stop")
    freed = 0
    for one in found.unneeded:
        going = one.path
        if not going.name.endswith(GOING):
            going = one.path.with_name(f".{one.path.name}{GOING}")
            os.replace(one.path, going)
        shutil.rmtree(going) if going.is_dir() and not going.is_symlink() else going.unlink()
        freed += one.size
    return freed


def _folders(run: RunConfig) -> Iterable[str]:
    yield from (slices.dataset_folder(run, name) for name in run.datasets)
    yield from (slices.model_folder(run, name) for name, section in run.models.items() if section.imported is None)


def _mentioned(results: Path) -> set[str]:
    """Folders of data and models whose hash a run's slices name, and those models' parents: of runs that got no further than a stage."""
    folders = {path.name.rpartition("-")[2]: path for kind in ("data", "models") for path in (results / kind).glob("*-*")}
    waiting = [path for path in results.glob("*/config/*.json") if path.parent.parent.name not in ("data", "models")]
    found: set[str] = set()
    while waiting:
        for word in HASH.findall(waiting.pop().read_text(encoding="utf-8")):
            if word in folders and folders[word].name not in found:
                found.add(folders[word].name)
                waiting += (folders[word] / "config.json",) if (folders[word] / "config.json").is_file() else ()
    return found


def _ours(folder: Path, kind: str) -> bool:
    """Whether the folder's own slice is one that the workflow writes."""
    try:
        content: Any = read_json(folder / "config.json")
    except OrbitError:
        return False
    return isinstance(content, dict) and ("dataset" if kind == "data" else "model") in content


def _at_work(folder: Path) -> bool:
    """Whether some process has claimed something in it, or did not say that it ended."""
    return any(owner.read(path) for path in (*folder.glob("*owner.json"), *folder.glob("*/*owner.json"), *folder.glob(".*owner.json")))


def _add(found: Found, path: Path, why: str) -> None:
    inside = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    states = [one.lstat() for one in inside]
    found.unneeded.append(Unneeded(path, why, sum(state.st_blocks * 512 for state in states), max(state.st_mtime for state in states)))
