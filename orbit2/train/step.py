"""One optimiser step on this rank's share of the global batch: tensors in, tensors out. Never reads a value on the host."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.distributed.fsdp import FSDPModule

from orbit2.data.dataset import Batch, Packed
from orbit2.parallel.reduce import total
from orbit2.parallel.sharded import layout, local, sharing
from orbit2.timing import Clock
from orbit2.train import auxiliary, losses
from orbit2.train.losses import Terms
from orbit2.train.validation import gaps_of, predicted

if TYPE_CHECKING:
    from orbit2.train.build import Setup

SHOWN = ("loss", "data_term", "prior", "gradient_norm")
LOSS = SHOWN.index("loss")
STREAMS = 65_537  # random streams of a step, one for each rank that reads other data


def gradients(setup: Setup, batches: Sequence[Batch | Packed], step: int, clock: Clock | None = None) -> tuple[Tensor, Tensor]:
    """The gradients of the global loss, clipped, in the parameters; (SHOWN [4], the same on all ranks; each batch's part of the loss).

    `batches` are this rank's share, computed one after the other: as many on every rank. `clock` is left with the optimiser's part.
    """
    model, mesh, clock = setup.model, setup.mesh, clock or Clock()
    clock.lap("copy")
    model.train()
    setup.optimizer.zero_grad(set_to_none=True)
    replays = None if setup.remembered is not None else setup.replays  # site memory is looked up by the host
    if replays is not None:
        replays.begun()
    seed = (setup.config.seed * 1_000_003 + step) * STREAMS + mesh.part
    torch.manual_seed(seed % 2**64)  # dropout needs no stored generator state
    known = denominators(setup, batches) if len(batches) > 1 else None
    shown = []
    for number, packed in enumerate(batches):
        batch = packed.to(setup.here.device)
        clock.lap("forward")
        _last(model, number == len(batches) - 1)
        replayed = None if replays is None else replays(lambda one, known: part(setup, one, known), model, batch, known)
        shown.append(part(setup, batch, known, packed, clock) if replayed is None else replayed)
        if replays is not None:
            replays.added()
        clock.lap("copy")  # of the next part
    if replays is not None:
        replays.ended()
    clock.lap("optimiser")
    own = torch.stack(shown)
    return torch.cat([total(own.sum(0), mesh.data), clip(model.parameters(), setup.config.clip)[None]]), own[:, 0]


def part(
    setup: Setup, batch: Batch, known: tuple[Tensor, Tensor] | None, packed: Batch | Packed | None = None, clock: Clock | None = None
) -> Tensor:
    """Adds one batch's gradients to the parameters'; (loss, data term, prior) [3]. `known`: what the sums are divided by, else this
    batch's own over the ranks; `packed`: what the batch was made of."""
    model, mesh = setup.model, setup.mesh
    found, target = forward(setup, batch, packed)
    sums, weight = (total(found.packed(), mesh.data), None) if known is None else known
    loss, data, prior = losses.combine(found, sums, setup.channel_weights, setup.objective.prior_weight)
    loss = auxiliary.with_auxiliary(loss, model, batch, target, weight, mesh.data)
    if clock is not None:
        clock.lap("backward")
    (loss / mesh.sizes.sp).backward()  # type: ignore[no-untyped-call]  # sp ranks have the same loss, and their gradients are added
    return torch.stack([loss, data, prior]).detach()


def update(setup: Setup, step: int, shown: Tensor) -> None:
    """Move the weights, and their average, by what `gradients` left and `shown` [4]. Where a loss or norm is not finite the device leaves
    weights and moments as they are (`found_inf`, as torch.amp.GradScaler has it)."""
    nothing = (shown - shown).sum()  # 0, and NaN where any is not finite: as few kernels as do
    setup.optimizer.found_inf = (nothing != 0).float()  # type: ignore[attr-defined]
    setup.optimizer.step()
    setup.average.update(step + 1)


def forward(setup: Setup, batch: Batch, packed: Batch | Packed | None = None) -> tuple[Terms, Tensor]:
    """(sums of the loss, target [B, C, sH, sW] without the cells that nothing can be said of) of one batch; `packed`: what it was made
    of, which says where it lies."""
    model, half = setup.model, setup.dtype
    with torch.autocast(setup.here.device.type, half, enabled=half is not None, cache_enabled=not setup.mesh.split):
        prediction = predicted(model, batch)
    if setup.remembered is not None and isinstance(packed, Packed):
        prediction = setup.remembered.added(prediction.float(), batch, packed, own=True)
    if batch.noise is not None:
        prediction = prediction.transpose(0, 1)
    target = masked(setup, batch)
    return terms(setup, prediction, target, batch), target


def terms(setup: Setup, prediction: Tensor, target: Tensor, batch: Batch) -> Terms:
    """The loss's sums for a prediction [(M,) B, C, sH, sW]."""
    place, scale = batch.geometry, setup.model.scale(batch.geometry)
    return setup.objective.terms(prediction, target, batch.weights, place.periodic, scale, batch.context, place.coarse_km, place.dataset,
                                 batch.cores)  # fmt: skip


def masked(setup: Setup, batch: Batch) -> Tensor:
    """The truth, NaN where the model's own input is missing."""
    absent = setup.model.missing(batch.coarse, batch.variables, batch.geometry.periodic, gaps_of(setup.model, batch))
    return batch.fine if absent is None else batch.fine.masked_fill(absent, torch.nan)


@torch.no_grad()
def denominators(setup: Setup, batches: Sequence[Batch | Packed]) -> tuple[Tensor, Tensor]:
    """What the sums over the global batch are divided by: [1 + P, C], and the auxiliary loss's. No network decides them."""
    sums, weight = torch.zeros(1, len(setup.outputs), device=setup.here.device), torch.zeros((), device=setup.here.device)
    for batch in (part.to(setup.here.device) for part in batches):
        target = masked(setup, batch)
        blank = torch.zeros_like(target)
        blank = blank.expand(setup.objective.members, *target.shape) if setup.objective.members > 1 else blank
        sums = sums + terms(setup, blank, target, batch).packed()
        weight += auxiliary.weight(setup.model, batch, target)
    both = total(torch.cat([sums.flatten(), weight[None]]), setup.mesh.data)
    return both[:-1].view_as(sums), both[-1]


def _last(model: nn.Module, last: bool) -> None:
    """Gradients of all parts are added to this rank's shards; copies of the shards exchange theirs once, at the end."""
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(last)
        model.set_is_last_backward(last)


@torch.no_grad()
def clip(parameters: Iterable[nn.Parameter], limit: float) -> Tensor:
    """Scale all gradients so that their common norm is at most `limit`; returns the norm before. Sharded or not, on any meshes."""
    chosen = [p for p in parameters if p.grad is not None]
    groups: dict[object, list[Tensor]] = {}
    for parameter in chosen:
        gradient = parameter.grad
        assert gradient is not None
        groups.setdefault(layout(gradient), []).append(gradient)
    if list(groups) == [None]:
        return nn.utils.clip_grad_norm_(chosen, limit)
    norm = torch.stack([_square(group) for group in groups.values()]).sum().sqrt()
    # every rank scales its own parts; planned as an operation on sharded tensors, the same takes a second of the first step
    torch._foreach_mul_([local(gradient) for group in groups.values() for gradient in group], (limit / (norm + 1e-6)).clamp(max=1.0))
    return norm


def _square(gradients: Sequence[Tensor]) -> Tensor:
    """The squared norm of gradients that are laid out alike, each element counted once."""
    square: Tensor = torch.nn.utils.get_total_norm([local(gradient) for gradient in gradients]).square()
    for group in sharing(gradients[0]):
        square = total(square, group)
    return square

