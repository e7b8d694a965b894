"""Checkpoints that appear whole, are verified before use, and belong to one configuration. Never unpickles code."""

from __future__ import annotations

import logging
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from orbit2.config.identity import identity
from orbit2.errors import OrbitError
from orbit2.files import atomic, locked, read_json, sha256, write_json

log = logging.getLogger(__name__)
State = dict[str, Any]
BEST = "best.json"


class Choice(NamedTuple):
    """A checkpoint that verified: what ranks agree on."""

    step: int
    sha256: str
    path: str


class Checkpoints:
    """The newest few `step-<n>.pt` of one training run and its `best-<n>.pt`; `step-<n>.json` and `best.json` are their manifests.

    Data come first, under a name of their own; the manifest is renamed into place after them, and until then the one before counts.
    Without a manifest, or with another size or checksum, a checkpoint does not count.
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any], keep: int = 2) -> None:
        self.folder, self.config, self.keep = Path(folder), identity(config), keep
        self.folder.mkdir(parents=True, exist_ok=True)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """This folder for one process; what a killed one left half-written goes. Raises OrbitError while another one trains here."""
        who = f"process {os.getpid()} on {socket.gethostname()}"
        with locked(self.folder / "lock", who) as owner:
            if owner is not None:
                raise OrbitError("another process trains in this folder", where=self.folder, got=owner,
                                 hint="wait for it, or stop it: the same command then goes on from its checkpoint")  # fmt: skip
            for part in self.folder.glob(".*.part"):
                part.unlink(missing_ok=True)
            yield

    def save(self, state: State, step: int) -> Path:
        """Write `step-<n>`, then drop all but the newest of those before it. Raises OrbitError when it cannot, or for NaN."""
        path = self.folder / f"step-{step:08d}.pt"
        self._write(path, path.with_suffix(".json"), state, step)
        before = [m for m in sorted(self.folder.glob("step-*.json")) if m.stem < path.stem]
        for old in before[: max(len(before) - (self.keep - 1), 0)]:
            old.unlink()
            old.with_suffix(".pt").unlink(missing_ok=True)
        return path

    def save_best(self, state: State, step: int) -> None:
        """Write `best-<n>.pt` beside the best before it, which goes when the new one counts. Raises as `save`."""
        number, path = 0, self.folder / f"best-{step:08d}.pt"
        while path.exists():
            number += 1
            path = self.folder / f"best-{step:08d}-{number}.pt"
        self._write(path, self.folder / BEST, state, step)
        for old in self.folder.glob("best*.pt"):
            if old != path:
                old.unlink()

    def _write(self, path: Path, manifest: Path, state: State, step: int) -> None:
        if bad := _not_finite(state):
            raise OrbitError("not saved: a value of the model or its optimiser is not finite", where=f"step {step}", got=bad,
                             hint="the checkpoint before it is kept; lower train.learning_rate")  # fmt: skip
        try:
            with atomic(path) as temporary, open(temporary, "wb") as handle:
                torch.save(state, handle)
            size, digest = path.stat().st_size, sha256(path)
            write_json(manifest, {"step": step, "file": path.name, "bytes": size, "sha256": digest, "config": self.config})
        except (OSError, RuntimeError) as error:  # torch turns a full disk into an error of its own while it handles the real one
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            raise OrbitError(f"a checkpoint could not be written ({cause.strerror})", where=path,
                             hint="those before it are kept: make room, then run the same command to go on") from None  # fmt: skip

    def choose(self) -> Choice | None:
        """The newest checkpoint that verifies; damaged ones are set aside under another name and named in a warning.

        Raises OrbitError when it was written for another configuration, naming the keys that differ.
        """
        for manifest in sorted(self.folder.glob("step-*.json"), reverse=True):
            if (facts := self._verified(manifest, "the one before it is used")) is not None:
                return Choice(int(facts["step"]), facts["sha256"], str(manifest.with_suffix(".pt").absolute()))
        return None

    def best(self) -> State | None:
        """The best weights; None when there are none, or none whole."""
        facts = self._verified(self.folder / BEST, "the last average of weights counts until a validation is better")
        return None if facts is None else load(self.folder / facts.get("file", "best.pt"))

    def _verified(self, manifest: Path, instead: str) -> dict[str, Any] | None:
        """The manifest of a whole checkpoint of this configuration."""
        if not manifest.exists():
            return None
        path = manifest.with_suffix(".pt")
        try:
            facts: dict[str, Any] = read_json(manifest)
            if manifest.name == BEST:
                path = self.folder / facts.get("file", path.name)
            if path.stat().st_size != facts["bytes"] or sha256(path) != facts["sha256"]:
                raise ValueError("size or checksum differs")
            found = facts["config"]
        except (FileNotFoundError, ValueError, KeyError, TypeError, OrbitError) as error:
            aside = self._set_aside(path, manifest)
            log.warning("checkpoint %s is damaged (%s); set aside as %s, %s", path, error, ", ".join(aside), instead)
            return None
        except OSError as error:
            raise OrbitError(f"a checkpoint cannot be read ({error.strerror})", where=path) from None
        differing = sorted(_differences(identity(found), self.config))
        if differing:
            raise OrbitError(
                "checkpoint belongs to another configuration",
                where=path,
                got="different " + ", ".join(differing[:8]),
                hint="restore these keys, or delete the checkpoints folder to start anew",
            )
        return facts

    def _set_aside(self, *files: Path) -> list[str]:
        """Rename to the first free `damaged-<n>-<name>`: no longer a checkpoint, and never deleted."""
        number = 1
        while list(self.folder.glob(f"damaged-{number}-*")):
            number += 1
        names = []
        for file in files:
            if file.exists():
                names.append(f"damaged-{number}-{file.name}")
                file.rename(self.folder / names[-1])
        return names


def load(path: str | Path) -> State:
    """What was saved, on the CPU."""
    loaded: State = torch.load(path, map_location="cpu", weights_only=True)
    return loaded


def _not_finite(value: Any, name: str = "") -> str | None:
    """Where the first tensor with NaN or an infinite value lies in a nested state; None when there is none."""
    if isinstance(value, Tensor):
        return name if value.is_floating_point() and not bool(torch.isfinite(value).all()) else None
    if isinstance(value, Mapping):
        return next((bad for key, item in value.items() if (bad := _not_finite(item, f"{name}.{key}" if name else str(key)))), None)
    return None


def _differences(old: Any, new: Any, prefix: str = "") -> list[str]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        keys = sorted({*old, *new})
        return [d for k in keys for d in _differences(old.get(k), new.get(k), f"{prefix}.{k}" if prefix else str(k))]
    return [] if old == new else [prefix or "config"]
