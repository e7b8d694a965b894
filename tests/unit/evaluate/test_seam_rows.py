"""Tiled tasks get seam rows, with a truth or without one; untiled ones stay as they are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from orbit2 import evaluate
from orbit2.metrics import table as tables
from tests.data import scored as make


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> make.PairStore:
    return make.make_store(tmp_path_factory.mktemp("seams") / "pairs.zarr", degrees=10.0, samples=2)  # 18 x 36 -> 72 x 144


def stepped(edge: int, step: float):
    """The truth (or nearest input) plus `step` from every second column of tiles of `edge` fine cells."""

    def field(store: make.PairStore, side: str, index: int, name: str) -> np.ndarray:
        base = make.perfect(store, side, index, name) if side == "coarse" else make.bicubic(store, side, index, name)
        return base + step * ((np.arange(base.shape[1]) // edge) % 2)

    return field


def run(folder: Path, prediction: Path, store: make.PairStore, tile: object, side: str = "coarse", region: bool = False) -> pd.DataFrame:
    config = make.write_slice(folder / "slice.json", "evaluate", side=side, settings={"baselines": ["nearest", "bicubic"]})
    raw = json.loads(config.read_text())
    raw["downscale"]["tile"] = tile
    config.write_text(json.dumps(raw))
    evaluate.run(config=config, prediction=prediction, store=store.path, out=folder / "out")
    return tables.read(folder / "out" / "metrics.parquet")


def seam(frame: pd.DataFrame, model: str, metric: str, variable: str = "2m_temperature", space: str = "physical") -> pd.Series:
    found = frame[(frame.model == model) & (frame.metric == metric) & (frame.variable == variable) & (frame.space == space)]
    assert len(found) == 1, (model, metric, len(found))
    return found.iloc[0]


def test_a_step_shows_beside_the_truth(store: make.PairStore, tmp_path: Path) -> None:
    prediction = make.make_prediction(tmp_path / "p.zarr", store, field=stepped(24, 30.0), names=("2m_temperature",))
    frame = run(tmp_path, prediction, store, 6)
    own, truth = (seam(frame, model, "seam_ratio_meridians") for model in ("reslim", "(truth)"))
    assert own.value > 5 and own.ci_low > 3 and 0.7 < truth.value < 1.3
    difference = [seam(frame, model, "seam_difference_meridians").value for model in ("reslim", "(truth)")]
    assert difference[0] == pytest.approx(30, abs=difference[1] + 0.1)
    assert seam(frame, "reslim", "seam_ratio_wrap").value > 5  # 6 columns of tiles: the last has the step, the first not
    parallels = [seam(frame, model, "seam_ratio_parallels").value for model in ("reslim", "(truth)")]
    assert parallels[0] == pytest.approx(parallels[1], rel=1e-3)
    assert "tiles of 6 x 6 coarse cells, halo 8" in own.method and own.n == 2 * 5 * 72 and own.region == "global"
    assert set(frame[frame.metric.str.startswith("seam_")].model) == {"reslim", "(truth)"}
    data = xr.open_dataset(tmp_path / "out" / "seams.nc", engine="h5netcdf")
    across = data.mean_difference.sel(field="2m_temperature", direction="meridians", offset=0)
    assert across.sel(series="model").item() == pytest.approx(difference[0], rel=1e-9)
    assert list(data.lat_border.values) == [-30, 30] and list(data.lon_border.values) == [0, 60, 120, 180, 240, 300]


def test_a_task_without_a_truth_has_an_interpolation_beside_it(tmp_path: Path) -> None:
    store = make.make_store(tmp_path / "pairs.zarr", samples=1)
    prediction = make.make_prediction(tmp_path / "p.zarr", store, side="fine", field=stepped(72, 3.0))
    frame = run(tmp_path, prediction, store, [24, 18], side="fine")
    assert seam(frame, "reslim", "seam_ratio_meridians").value > 3
    assert 0.7 < seam(frame, "bicubic", "seam_ratio_meridians").value < 1.3
    assert "no truth" in frame.reference[0] and "24 x 18" in seam(frame, "reslim", "seam_ratio_wrap").method
    rain = seam(frame, "bicubic", "seam_ratio_parallels", "precipitation_rate", "log1p")
    assert np.isfinite(rain.value) and rain.n > 0


def test_no_tiles_no_rows(store: make.PairStore, tmp_path: Path) -> None:
    prediction = make.make_prediction(tmp_path / "p.zarr", store, names=("2m_temperature",))
    plain = run(tmp_path, prediction, store, 0)
    assert not plain.metric.str.startswith("seam_").any()
    assert not xr.open_dataset(tmp_path / "out" / "seams.nc", engine="h5netcdf").data_vars
    one = run(tmp_path, prediction, store, 36)  # one tile is no tiling
    assert not one.metric.str.startswith("seam_").any()
    tiled = run(tmp_path, prediction, store, 6)
    rest = tiled[~tiled.metric.str.startswith("seam_")].reset_index(drop=True)
    pd.testing.assert_frame_equal(rest, plain)


def test_a_box_is_cut_from_its_own_corner(store: make.PairStore, tmp_path: Path) -> None:
    box = (20, 60, 220, 300)  # 4 x 8 coarse cells
    step = lambda s, side, i, name: make.perfect(s, side, i, name) + 30.0 * ((np.arange(144) // 4 - 22) // 4 % 2)  # noqa: E731
    prediction = make.make_prediction(tmp_path / "p.zarr", store, box=box, names=("2m_temperature",), field=step)
    frame = run(tmp_path, prediction, store, 4)
    assert seam(frame, "reslim", "seam_ratio_meridians").value > 3 and "seam_ratio_wrap" not in set(frame.metric)
    assert set(frame[frame.metric.str.startswith("seam_ratio")].region) == {"domain"}


def test_borders_of_the_tiles_that_a_model_was_trained_on(store: make.PairStore, tmp_path: Path) -> None:
    """The configuration knows no tiles then: the prediction says which it is made of (docs/published_weights.md)."""
    prediction = make.make_prediction(tmp_path / "p.zarr", store, field=stepped(72, 30.0), names=("2m_temperature",))
    zarr.open_group(str(prediction)).attrs["trained_tiles"] = json.dumps({"div": 2, "overlap": 2})
    frame = run(tmp_path, prediction, store, 0)
    own, truth = (seam(frame, model, "seam_ratio_meridians") for model in ("reslim", "(truth)"))
    assert own.value > 5 and 0.7 < truth.value < 1.3 and "tiles of 9 x 18 coarse cells, halo 1, not mixed" in own.method
    assert seam(frame, "reslim", "seam_ratio_wrap").value > 5
    parallels = [seam(frame, model, "seam_ratio_parallels").value for model in ("reslim", "(truth)")]
    assert parallels[0] == pytest.approx(parallels[1], rel=1e-3)
