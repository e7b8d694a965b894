"""A checkpoint as orbit2 wrote it before states were sharded: torch.save of the whole, the optimiser by number, a manifest beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from orbit2.config.identity import identity
from orbit2.files import sha256, write_json


def write(folder: Path, config: Mapping[str, Any], step: int, state: Mapping[str, Any], optimizer: torch.optim.Optimizer) -> Path:
    """`step-<n>.pt` and its manifest, of today's `state`; the optimiser tells its own by number."""
    whole = {
        "step": step, "best": 0.5, "validated": step, "seconds": 1.5, "stale": 2, "model": state["model"],
        "average": {"n_averaged": torch.tensor(step + 1), **{f"module.{name}": tensor for name, tensor in state["average"].items()}},
        "optimizer": optimizer.state_dict(), "objective": state["objective"],
    }  # fmt: skip
    path = folder / f"step-{step:08d}.pt"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(whole, path)
    told = {"step": step, "file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path), "config": identity(config)}
    write_json(path.with_suffix(".json"), told)
    return path


def write_best(folder: Path, config: Mapping[str, Any], step: int, weights: Mapping[str, torch.Tensor]) -> Path:
    """`best-<n>.pt` and `best.json`."""
    path = folder / f"best-{step:08d}.pt"
    torch.save({"step": step, "model": dict(weights)}, path)
    told = {"step": step, "file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path), "config": identity(config)}
    write_json(folder / "best.json", told)
    return path
