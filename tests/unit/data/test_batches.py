"""Which samples a step sees, and what augmentation does to them."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from orbit2.data.augment import coarsen
from orbit2.data.dataset import CPU, Pairs, clock
from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, write_part
from orbit2.data.steps import Steps
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError
from orbit2.grid import global_grid
from orbit2.remap import Regridder
from tests.data.tiny_training import NAMES, Tiny, batch_of


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
        shares = [batch_of(Steps([pairs], 5, 0, True, rank, world), step) for rank in range(world)]
        assert Counter(s for share in shares for s in share.samples) == Counter(batch_of(whole, step).samples)
        reference = batch_of(whole, step)
        for share in shares:
            for k, sample in enumerate(share.samples):
                assert torch.equal(share.coarse[k], reference.coarse[reference.samples.index(sample)])


def test_fewer_samples_than_ranks_is_refused(pairs: Pairs) -> None:
    with pytest.raises(OrbitError, match="fewer samples per step than ranks"):
        Steps([pairs], 2, 0, False, 0, 3)


def physical(pairs: Pairs, index: int, shift: tuple[int, int] = (0, 0)) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Coarse and fine fields of a sample in their own units, and its coarse centres, moved by some fine rows and columns."""
    packed = pairs.packed([index], pairs.whole.moved(shift, pairs.store.grid("coarse")))
    place = pairs.ground.place(packed.view, CPU)
    return (*pairs.ground.physical(packed, CPU), place.lat, place.lon)


def test_phase_shift_coarsens_the_same_truth_anew(pairs: Pairs) -> None:
    assert pairs.nested
    coarse, fine, _, _ = physical(pairs, 3)
    weights = torch.from_numpy(global_grid(15.0).refine(4).lat_weights).float()
    assert (coarsen(fine, weights, 4) - coarse).abs().max() < 1e-2
    again, moved, lat, lon = physical(pairs, 3, (1, 3))
    assert again.shape[-2:] == (11, 24) and moved.shape[-2:] == (44, 96)
    assert torch.equal(moved[..., :93], fine[..., 1:45, 3:])
    block = fine[0, 0, 1:5, 3:7].double()
    assert float(again[0, 0, 0, 0]) == pytest.approx(float((block * weights[1:5, None]).sum() / weights[1:5].sum() / 4), rel=1e-6)
    assert float(lon[0]) == pytest.approx(7.5 + 3 * 3.75) and float(lat[0]) == pytest.approx(-82.5 + 3.75)
    whole = physical(pairs, 3, (0, 2))[0]
    assert whole.shape[-2:] == (12, 24)
    assert float(whole.mean()) == pytest.approx(float(coarse.mean()), rel=1e-5)


def test_inputs_that_cannot_be_compared_are_not_made_from_the_truth(tmp_path: Path) -> None:
    """Coarse temperature of another source beside a truth whose temperature is missing so far: the truth must not become the input."""
    coarse_grid = global_grid(30.0)
    grid = coarse_grid.refine(2)
    random = np.random.default_rng(0)
    fine = random.gamma(2.0, 3.0, (4, 2, *grid.shape)).astype(np.float32) + np.array([280, 0], np.float32)[:, None, None]
    coarse = coarsen(torch.from_numpy(fine), torch.from_numpy(grid.lat_weights).float(), 2).numpy()
    for case, same in (("nested", True), ("late", True), ("never", False), ("other", False)):
        truth, given = fine.copy(), coarse.copy()
        truth[: {"late": 1, "never": 4}.get(case, 0), 0] = np.nan
        given[:, 0] += 1 if case in ("never", "other") else 0
        none = np.empty((0, *grid.shape), np.float32)
        sides = SideSpec(coarse_grid, NAMES, (), none[:, ::2, ::2]), SideSpec(grid, NAMES, (), none)
        initialise(tmp_path / case, *sides, np.datetime64("2026-01-01", "s") + np.arange(4) * np.timedelta64(24, "h"), shard=4)
        write_part(tmp_path / case, 0, given, truth)
        finalise(tmp_path / case)
        pairs = Pairs(PairStore(tmp_path / case), ("2026-01-01", "2026-01-04"), Normaliser(dict.fromkeys(NAMES, (0.0, 1.0))), NAMES)
        assert pairs.nested is same, case


def test_partly_missing_blocks_follow_the_stores_own_rule(pairs: Pairs) -> None:
    """A coast: the store keeps a block with half of its area valid, and so does the coarse grid that augmentation makes anew."""
    coarse, fine = global_grid(15.0), global_grid(15.0).refine(4)
    truth = physical(pairs, 3)[1][0]
    holes = torch.rand(fine.shape, generator=torch.Generator().manual_seed(0)) < torch.linspace(0, 1, fine.shape[1])
    broken = truth.masked_fill(holes, torch.nan)
    for share in (0.25, 0.5, 1.0):
        expected = Regridder(fine, coarse, "conservative", min_valid_fraction=share)(broken.double().numpy())
        made = coarsen(broken, torch.from_numpy(fine.lat_weights).float(), 4, share).numpy()
        assert np.array_equal(np.isnan(made), np.isnan(expected)) and 0 < np.isnan(made).mean() < 1
        assert made[~np.isnan(made)] == pytest.approx(expected[~np.isnan(made)], rel=1e-5)


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
    plain = region.batch([0])
    moved = region.packed([0], region.whole.moved((2, 3), region.store.grid("coarse"))).to(CPU)
    assert plain.fine.shape == moved.fine.shape and plain.fine.shape[1] == 1 and not plain.geometry.periodic
    assert torch.equal(plain.fine[..., 2:, 3:], moved.fine[..., :-2, :-3])
    assert torch.equal(plain.weights > 0, moved.weights > 0) and 0 < (plain.weights > 0).float().mean() < 1
    shown = region.batch([0, 1], np.random.default_rng(0))
    assert shown.coarse.shape[1] == 3 and torch.isfinite(shown.coarse).all()
