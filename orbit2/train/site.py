"""Learns a model's site memory (orbit2.model.site): sums over the training block, then weights from the validation block alone.

Runs after training, over the weights that are delivered. Of a model with members the prediction is the mean of a few, and no slope is
learned: the same map is added to every member, so that their spread stays. Of every cell it keeps sums of residual, prediction and waves,
never samples: the mean residual, the slope of the residual on the prediction, and what is left in the rhythm of the day and the year. How
much of each is added back is three weights per variable, those of WEIGHTS that do best on the validation block after conservation; in a
cell with n of at most N samples a weight w becomes n / (n + k) with k = N (1 / w - 1). Never looks at a test sample.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from orbit2.data.dataset import Batch, Pairs, clock
from orbit2.data.noisy import Noise
from orbit2.data.view import Box
from orbit2.grid import AnyGrid
from orbit2.model.build import Downscaling
from orbit2.model.site import FOLDER, Maps, limited, said, waves, write
from orbit2.parallel.reduce import any_rank, from_first, total
from orbit2.parallel.watch import tick
from orbit2.signals import StopRequest
from orbit2.times import DAY_SECONDS, apart, seconds, stamp
from orbit2.train.build import Setup
from orbit2.train.site_weights import WEIGHTS, chosen, judge
from orbit2.train.validation import SCORED, Held, gaps_of, predicted, spread

MOST = 4096  # samples of a training block that are read, spread over it; never more than a quarter of what training saw
LEAST = 64
JUDGES = 64  # samples of a validation block, at most
PER_WAVE = 8  # samples for each coefficient of a cycle, at least
STEEPEST = 1.0  # of slopes: beyond it noise
YEAR = 365.0  # days
WHOLE = 0.9  # of the samples: cells with fewer have no cycles
FLAT = 1e-9  # variance of predictions, in network space, that has no slope


class Sums:
    """Per output and fine cell of a dataset's box [C, H, W]: number, sums of residual r, prediction p, p^2, p r, waves times r and p."""

    def __init__(self, channels: int, box: Box, width: int, cycles: Sequence[str], times: Any) -> None:
        self.box, self.width, self.cycles = box, width, tuple(cycles)
        basis = waves(clock(times), cycles)
        self.mean = basis.mean(0)
        self.gram = (basis - self.mean).T @ (basis - self.mean)
        self.at = torch.zeros(5 + 2 * basis.shape[1], channels, box.rows, box.columns, dtype=torch.float64)

    def cells(self, here: Box) -> tuple[Tensor, Tensor]:
        """Rows and columns [h, 1], [w] of these cells of the store's fine grid, in the maps."""
        rows = torch.arange(here.rows) + here.south - self.box.south
        columns = torch.remainder(torch.arange(here.columns) + here.west - self.box.west, self.width)
        return rows[:, None], columns

    def update(self, here: Box, prediction: Tensor, truth: Tensor, counted: Tensor, when: Tensor) -> None:
        """One window: prediction and truth [C, h, w] in network space, bool [1 or C, h, w] and a clock [4]; NaN truths are left out."""
        valid = torch.isfinite(truth) & torch.isfinite(prediction) & counted
        p = torch.where(valid, prediction, 0.0).double()
        r = torch.where(valid, truth - prediction, 0.0).double()
        phi = (waves(when[None], self.cycles)[0] - self.mean).tolist()
        rows, columns = self.cells(here)
        inside = columns < self.box.columns
        parts = [valid.double(), r, p, p * p, p * r, *(wave * r for wave in phi), *(wave * p for wave in phi)]
        whole = here == self.box
        for total_, part in zip(self.at, parts, strict=True):
            if whole:
                total_ += part
            else:
                total_[:, rows, columns[inside]] += part[..., inside]

    def learned(self) -> Learned:
        """What the sums say, before any weight."""
        n, r, p, pp, pr = self.at[:5]
        count = n.clamp_min(1)
        mean_r, mean_p = r / count, p / count
        variance, both = pp - p * mean_p, pr - p * mean_r
        varied = variance > FLAT * count
        slope = torch.where(varied, both / torch.where(varied, variance, 1.0), 0.0).clamp(-STEEPEST, STEEPEST)
        waving = len(self.cycles) * 2
        inverse = torch.linalg.inv(self.gram) if waving else self.gram
        most = n.amax((1, 2), keepdim=True)
        whole = n >= WHOLE * most.clamp_min(1)
        of_r, of_p = (torch.einsum("jk,kchw->cjhw", inverse, sums) * whole[:, None]
                      for sums in (self.at[5 : 5 + waving], self.at[5 + waving :]))  # fmt: skip
        return Learned(n, most, mean_r, mean_p, slope, of_r, of_p, self.mean, self.cycles)


class Kept(Protocol):
    """Keeps residuals of the training block."""

    def begin(self, pairs: Pairs, times: Any, sums: Sums) -> None:
        """`times` of the samples that follow; `sums` says on which cells."""

    def update(self, cells: tuple[Tensor, Tensor], sample: str, residual: Tensor) -> None:
        """Of a window [C, h, w], on rows and columns of the maps; 0 where nothing counts, NaN where the truth is missing."""


@dataclass(frozen=True)
class Memory:
    """The memory of one dataset on its fine `grid`: maps (None where nothing helped), and what config.json says. `corner`: the grid's first
    row and column in the store's fine grid, which has `width` columns."""

    grid: AnyGrid
    maps: Maps | None
    about: dict[str, Any]
    corner: tuple[int, int]
    width: int

    def under(self, here: Box) -> Maps:
        """The maps of these cells of the store's fine grid; nothing is added where there are none."""
        assert self.maps is not None
        offset, slope, cycle = (under(here, each, self.corner, self.width) for each in (self.maps.offset, self.maps.slope, self.maps.cycle))
        return Maps(offset, slope, cycle, self.maps.cycles)

    def place(self, name: str) -> str | None:
        """Its file in the model folder."""
        return None if self.maps is None else f"{FOLDER}/{name}.nc"


def under(here: Box, field: Tensor, corner: tuple[int, int], width: int) -> Tensor:
    """These cells of a fine grid, which has `width` columns, of a field [..., H, W] whose first cell is `corner`; 0 beyond it."""
    rows, columns = (torch.arange(count, device=field.device) for count in (here.rows, here.columns))
    rows, columns = rows + here.south - corner[0], torch.remainder(columns + here.west - corner[1], width)
    height, across = field.shape[-2:]
    inside = ((rows >= 0) & (rows < height))[:, None] & (columns < across)
    return torch.where(inside, field[..., rows.clamp(0, height - 1)[:, None], columns.clamp_max(across - 1)], 0.0)


Memories = dict[str, Memory]


@dataclass(frozen=True)
class Learned:
    """Per output and cell [C, H, W]: samples `n` of at most `most` [C, 1, 1], mean residual, mean prediction, slope; and the cycles
    [C, 2 K, H, W] of residual and of prediction, for waves less their mean [2 K]."""

    n: Tensor
    most: Tensor
    residual: Tensor
    prediction: Tensor
    slope: Tensor
    of_residual: Tensor
    of_prediction: Tensor
    wave_mean: Tensor
    cycles: tuple[str, ...]

    def weight(self, factor: float | Tensor) -> Tensor:
        """n / (n + k) with k = most (1 / factor - 1), [C, H, W]; `factor` one number or [C, 1, 1]."""
        factor = torch.as_tensor(factor, dtype=torch.float64, device=self.n.device)
        held = self.n + self.most * (1 / factor.clamp_min(1e-12) - 1)
        return torch.where((self.n > 0) & (factor > 0), self.n / held.clamp_min(1e-12), 0.0)

    def maps(self, factors: Tensor) -> Maps:
        """The maps for `factors` [C, 3] of offset, slope and cycles: p + w1 r + w2 s (p - mean p) + w3 (waves) (c_r - w2 s c_p)."""
        one, two, three = (self.weight(factors[:, i, None, None]) for i in range(3))
        slope = two * self.slope
        cycle = three[:, None] * (self.of_residual - slope[:, None] * self.of_prediction)
        offset = one * self.residual - slope * self.prediction - torch.einsum("k,ckhw->chw", self.wave_mean, cycle)
        return Maps(offset.float(), slope.float(), cycle.float(), self.cycles)

    def each(self, change: Callable[[Tensor], Tensor], most: bool = False) -> Learned:
        """With every map changed alike, and `most` too."""
        return Learned(change(self.n), change(self.most) if most else self.most, change(self.residual), change(self.prediction),
                       change(self.slope), change(self.of_residual), change(self.of_prediction), self.wave_mean, self.cycles)  # fmt: skip

    def window(self, rows: Tensor, columns: Tensor) -> Learned:
        """The same of some cells."""
        return self.each(lambda values: values[..., rows, columns])

    def to(self, device: torch.device) -> Learned:
        return replace(self.each(lambda values: values.to(device), most=True), wave_mean=self.wave_mean.to(device))


def cycles_of(times: Any, step_hours: float) -> tuple[str, ...]:
    """The cycles that these samples can tell: of the year where they span one, of the day where they see enough of its hours; PER_WAVE
    samples for each coefficient."""
    found: list[str] = []
    days = apart(times[0], times[-1]) / DAY_SECONDS + step_hours / 24
    hours = len(np.unique(seconds(times) % DAY_SECONDS // 3600))
    wanted = [*(("year", "half_year") if days >= YEAR else ()),
              *(("day",) if hours > 2 else ()), *(("half_day",) if hours > 4 else ())]  # fmt: skip
    for name in wanted:
        basis = waves(clock(times), [*found, name])
        spread_ = torch.linalg.eigvalsh(torch.cov(basis.T, correction=0))
        if len(times) >= PER_WAVE * basis.shape[1] and float(spread_[0]) > 0.05:
            found.append(name)
    return tuple(found)


def learn(setup: Setup, stop: StopRequest | None = None, members: int = SCORED, kept: Sequence[Kept] = ()) -> Memories | None:
    """The memory of every dataset; of a model with noise, of the mean of so many `members` (0: without noise). `kept` of every dataset
    gets the residuals. Collective: every rank gets the same.

    None when `stop` came in between, on any rank: the next start begins with it again.
    """
    sums: list[Sums] = []
    most = min(MOST, max(LEAST, setup.config.steps * setup.config.batch_size // 4))
    for pairs in setup.training:
        times = pairs.store.times[pairs.indices[spread(len(pairs.indices), most)]]
        width = pairs.store.grid("fine").shape[1]
        sums.append(Sums(len(setup.outputs), pairs.whole.fine, width, cycles_of(times, pairs.store.step_hours), times))
        if kept:
            kept[len(sums) - 1].begin(pairs, times, sums[-1])
    for found in _passes(setup, setup.training, most, members, stop):
        if found is None:
            return None
        for which, here, batch, prediction, k in found:
            counted = batch.weights[min(k, len(batch.weights) - 1)] > 0
            sums[which].update(here, prediction[k].cpu(), batch.fine[k].cpu(), counted.cpu(), batch.clock[k].cpu())
            if kept:
                kept[which].update(sums[which].cells(here), batch.samples[k], torch.where(counted, batch.fine[k] - prediction[k], 0.0))
    for one in sums:
        one.at = total(one.at.to(setup.here.device) if setup.mesh.data is not None else one.at, setup.mesh.data).cpu()
    learned = [one.learned() for one in sums]
    grids = list(itertools.product(WEIGHTS, WEIGHTS[:1] if setup.architecture.noise.channels else WEIGHTS, WEIGHTS))
    errors = [torch.zeros(len(grids), len(setup.outputs), 2, dtype=torch.float64) for _ in sums]
    for found in _passes(setup, setup.validation, JUDGES, members, stop):
        if found is None:
            return None
        for which, here, batch, prediction, k in found:
            rows, columns = sums[which].cells(here)
            inside = learned[which].window(rows, columns.clamp_max(sums[which].box.columns - 1)).to(setup.here.device)
            judge(errors[which], grids, inside, setup, batch, prediction[k : k + 1], k)
    result: Memories = {}
    for pairs, judges, one, known, error in zip(setup.training, setup.validation, sums, learned, errors, strict=True):
        error = total(error.to(setup.here.device) if setup.mesh.data is not None else error, setup.mesh.data).cpu()
        factors, gains = from_first(chosen(error, grids, known.cycles))
        part, maps = pairs.whole.fine_domain, known.maps(factors)
        cut = Maps(maps.offset[(..., *part)], maps.slope[(..., *part)], maps.cycle[(..., *part)], maps.cycles)
        cells = [slice(first + inner.start, first + inner.stop) for first, inner in zip((one.box.south, one.box.west), part, strict=True)]
        grid = pairs.store.grid("fine").crop(*cells)
        about = {
            "grid": grid.describe(),
            "period": [stamp(time)[:16] for time in pairs.store.times[pairs.indices[[0, -1]]]],
            "samples": min(len(pairs.indices), most),
            "judged_on": [stamp(time)[:16] for time in judges.store.times[judges.indices[[0, -1]]]],
            "judged_samples": min(len(judges.indices), JUDGES),
            "cycles": list(known.cycles),
            "factors": {name: dict(zip(("offset", "slope", "cycles"), row, strict=True))
                        for name, row in zip(setup.outputs, factors.tolist(), strict=True)},
            "gain": {name: round(gain, 4) for name, gain in zip(setup.outputs, gains.tolist(), strict=True)},
        }  # fmt: skip
        corner = cells[0].start, cells[1].start
        result[pairs.name] = Memory(grid, cut if bool(factors.any()) else None, about, corner, pairs.store.grid("fine").shape[1])
    return result


def about(memories: Memories) -> dict[str, dict[str, Any]]:
    """What config.json says of them."""
    return {name: {**one.about, "file": one.place(name)} for name, one in memories.items()}


def files(memories: Memories, outputs: Sequence[str]) -> dict[str, Callable[[Path], None]]:
    """What is to be written in the model folder, and how."""
    return {place: partial(_write, one, tuple(outputs)) for name, one in memories.items() if (place := one.place(name)) is not None}


def _write(memory: Memory, outputs: tuple[str, ...], path: Path) -> None:
    assert memory.maps is not None
    write(path, memory.grid, outputs, memory.maps, {"period": " to ".join(memory.about["period"])})


def told(memories: Memories) -> str:
    """For the log."""
    return "; ".join(f"site memory of {name}: {said(one.about)}" for name, one in memories.items())


Found = list[tuple[int, Box, Batch, Tensor, int]]


@torch.no_grad()
def _passes(setup: Setup, datasets: Sequence[Pairs], samples: int, members: int, stop: StopRequest | None) -> Iterator[Found | None]:
    """Predictions of the ranks' shares: (dataset, fine cells, batch, prediction [B, C, h, w], position in the batch) of every
    window that counts; None once `stop` came."""
    model = setup.model.eval()
    size = -(-setup.config.batch_size // setup.mesh.sizes.readers // setup.config.accumulate)
    channels = setup.architecture.noise.channels
    noise = Noise(channels, members) if channels and members else None
    held = Held(datasets, samples, size, setup.mesh.part, setup.mesh.sizes.data, setup.cutting, noise)
    for which, pieces in held.read(setup.config.workers, setup.here.device):
        if any_rank(bool(stop)):
            yield None
            return
        tick("site memory")
        for piece in pieces:
            batch = piece.to(setup.here.device)
            prediction = _predicted(setup, model, batch)
            if piece.counted:
                yield [(which, box.finer(piece.view.factor), batch, prediction, k) for k, box in enumerate(piece.boxes)]


def _predicted(setup: Setup, model: Downscaling, batch: Batch) -> Tensor:
    """[B, C, h, w] in network space, NaN where the model delivers nothing; of a model with members the mean of them."""
    with torch.autocast(setup.here.device.type, setup.dtype, enabled=setup.dtype is not None):
        made = predicted(model, batch).float()
    count = 1 if batch.noise is None else made.shape[1]
    made = limited(made.view(-1, *made.shape[-3:]), setup.outputs, setup.model.output_moments)
    made = made.view(-1, count, *made.shape[1:]).mean(1) if count > 1 else made
    absent: Tensor | None = model.missing(batch.coarse, batch.variables, batch.geometry.periodic, gaps_of(model, batch))
    return made if absent is None else made.masked_fill(absent, torch.nan)
