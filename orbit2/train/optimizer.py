"""AdamW with decay on matrices only, and a linear warm-up followed by a cosine, both by STEP."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from orbit2.config.network import TrainConfig
from orbit2.parallel.sharded import mesh_of

UNDECAYED = ("embedding", "bias", "norm", "query", "table")


def build(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW in one pass over the weights (fused); no weight decay on norms, biases and embeddings (paper section IV)."""
    groups: dict[object, dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        decay = config.weight_decay if decays(name, parameter) else 0.0
        alike = decay > 0, mesh_of(parameter)  # one pass takes tensors of one mesh
        groups.setdefault(alike, {"params": [], "weight_decay": decay})["params"].append(parameter)
    return torch.optim.AdamW(list(groups.values()), lr=config.learning_rate, betas=config.betas, fused=True)


def decays(name: str, parameter: Tensor) -> bool:
    return parameter.ndim > 1 and not any(word in name for word in UNDECAYED)


def learning_rate(step: int, config: TrainConfig) -> float:
    """Learning rate of step 0, 1, ...: rises over `warmup_steps`, then falls to 0 along a half cosine at `steps`."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(config.steps - config.warmup_steps, 1)
    return config.learning_rate * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))


def set_learning_rate(optimizer: torch.optim.Optimizer, value: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = value
