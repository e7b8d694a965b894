"""Losses that a model's parts bring along, over the global batch. Nothing for models without such parts."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.distributed import ProcessGroup

from orbit2.data.dataset import Batch
from orbit2.model.compress import counted
from orbit2.model.reslim import Reslim
from orbit2.parallel.reduce import total
from orbit2.train.validation import gaps_of, interpolated


def with_auxiliary(
    loss: Tensor, model: nn.Module, batch: Batch, target: Tensor, weight: Tensor | None = None, group: ProcessGroup | None = None
) -> Tensor:
    """`loss` plus this rank's share of the compression's own loss, after a training forward pass of `batch`.

    target [B, C, sH, sW] (normalised, NaN = masked). The same number on any number of ranks: sums are added (over `group`) before
    dividing; `weight` is their sum where the caller has it.
    """
    if not isinstance(model, Reslim):
        return loss
    scale, gaps = model.scale(batch.geometry), gaps_of(model, batch)
    own = model.auxiliary(batch.coarse, batch.variables, target, batch.weights, batch.geometry.periodic, scale, gaps)
    if own is None:
        return loss
    error, here = own
    whole = total(here.detach(), group) if weight is None else weight
    return loss + model.config.compression.auxiliary_weight * error / whole.clamp_min(1e-12)


def weight(model: nn.Module, batch: Batch, target: Tensor) -> Tensor:
    """The sum of weights that this batch's own loss is divided by; it needs no forward pass. 0 where there is none."""
    if not isinstance(model, Reslim) or model.compression is None:
        return torch.zeros((), device=target.device)
    base = interpolated(model, batch)
    return counted(target - base, batch.weights, model.config.refinement)[0].sum()
