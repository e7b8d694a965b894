"""AdamW with decay on matrices only, and a linear warm-up followed by a cosine, both by STEP."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from orbit2.config.network import TrainConfig

UNDECAYED = ("embedding", "bias", "norm", "query", "table")


def build(model: nn.Module, config: TrainConfig) -> torch.optim.AdamW:
    """AdamW in one pass over the weights (fused); no weight decay on norms, biases and embeddings (paper section IV)."""
    decayed: list[nn.Parameter] = []
    plain: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (decayed if decays(name, parameter) else plain).append(parameter)
    groups = [{"params": decayed, "weight_decay": config.weight_decay}, {"params": plain, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=config.betas, fused=True)


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
