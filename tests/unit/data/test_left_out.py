"""A box left out of training: its truth is missing in every batch, whatever view is drawn, and its inputs stay."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from orbit2.config.load import from_mapping, model_hash
from orbit2.config.slices import diagnose
from orbit2.data.dataset import Pairs
from orbit2.data.pairs import PairStore
from orbit2.data.transforms import Normaliser
from orbit2.errors import OrbitError
from tests.data.scored import STATICS, VARIABLES, make_store

BOX = (-20.0, 25.0, 340.0, 30.0)  # across 0 E


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> PairStore:
    return make_store(tmp_path_factory.mktemp("left_out") / "pairs.zarr", degrees=15.0)


def pairs(store: PairStore, box: tuple[float, ...] | None, region: tuple[float, ...] | None = None) -> Pairs:
    normaliser = Normaliser(dict.fromkeys((*VARIABLES, *STATICS, "latitude"), (0.0, 1.0)))
    period = str(store.times[0]), str(store.times[-1])
    return Pairs(store, period, normaliser, VARIABLES, region, leave_out=box)  # type: ignore[arg-type]


def inside(store: PairStore) -> np.ndarray:
    lat, lon = np.meshgrid(store.grid("fine").lat, store.grid("fine").lon, indexing="ij")
    return (lat >= BOX[0]) & (lat <= BOX[1]) & ((lon >= BOX[2]) | (lon <= BOX[3]))


def test_the_truth_of_the_box_is_missing_and_its_inputs_are_there(store: PairStore) -> None:
    whole, apart = (pairs(store, box).batch([0, 1]) for box in (None, BOX))
    hidden = torch.from_numpy(inside(store))
    assert 0.02 < hidden.float().mean() < 0.1
    assert torch.isnan(apart.fine[..., hidden]).all() and torch.isfinite(apart.fine[..., ~hidden]).all()
    assert torch.equal(apart.fine[..., ~hidden], whole.fine[..., ~hidden]) and torch.equal(apart.coarse, whole.coarse)


def test_no_view_that_is_drawn_shows_it(store: PairStore) -> None:
    seen, random = pairs(store, BOX), np.random.default_rng(0)
    count = int(inside(store).sum()) * len(VARIABLES)
    for _ in range(12):
        batch = seen.batch([0], random)
        assert int(torch.isnan(batch.fine).sum()) == count and torch.isfinite(batch.coarse[:, : len(VARIABLES)]).all()
    assert not seen.nested


def test_of_a_window_that_holds_part_of_it_only_that_part_is_hidden(store: PairStore) -> None:
    region = (-40.0, 40.0, 0.0, 120.0)
    whole, apart = (pairs(store, box, region).batch([0]) for box in (None, BOX))
    gone = torch.isnan(apart.fine) & torch.isfinite(whole.fine)
    assert 0 < int(gone.sum()) < gone.numel() / 2
    assert torch.equal(apart.fine[~gone].nan_to_num(), whole.fine[~gone].nan_to_num())


def run(**model: object) -> dict[str, object]:
    split = {"train": {"start": "2026-03-25T00:00", "end": "2026-03-25T05:00"}, "gap_days": 0,
             "validation": {"start": "2026-03-26T00:00", "end": "2026-03-26T05:00"},
             "test": {"start": "2026-03-27T00:00", "end": "2026-03-27T05:00"}}  # fmt: skip
    week = {"source": "sample", "inputs": ["2m_temperature"], "outputs": ["2m_temperature"], "coarse_grid": "global_15",
            "fine_grid": "global_3.75", "split": split}  # fmt: skip
    return {"datasets": {"week": week}, "models": {"net": {"datasets": ["week"], "architecture": {"embed_dim": 16}, **model}},
            "downscale": {"test": {"model": "net", "dataset": "week"}}}  # fmt: skip


def test_hashes_change_only_for_who_leaves_a_box_out_and_diagnose_is_told(tmp_path: Path) -> None:
    plain, none, box = (from_mapping(run(**more)) for more in ({}, {"leave_out": None}, {"leave_out": list(BOX)}))
    assert model_hash(plain, "net") == model_hash(none, "net") != model_hash(box, "net")
    assert "left_out" not in diagnose(plain, "test") and diagnose(box, "test")["left_out"] == list(BOX)


def test_a_box_beside_the_grid_is_refused() -> None:
    given = run(leave_out=[10.0, 20.0, 200.0, 210.0])
    given["datasets"]["week"] |= {"coarse_grid": "us_60", "fine_grid": "us_15"}  # type: ignore[index]
    with pytest.raises((OrbitError, ValueError), match="leave_out"):
        from_mapping(given)
