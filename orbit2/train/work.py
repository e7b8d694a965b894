"""What a training step computes, by torch's own formulas, and how many threads of a processor that is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch

from orbit2 import timing
from orbit2.model.inspect import operations
from orbit2.model.threads import taking, worthwhile

if TYPE_CHECKING:
    from orbit2.train.build import Setup

BACKWARD = 2  # a backward pass costs about two forward ones; what checkpointing computes again is no work on the model


def of_window(setup: Setup, shape: Sequence[int]) -> float:
    """Floating-point operations of a step on one window of `shape` coarse cells."""
    rows, columns = shape
    one, member = operations(setup.architecture.model_dump_json(), setup.inputs, setup.outputs, setup.statics, rows, columns)
    forward = one + (setup.objective.members - 1) * member  # which share the trunk
    return forward * (1 + BACKWARD) - (one - member) * BACKWARD * setup.config.freeze_trunk


def of_step(setup: Setup) -> float:
    """Floating-point operations of a step of this rank, on the dataset with the largest."""
    samples = -(-setup.config.batch_size // setup.mesh.sizes.readers)

    def most() -> float:
        found = []
        for pairs in setup.training:
            shape, count = setup.windows(pairs)
            found.append(of_window(setup, shape) * -(-samples * count // setup.mesh.sizes.tiles))
        return max(found)

    return timing.operations(most) or float("inf")


@contextmanager
def fitting_threads(setup: Setup) -> Iterator[None]:
    """Within it, as many of torch's threads as a step is worth, on a processor, unless the configuration says how many.

    Steps of one configuration take the same number whatever else goes on, and their sums are in the same order.
    """
    chosen = 0
    if setup.here.device.type == "cpu" and not setup.config.threads:
        chosen = worthwhile(of_step(setup), torch.get_num_threads())
    with taking(chosen):
        yield
