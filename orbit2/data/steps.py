"""What every rank trains on in every step: its share of a global batch that depends on (seed, step) alone, never on ranks, workers or
interruptions. Never reads a store itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from time import perf_counter

import numpy as np
import torch

from orbit2.data.batch import Packed
from orbit2.data.cutting import Cutting
from orbit2.data.dataset import Pairs
from orbit2.data.noisy import Noise
from orbit2.data.order import Order
from orbit2.errors import OrbitError


class Steps(torch.utils.data.Dataset[list[Packed]]):
    """The share of one rank in the batch of every step, as `accumulate` micro-batches of equal size or one apart.

    Several datasets alternate, one dataset per batch, the same on all ranks. `rank` of `world` data ranks takes every world-th sample
    of the global batch (ranks of one model-parallel group pass the same). With `cutting` a batch holds tiles of its samples, and the
    `tile_world` ranks of a tile group deal the tiles of the same samples out between them. `noise`, where members are trained, is by
    step and place in the GLOBAL batch.
    Raises OrbitError where a rank, a tile rank or a micro-batch would have nothing.
    """

    def __init__(
        self,
        datasets: Sequence[Pairs],
        batch_size: int,
        seed: int,
        augment: bool,
        rank: int = 0,
        world: int = 1,
        cutting: Cutting | None = None,
        tile_rank: int = 0,
        tile_world: int = 1,
        accumulate: int = 1,
        noise: Noise | None = None,
    ) -> None:
        if batch_size < world:
            raise OrbitError("fewer samples per step than ranks", where="train.batch_size", got=batch_size, allowed=f">= {world}",
                             hint="raise train.batch_size")  # fmt: skip
        self.datasets, self.batch_size, self.seed, self.augment, self.rank, self.world = datasets, batch_size, seed, augment, rank, world
        self.cutting, self.tile_rank, self.tile_world, self.accumulate = cutting, tile_rank, tile_world, accumulate
        self.noise = noise
        self._check()
        self.order = Order([len(d.indices) for d in datasets], batch_size, seed)

    def _check(self) -> None:
        """What the smallest share of any rank is: judged alike on all of them."""
        share, unit = self.batch_size // self.world, "samples"
        if self.cutting is None and self.tile_world > 1:
            raise OrbitError("ranks that share out tiles, and no tiles", where="train.mesh", got=f"tiles: {self.tile_world}",
                             allowed="tiles: 1", hint="set train.tile, the edge of a tile's core")  # fmt: skip
        if self.cutting is not None:
            tiles, name = min((pairs.least_tiles(self.cutting, self.augment), pairs.name) for pairs in self.datasets)
            if tiles < self.tile_world:
                raise OrbitError("fewer tiles in a sample than ranks that share them out", where=f"train.mesh, dataset {name}",
                                 got=f"tiles: {self.tile_world} for {tiles} of a sample's tiles", allowed=f"tiles: {tiles} or fewer",
                                 hint="lower train.tile, or raise train.tiles_per_sample")  # fmt: skip
            share, unit = share * tiles // self.tile_world, "tiles"
        if share < self.accumulate:
            raise OrbitError(f"fewer {unit} on a rank than parts of its step", where="train.accumulate", got=self.accumulate,
                             allowed=f"{share} or fewer: batch_size {self.batch_size} on {self.world} x {self.tile_world} ranks",
                             hint="lower train.accumulate, raise train.batch_size or take fewer ranks")  # fmt: skip

    def choose(self, step: int) -> tuple[int, list[int]]:
        """(dataset, store indices of the GLOBAL batch) of a step: shuffled epoch after epoch, no sample twice in one."""
        which, positions = self.order.choose(step)
        return which, self.datasets[which].indices[positions].tolist()

    def __getitem__(self, step: int) -> list[Packed]:
        began = perf_counter()
        which, chosen = self.choose(step)
        pairs, places = self.datasets[which], range(self.rank, len(chosen), self.world)
        random = np.random.default_rng((self.seed, 3, step)) if self.augment else None
        indices = [chosen[place] for place in places]
        view, pieces = pairs.drawn(random), None
        if self.cutting is not None:
            tiling = self.cutting.tiling(view)
            drawn = [self.cutting.draw(len(tiling), (self.seed, 5, step, place)) for place in places]  # 4: the encoder of `perceptual`
            dealt = [(k, n) for k, numbers in enumerate(drawn) for n in numbers][self.tile_rank :: self.tile_world]
            pieces = [(k, tiling[n]) for k, n in dealt]
        pairs.store.took()  # nobody asks for what validation read
        share = pairs.packed(indices, view, pieces)
        if self.noise is not None:
            owners = [places[k] for k, _ in pieces] if pieces is not None else places
            share = self.noise.added(share, [f"step {step} sample {place}" for place in owners])
        parts, took = [share.part(*ends) for ends in self._parts(len(share))], pairs.store.took()
        return [replace(parts[0], took={**took, "packing": perf_counter() - began - sum(took.values())}), *parts[1:]]

    def _parts(self, count: int) -> list[tuple[int, int]]:
        """First and end of each micro-batch among `count` samples or tiles."""
        edges = [count * part // self.accumulate for part in range(self.accumulate + 1)]
        return list(pairwise(edges))
