"""Site memory beside the noise: a model that gets noise in a second stage trains with the memory of what it begins with on its members.

Otherwise noise would learn to fill in what memory fills in afterwards (orographic detail above all), and members would have it twice.
The memory is that of the parent's prediction, learned before the first step. A sample that it was learned from gets it as the samples at
least a day away make it, so that the network sees errors like those on new samples; not where there are so many of them (KEPT_BYTES) that
its own share is small.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orbit2.config.network import Conserve
from orbit2.data.batch import Batch, Packed
from orbit2.data.dataset import Pairs, clock
from orbit2.data.view import Box
from orbit2.model.constraints import conserve_blocks
from orbit2.model.reslim import LEAK, Reslim
from orbit2.model.site import waves
from orbit2.parallel.reduce import any_rank, total
from orbit2.signals import StopRequest
from orbit2.times import DAY_SECONDS, seconds
from orbit2.train import site
from orbit2.train.build import Setup
from orbit2.train.site import Memories, Memory, Sums

FILE = "site_memory.pt"  # among the checkpoints: a run that is resumed goes on with the same
KEPT_BYTES = 256 * 2**20  # of a dataset's residuals
NOWHERE = Box(0, 0, 0, 0)


@dataclass(eq=False)
class Residuals:
    """Of a dataset's training block [N, C, H, W], on the cells of its maps; nothing where they are too many."""

    names: list[str] = field(default_factory=list)
    times: Any = None
    cycles: tuple[str, ...] = ()
    at: Tensor | None = None
    box: Box = NOWHERE
    width: int = 0  # of the store's fine grid

    def begin(self, pairs: Pairs, times: Any, sums: Sums) -> None:
        self.names, self.times, self.cycles = [f"{pairs.name}:{time}" for time in times], times, sums.cycles
        self.box, self.width = sums.box, sums.width
        shape = len(times), *sums.at.shape[1:]
        self.at = torch.zeros(shape) if 4 * int(np.prod(shape)) <= KEPT_BYTES else None

    def update(self, cells: tuple[Tensor, Tensor], sample: str, residual: Tensor) -> None:
        if self.at is not None:
            rows, columns = cells
            inside = columns < self.box.columns
            self.at[self.names.index(sample)][:, rows, columns[inside]] += torch.nan_to_num(residual.float().cpu())[..., inside]

    def fields(self, offset: Tensor, cycle: Tensor) -> Fields:
        """By sample: what the samples a day away or more make of it [C, H, W], for weights [C] of the mean and of the cycles; those that
        have no others of this kind get nothing."""
        if self.at is None:
            return Fields(self.box, self.width, {})
        basis, at = waves(clock(self.times), self.cycles), torch.as_tensor(seconds(self.times), dtype=torch.float64)
        flat, made = self.at.flatten(2), {}
        for t, name in enumerate(self.names):
            others = (at - at[t]).abs() >= DAY_SECONDS
            count = int(others.sum())
            if not count:
                made[name] = torch.zeros_like(self.at[t])
                continue
            mean = basis[others].mean(0)
            centred = basis[others] - mean
            share = torch.zeros(len(at), dtype=torch.float64)
            share[others] = centred @ torch.linalg.pinv(centred.T @ centred) @ (basis[t] - mean)
            weights = offset[:, None].double() * others / count + cycle[:, None].double() * share  # [C, N]
            made[name] = torch.einsum("cn,ncx->cx", weights.float(), flat).view_as(self.at[t])
        return Fields(self.box, self.width, made)


@dataclass(frozen=True)
class Fields:
    """By sample [C, H, W], on a box of the store's fine grid, which has `width` columns."""

    box: Box
    width: int
    of: dict[str, Tensor]

    def to(self, device: torch.device) -> Fields:
        return Fields(self.box, self.width, {sample: field.to(device) for sample, field in self.of.items()})

    def under(self, sample: str, here: Box) -> Tensor | None:
        """Of a sample, on these cells of the store's fine grid, 0 beyond the box; None of one that is not known."""
        whole = self.of.get(sample)
        if whole is None:
            return None
        return site.under(here, whole, (self.box.south, self.box.west), self.width)


@dataclass(frozen=True)
class Beside:
    """Memories, and by dataset the fields that a training sample gets of the others."""

    memories: Memories
    fields: dict[str, Fields]


def wanted(setup: Setup) -> bool:
    """Whether this run is a second stage with noise and memory."""
    return bool(setup.config.site_memory and setup.architecture.noise.channels and setup.fine_tuned)


def prepare(setup: Setup, folder: Path, stop: StopRequest | None = None) -> Beside | None:
    """The memories that training goes on beside: those kept in `folder`, else learned of the network as it is, before its first step.
    Collective; None when `stop` came in between."""
    path = folder / FILE
    if not any_rank(not path.is_file()):
        beside: Beside = torch.load(path, weights_only=False)
        return beside
    kept = [Residuals() for _ in setup.training]
    memories = site.learn(setup, stop, members=0, kept=kept)
    if memories is None:
        return None
    for one in kept:
        if one.at is not None:
            shared = one.at.to(setup.here.device) if setup.mesh.data is not None else one.at
            one.at = total(shared, setup.mesh.data).cpu()
    made = Beside(memories, {pairs.name: one.fields(*_shares(memories[pairs.name], setup.outputs))
                             for pairs, one in zip(setup.training, kept, strict=True)})  # fmt: skip
    if setup.here.first:
        temporary = path.with_name(f".{FILE}.part")
        torch.save(made, temporary)
        temporary.replace(path)
    return made


def _shares(memory: Memory, outputs: Sequence[str]) -> tuple[Tensor, Tensor]:
    """How much of the mean residual and of its cycles is added back, [C] each."""
    rows = [memory.about["factors"][name] for name in outputs]
    return torch.tensor([row["offset"] for row in rows]), torch.tensor([row["cycles"] for row in rows])


class Remembered:
    """Adds the memory of its place to every member of a batch, before a loss sees them."""

    def __init__(self, model: Reslim, beside: Beside) -> None:
        self.model, self.memories = model, beside.memories
        device = model.output_moments.device  # once: a copy in every step would be waited for
        self.fields = {name: fields.to(device) for name, fields in beside.fields.items()}
        self._maps = {name: replace(one, maps=one.maps.to(device)) for name, one in beside.memories.items() if one.maps is not None}

    def added(self, members: Tensor, batch: Batch, part: Packed, own: bool) -> Tensor:
        """Members [B, M, C, sH, sW] with the maps of their cells, conserved. `own`: memory was learned from the batch's samples."""
        name, factor, view = part.samples[0].partition(":")[0], part.view.factor, part.view
        memory = self._maps.get(name)
        if memory is None:
            return members
        made = []
        for k, box in enumerate(part.boxes):
            here = box.finer(factor, view.shift)
            others = self.fields[name].under(part.samples[k], here) if own else None
            one = self._known(memory, here, batch.clock[k]) if others is None else others
            made.append(one.flip(-2) if view.mirrored else one)
        shown = members + torch.stack(made).to(members)[:, None]
        return self._conserved(shown, batch)

    def _known(self, memory: Memory, here: Box, when: Tensor) -> Tensor:
        """[C, h, w] of these cells at a clock [4]."""
        maps = memory.under(here)
        found = maps.offset
        if maps.cycles:
            found = found + torch.einsum("k,ckhw->chw", waves(when[None], maps.cycles)[0].to(maps.cycle), maps.cycle)
        return found

    def _conserved(self, members: Tensor, batch: Batch) -> Tensor:
        model, count = self.model, members.shape[1]
        if not (conserve := model.config.conserve):
            return members
        layer: Conserve = "additive" if conserve == "softmax" else conserve
        coarse, leak = batch.coarse.float().repeat_interleave(count, 0), LEAK if torch.is_grad_enabled() else 0.0
        made = conserve_blocks(members.flatten(0, 1), coarse, batch.variables, model.outputs, batch.geometry.repeat(count),
                               model.config.refinement, model.output_moments, layer, False, leak)  # fmt: skip
        return made.view_as(members)

