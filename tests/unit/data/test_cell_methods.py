"""What a sample is over time is said where it lies: in stores, in models, in predictions."""

import json
import shutil
from pathlib import Path

import numpy as np
import xarray as xr

from orbit2.data.pairs import PairStore, SideSpec, finalise, initialise, open_root
from orbit2.downscale import run as downscale
from orbit2.downscale.predictor import load_model
from orbit2.grid import global_grid
from orbit2.sources import manifest
from orbit2.train import run as train
from orbit2.variables import cell_methods
from tests.data.era5_dataset import NAMES, build, relist
from tests.data.era5_files import cds2024
from tests.data.small_downscaling import arguments, random_model, task
from tests.data.tiny_training import Tiny

DAILY = "time: mean (interval: 24 hours)"


def test_a_day_of_what_is_no_day_itself_is_its_mean() -> None:
    assert cell_methods("2m_temperature", 1) == "time: point" and cell_methods("2m_temperature", 24) == DAILY
    assert cell_methods("precipitation_rate", 24) == DAILY
    for name in ("total_precipitation_24hr", "2m_temperature_max"):
        assert cell_methods(name, 24) == cell_methods(name, 1)
    assert cell_methods("2m_temperature_max_1hr", 24) == "time: maximum (interval: 24 hours)"
    assert cell_methods("precipitation_rate", 3) == "time: mean (interval: 3 hours)" and cell_methods("2m_temperature", 3) == "time: point"
    assert cell_methods("precipitation_rate", 1) == "time: mean (interval: 1 hour)"


def test_a_store_of_daily_means_says_so(tmp_path: Path) -> None:
    resources = tmp_path / "resources"
    folder = resources / "era5" / manifest.VERSION
    folder.mkdir(parents=True)
    cds2024(folder / "hours.nc", ("t2m", "v10", "tp"), times=121)
    relist(folder)
    days = {name: {"start": f"2020-01-0{day}", "end": f"2020-01-0{day}"} for name, day in (("train", 1), ("validation", 3), ("test", 5))}
    store = PairStore(build(tmp_path, resources, frequency="daily", split={**days, "gap_days": 0}, statics=[]))
    for side, names in (("coarse", NAMES), ("fine", [NAMES[0], NAMES[2]])):
        found = store.dataset(side)
        assert {name: found[name].attrs["cell_methods"] for name in names} == dict.fromkeys(names, DAILY)
    assert not any("mask" in open_root(store.path)[side] for side in ("coarse", "fine"))  # missing cells are NaN, and nothing else


def test_stores_from_before_say_it_by_their_spacing_and_may_have_a_mask(tmp_path: Path) -> None:
    grid = global_grid(30.0)
    for hours, expected in ((24, DAILY), (6, "time: point")):
        path = tmp_path / str(hours)
        side = SideSpec(grid, ("2m_temperature",), (), np.empty((0, *grid.shape), np.float32))
        initialise(path, side, side, np.datetime64("2020-01-01", "s") + np.arange(3) * np.timedelta64(hours, "h"))
        open_root(path, "r+").create_array("coarse/mask", data=np.ones(grid.shape, np.int8), dimension_names=("lat", "lon"))
        finalise(path)
        store = PairStore(path)
        assert store.cell_methods("2m_temperature") == expected
        assert store.dataset("coarse")["2m_temperature"].attrs["cell_methods"] == expected


def test_predictions_say_what_the_store_or_the_training_was(tiny: Tiny, tmp_path: Path) -> None:
    copy = Tiny(tmp_path)
    shutil.copytree(tiny.store, copy.store)
    shutil.copy(tiny.statistics, copy.statistics)
    content = json.loads((copy.store / "zarr.json").read_text())
    content["attributes"]["cell_methods"] = {"2m_temperature": DAILY}
    (copy.store / "zarr.json").write_text(json.dumps(content))
    out = tmp_path / "prediction.zarr"
    downscale(**arguments(copy, random_model(tmp_path / "random"), task(tmp_path / "task.json", last="00"), out))
    with xr.open_zarr(out) as found:
        assert found["2m_temperature"].attrs["cell_methods"] == DAILY
        assert found["precipitation_rate"].attrs["cell_methods"] == cell_methods("precipitation_rate", 1)
    config = copy.slice(tmp_path / "config.json", steps=1)
    stores, facts = {"tiny": copy.store}, {"tiny": copy.statistics}
    train(config=config, stores=stores, statistics=facts, out=tmp_path / "model", checkpoints=tmp_path / "checkpoints")
    loaded = load_model(tmp_path / "model", "cpu")
    assert loaded.methods["2m_temperature"] == DAILY
    grid = global_grid(15.0)
    field = (("time", "lat", "lon"), np.full((1, *grid.shape), 280.0), {"units": "K"})
    rain = (("time", "lat", "lon"), np.ones((1, *grid.shape)), {"units": "mm/day", "cell_methods": "time: mean (interval: 3 hours)"})
    given = xr.Dataset(
        {"2m_temperature": field, "precipitation_rate": rain},
        coords={"time": [np.datetime64("2026-01-01", "ns")], "lat": grid.lat, "lon": grid.lon},
    )
    made = loaded.downscale(given)
    assert made["precipitation_rate"].attrs["cell_methods"] == "time: mean (interval: 3 hours)"  # the user's own word stands
