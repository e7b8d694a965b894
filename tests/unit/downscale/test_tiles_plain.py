"""Predicting on tiles is close to predicting whole; the geometry of tiles is tested in tests/unit/model/test_tiles.py."""

from pathlib import Path

import numpy as np

from orbit2.data.pairs import PairStore
from orbit2.downscale import load_model
from tests.data.tiny_training import Tiny


def test_tiled_prediction_is_close_to_untiled(tiny: Tiny, model: Path) -> None:
    store = PairStore(tiny.store)
    loaded = load_model(model)
    arguments = (store.read("coarse", 11), store.variables("coarse"), store.static_values("fine"), store.grid("coarse"), store.times[11])
    whole, tiled = loaded.predict(*arguments), loaded.predict(*arguments, tile=8, halo=4)
    assert whole.shape == tiled.shape == (2, 48, 96) and np.isfinite(tiled).all()
    assert np.abs(whole[0] - tiled[0]).mean() < 0.1 * whole[0].std()
