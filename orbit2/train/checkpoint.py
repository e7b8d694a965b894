"""Checkpoints that appear whole, are verified before use, and belong to one configuration. Never unpickles code."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from orbit2.config.identity import identity
from orbit2.errors import OrbitError
from orbit2.files import atomic, read_json, sha256, write_json

log = logging.getLogger(__name__)
State = dict[str, Any]


class Checkpoints:
    """The newest few `step-<n>.pt` (+ manifest) of one training run and its `best.pt`.

    A manifest is written after its data: without one, or with another size or checksum, a checkpoint does not count.
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any], keep: int = 2) -> None:
        self.folder, self.config, self.keep = Path(folder), identity(config), keep
        self.folder.mkdir(parents=True, exist_ok=True)

    def save(self, state: State, step: int) -> Path:
        path = self._write(f"step-{step:08d}", state, step)
        for old in sorted(self.folder.glob("step-*.json"))[: -self.keep]:
            old.with_suffix(".pt").unlink(missing_ok=True)
            old.unlink()
        return path

    def save_best(self, state: State, step: int) -> None:
        self._write("best", state, step)

    def _write(self, name: str, state: State, step: int) -> Path:
        path, manifest = self.folder / f"{name}.pt", self.folder / f"{name}.json"
        manifest.unlink(missing_ok=True)
        with atomic(path) as temporary:
            torch.save(state, temporary)
        write_json(manifest, {"step": step, "bytes": path.stat().st_size, "sha256": sha256(path), "config": self.config})
        return path

    def newest(self) -> State | None:
        """The newest checkpoint that verifies; damaged ones are named in a warning and passed over.

        Raises OrbitError when it was written for another configuration, naming the keys that differ.
        """
        for manifest in sorted(self.folder.glob("step-*.json"), reverse=True):
            state = self._verified(manifest)
            if state is not None:
                return state
        return None

    def best(self) -> State | None:
        manifest = self.folder / "best.json"
        return self._verified(manifest) if manifest.is_file() else None

    def _verified(self, manifest: Path) -> State | None:
        path = manifest.with_suffix(".pt")
        try:
            facts = read_json(manifest)
            if path.stat().st_size != facts["bytes"] or sha256(path) != facts["sha256"]:
                raise ValueError("size or checksum differs")
            found = facts["config"]
        except (OSError, ValueError, KeyError, OrbitError) as error:
            log.warning("checkpoint %s is damaged (%s); falling back to the one before", path, error)
            return None
        differing = sorted(_differences(identity(found), self.config))
        if differing:
            raise OrbitError(
                "checkpoint belongs to another configuration",
                where=path,
                got="different " + ", ".join(differing[:8]),
                hint="restore these keys, or delete the checkpoints folder to start anew",
            )
        loaded: State = torch.load(path, map_location="cpu", weights_only=True)
        return loaded


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{prefix}.{k}" if prefix else str(k))]
    return [] if old == new else [prefix or "config"]
