"""Which samples a step trains on: every one once in an epoch of its dataset, no two ranks or workers the same, at no cost."""

import json
import statistics
import time
import tracemalloc
from collections import defaultdict
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit2.data.dataset import Packed, Pairs
from orbit2.data.order import Order
from orbit2.data.pairs import PairStore
from orbit2.data.steps import Steps
from orbit2.data.transforms import Normaliser
from tests.data.tiny_training import NAMES, Tiny

SIZES = st.lists(st.integers(1, 30), min_size=1, max_size=5)


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, batch=st.integers(1, 40), seed=st.integers(0, 9))
def test_each_dataset_goes_through_shuffled_epochs_of_its_own(sizes: list[int], batch: int, seed: int) -> None:
    order, seen = Order(sizes, batch, seed), defaultdict(list)
    for step in range(3 * -(-sum(sizes) // batch)):
        which, positions = order.choose(step)
        assert len(positions) == batch
        seen[which] += positions.tolist()
    for which, run in seen.items():
        count = sizes[which]
        for start in range(0, len(run) - count + 1, count):
            assert sorted(run[start : start + count]) == list(range(count))
        rest = run[len(run) // count * count :]
        assert len(set(rest)) == len(rest)


@settings(max_examples=60, deadline=None)
@given(
    sizes=SIZES,
    batch=st.integers(1, 12),
    seed=st.integers(0, 9),
    world=st.integers(1, 5),
    workers=st.integers(1, 4),
    start=st.integers(0, 40),
)
def test_ranks_and_workers_share_the_samples_of_any_step_out(
    sizes: list[int], batch: int, seed: int, world: int, workers: int, start: int
) -> None:
    """A worker of a rank asks for the steps that fall to it, from any step on; together it is what one process sees from the beginning."""
    if batch < world:
        batch += world
    alone = Order(sizes, batch, seed)
    whole = [alone.choose(step) for step in range(start + 12)][start:]
    shared: dict[int, list[int]] = defaultdict(list)
    for rank in range(world):
        for worker in range(workers):
            mine = Order(sizes, batch, seed)  # its own state, as a process has
            for step in range(start + worker, start + 12, workers):
                which, positions = mine.choose(step)
                assert which == whole[step - start][0]
                shared[step] += positions[rank::world].tolist()
    for step, (_, positions) in enumerate(whole, start):
        assert sorted(shared[step]) == sorted(positions.tolist())


@settings(max_examples=100, deadline=None)
@given(sizes=SIZES, seed=st.integers(0, 9), step=st.integers(0, 10**9))
def test_datasets_take_turns_in_proportion_at_any_step(sizes: list[int], seed: int, step: int) -> None:
    order = Order(sizes, 4, seed)
    before, after = order.draws(step), order.draws(step + 1)
    assert sum(before) == step and sorted(b - a for a, b in zip(before, after, strict=True)) == [0] * (len(sizes) - 1) + [1]
    assert all(abs(n - step * size / sum(sizes)) <= len(sizes) for n, size in zip(before, sizes, strict=True))
    assert order.draws(0) == [0] * len(sizes)


def test_a_step_of_a_large_dataset_is_chosen_in_no_time() -> None:
    """ERA5's 341,640 hours in batches of 512 beside a small set: 1.6 to 6.8 s a step when each position drew a permutation of its own."""
    order, spent = Order([341_640, 3_000], 512, 0), []
    for step in range(660, 700):  # the first epoch ends here
        began = time.process_time()
        order.choose(step)
        spent.append(time.process_time() - began)
    assert statistics.median(spent) < 1e-3 and sum(spent) < 0.2
    assert sum(e.nbytes for e in order._epochs.values()) < 20e6


def test_seeds_and_epochs_differ() -> None:
    runs = [np.concatenate([Order([50], 10, seed).choose(step)[1] for step in range(10)]) for seed in (0, 1)]
    assert (runs[0] != runs[1]).any() and (runs[0][:50] != runs[0][50:]).any()
    turns = [[Order([3, 2, 1], 1, seed).choose(step)[0] for step in range(12)] for seed in range(6)]
    assert len({tuple(t) for t in turns}) > 1
    assert all(not (a == b == 2) for t in turns for a, b in pairwise(t))  # the smallest is spread out


@pytest.mark.parametrize("workers", [0, 2])
def test_two_datasets_through_real_workers_resumed_anywhere(tiny: Tiny, workers: int) -> None:
    normaliser = Normaliser.from_statistics(json.loads(tiny.statistics.read_text()), 0.25)
    sets = [
        Pairs(PairStore(tiny.store), (f"2026-01-01T{a:02}:00", f"2026-01-01T{b:02}:00"), normaliser, NAMES, name=name)
        for name, a, b in (("long", 0, 6), ("short", 7, 9))
    ]

    def samples(begin: int, rank: int) -> list[list[str]]:
        steps = Steps(sets, 3, 0, False, rank, 2)
        loader: torch.utils.data.DataLoader[list[Packed]] = torch.utils.data.DataLoader(
            steps, batch_size=None, sampler=range(begin, 10), num_workers=workers
        )
        return [batch.samples for (batch,) in loader]

    shares = [samples(0, rank) for rank in range(2)]
    assert samples(4, 1) == shares[1][4:]
    seen = defaultdict(list)
    for step in zip(*shares, strict=True):
        for sample in (s for share in step for s in share):
            seen[sample[: sample.index(":")]].append(sample)
    assert {name: len(set(run)) for name, run in seen.items()} == {"long": 7, "short": 3}
    for name, count in (("long", 7), ("short", 3)):
        assert len(seen[name]) == 3 * count and len(set(seen[name][:count])) == count  # 7 and 3 of the 10 steps, 3 samples each


def test_samples_are_not_piled_up_in_memory(tiny: Tiny) -> None:
    """Every dataset, split and worker process kept up to 1 GiB of samples, for nothing where the data are larger."""
    normaliser = Normaliser.from_statistics(json.loads(tiny.statistics.read_text()), 0.25)
    steps = Steps([Pairs(PairStore(tiny.store), ("2026-01-01T00:00", "2026-01-01T11:00"), normaliser, NAMES)], 2, 0, True)
    store = steps.datasets[0].store
    sample = store.read("coarse", 0).nbytes + store.read("fine", 0).nbytes
    _ = steps[0]
    tracemalloc.start()
    for step in range(1, 30):
        _ = steps[step]
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 3 * sample  # of 12; interned odds and ends are as much as one
