"""Site memory beside the noise: a model that gets noise in a second stage trains with the memory of what it begins with on its members.

Otherwise noise would learn to fill in what memory fills in afterwards (orographic detail above all), and members would have it twice.
The memory is that of the parent's prediction, learned before the first step. Of a sample that it was learned from, its own share of the
mean residual, w (r - mean r) / (n - 1), is left out: of few samples a map knows each.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from orbit2.config.network import Conserve
from orbit2.data.batch import Batch, Packed
from orbit2.data.view import Box
from orbit2.model.constraints import conserve_blocks
from orbit2.model.reslim import LEAK, Reslim
from orbit2.model.site import Maps, waves
from orbit2.parallel.reduce import any_rank
from orbit2.signals import StopRequest
from orbit2.train import site
from orbit2.train.build import Setup
from orbit2.train.site import Memories, Memory

FILE = "site_memory.pt"  # among the checkpoints: a run that is resumed goes on with the same


def wanted(setup: Setup) -> bool:
    """Whether this run is a second stage with noise and memory."""
    return bool(setup.config.site_memory and setup.architecture.noise.channels and setup.fine_tuned)


def prepare(setup: Setup, folder: Path, stop: StopRequest | None = None) -> Memories | None:
    """The memories that training goes on beside: those kept in `folder`, else learned of the network as it is, before its first step.
    Collective; None when `stop` came in between."""
    path = folder / FILE
    if not any_rank(not path.is_file()):
        memories: Memories = torch.load(path, weights_only=False)
        return memories
    found = site.learn(setup, stop, members=1)
    if found is not None and setup.here.first:
        temporary = path.with_name(f".{FILE}.part")
        torch.save(found, temporary)
        temporary.replace(path)
    return found


class Remembered:
    """Adds the memory of its place to every member of a batch, before a loss sees them."""

    def __init__(self, model: Reslim, memories: Memories) -> None:
        self.model, self.memories = model, memories

    def added(self, members: Tensor, batch: Batch, part: Packed, own: bool) -> Tensor:
        """Members [B, M, C, sH, sW] with the maps of their cells, conserved. `own`: memory was learned from the batch's samples."""
        name = part.samples[0].partition(":")[0]
        memory = self.memories.get(name)
        if memory is None or memory.maps is None:
            return members
        factor, view = part.view.factor, part.view
        fields = [self._field(memory, box.finer(factor, view.shift), view.mirrored, batch, k) for k, box in enumerate(part.boxes)]
        field = torch.stack(fields).to(members)
        if own:
            field = self._others(field, memory, batch, members)
        count = members.shape[1]
        made, coarse = (members + field[:, None]).flatten(0, 1), batch.coarse.float().repeat_interleave(count, 0)
        if conserve := self.model.config.conserve:
            layer: Conserve = "additive" if conserve == "softmax" else conserve
            leak = LEAK if torch.is_grad_enabled() else 0.0
            made = conserve_blocks(made, coarse, batch.variables, self.model.outputs, batch.geometry.repeat(count),
                                   self.model.config.refinement, self.model.output_moments, layer, False, leak)  # fmt: skip
        return made.view_as(members)

    def _field(self, memory: Memory, box: Box, mirrored: bool, batch: Batch, k: int) -> Tensor:
        """[C, sH, sW] at the time of sample k, as its batch shows it."""
        maps: Maps = memory.under(box)
        clock = batch.clock[k : k + 1].cpu()
        field = maps.offset
        if maps.cycles:
            field = field + torch.einsum("k,ckhw->chw", waves(clock, maps.cycles)[0].to(maps.cycle), maps.cycle)
        return field.flip(-2) if mirrored else field

    def _others(self, field: Tensor, memory: Memory, batch: Batch, members: Tensor) -> Tensor:
        """The field as the other samples would have made it."""
        shares, samples = self._shares(memory, field), int(memory.about["samples"])
        if samples < 2:
            return torch.zeros_like(field)
        residual = batch.fine - members.detach().mean(1)
        known = torch.isfinite(residual) & (shares > 0)
        return torch.where(known, field - (shares * residual - field) / (samples - 1), field)

    def _shares(self, memory: Memory, like: Tensor) -> Tensor:
        """How much of the mean residual is added back [C, 1, 1]."""
        factors: Sequence[float] = [memory.about["factors"][name]["offset"] for name in self.model.outputs]
        return torch.tensor(factors, dtype=like.dtype, device=like.device)[:, None, None]
