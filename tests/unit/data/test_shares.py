"""Every sample and every tile of a step goes to exactly one rank and micro-batch, whatever the ranks, workers and datasets."""

import json
from collections import Counter, defaultdict
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit2.data.cutting import Cutting
from orbit2.data.dataset import CPU, Batch, Packed, Pairs
from orbit2.data.pairs import PairStore
from orbit2.data.steps import Steps
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError
from tests.data.tiny_training import NAMES, Tiny

HOURS = {"long": (0, 6), "short": (7, 9), "one": (10, 10)}
Key = tuple[str, float, float]


def datasets(tiny: Tiny, *names: str, region: Any = None) -> list[Pairs]:
    normaliser = Normaliser.from_statistics(json.loads(tiny.statistics.read_text()), 0.25)
    period = {name: (f"2026-01-01T{HOURS[name][0]:02}:00", f"2026-01-01T{HOURS[name][1]:02}:00") for name in names}
    return [Pairs(PairStore(tiny.store), period[name], normaliser, NAMES, region, name) for name in names]


def keys(batch: Batch) -> list[Key]:
    """Sample and south-west corner of every item of a batch."""
    return [(s, float(batch.geometry.lat[k, 0]), float(batch.geometry.lon[k, 0])) for k, s in enumerate(batch.samples)]


def parts(steps: Steps, step: int) -> list[Batch]:
    return [part.to(CPU) for part in steps[step]]


@settings(max_examples=25, deadline=None)
@given(
    names=st.lists(st.sampled_from(list(HOURS)), min_size=1, max_size=3, unique=True),
    batch=st.integers(1, 9),
    world=st.integers(1, 4),
    accumulate=st.integers(1, 3),
    step=st.integers(0, 40),
    augment=st.booleans(),
)
def test_a_steps_samples_are_shared_out(
    tiny: Tiny, names: list[str], batch: int, world: int, accumulate: int, step: int, augment: bool
) -> None:
    """Batches larger than a dataset included: an epoch then ends, or several do, inside one of them."""
    sets, batch = datasets(tiny, *names), max(batch, world * accumulate)
    (whole,) = Steps(sets, batch, 0, augment)[step]
    found: list[str] = []
    for rank in range(world):
        mine = Steps(sets, batch, 0, augment, rank, world, accumulate=accumulate)[step]
        sizes = [len(part.samples) for part in mine]
        assert len(sizes) == accumulate and min(sizes) >= 1 and max(sizes) - min(sizes) <= 1
        assert len({name.split(":")[0] for part in mine for name in part.samples}) == 1
        assert sum(sizes) in (batch // world, -(-batch // world))
        found += [name for part in mine for name in part.samples]
    assert Counter(found) == Counter(whole.samples) and len(found) == batch


@settings(max_examples=25, deadline=None)
@given(
    size=st.integers(2, 8),
    count=st.integers(0, 6),
    batch=st.integers(1, 5),
    world=st.integers(1, 3),
    tile_world=st.integers(1, 4),
    accumulate=st.integers(1, 3),
    step=st.integers(0, 20),
    augment=st.booleans(),
)
def test_a_tile_group_deals_its_samples_tiles_out(
    tiny: Tiny, size: int, count: int, batch: int, world: int, tile_world: int, accumulate: int, step: int, augment: bool
) -> None:
    (pairs,), cutting, batch = datasets(tiny, "long"), Cutting(size, 1, count=count), max(batch, world)
    mesh = {"tile_world": tile_world, "accumulate": accumulate}
    least = pairs.least_tiles(cutting, augment)
    if least < tile_world or batch // world * least // tile_world < accumulate:
        with pytest.raises(OrbitError, match=r"fewer tiles"):
            Steps([pairs], batch, 0, augment, 0, world, cutting, 0, **mesh)
        return
    (whole,) = parts(Steps([pairs], batch, 0, augment, cutting=cutting), step)
    found: list[Key] = []
    for rank in range(world):
        groups = [parts(Steps([pairs], batch, 0, augment, rank, world, cutting, tile, **mesh), step) for tile in range(tile_world)]
        samples = [{name for part in mine for name in part.samples} for mine in groups]
        assert all(same == samples[0] for same in samples)  # at least one tile of each
        totals = [[len(part.samples) for part in mine] for mine in groups]
        assert all(len(sizes) == accumulate and min(sizes) >= 1 and max(sizes) - min(sizes) <= 1 for sizes in totals)
        assert max(map(sum, totals)) - min(map(sum, totals)) <= 1
        found += [key for mine in groups for part in mine for key in keys(part)]
    assert Counter(found) == Counter(keys(whole))


@pytest.mark.parametrize("cutting", [None, Cutting(6, 1, count=3)])
def test_micro_batches_are_the_batch_in_pieces(tiny: Tiny, cutting: Cutting | None) -> None:
    """Moved and mirrored alike: what a step shows does not depend on how many parts it is computed in."""
    sets = datasets(tiny, "long")
    for step in range(6):
        (whole,) = parts(Steps(sets, 5, 0, True, cutting=cutting), step)
        pieces = parts(Steps(sets, 5, 0, True, cutting=cutting, accumulate=3), step)
        assert [name for piece in pieces for name in piece.samples] == whole.samples
        for name in ("coarse", "fine", "statics", "clock", "weights", "context"):
            expected, found = getattr(whole, name), [getattr(piece, name) for piece in pieces]
            if expected is None or len(expected) == 1:  # shared by all samples
                assert all(part is None or torch.equal(part, expected) for part in found)
            else:
                assert torch.equal(torch.cat(found).nan_to_num(-9), expected.nan_to_num(-9)), name
        assert torch.equal(torch.cat([piece.geometry.lat for piece in pieces]), whole.geometry.lat)


@pytest.mark.parametrize("workers", [1, 2])
def test_ranks_with_real_workers_see_each_sample_once_in_an_epoch(tiny: Tiny, workers: int) -> None:
    """Three uneven ranks, two datasets, micro-batches: three epochs of both through worker processes."""
    sets, seen = datasets(tiny, "long", "short"), defaultdict(list)
    shares = []
    for rank in range(3):
        steps = Steps(sets, 7, 0, True, rank, 3, accumulate=2)
        loader: torch.utils.data.DataLoader[list[Packed]] = torch.utils.data.DataLoader(
            steps, batch_size=None, sampler=range(10), num_workers=workers
        )
        shares.append([[name for part in mine for name in part.samples] for mine in loader])
    for step, together in enumerate(zip(*shares, strict=True)):
        assert [len(share) for share in together] == [3, 2, 2]
        which, chosen = Steps(sets, 7, 0, True).choose(step)
        assert Counter(name for share in together for name in share) == Counter(
            f"{sets[which].name}:{sets[which].store.times[index]}" for index in chosen
        )
        places = [together[place % 3][place // 3] for place in range(7)]  # in the order of the global batch
        seen[sets[which].name] += places
    for name, count in (("long", 7), ("short", 3)):
        run = seen[name]
        assert len(run) == 7 * count  # 7 and 3 of ten steps
        for start in range(0, len(run), count):
            assert len(set(run[start : start + count])) == count


def test_what_cannot_be_shared_out_is_refused_with_the_key_to_change(tiny: Tiny) -> None:
    sets, cutting = datasets(tiny, "long", "one"), Cutting(6, 1)  # 2 x 4 tiles
    with pytest.raises(OrbitError, match=r"train\.mesh: ranks that share out tiles, and no tiles.*train\.tile"):
        Steps(sets, 4, 0, False, tile_world=2)
    with pytest.raises(OrbitError, match=r"train\.mesh, dataset long: fewer tiles in a sample.*9 for 8.*train\.tile"):
        Steps(sets, 4, 0, False, cutting=cutting, tile_world=9)
    with pytest.raises(OrbitError, match=r"train\.accumulate.*2 or fewer: batch_size 5 on 2 x 1 ranks"):
        Steps(sets, 5, 0, False, 0, 2, accumulate=3)
    with pytest.raises(OrbitError, match=r"train\.accumulate: fewer tiles.*5 or fewer: batch_size 5 on 2 x 3 ranks"):
        Steps(sets, 5, 0, False, 0, 2, cutting, 0, 3, accumulate=6)
    Steps(sets, 5, 0, False, 0, 2, cutting, 0, 3, accumulate=5)
    (globe,) = datasets(tiny, "long")  # of twelve rows a moved grid has eleven
    assert [globe.least_tiles(Cutting((11, 0), 1), augment) for augment in (False, True)] == [2, 1]
    with pytest.raises(OrbitError, match=r"2 for 1 of a sample's tiles"):
        Steps([globe], 4, 0, True, cutting=Cutting((11, 0), 1), tile_world=2)
