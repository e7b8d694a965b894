"""A checkpoint as orbit2 wrote it before states were sharded: torch.save of the whole, the optimiser by number, a manifest beside it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from orbit2.config.identity import identity
from orbit2.files import sha256, write_json


def write(
    folder: Path, config: Mapping[str, Any], step: int, state: Mapping[str, Any], optimizer: torch.optim.Optimizer, heads: int = 1
) -> Path:
    """`step-<n>.pt` and its manifest, of today's `state`; the optimiser tells its own by number. `heads` of its attention, if any."""
    own = optimizer.state_dict()
    numbers = {id(parameter): number for number, parameter in enumerate(p for group in optimizer.param_groups for p in group["params"])}
    for name in (name for name in state["optimizer"] if "qkv_by_head" in name):
        for parameter, moments in optimizer.state.items():
            if moments["exp_avg"] is state["optimizer"][name]["exp_avg"]:
                turned = {key: rows if rows.ndim == 0 else by_kind(rows, heads) for key, rows in moments.items()}
                own["state"][numbers[id(parameter)]] = turned
    whole = {
        "step": step, "best": 9.0, "validated": step, "seconds": 1.5, "stale": 2, "model": named(state["model"], heads),
        "average": {"n_averaged": torch.tensor(step + 1),
                    **{f"module.{name}": tensor for name, tensor in named(state["average"], heads).items()}},
        "optimizer": own, "objective": state["objective"],
    }  # fmt: skip
    path = folder / f"step-{step:08d}.pt"
    folder.mkdir(parents=True, exist_ok=True)
    torch.save(whole, path)
    told = {"step": step, "file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path), "config": identity(config)}
    write_json(path.with_suffix(".json"), told)
    return path


def by_kind(rows: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows [h, 3, d] in the order [3, h, d], which attention had."""
    return rows.reshape(heads, 3, -1, *rows.shape[1:]).transpose(0, 1).reshape(rows.shape)


def named(weights: Mapping[str, torch.Tensor], heads: int) -> dict[str, torch.Tensor]:
    return {name.replace("qkv_by_head", "qkv"): by_kind(tensor, heads) if "qkv_by_head" in name else tensor
            for name, tensor in weights.items()}  # fmt: skip


def write_best(folder: Path, config: Mapping[str, Any], step: int, weights: Mapping[str, torch.Tensor], heads: int = 1) -> Path:
    """`best-<n>.pt` and `best.json`."""
    path = folder / f"best-{step:08d}.pt"
    torch.save({"step": step, "model": named(weights, heads)}, path)
    told = {"step": step, "file": path.name, "bytes": path.stat().st_size, "sha256": sha256(path), "config": identity(config)}
    write_json(folder / "best.json", told)
    return path
