"""Where model folders lie, and which: by name, on a search path. Loads no model."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orbit2.config.imported import FORMAT
from orbit2.errors import OrbitError, did_you_mean
from orbit2.files import read_json

VARIABLE = "ORBIT2_MODELS"  # folders of model folders, as PATH has them
HERE = ("results/models", "published")  # of runs, and where docs/published_weights.md imports to; seen from the current folder


@dataclass(frozen=True)
class Kept:
    """A model folder: the name and hash in its config.json, and where it lies."""

    name: str
    hash: str
    folder: Path
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    refinement: int

    @property
    def label(self) -> str:
        """By which it is found, however many share its name."""
        return f"{self.name}-{self.hash}" if self.hash else self.name


def roots() -> list[Path]:
    """The search path: what ORBIT2_MODELS names, then HERE."""
    named = [Path(part).expanduser() for part in os.environ.get(VARIABLE, "").split(os.pathsep) if part]
    return [*named, *map(Path, HERE)]


def listed() -> list[Kept]:
    """Every model on the search path, in its order; a folder counts once."""
    found: dict[Path, Kept] = {}
    for root in roots():
        for folder in _folders(root):
            kept = _kept(folder)
            if kept is not None:
                found.setdefault(folder.resolve(), kept)
    return list(found.values())


def find(name: str) -> Path:
    """The folder of the model called `name` (or `name-hash`, or its folder's name). Raises OrbitError for none, and for several."""
    every = listed()
    for same in ([kept for kept in every if kept.label == name], [kept for kept in every if name in (kept.name, kept.folder.name)]):
        if len(same) == 1:
            return same[0].folder
        if same:
            raise OrbitError("several models have this name", where="model", got=name,
                             allowed=", ".join(f"{each.label} ({each.folder})" for each in same),
                             hint="give the name with its hash, or the folder")  # fmt: skip
    labels = [kept.label for kept in every]
    raise OrbitError("no such model, and no model folder there", where="model", got=name,
                     allowed=", ".join(labels) or "the path of a model folder",
                     hint=did_you_mean(name, [*labels, *(kept.name for kept in every)])
                     or f"looked in {', '.join(map(str, roots()))}; {VARIABLE} names other folders")  # fmt: skip


def lines() -> list[str]:
    """For `orbit2 model list`."""
    every = listed()
    if not every:
        return [f"no model in {', '.join(map(str, roots()))}; {VARIABLE} names other folders"]
    width = max(len(kept.label) for kept in every)
    return [f"{kept.label:<{width}}  {kept.refinement} times finer  {', '.join(kept.outputs)}  {kept.folder}" for kept in every]


def _folders(root: Path) -> Iterator[Path]:
    """Model folders at, in, or one below the folders of `root`."""
    if not root.is_dir():
        return
    for folder in (root, *sorted(path for path in root.iterdir() if path.is_dir())):
        yield from (place for place in (folder, folder / "model") if (place / "config.json").is_file())


def _kept(folder: Path) -> Kept | None:
    try:
        told = read_json(folder / "config.json")
    except OrbitError:
        return None
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        return None  # a slice of a configuration
    name = str(told.get("name") or (folder.parent if folder.name == "model" else folder).name)
    dynamic = tuple(key for key in told["inputs"] if key not in told["statics"])
    return Kept(name, str(told.get("hash") or ""), folder, dynamic, tuple(told["outputs"]), int(told["architecture"]["refinement"]))
