"""A training run's state by name, as the run's own tensors, sharded or not: what is saved, and read back in place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

MOMENTS = ("exp_avg", "exp_avg_sq")


def optimizer_state(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, dict[str, Tensor]]:
    """AdamW's own tensors by parameter name; zeros, as AdamW begins with, are made where no step was taken yet.

    `step` is on the parameter's device when the optimiser is fused or capturable, else on the CPU.
    """
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    found = {}
    for name, parameter in model.named_parameters():
        if id(parameter) not in groups:
            continue
        state, group = optimizer.state[parameter], groups[id(parameter)]
        if not state:
            device = parameter.device if group.get("fused") or group.get("capturable") else "cpu"
            state["step"] = torch.zeros((), dtype=torch.float32, device=device)
            for moment in MOMENTS:
                state[moment] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        found[name] = {key: state[key] for key in ("step", *MOMENTS)}
    return found
