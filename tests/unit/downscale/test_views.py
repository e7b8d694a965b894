"""What all times of a tile share is made once where there is room for it (on a GPU), and changes no bit."""

from pathlib import Path
from typing import Any

import pytest

from orbit2.downscale import run
from orbit2.downscale.predictor import Downscaler
from orbit2.downscale.samples import Statics
from tests.data.small_downscaling import arguments, random_model, shards, task
from tests.data.tiny_training import Tiny

CUT: dict[str, Any] = {"tile": [6, 8], "halo": 2, "time_block": 3, "batch": 2}  # 4 time blocks x 2 x 3 tiles


@pytest.mark.parametrize(("kept", "made"), [(0, 24), (1, 21), (4, 12), (6, 6), (100, 6)])
def test_a_view_is_made_once_where_there_is_room(
    tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept: int, made: int
) -> None:
    model, seen = random_model(tmp_path / "model"), {"views": 0, "statics": 0}
    plain = tmp_path / "plain.zarr"
    run(**arguments(tiny, model, task(tmp_path / "a", **CUT), plain))
    view, under = Downscaler.view, Statics.under
    size = 4 * 10 * 12 * (1 + 4 * 4)  # one static field on a window's coarse and fine cells

    def viewed(*given: Any) -> Any:
        seen["views"] += 1
        found = view(*given)
        assert found.nbytes == size
        return found

    def read(*given: Any) -> Any:
        seen["statics"] += 1
        return under(*given)

    monkeypatch.setattr(Downscaler, "view", viewed)
    monkeypatch.setattr(Statics, "under", read)
    monkeypatch.setattr("orbit2.downscale.cut.room", lambda device: kept * size)
    found = tmp_path / "kept.zarr"
    run(**arguments(tiny, model, task(tmp_path / "b", **CUT), found))
    assert shards(found) == shards(plain)
    assert seen["views"] == made and made <= seen["statics"] <= made + 1  # one is read ahead
