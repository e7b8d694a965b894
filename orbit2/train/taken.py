"""Steps as they are taken: what one says stays on the device until it is asked for, and one that is not finite moves no weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from orbit2.data.dataset import Batch, Packed
from orbit2.errors import OrbitError
from orbit2.parallel.reduce import gathered
from orbit2.train.optimizer import learning_rate, set_learning_rate
from orbit2.train.step import SHOWN, gradients, update

if TYPE_CHECKING:
    from orbit2.train.build import Setup

NAMED = 12  # samples of a bad step that its error names


@dataclass(frozen=True)
class Taken:
    """Step `step`, counted from 0, at its learning rate: `shown` [4] as SHOWN (the same on all ranks) and each batch's part of the loss
    `own`, on the device; the `samples` of each batch."""

    step: int
    rate: float
    shown: Tensor
    own: Tensor
    samples: tuple[tuple[str, ...], ...]


def take(setup: Setup, batch: Batch | Sequence[Batch | Packed], step: int) -> Taken:
    """One step on this rank's share of the global batch. The host waits for nothing: where the loss or the norm is not finite the device
    itself leaves the weights and the optimiser's moments as they are, and `read` raises."""
    batches = [batch] if isinstance(batch, Batch) else list(batch)
    set_learning_rate(setup.optimizer, rate := learning_rate(step, setup.config))
    shown, own = gradients(setup, batches, step, setup.clock)
    update(setup, step, shown)
    setup.clock.lap("other")
    return Taken(step, rate, shown, own, tuple(tuple(part.samples) for part in batches))


def read(taken: Sequence[Taken]) -> list[dict[str, Any]]:
    """Of steps one after the other, the global loss and its parts: one copy from the device.

    Collective where a step went wrong. Raises OrbitError, on all ranks alike, for the first whose loss or gradient norm was not finite.
    """
    rows = torch.stack([one.shown for one in taken]).tolist() if taken else []
    records = []
    for one, row in zip(taken, rows, strict=True):
        record = dict(zip(SHOWN, row, strict=True))
        for what, key in (("loss", "loss"), ("gradient norm", "gradient_norm")):
            if not math.isfinite(record[key]):
                raise OrbitError(f"the {what} is not finite", where=f"step {one.step + 1}", got=str(record[key]),
                                 hint=f"check {_suspects(one)}, or lower train.learning_rate; this step is not kept")  # fmt: skip
        records.append({**record, "learning_rate": one.rate})
    return records


def optimise(setup: Setup, batch: Batch | Sequence[Batch | Packed], step: int) -> dict[str, Any]:
    """`take` a step and `read` it."""
    return read([take(setup, batch, step)])[0]


def _suspects(taken: Taken) -> str:
    """The samples whose part of the loss is not finite, on whichever ranks; all of the step where only their gradients are not."""
    finite = torch.isfinite(taken.own).tolist()
    told = gathered([(name, good) for names, good in zip(taken.samples, finite, strict=True) for name in names])
    bad = {name: rank for rank, names in enumerate(told) for name, good in names if not good}
    found = bad or {name: rank for rank, names in enumerate(told) for name, _ in names}
    where = f" (rank {', '.join(map(str, sorted(set(bad.values()))))})" if bad and len(told) > 1 else ""
    return ", ".join(list(found)[:NAMED]) + (f" and {len(found) - NAMED} more" if len(found) > NAMED else "") + where
