"""What the planner says of tiles is what the network is given: windows, tokens, FLOPs and activations."""

import numpy as np
import pytest
import torch

from orbit2.data.cutting import Cutting
from orbit2.data.dataset import CPU, Pairs
from orbit2.data.pairs import PairStore
from orbit2.data.transforms import Normaliser
from orbit2.files import read_json
from orbit2.grid import global_grid
from orbit2.model.inspect import activation_bytes, forward_flops
from orbit2.plan import estimate, text, tiling
from tests.data import tiny_training
from tests.data.small_models import demo_model


def test_a_global_field_by_hand() -> None:
    cut = tiling.inference(global_grid(1.0), None, 45, 8, 2)
    assert cut.tiling.counts == (4, 8) and cut.window.shape == (62, 62) and not cut.window.periodic  # 61 cells, made even
    assert cut.extra == pytest.approx(32 * 62 * 62 / (180 * 360) - 1)
    whole = tiling.inference(global_grid(1.0), None, 0, 8, 2)
    assert len(whole.tiling) == 1 and whole.window.shape == (180, 360) and whole.window.periodic and whole.extra == 0


def test_bands_close_around_the_globe() -> None:
    cut = tiling.inference(global_grid(4.0), None, (15, 0), 4, 1)
    assert cut.window.shape == (23, 90) and cut.window.periodic


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> tiny_training.Tiny:
    return tiny_training.build(tmp_path_factory.mktemp("tiny"))


@pytest.mark.parametrize(("tile", "halo"), [(0, 8), (3, 1), ((2, 5), 2)])
@pytest.mark.parametrize("region", [None, (-50.0, 40.0, 30.0, 200.0)])
def test_training_windows_are_those_of_the_data(
    tiny: tiny_training.Tiny, tile: int | tuple[int, int], halo: int, region: tuple[float, ...] | None
) -> None:
    store = PairStore(tiny.store)
    normaliser = Normaliser.from_statistics(read_json(tiny.statistics), 0.0)
    pairs = Pairs(store, ("2026-01-01T00:00", "2026-01-01T07:00"), normaliser, tiny_training.NAMES, region)
    cut = tiling.training(store.grid("coarse"), region, tile, halo, 2)
    if tile == 0:
        batch = pairs.batch([0])
        assert cut.window.shape == tuple(batch.coarse.shape[2:]) and cut.window.periodic == batch.geometry.periodic
        return
    expected = Cutting(tile, halo, 2).tiling(pairs.whole)
    assert cut.tiling == expected
    piece = next(pairs.pieces(0, Cutting(tile, halo, 2))).to(CPU)
    assert cut.window.shape == tuple(piece.coarse.shape[2:]) and cut.window.periodic == piece.geometry.periodic


def test_the_table_counts_every_window() -> None:
    with torch.device("meta"):
        model = demo_model()
    grid = global_grid(7.5)
    cut = tiling.inference(grid, None, 8, 2, 2)  # 24 x 48 cells: 3 x 6 windows of 12 x 12
    line = text.pieces([estimate.pieces(tiling.cost(model, "tiles", cut, 5, trained=False))])[1]
    found = dict(zip(("windows", "core", "window", "tokens", "flops", "extra", "bytes", "unit"), line.split()[1:], strict=True))
    assert (found["windows"], found["core"], found["window"], found["tokens"]) == ("18", "8x8", "12x12", "36")
    assert found["flops"] == f"{18 * forward_flops(model, cut.window) / 1e9:.1f}" and found["extra"] == "125%"
    assert float(found["bytes"]) == pytest.approx(activation_bytes(model, cut.window, False, 5) / 1e6, abs=0.05)


def test_training_counts_three_forward_passes_and_more_memory() -> None:
    with torch.device("meta"):
        model = demo_model()
    cut = tiling.inference(global_grid(15.0), None, 6, 1, 2)
    predicted, trained = (tiling.cost(model, "", cut, 2, trained=way) for way in (False, True))
    assert trained.flops == 3 * predicted.flops and trained.activations > 2 * predicted.activations


@pytest.mark.parametrize(("degrees", "tile", "halo"), [(4.0, 12, 4), (4.0, 15, 4), (4.0, 12, 3), (7.5, 8, 4)])
def test_windows_that_begin_inside_a_token(degrees: float, tile: int, halo: int) -> None:
    cut = tiling.inference(global_grid(degrees), None, tile, halo, 2)
    expected = sum(bool(np.any([window.rows[0] % 2, window.columns[0] % 2])) for window in cut.tiling)
    assert tiling.misplaced(cut, 2) == expected
    assert (expected == 0) == (degrees == 7.5)  # 45 rows: windows shifted inward at the pole begin on an odd row
