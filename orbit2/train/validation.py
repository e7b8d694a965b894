"""Validation on held-out samples, in units a user understands: RMSE over the RMSE of plain interpolation."""

from __future__ import annotations

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
    if batch.noise is None:
        return model(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)  # type: ignore[no-any-return]
    made: Tensor = model(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock, noise=batch.noise)
    return made


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
) -> dict[str, Any] | None:
    """{"validation_loss": mean over outputs of RMSE / interpolation RMSE, "validation_ratio": {output: ratio}}; of a model with members
    the fair CRPS of SCORED of them / mean absolute error of the interpolation, with the site memory that they are trained beside.

    In network space (ln(1 + mm) for precipitation, not below dry), area-weighted over the core; every dataset counts alike. Samples
    (see `Held`) are shared by the ranks of `mesh` that read different data. With `cutting` on all tiles of a sample, one at a time:
    memory on the device does not grow with the grid. None when `stop` came in between, on any rank: half a validation is no score.
    """
    model.eval()
    channels = model.config.noise.channels
    noise = Noise(channels, SCORED) if channels else None
    held = Held(datasets, samples, size, mesh.part, mesh.sizes.data, cutting, noise)
    sums = torch.zeros(2, len(datasets), len(model.outputs), dtype=torch.float64, device=mesh.device)
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
            base = model.residual.interpolation_of(batch.coarse, list(batch.variables), batch.geometry.periodic)
            batch.fine = torch.where(torch.isfinite(base), batch.fine, torch.nan)
            dry = least(model.outputs, datasets[which].normaliser).to(mesh.device)
            made, base = torch.maximum(prediction.float(), dry), torch.maximum(base, dry)
            if noise is None:
                found = _squares(made, batch), _squares(base, batch)
            else:
                found = summed(fair_crps(made.transpose(0, 1), batch.fine), batch), summed((base - batch.fine).abs(), batch)
            sums[:, which] += torch.stack(found)
    sums = total(sums, mesh.data)
    ratio = torch.where(sums[1] > 0, sums[0] / sums[1].clamp_min(1e-30), torch.nan).nanmean(0)
    ratio = ratio.sqrt() if noise is None else ratio
    loss = float(ratio.nanmean()) if bool(torch.isfinite(sums).all()) else torch.nan  # what nothing scores is left out, a NaN is not
    told = {"validation_loss": loss, "validation_ratio": dict(zip(model.outputs, ratio.tolist(), strict=True))}
    return from_first(told)  # what is best, and when to stop, is decided by it: not by the last bit of a rank's own device


def summed(error: Tensor, batch: Batch) -> Tensor:
    """Errors [B, C, sH, sW] of cells with a truth, by area [C]."""
    return (torch.where(torch.isfinite(batch.fine), error, 0.0) * batch.weights).double().sum((0, 2, 3))


def _squares(fields: Tensor, batch: Batch) -> Tensor:
    return summed((fields - batch.fine) ** 2, batch)


def residual_scales(
    model: Downscaling, datasets: Sequence[Pairs], seen: Callable[[Tensor], Tensor] | None = None
) -> tuple[tuple[float, ...], Tensor]:
    """(coarse spacings [km] of the datasets, ascending; `residual_scale` at each [K, C]): what `Scaled.set_scale` takes.

    Datasets of the same spacing share one. `seen`: what of normalised fields is compared, where that is not they themselves. A variable
    that no dataset of a spacing has takes the scale of the nearest that have it.
    """
    groups: dict[float, list[Pairs]] = {}
    for pairs in sorted(datasets, key=lambda one: one.store.grid("coarse").km):
        km = pairs.store.grid("coarse").km
        same = next((known for known in groups if abs(known - km) < 1e-3 * km), km)
        groups.setdefault(same, []).append(pairs)
    logs, table = np.log(list(groups)), torch.stack([_typical_error(model, group, seen) for group in groups.values()])
    for column in table.T:
        known = torch.isfinite(column).numpy()
        if known.any() and not known.all():
            filled = np.interp(logs[~known], logs[known], column.log().numpy()[known])
            column[torch.from_numpy(~known)] = torch.from_numpy(filled).exp().to(column)
    return tuple(groups), table.nan_to_num(1.0)


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
            base = model.residual.interpolation_of(batch.coarse, list(batch.variables), batch.geometry.periodic)
            batch.fine = torch.where(torch.isfinite(base), batch.fine, torch.nan)
            if seen is not None:
                missing = ~torch.isfinite(batch.fine)
                base, batch.fine = seen(base), seen(batch.fine).masked_fill(missing, torch.nan)
            sums[0] += _squares(base, batch)
            sums[1] += (torch.isfinite(batch.fine) * batch.weights).double().sum((0, 2, 3))
    scale = (sums[0] / sums[1].clamp_min(1e-12)).sqrt().float()
    return torch.where(scale > 1e-6, scale, torch.nan)
