"""Validation on held-out samples, in units a user understands: RMSE over the RMSE of plain interpolation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbit2.data.cutting import Cutting
from orbit2.data.dataset import Batch, Packed, Pairs
from orbit2.data.noisy import Noise
from orbit2.model.build import Downscaling
from orbit2.model.gaps import Gaps
from orbit2.model.scale import Scaled
from orbit2.parallel.mesh import Mesh
from orbit2.parallel.reduce import any_rank, from_first, total
from orbit2.parallel.watch import tick
from orbit2.signals import StopRequest, heed_parent, held_back
from orbit2.train.losses.ensemble import fair_crps, least

if TYPE_CHECKING:
    from orbit2.train.remembered import Remembered

SCALE_SAMPLES = 64
SCORED = 4  # members of a validation


def spread(count: int, limit: int) -> npt.NDArray[np.int64]:
    """Up to `limit` (0: all) of `count` positions, one out of each of equal stretches; always the same ones.

    Not the first of each: equal steps might meet the same hour of every day.
    """
    if not limit or count <= limit:
        return np.arange(count)
    edges = np.arange(limit + 1) * count // limit
    return edges[:-1] + np.random.default_rng(0).integers(np.diff(edges))


def predicted(model: Downscaling, batch: Batch) -> Tensor:
    """[B, C, sH, sW], or with the batch's noise members [B, M, C, sH, sW]."""
    given = {} if batch.noise is None else {"noise": batch.noise}
    made: Tensor = model(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock, gaps_of(model, batch), **given)
    return made


def gaps_of(model: Downscaling, batch: Batch) -> Gaps | None:
    """What is missing in a batch, where the host knows."""
    return None if batch.missing is None else model.gaps_from(batch.missing, batch.variables)


def interpolated(model: Downscaling, batch: Batch) -> Tensor:
    """The outputs' own inputs [B, C, sH, sW], interpolated."""
    gaps = gaps_of(model, batch)
    whole = None if gaps is None else not gaps.interpolated
    return model.residual.interpolation_of(batch.coarse, list(batch.variables), batch.geometry.periodic, whole)


class Held(torch.utils.data.Dataset[tuple[int, list[Packed]]]):
    """One rank's share of the validation samples: (dataset, batches to score) item by item, as many items on every rank.

    At most `samples` of each dataset, with `noise` where members are scored: a sample has the same in every validation. An item is `size`
    samples in one batch or, cut, one sample tile by tile. Where a rank's samples run out its batch counts nothing: ranks that share a
    network compute together or wait for ever.
    """

    def __init__(
        self, datasets: Sequence[Pairs], samples: int, size: int, rank: int, world: int, cutting: Cutting | None, noise: Noise | None = None
    ) -> None:
        self.datasets, self.cutting, self.noise = datasets, cutting, noise
        self.items: list[tuple[int, list[int], bool]] = []
        size = 1 if cutting else size
        for which, pairs in enumerate(datasets):
            chosen = pairs.indices[spread(len(pairs.indices), samples)]
            own, most = chosen[rank::world].tolist(), -(-len(chosen) // world)
            for first in range(0, most, size):
                taken = own[first : first + size]
                self.items.append((which, taken or chosen[:1].tolist(), bool(taken)))

    def __len__(self) -> int:
        return len(self.items)

    def read(self, workers: int, device: torch.device) -> Iterator[tuple[int, list[Packed]]]:
        """All items in order, by at most `workers` processes, for `device`."""
        loader: torch.utils.data.DataLoader[tuple[int, list[Packed]]] = torch.utils.data.DataLoader(
            self, batch_size=None, num_workers=min(workers, len(self)), pin_memory=device.type == "cuda", worker_init_fn=heed_parent
        )
        with held_back():
            return iter(loader)

    def __getitem__(self, number: int) -> tuple[int, list[Packed]]:
        which, indices, counted = self.items[number]
        pairs = self.datasets[which]
        whole = self.cutting is None
        batches = [pairs.packed(indices)] if whole else [piece for index in indices for piece in pairs.pieces(index, self.cutting)]
        if self.noise is not None:
            batches = [self.noise.added(batch, batch.samples) for batch in batches]
        return which, batches if counted else [replace(batch, counted=False) for batch in batches]


@torch.no_grad()
def validate_model(
    model: Downscaling,
    datasets: Sequence[Pairs],
    dtype: torch.dtype | None,
    mesh: Mesh,
    cutting: Cutting | None = None,
    *,
    samples: int = 0,
    size: int = 1,
    workers: int = 0,
    stop: StopRequest | None = None,
    remembered: Remembered | None = None,
    tails: Tensor | None = None,
) -> dict[str, Any] | None:
    """{"validation_loss": mean over outputs of RMSE / interpolation RMSE, "validation_ratio": {output: ratio}}; of a model with members
    the fair CRPS of SCORED of them / mean absolute error of the interpolation, with the site memory that they are trained beside.
    With `tails` [D, C] (see `tails.thresholds`) also "validation_tail" and "validation_tail_ratio", the same of RMSE of max(x, tail).

    In network space (ln(1 + mm) for precipitation, not below dry), area-weighted over the core; every dataset counts alike. Samples
    (see `Held`) are shared by the ranks of `mesh` that read different data. With `cutting` on all tiles of a sample, one at a time:
    memory on the device does not grow with the grid. None when `stop` came in between, on any rank: half a validation is no score.
    """
    model.eval()
    channels = model.config.noise.channels
    noise = Noise(channels, SCORED) if channels else None
    held = Held(datasets, samples, size, mesh.part, mesh.sizes.data, cutting, noise)
    rows = 2 if tails is None else 4
    sums = torch.zeros(rows, len(datasets), len(model.outputs), dtype=torch.float64, device=mesh.device)
    for which, pieces in held.read(workers, mesh.device):
        if any_rank(bool(stop)):
            return None
        tick("validation")
        for piece in pieces:
            batch = piece.to(mesh.device)
            with torch.autocast(mesh.device.type, dtype, enabled=dtype is not None):
                prediction = predicted(model, batch)
            if remembered is not None:
                prediction = remembered.added(prediction.float(), batch, piece, own=False)
            base = interpolated(model, batch)
            batch.fine = torch.where(torch.isfinite(base), batch.fine, torch.nan)
            dry = least(model.outputs, datasets[which].normaliser).to(mesh.device)
            made, base = torch.maximum(prediction.float(), dry), torch.maximum(base, dry)
            if noise is None:
                found = [_squares(made, batch), _squares(base, batch)]
                if tails is not None:
                    least_of = tails[which].to(mesh.device)[:, None, None]
                    batch.fine = torch.maximum(batch.fine, least_of)  # NaN stays, and is where a dataset has no such output
                    found += [_squares(torch.maximum(fields, least_of), batch) for fields in (made, base)]
            else:
                found = [summed(fair_crps(made.transpose(0, 1), batch.fine), batch), summed((base - batch.fine).abs(), batch)]
            sums[:, which] += torch.stack(found)
    sums = total(sums, mesh.data)
    told: dict[str, Any] = {}
    for first, loss, each in ((0, "validation_loss", "validation_ratio"), (2, "validation_tail", "validation_tail_ratio"))[: rows // 2]:
        ratio = torch.where(sums[first + 1] > 0, sums[first] / sums[first + 1].clamp_min(1e-30), torch.nan).nanmean(0)
        ratio = ratio.sqrt() if noise is None else ratio
        told[loss] = float(ratio.nanmean()) if bool(torch.isfinite(sums).all()) else torch.nan  # what nothing scores is left out, a NaN not
        told[each] = dict(zip(model.outputs, ratio.tolist(), strict=True))
    return from_first(told)  # what is best, and when to stop, is decided by it: not by the last bit of a rank's own device


def choice(found: dict[str, Any]) -> float:
    """What the weights that are kept have least, of a validation: its loss, where the tail counts the mean of loss and tail. A tail that
    no validation sample has says nothing."""
    loss, tail = float(found["validation_loss"]), float(found.get("validation_tail", math.nan))
    return (loss + tail) / 2 if math.isfinite(loss) and math.isfinite(tail) else loss


def summed(error: Tensor, batch: Batch) -> Tensor:
    """Errors [B, C, sH, sW] of cells with a truth, by area [C]."""
    return (torch.where(torch.isfinite(batch.fine), error, 0.0) * batch.weights).double().sum((0, 2, 3))


def _squares(fields: Tensor, batch: Batch) -> Tensor:
    return summed((fields - batch.fine) ** 2, batch)


def residual_scales(
    model: Downscaling, datasets: Sequence[Pairs], seen: Callable[[Tensor], Tensor] | None = None
) -> tuple[tuple[float, ...], Tensor, tuple[str, ...]]:
    """(coarse spacings [km] of the datasets, ascending; `residual_scale` of each [K, C]; their names): what `Scaled.set_scale` takes.

    `seen`: what of normalised fields is compared, where that is not they themselves. A variable that a dataset does not have takes the
    scale that those which have it give its spacing.
    """
    ordered = sorted(datasets, key=lambda one: one.store.grid("coarse").km)
    spacings, names = tuple(pairs.store.grid("coarse").km for pairs in ordered), tuple(pairs.name for pairs in ordered)
    table = torch.stack([_typical_error(model, [pairs], seen) for pairs in ordered])
    for column in table.T:
        known = [k for k, value in enumerate(column.tolist()) if math.isfinite(value)]
        if known and len(known) < len(column):
            others = Scaled()
            others.register_buffer("output_scale", torch.ones(1))
            others.set_scale([spacings[k] for k in known], column[known, None])
            for k in set(range(len(column))) - set(known):
                column[k] = others.scale_at(spacings[k])[0]
    return spacings, table.nan_to_num(1.0), names


def residual_scale(model: Downscaling, datasets: Sequence[Pairs]) -> Tensor:
    """RMSE of the interpolation per output [C] over (at most 64 a dataset) TRAINING samples; 1 where there is nothing to measure."""
    return _typical_error(model, datasets).nan_to_num(1.0)


@torch.no_grad()
def _typical_error(model: Downscaling, datasets: Sequence[Pairs], seen: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """`residual_scale`, NaN where there is nothing to measure."""
    sums = torch.zeros(2, len(model.outputs), dtype=torch.float64)
    for pairs in datasets:
        for index in pairs.indices[:: max(1, len(pairs.indices) // SCALE_SAMPLES)][:SCALE_SAMPLES]:
            batch = pairs.batch([int(index)])
            base = interpolated(model, batch)
            batch.fine = torch.where(torch.isfinite(base), batch.fine, torch.nan)
            if seen is not None:
                missing = ~torch.isfinite(batch.fine)
                base, batch.fine = seen(base), seen(batch.fine).masked_fill(missing, torch.nan)
            sums[0] += _squares(base, batch)
            sums[1] += (torch.isfinite(batch.fine) * batch.weights).double().sum((0, 2, 3))
    scale = (sums[0] / sums[1].clamp_min(1e-12)).sqrt().float()
    return torch.where(scale > 1e-6, scale, torch.nan)
