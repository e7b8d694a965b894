"""Which samples a step sees, and what augmentation does to them."""

import json
from collections import Counter

import numpy as np
import pytest
import torch

from orbit2.data.augment import coarsen, flip_north_south
from orbit2.data.dataset import Pairs, Steps, clock
from orbit2.data.pairs import PairStore
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError
from orbit2.grid import global_grid
from tests.data.tiny_training import NAMES, Tiny


@pytest.fixture
def pairs(tiny: Tiny) -> Pairs:
    normaliser = Normaliser.from_statistics(json.loads(tiny.statistics.read_text()), 0.25)
    return Pairs(PairStore(tiny.store), ("2026-01-01T00:00", "2026-01-01T07:00"), normaliser, NAMES, name="tiny")


def test_every_epoch_sees_every_sample_once(pairs: Pairs) -> None:
    steps = Steps([pairs], batch_size=3, seed=0, augment=False)
    seen = [i for step in range(8) for i in steps.choose(step)[1]]
    for epoch in range(3):
        assert sorted(seen[8 * epoch : 8 * epoch + 8]) == list(range(8))
    assert seen[:8] != seen[8:16]


@pytest.mark.parametrize("world", [2, 3])
def test_ranks_share_the_same_global_batch(pairs: Pairs, world: int) -> None:
    whole = Steps([pairs], 5, 0, True)
    for step in (0, 1, 7):
        shares = [Steps([pairs], 5, 0, True, rank, world)[step] for rank in range(world)]
        assert Counter(s for share in shares for s in share.samples) == Counter(whole[step].samples)
        reference = whole[step]
        for share in shares:
            for k, sample in enumerate(share.samples):
                assert torch.equal(share.coarse[k], reference.coarse[reference.samples.index(sample)])


def test_fewer_samples_than_ranks_is_refused(pairs: Pairs) -> None:
    with pytest.raises(OrbitError, match="fewer samples per step than ranks"):
        Steps([pairs], 2, 0, False, 0, 3)


def test_phase_shift_coarsens_the_same_truth_anew(pairs: Pairs) -> None:
    assert pairs.nested
    raw = pairs.raw([3])
    weights = torch.from_numpy(global_grid(15.0).refine(4).lat_weights).float()
    assert (coarsen(raw.fine, weights, 4) - raw.coarse).abs().max() < 1e-2
    moved = pairs.raw([3], (1, 3))
    assert moved.coarse.shape[-2:] == (11, 24) and moved.fine.shape[-2:] == (44, 96)
    assert torch.equal(moved.fine[..., :93], raw.fine[..., 1:45, 3:])
    block = raw.fine[0, 0, 1:5, 3:7].double()
    assert float(moved.coarse[0, 0, 0, 0]) == pytest.approx(float((block * weights[1:5, None]).sum() / weights[1:5].sum() / 4), rel=1e-6)
    assert float(moved.lon[0]) == pytest.approx(7.5 + 3 * 3.75) and float(moved.lat[0]) == pytest.approx(-82.5 + 3.75)
    whole = pairs.raw([3], (0, 2))
    assert whole.coarse.shape[-2:] == (12, 24)
    assert float(whole.coarse.mean()) == pytest.approx(float(raw.coarse.mean()), rel=1e-5)


def test_mirrored_earth_negates_northward_wind_and_keeps_places(pairs: Pairs) -> None:
    raw = pairs.raw([0])
    mirrored = flip_north_south(raw, [-1, 1], [-1, 1])
    assert torch.equal(mirrored.coarse[0, 0, 0], -raw.coarse[0, 0, -1]) and torch.equal(mirrored.fine[0, 1, 0], raw.fine[0, 1, -1])
    assert torch.equal(mirrored.lat, -raw.lat) and torch.equal(mirrored.static_fine[0, 0], raw.static_fine[0, -1])


def test_threshold_and_round_trip_of_precipitation(pairs: Pairs) -> None:
    fields = torch.tensor([[[280.0]], [[0.2]]]), torch.tensor([[[280.0]], [[7.0]]])
    for field, rain in zip(fields, (0.0, 7.0), strict=True):
        back = pairs.normaliser.denormalise(pairs.normaliser.normalise(field, NAMES), NAMES)
        assert float(back[0]) == pytest.approx(280.0, rel=1e-5) and float(back[1]) == pytest.approx(rain, abs=1e-4)
    assert torch.isnan(pairs.normaliser.normalise(torch.full((2, 1, 1), torch.nan), NAMES)).all()


def test_clock_is_periodic() -> None:
    times = np.array(["2026-01-01T00:00", "2026-01-01T12:00", "2026-07-02T15:00"], dtype="datetime64[s]")
    values = clock(times)
    assert values[0].tolist() == pytest.approx([0, 0, 1, 1]) and float(values[1, 3]) == pytest.approx(-1)
    assert float(values[2, 2]) == pytest.approx(-1, abs=1e-3)


def test_empty_period_is_refused(tiny: Tiny, pairs: Pairs) -> None:
    with pytest.raises(OrbitError, match="no samples in the period"):
        Pairs(PairStore(tiny.store), ("1999-01-01", "1999-02-01"), pairs.normaliser, NAMES)


def test_regional_windows_shift_over_the_whole_truth(tiny: Tiny, pairs: Pairs) -> None:
    region = Pairs(
        PairStore(tiny.store), ("2026-01-01T00:00", "2026-01-01T07:00"), pairs.normaliser, ["precipitation_rate"], (-80, -40, 300, 350)
    )
    plain, moved = region.raw([0]), region.raw([0], (2, 3))
    assert plain.fine.shape == moved.fine.shape and plain.fine.shape[1] == 1 and not plain.periodic
    assert torch.equal(plain.fine[..., 2:, 3:], moved.fine[..., :-2, :-3])
    assert torch.equal(plain.weights > 0, moved.weights > 0) and 0 < (plain.weights > 0).float().mean() < 1
    shown = region.batch([0, 1], np.random.default_rng(0))
    assert shown.coarse.shape[1] == 3 and torch.isfinite(shown.coarse).all()
