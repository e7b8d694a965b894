"""The exponential average of the weights: what is validated and kept. float32, by name, each rank its own shards."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from orbit2.parallel.sharded import local, reshard


class Average:
    """values[name] follows the parameter `name` of `model`: `update(step)` after every step, counted from 1.

    The decay rises from 0 towards `decay`, so that early weights are forgotten; `decay` 0 copies the weights.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.model = decay, model
        self.parameters = dict(model.named_parameters())
        self.values = {name: parameter.detach().clone() for name, parameter in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Move towards the weights after `step` steps."""
        kept, current = self._pairs(self.values)
        torch._foreach_lerp_(kept, current, 1 - min(self.decay, step / (step + 9)))

    @contextmanager
    def swapped(self) -> Iterator[None]:
        """Within it the model has the averaged weights, and `values` its own: nothing is lost or doubled."""
        self._exchange()
        try:
            yield
        finally:
            self._exchange()

    @torch.no_grad()
    def _exchange(self) -> None:
        reshard(self.model)
        for kept, current in zip(*self._pairs(self.values), strict=True):
            held = current.clone()
            current.copy_(kept)
            kept.copy_(held)

    def _pairs(self, values: Mapping[str, Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        names = list(self.parameters)
        return [local(values[n]) for n in names], [local(self.parameters[n].detach()) for n in names]
