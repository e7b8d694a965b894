"""Batches of tiles: which cells a window holds, what counts, what is drawn."""

import json
from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from orbit2.data.cutting import Cutting
from orbit2.data.dataset import CPU, Batch, Pairs
from orbit2.data.pairs import PairStore
from orbit2.data.steps import Steps
from orbit2.data.transforms import Normaliser
from tests.data.tiny_training import NAMES, Tiny, batch_of

PERIOD = ("2026-01-01T00:00", "2026-01-01T07:00")
WAYS = {  # name: (region, cutting, whether windows close around the globe)
    "globe": (None, Cutting((5, 7), 2), False),
    "globe, no halo": (None, Cutting((5, 7), 0), False),
    "closed windows": (None, Cutting(8, 9, patch=2), True),
    "bands": (None, Cutting((4, 0), 1), True),
    "region": ((-50, 70, 20, 200), Cutting(4, 1, patch=2), False),
    "region at the pole": ((40, 90, 300, 359), Cutting((2, 3), 3), False),
}


def pairs(tiny: Tiny, region: Any = None) -> Pairs:
    normaliser = Normaliser.from_statistics(json.loads(tiny.statistics.read_text()), 0.25)
    return Pairs(PairStore(tiny.store), PERIOD, normaliser, NAMES, region, "tiny", shift_probability=0.7)


def places(whole: Batch, tile: Batch, k: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Coarse rows and columns of `whole` that window k has, found by their coordinates."""
    rows = [int((whole.geometry.lat[0] == lat).nonzero()) for lat in tile.geometry.lat[k]]
    columns = [int((whole.geometry.lon[0] == lon).nonzero()) for lon in tile.geometry.lon[k]]
    return torch.tensor(rows), torch.tensor(columns)


def finer(index: torch.Tensor) -> torch.Tensor:
    return (index[:, None] * 4 + torch.arange(4)).flatten()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("augment", [False, True])
def test_tiles_hold_the_samples_cells_and_count_each_once(tiny: Tiny, way: str, augment: bool) -> None:
    region, cutting, closed = WAYS[way]
    data = pairs(tiny, region)
    shapes = set()
    for step in range(6 if augment else 1):
        whole, tiles = batch_of(Steps([data], 2, 0, augment), step), batch_of(Steps([data], 2, 0, augment, cutting=cutting), step)
        assert tiles.geometry.periodic is closed and tiles.context is not None and whole.context is None
        found, owned = torch.zeros(2, *whole.fine.shape[2:]), torch.zeros(2, *whole.fine.shape[2:])
        for k, sample in enumerate(tiles.samples):
            j = whole.samples.index(sample)
            rows, columns = places(whole, tiles, k)
            fine = (finer(rows)[:, None], finer(columns))
            assert torch.equal(tiles.coarse[k], whole.coarse[j][:, rows[:, None], columns])
            assert torch.equal(tiles.fine[k], whole.fine[j][:, fine[0], fine[1]])
            assert torch.equal(tiles.statics[k], whole.statics[j][:, fine[0], fine[1]])
            assert torch.equal(tiles.clock[k], whole.clock[j])
            inside = whole.weights[0, 0][fine] > 0
            assert torch.equal(tiles.context[k, 0], inside & (tiles.weights[k, 0] == 0))
            found[j].index_put_(fine, tiles.weights[k, 0], accumulate=True)
            owned[j].index_put_(fine, (tiles.weights[k, 0] > 0).float(), accumulate=True)
        assert torch.equal(owned, (whole.weights[0] > 0).float().expand_as(owned))
        assert torch.equal(found, whole.weights[0].expand_as(found))
        shapes.add(tiles.coarse.shape[2:])
    assert len(shapes) == 1 or way == "bands" or "pole" in way or closed  # a moved grid has a row less where a window needs all rows


def keys(batch: Batch) -> list[tuple[str, float, float]]:
    """Sample and south-west corner of every window."""
    return [(s, float(batch.geometry.lat[k, 0]), float(batch.geometry.lon[k, 0])) for k, s in enumerate(batch.samples)]


def test_drawn_tiles_differ_and_depend_on_seed_step_and_sample_alone(tiny: Tiny) -> None:
    data, cutting = pairs(tiny), Cutting(6, 1, count=3)  # of 2 x 4
    steps = Steps([data], 5, 0, True, cutting=cutting)
    for step in (0, 3):
        whole = batch_of(steps, step)
        assert whole.coarse.shape[0] == 15 and len(set(keys(whole))) == 15
        assert keys(batch_of(steps, step)) == keys(whole)
        for world in (2, 3):
            shares = [batch_of(Steps([data], 5, 0, True, rank, world, cutting), step) for rank in range(world)]
            assert Counter(k for share in shares for k in keys(share)) == Counter(keys(whole))
            samples = [set(share.samples) for share in shares]
            assert sum(map(len, samples)) == 5  # a sample's tiles stay on one rank
    assert [k[1:] for k in keys(batch_of(steps, 0))] != [k[1:] for k in keys(batch_of(steps, 1))]
    assert keys(batch_of(Steps([data], 5, 1, True, cutting=cutting), 0)) != keys(batch_of(steps, 0))


def test_every_tile_is_drawn_equally_often(tiny: Tiny) -> None:
    steps = Steps([pairs(tiny)], 4, 0, False, cutting=Cutting(6, 1, count=2))
    count = Counter(key[1:] for step in range(100) for key in keys(batch_of(steps, step)))
    assert len(count) == 8 and sum(count.values()) == 800
    assert max(abs(n - 100) for n in count.values()) < 40  # 4.6 standard deviations


def test_more_tiles_than_there_are_is_all_of_them(tiny: Tiny) -> None:
    some, every = (batch_of(Steps([pairs(tiny)], 2, 0, False, cutting=Cutting(6, 1, count=count)), 0) for count in (9, 0))
    assert keys(some) == keys(every) and torch.equal(some.coarse, every.coarse)


def test_a_sample_comes_in_pieces_that_are_its_tiles(tiny: Tiny) -> None:
    data, cutting = pairs(tiny), Cutting((5, 7), 2)
    index = int(data.indices[3])
    pieces = [piece.to(CPU) for piece in data.pieces(index, cutting)]
    assert len(pieces) == 12 and all(piece.coarse.shape == (1, 3, 9, 11) for piece in pieces)
    weights = torch.cat([piece.weights.flatten() for piece in pieces])
    assert float(weights.double().sum()) == pytest.approx(48 * 96, rel=1e-6)  # mean 1 over the whole sample's cells
    (whole,) = (piece.to(CPU) for piece in data.pieces(index, None))
    assert torch.equal(whole.coarse, data.batch([index]).coarse) and whole.context is None


def test_store_without_a_static_the_model_knows(tiny: Tiny) -> None:
    normaliser = Normaliser.from_statistics(json.loads(tiny.statistics.read_text()), 0.25)
    data = Pairs(PairStore(tiny.store), PERIOD, normaliser, NAMES, statics=("slope", "orography"))
    tiles, whole = batch_of(Steps([data], 2, 0, False, cutting=Cutting(6, 1)), 0), batch_of(Steps([data], 2, 0, False), 0)
    assert tiles.statics.shape[1] == whole.statics.shape[1] == 2
    assert bool(torch.isnan(tiles.statics[:, 0]).all()) and bool(torch.isfinite(tiles.statics[:, 1]).all())
    assert np.isclose(float(tiles.statics[:, 1].max()), float(whole.statics[:, 1].max()))
