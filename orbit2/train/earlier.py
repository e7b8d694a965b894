"""Checkpoints of orbit2 before states were sharded: `step-<n>.pt` or `best-<n>.pt`, whole and by torch.save, and a manifest beside it.

Only read, never written. Loaded as tensors and plain values: a pickle that would run code is refused.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from orbit2.errors import OrbitError
from orbit2.files import read_json
from orbit2.train.optimizer import decays

BEST = "best.json"
Convert = Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]


def data(manifest: Path) -> Path:
    """The file that a manifest (`step-<n>.json` or `best.json`) is about. Raises OrbitError for what is not JSON."""
    if manifest.name == BEST:
        return manifest.with_name(Path(read_json(manifest).get("file", "best.pt")).name)
    return manifest.with_suffix(".pt")


def facts(manifest: Path) -> dict[str, Any]:
    """Step, configuration and files of a checkpoint, as the manifests of today say them. Raises KeyError or OrbitError."""
    found = read_json(manifest)
    files = {data(manifest).name: {"bytes": found["bytes"], "sha256": found["sha256"]}}
    return {"step": found["step"], "config": found["config"], "files": files}


def read(path: Path, wanted: Mapping[str, torch.Size], convert: Convert) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """The tensors `wanted` (name -> shape, of a state as it is flattened today), whole, on the CPU; and the progress.

    `convert` brings tensors by parameter name to today's names. Raises OrbitError for a file that is not such a checkpoint.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        average = {name.removeprefix("module."): tensor for name, tensor in state.get("average", state["model"]).items()}
        found = {f"model.{name}": tensor for name, tensor in convert(state["model"]).items()}
        found |= {f"average.{name}": tensor for name, tensor in convert(average).items()}
        found |= {f"objective.{name}": tensor for name, tensor in state.get("objective", {}).items()}
        if "optimizer" in state:
            names = {old: next(iter(convert({old: tensor}))) for old, tensor in state["model"].items()}
            trained = {old: new for old, new in names.items() if f"optimizer.{new}.step" in wanted}
            found |= {f"optimizer.{name}": tensor for name, tensor in _optimizer(state, trained, convert)}
        step = int(state["step"])
        kept = {name: state[name] for name in ("best", "seconds", "stale", "validated") if name in state}
    except (pickle.UnpicklingError, RuntimeError, KeyError, TypeError, AttributeError, ValueError) as error:
        said = " ".join(str(error).split())[:160]
        raise OrbitError("not a checkpoint that this orbit2 can read", where=path, got=said, hint="delete it to start anew") from None
    return {name: _as(found[name], shape) for name, shape in wanted.items() if name in found}, {"step": step, "validated": step, **kept}


def _optimizer(state: Mapping[str, Any], names: Mapping[str, str], convert: Convert) -> Iterator[tuple[str, Tensor]]:
    """AdamW's state by today's `names` of the old ones; zeros for a parameter that never had a gradient.

    It was kept by number: parameters in the model's order, those that decay (the first group) before the others.
    """
    weights = {old: state["model"][old] for old in names}
    ordered = sorted(weights, key=lambda old: not decays(old, weights[old]))
    if [len(group["params"]) for group in state["optimizer"]["param_groups"]] != [
        count := sum(decays(old, weight) for old, weight in weights.items()),
        len(weights) - count,
    ]:
        raise ValueError("its optimiser has other parameters than this model")
    own = {old: state["optimizer"]["state"].get(number, {}) for number, old in enumerate(ordered)}
    for moment in ("exp_avg", "exp_avg_sq"):
        for new, tensor in convert({old: own[old].get(moment, torch.zeros_like(weights[old])) for old in ordered}).items():
            yield f"{new}.{moment}", tensor
    for old, new in names.items():
        yield f"{new}.step", own[old].get("step", torch.tensor(0.0))


def _as(tensor: Tensor, shape: torch.Size) -> Tensor:
    """One scale for all resolutions, from before each had its own, is each one's."""
    return tensor.expand(shape) if tensor.ndim == len(shape) - 1 and tensor.shape == shape[1:] else tensor
