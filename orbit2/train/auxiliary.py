"""Losses that a model's parts bring along, over the global batch. Nothing for models without such parts."""

from __future__ import annotations

from torch import Tensor, nn

from orbit2.data.dataset import Batch
from orbit2.model.reslim import Reslim
from orbit2.parallel.reduce import total


def with_auxiliary(loss: Tensor, model: nn.Module, batch: Batch, target: Tensor) -> Tensor:
    """`loss` plus this rank's share of the compression's own loss, after a training forward pass of `batch`.

    target [B, C, sH, sW] (normalised, NaN = masked). The same number on any number of ranks: sums are added before dividing.
    """
    if not isinstance(model, Reslim):
        return loss
    own = model.auxiliary(batch.coarse, batch.variables, target, batch.weights, batch.geometry.periodic, model.scale(batch.geometry))
    if own is None:
        return loss
    error, weight = own
    return loss + model.config.compression.auxiliary_weight * error / total(weight.detach()).clamp_min(1e-12)
