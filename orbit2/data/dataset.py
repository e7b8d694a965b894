"""Training batches from PairStores, in the model's normalised space. Which samples and how they are augmented depends
only on (seed, step): not on ranks, workers or interruptions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from orbit2.data.augment import Raw, coarsen, flip_north_south, shift_phase
from orbit2.data.pairs import PairStore
from orbit2.data.transforms import Normaliser
from orbit2.data.window import Window, of_box
from orbit2.errors import OrbitError
from orbit2.model.geometry import Geometry
from orbit2.variables import variable

CACHE_BYTES = 1 << 30
REGION_HALO = 4  # coarse cells of context around a regional training box


@dataclass
class Batch:
    """Normalised tensors: coarse [B, V, H, W], fine [B, C, sH, sW] (NaN = missing), statics [B, S, sH, sW],
    weights [1, 1, sH, sW] (cell area, zero in the halo, mean 1 over the core), clock [B, 4]."""

    coarse: Tensor
    fine: Tensor
    statics: Tensor
    weights: Tensor
    clock: Tensor
    geometry: Geometry
    variables: tuple[str, ...]
    samples: list[str]

    def to(self, device: torch.device) -> Batch:
        return replace(
            self,
            coarse=self.coarse.to(device),
            fine=self.fine.to(device),
            statics=self.statics.to(device),
            weights=self.weights.to(device),
            clock=self.clock.to(device),
            geometry=self.geometry.to(device),
        )


class Pairs:
    """One dataset's samples of one period, cut to a region, ready to be batched.

    `outputs` are the model's outputs; those the store lacks are NaN (never scored). Raises OrbitError for an empty
    period or a missing static.
    """

    def __init__(
        self,
        store: PairStore,
        period: tuple[str, str],
        normaliser: Normaliser,
        outputs: Sequence[str],
        region: Sequence[float] | None = None,
        name: str = "",
    ) -> None:
        self.store, self.normaliser, self.outputs, self.name = store, normaliser, tuple(outputs), name
        self.indices = store.indices(*period)
        if not len(self.indices):
            raise OrbitError(
                "no samples in the period",
                where=store.path,
                got=f"{period[0]} to {period[1]}",
                allowed=f"{store.times[0]} to {store.times[-1]}",
            )
        self.inputs, self.statics = store.variables("coarse"), store.statics("fine")
        self.factor = store.refinement
        self.window: Window = of_box(store.grid("coarse"), region, REGION_HALO)
        self.lat_weights = torch.from_numpy(store.grid("fine").lat_weights).float()
        self.static_fine = torch.from_numpy(store.static_values("fine"))
        self.static_coarse = coarsen(self.static_fine, self.lat_weights, self.factor)
        self.nested = self._coarse_is_block_mean()
        self._cache: dict[int, tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]] = {}
        self._room = CACHE_BYTES

    @property
    def variables(self) -> tuple[str, ...]:
        """Names of the V input channels: dynamic, then static."""
        return (*self.inputs, *self.statics)

    def read(self, index: int) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
        """(coarse [V, H, W], fine [C, sH, sW]) of one sample, physical units, kept in memory while there is room."""
        if index not in self._cache:
            fine = self.store.read("fine", index)
            names = self.store.variables("fine")
            chosen = np.full((len(self.outputs), *fine.shape[1:]), np.nan, dtype=np.float32)
            for i, output in enumerate(self.outputs):
                if output in names:
                    chosen[i] = fine[names.index(output)]
            pair = (self.store.read("coarse", index), chosen)
            if self._room < pair[0].nbytes + pair[1].nbytes:
                return pair
            self._room -= pair[0].nbytes + pair[1].nbytes
            self._cache[index] = pair
        return self._cache[index]

    def _coarse_is_block_mean(self) -> bool:
        """Whether every dynamic input is the area mean of the store's fine field: what phase shifts rely on."""
        names = self.store.variables("fine")
        if self.window.rows.size * self.factor != self.store.grid("fine").shape[0] or not set(self.inputs) <= set(names):
            return False
        if set(self.inputs) - set(self.outputs):
            return False
        index = int(self.indices[0])
        fine = torch.from_numpy(self.store.read("fine", index)[[names.index(n) for n in self.inputs]])
        coarse = torch.from_numpy(self.store.read("coarse", index))
        gap = (coarsen(fine, self.lat_weights, self.factor) - coarse).abs().amax((1, 2))
        return bool((gap <= 1e-3 * coarse.std((1, 2)).clamp_min(1e-12)).all())

    def raw(self, indices: Sequence[int]) -> Raw:
        """Physical fields of some samples on the window."""
        pairs = [self.read(int(i)) for i in indices]
        rows, columns = self.window.rows, self.window.columns
        fine_rows, fine_columns = self.window.fine(self.factor)

        def cut(values: npt.NDArray[np.float32] | Tensor, r: npt.NDArray[np.int64], c: npt.NDArray[np.int64]) -> Tensor:
            return torch.as_tensor(values)[..., torch.from_numpy(r)[:, None], torch.from_numpy(c)]

        weights = torch.zeros(len(fine_rows), len(fine_columns))
        core = self.window.fine_core(self.factor)
        weights[core] = self.lat_weights[torch.from_numpy(fine_rows)[core[0]], None]
        return Raw(
            coarse=torch.stack([cut(c, rows, columns) for c, _ in pairs]),
            fine=torch.stack([cut(f, fine_rows, fine_columns) for _, f in pairs]),
            static_coarse=cut(self.static_coarse, rows, columns),
            static_fine=cut(self.static_fine, fine_rows, fine_columns),
            weights=weights,
            lat=torch.from_numpy(self.window.lat).float(),
            lon=torch.from_numpy(self.window.lon).float(),
            periodic=self.window.periodic,
        )

    def batch(self, indices: Sequence[int], augment: np.random.Generator | None = None) -> Batch:
        """A normalised batch of the given store indices, augmented when a generator is given."""
        raw = self.raw(indices)
        if augment is not None:
            raw = self._augment(raw, augment)
        grid = self.store.grid("coarse")
        count = len(indices)
        static = self.normaliser.normalise(raw.static_coarse, self.statics)
        coarse = torch.cat([self.normaliser.normalise(raw.coarse, self.inputs), static.expand(count, -1, -1, -1)], 1)
        return Batch(
            coarse=coarse,
            fine=self.normaliser.normalise(raw.fine, self.outputs),
            statics=self.normaliser.normalise(raw.static_fine, self.statics).expand(count, -1, -1, -1),
            weights=(raw.weights / raw.weights[raw.weights > 0].mean())[None, None],
            clock=clock(self.store.times[list(indices)]),
            geometry=Geometry(raw.lat.expand(count, -1), raw.lon.expand(count, -1), grid.km, grid.km / self.factor, raw.periodic),
            variables=self.variables,
            samples=[f"{self.name}:{self.store.times[i]}" for i in indices],
        )

    def _augment(self, raw: Raw, random: np.random.Generator) -> Raw:
        """Phase shifts where coarse inputs are block means of the truth; north-south reflection on symmetric global grids."""
        if self.nested and raw.periodic:
            rows, columns = (int(k) for k in random.integers(self.factor, size=2))
            inputs = [self.outputs.index(name) for name in self.inputs]
            raw = shift_phase(raw, rows, columns, self.factor, inputs)
        if raw.periodic and bool(torch.allclose(raw.lat, -raw.lat.flip(0), atol=1e-3)) and random.random() < 0.5:
            raw = flip_north_south(raw, [variable(n).parity for n in self.inputs], [variable(n).parity for n in self.outputs])
        return raw


def clock(times: npt.NDArray[np.datetime64]) -> Tensor:
    """sin and cos of day of year and of hour of day [B, 4]."""
    day = (times - times.astype("datetime64[Y]")) / np.timedelta64(1, "s") / 86400 / 365.2425
    hour = (times - times.astype("datetime64[D]")) / np.timedelta64(1, "s") / 86400
    angles = 2 * np.pi * np.stack([day, hour], -1)
    return torch.from_numpy(np.concatenate([np.sin(angles), np.cos(angles)], -1)).float()


class Steps(torch.utils.data.Dataset[Batch]):
    """The batch of every step, for one rank: several datasets alternate, one dataset per batch, the same on all ranks."""

    def __init__(self, datasets: Sequence[Pairs], batch_size: int, seed: int, augment: bool, rank: int = 0, world: int = 1) -> None:
        if batch_size < world:
            raise OrbitError("fewer samples per step than ranks", got=batch_size, allowed=f">= {world}", hint="raise train.batch_size")
        self.datasets, self.batch_size, self.seed, self.augment, self.rank, self.world = datasets, batch_size, seed, augment, rank, world
        sizes = np.array([len(d.indices) for d in datasets], dtype=np.float64)
        self.share = sizes / sizes.sum()

    def choose(self, step: int) -> tuple[int, list[int]]:
        """(dataset, store indices of the GLOBAL batch) of a step: shuffled epoch after epoch, no sample twice in one."""
        which = 0
        if len(self.datasets) > 1:
            which = int(np.random.default_rng((self.seed, 1, step)).choice(len(self.datasets), p=self.share))
        indices = self.datasets[which].indices
        count, chosen = len(indices), []
        for position in range(step * self.batch_size, (step + 1) * self.batch_size):
            epoch, place = divmod(position, count)
            order = np.random.default_rng((self.seed, 2, which, epoch)).permutation(count)
            chosen.append(int(indices[order[place]]))
        return which, chosen

    def __getitem__(self, step: int) -> Batch:
        which, chosen = self.choose(step)
        random = np.random.default_rng((self.seed, 3, step)) if self.augment else None
        return self.datasets[which].batch(chosen[self.rank :: self.world], random)
