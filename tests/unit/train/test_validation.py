"""Validation: which samples, in which batches, that every dataset counts alike, and what a stop in its middle leaves behind."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from orbit2.data.cutting import Cutting
from orbit2.data.dataset import Pairs
from orbit2.data.pairs import PairStore
from orbit2.errors import Interrupted
from orbit2.signals import StopRequest
from orbit2.train import trainer
from orbit2.train.validation import Held, spread, validate_model
from tests.data.tiny_training import NAMES, Tiny
from tests.unit.train.test_resume import curve, train
from tests.unit.train.test_tiles_training import ALONE, setup


class StopAfter:
    """A stop request that comes after it was polled `polls` times."""

    def __init__(self, polls: int) -> None:
        self.left = polls

    def __bool__(self) -> bool:
        self.left -= 1
        return self.left < 0


@given(count=st.integers(1, 20_000), limit=st.integers(0, 300))
def test_a_fixed_subset_is_spread_over_the_block(count: int, limit: int) -> None:
    chosen = spread(count, limit)
    assert len(chosen) == min(count, limit or count) and np.array_equal(chosen, spread(count, limit))
    assert (np.diff(chosen) > 0).all() and chosen[0] >= 0 and chosen[-1] < count
    assert np.diff(np.concatenate([[-1], chosen, [count]])).max() <= 2 * -(-count // len(chosen))


def test_equal_steps_do_not_meet_one_hour_of_the_day() -> None:
    hours = np.bincount(spread(24 * 256, 256) % 24, minlength=24)
    assert (hours > 0).sum() == 24 and hours.max() < 30


@settings(max_examples=80, deadline=None)
@given(
    counts=st.lists(st.integers(1, 40), min_size=1, max_size=4), samples=st.integers(0, 20), size=st.integers(1, 6), world=st.integers(1, 7)
)
def test_ranks_have_equally_many_items_and_share_every_sample_once(counts: list[int], samples: int, size: int, world: int) -> None:
    """Ranks agree on stopping before every item: with unequal numbers they would wait for each other."""
    datasets = cast(list[Pairs], [SimpleNamespace(indices=np.arange(100, 100 + n)) for n in counts])
    for cutting in (None, Cutting(4, 1)):
        shares = [Held(datasets, samples, size, rank, world, cutting) for rank in range(world)]
        assert len({len(share) for share in shares}) == 1
        for which, pairs in enumerate(datasets):
            found = sorted(i for share in shares for d, indices, counted in share.items if counted and d == which for i in indices)
            assert found == pairs.indices[spread(len(pairs.indices), samples)].tolist()
        assert max(len(indices) for share in shares for _, indices, _ in share.items) <= (1 if cutting else size)


@pytest.mark.parametrize("cutting", [None, Cutting((5, 7), 2)])
def test_batches_from_workers_score_as_single_samples_do(tiny: Tiny, tmp_path: Path, cutting: Cutting | None) -> None:
    made = setup(tiny, tmp_path)
    alone = validate_model(made.model, made.training, None, ALONE, cutting)
    batched = validate_model(made.model, made.training, None, ALONE, cutting, size=3, workers=2)
    assert alone is not None and batched is not None and alone["validation_ratio"] == pytest.approx(batched["validation_ratio"], rel=1e-6)
    some = validate_model(made.model, made.training, None, ALONE, cutting, samples=2)
    assert some is not None and some["validation_loss"] != pytest.approx(alone["validation_loss"], rel=1e-6)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_stop_between_batches_leaves_no_score(tiny: Tiny, tmp_path: Path, workers: int) -> None:
    made = setup(tiny, tmp_path)
    arguments: dict[str, Any] = {"size": 3, "workers": workers}  # 8 samples: three batches
    assert validate_model(made.model, made.training, None, ALONE, None, stop=cast(StopRequest, StopAfter(2)), **arguments) is None
    assert validate_model(made.model, made.training, None, ALONE, None, stop=cast(StopRequest, StopAfter(3)), **arguments) is not None


def test_every_dataset_counts_alike(tiny: Tiny, tmp_path: Path) -> None:
    """One whose interpolation errs more, or that is larger, does not drown the others."""
    made = setup(tiny, tmp_path)
    sets = [
        Pairs(PairStore(tiny.store), (f"2026-01-01T{a:02}:00", f"2026-01-01T{b:02}:00"), made.normaliser, NAMES)
        for a, b in ((0, 6), (7, 7))
    ]
    ratios = []
    for part in (sets[:1], sets[1:], sets):
        found = validate_model(made.model, part, None, ALONE)
        assert found is not None
        ratios.append(torch.tensor(list(found["validation_ratio"].values())))
    assert torch.allclose(ratios[2] ** 2, (ratios[0] ** 2 + ratios[1] ** 2) / 2, rtol=1e-5)


@pytest.fixture
def stopped_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[int]]:
    """Numbers of the validations that a SIGUSR1 arrives in."""
    when: list[int] = []
    seen: list[int] = []
    real = trainer.validate_model

    def validate(*arguments: Any, **named: Any) -> dict[str, Any] | None:
        seen.append(len(seen))
        if seen[-1] in when:
            os.kill(os.getpid(), signal.SIGUSR1)
        return real(*arguments, **named)

    monkeypatch.setattr(trainer, "validate_model", validate)
    yield when


def test_a_run_stopped_in_its_validations_is_the_same_run(tiny: Tiny, tmp_path: Path, stopped_in: list[int]) -> None:
    straight = train(tiny, tmp_path / "straight", steps=8)  # validates after 4 and 8
    out = tmp_path / "stopped"
    stopped_in += [2, 4]
    for step in (4, 8):  # the second one in the last validation: the run is not finished before it
        with pytest.raises(Interrupted, match=f"stopped and saved at step {step} of 8"):
            train(tiny, out, steps=8)
        assert not (out / "model").exists() and bool(list((out / "checkpoints").glob("best-*"))) == (step == 8)
        lines = [json.loads(line) for line in (out / "checkpoints" / "metrics.jsonl").read_text().splitlines()]
        assert [r["step"] for r in lines if "validation_loss" in r] == ([] if step == 4 else [4])
    resumed = train(tiny, out, steps=8)
    assert all(torch.equal(resumed[name], tensor) for name, tensor in straight.items())
    scores = [
        [(r["step"], r["validation_loss"]) for r in curve(folder) if "validation_loss" in r] for folder in (tmp_path / "straight", out)
    ]
    assert scores[0] == scores[1] and len(scores[0]) == 2
