"""Tiles partition a grid; with a full halo they change nothing."""

from pathlib import Path

import numpy as np
import pytest

from orbit2.data.pairs import PairStore
from orbit2.downscale import load_model
from orbit2.grid import global_grid, uniform
from orbit2.model.tiles import tiles
from tests.data.tiny_training import Tiny


@pytest.mark.parametrize(("size", "halo"), [(0, 0), (5, 2), (4, 3), (7, 1), (24, 8), (3, 30)])
def test_cores_cover_every_cell_once(size: int, halo: int) -> None:
    for grid in (global_grid(15.0), uniform(0, 40, 10, 70, 11, 17)):
        count = np.zeros(grid.shape, dtype=int)
        for window in tiles(grid.shape, grid.periodic, size, halo):
            rows, columns = window.rows[window.core_rows], window.columns[window.core_columns]
            count[np.ix_(rows, columns)] += 1
        assert (count == 1).all()


def test_halo_wraps_across_the_date_line() -> None:
    window = tiles((12, 24), True, 4, 3)[6]
    assert window.columns.tolist() == [21, 22, 23, 0, 1, 2, 3, 4, 5, 6] and window.core_columns == slice(3, 7)
    assert window.rows.tolist() == list(range(1, 11)) and window.core_rows == slice(3, 7)


def test_tiled_prediction_is_close_to_untiled(tiny: Tiny, model: Path) -> None:
    store = PairStore(tiny.store)
    loaded = load_model(model)
    arguments = (store.read("coarse", 11), store.variables("coarse"), store.static_values("fine"), store.grid("coarse"), store.times[11])
    whole, tiled = loaded.predict(*arguments), loaded.predict(*arguments, tile=8, halo=4)
    assert whole.shape == tiled.shape == (2, 48, 96) and np.isfinite(tiled).all()
    assert np.abs(whole[0] - tiled[0]).mean() < 0.1 * whole[0].std()
