"""Site memory: learned from the training block, judged on the validation block, used on its own grid only."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
import zarr
from pyproj import CRS

import orbit2
from orbit2.config.load import load, model_hash
from orbit2.data.augment import coarsen
from orbit2.data.pairs import PairStore
from orbit2.data.transforms import Normaliser
from orbit2.downscale.predictor import Downscaler, load_model
from orbit2.grid import Grid, ProjectedGrid, global_grid
from orbit2.model import site as remembered
from orbit2.train import run, site
from tests.data.tiny_training import NAMES, Tiny

LAYERS = (True, "additive", "multiplicative", "softmax")


def train(
    tiny: Tiny, out: Path, parent: Path | None = None, model: dict[str, Any] | None = None, store: Path | None = None, **settings: Any
) -> Path:
    config = tiny.slice(out / "config.json", model=model, **{"site_memory": True, "steps": 2, "validate_every": 2, **settings})
    run(config=config, stores={"tiny": store or tiny.store}, statistics={"tiny": tiny.statistics}, out=out / "model",
        checkpoints=out / "checkpoints", parent=parent)  # fmt: skip
    return out / "model"


@pytest.fixture(scope="module")
def model(tiny: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return train(tiny, tmp_path_factory.mktemp("site"))


def memory_of(folder: Path) -> xr.Dataset:
    with xr.open_dataset(folder / "site_memory" / "tiny.nc") as opened:
        return opened.load()


def about(folder: Path) -> Any:
    return json.loads((folder / "config.json").read_text())["site_memory"]["tiny"]


def frame(downscaler: Downscaler, tiny: Tiny, index: int = 11, **how: Any) -> np.ndarray:
    pairs = PairStore(tiny.store)
    return downscaler.predict(pairs.read("coarse", index), pairs.variables("coarse"), pairs.static_values("fine"), pairs.grid("coarse"),
                              pairs.times[index], **how)  # fmt: skip


def without(folder: Path) -> Downscaler:
    found = load_model(folder)
    found.site_memory = False
    return found


def test_maps_are_the_least_squares_of_the_training_block(tiny: Tiny, model: Path) -> None:
    pairs, plain = PairStore(tiny.store), without(model)
    drizzle = Normaliser(plain.normaliser.moments)  # predictions have theirs; truths as the network learns from them

    def network(fields: np.ndarray, space: Normaliser) -> np.ndarray:
        return space.normalise(torch.from_numpy(fields), NAMES).double().numpy()

    predictions = np.stack([network(frame(plain, tiny, k), drizzle) for k in range(8)])
    truths = np.stack([network(pairs.read("fine", k), plain.normaliser) for k in range(8)])
    residuals, told, kept = truths - predictions, about(model), memory_of(model)
    for i, name in enumerate(NAMES):
        w = told["factors"][name]
        p, r = predictions[:, i], residuals[:, i]
        around = p - p.mean(0)
        squares = (around**2).sum(0)
        slope = np.clip((around * r).sum(0) / np.maximum(squares, 1e-300), -1, 1) * w["slope"]
        sure = squares > 1e-4  # float32 fields of the prediction say little of a smaller spread
        np.testing.assert_allclose(kept["slope"][i].values[sure], slope[sure], rtol=2e-3, atol=2e-3)
        offset = w["offset"] * r.mean(0) - kept["slope"][i].values * p.mean(0)
        np.testing.assert_allclose(kept["offset"][i].values, offset, atol=1e-3)
    assert told["factors"]["2m_temperature"]["offset"] > 0 and told["gain"]["2m_temperature"] > 0.1
    assert told["samples"] == 8 and told["judged_samples"] == 1 and told["period"] == ["2026-01-01T00:00", "2026-01-01T07:00"]


def test_it_lowers_the_error_of_frames_it_never_saw(tiny: Tiny, model: Path) -> None:
    truth = PairStore(tiny.store).read("fine", 11)
    errors = [np.sqrt(((frame(one, tiny)[0] - truth[0]) ** 2).mean()) for one in (load_model(model), without(model))]
    assert errors[0] < 0.9 * errors[1]


def test_what_is_learned_is_of_training_and_validation_alone(tiny: Tiny, model: Path, tmp_path: Path) -> None:
    changed = tmp_path / "pairs.zarr"
    shutil.copytree(tiny.store, changed)

    def spoil(index: int) -> None:
        root = zarr.open_group(str(changed), mode="r+")
        for side in ("coarse", "fine"):
            fields: Any = root[f"{side}/fields"]
            fields[index] = np.asarray(fields[index])[..., ::-1, :].copy()

    spoil(11)  # the test frame
    again = train(tiny, tmp_path / "test", store=changed)
    assert about(again) == about(model)
    xr.testing.assert_identical(memory_of(again), memory_of(model))
    spoil(9)  # the validation frame: other factors of the same maps
    other = train(tiny, tmp_path / "validation", store=changed)
    assert about(other)["gain"] != about(model)["gain"]


def test_of_a_window_of_its_grid_and_of_no_other(tiny: Tiny, model: Path) -> None:
    grid, downscaler = PairStore(tiny.store).grid("coarse"), load_model(model)
    assert downscaler.site(grid)[1].startswith("on: of tiny, 2026-01-01T00:00 to 2026-01-01T07:00")
    wrapped = grid.crop(slice(2, 8), slice(20, 28))  # across the seam
    found, said = downscaler.site(wrapped)
    assert found is not None and said.startswith("on")
    assert found.rows.tolist() == list(range(8, 32)) and found.columns.tolist() == [*range(80, 96), *range(16)]
    turned = Grid(grid.lat_edges, grid.lon_edges - 360)
    assert downscaler.site(turned)[1].startswith("on")
    for other in (grid.refine(4), global_grid(7.5), Grid(grid.lat_edges, grid.lon_edges + 1.0)):
        assert downscaler.site(other) == (None, "off: another grid than the model was trained on")
    stranger = load_model(model)
    stranger.dataset = "imerg"
    assert stranger.site(grid)[1] == "off: dataset 'imerg' is not one that the model was trained on"
    assert without(model).site(grid)[1] == "off: as asked for"


def test_window_adds_what_the_whole_grid_adds_there(tiny: Tiny, model: Path) -> None:
    found = load_model(model).site(PairStore(tiny.store).grid("coarse"))[0]
    assert found is not None
    kept = memory_of(model)
    tiling = load_model(model).tiling(PairStore(tiny.store).grid("coarse"), 5, 2)
    for window in tiling:
        rows, columns = window.fine(4)
        for whole in (True, False):
            if not whole:
                found._whole, found._last = None, None  # read window by window, as large maps are
            np.testing.assert_array_equal(found.under(window, 4).offset, kept["offset"].values[:, rows[:, None], columns])


def test_tiles_add_the_same(tiny: Tiny, model: Path) -> None:
    added = [frame(load_model(model), tiny, tile=5, halo=2, blend=0)[0] - frame(without(model), tiny, tile=5, halo=2, blend=0)[0]]
    slope = memory_of(model)["slope"][0].values
    expected = memory_of(model)["offset"][0].values + slope * without(model).normaliser.normalise(
        torch.from_numpy(frame(without(model), tiny, tile=5, halo=2, blend=0)), NAMES)[0].numpy()  # fmt: skip
    std = without(model).normaliser.moments["2m_temperature"][1]
    np.testing.assert_allclose(added[0], expected * std, atol=1e-3)


@pytest.mark.parametrize("conserve", LAYERS)
def test_block_means_stay_the_inputs(tiny: Tiny, tmp_path: Path, conserve: object, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = torch.ones(2, 3, dtype=torch.float64), torch.ones(2)  # of rain too, whatever it is worth
    monkeypatch.setattr(site, "chosen", lambda *_: everything)
    config = tiny.slice(tmp_path / "config.json", site_memory=True, steps=2, validate_every=2, precipitation_threshold=0)
    section = json.loads(config.read_text())
    section["architecture"]["conserve"] = conserve
    config.write_text(json.dumps(section))
    run(config=config, stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics}, out=tmp_path / "model",
        checkpoints=tmp_path / "c")  # fmt: skip
    told = about(tmp_path / "model")["factors"]
    assert all(row["offset"] == row["slope"] == 1 for row in told.values())
    pairs = PairStore(tiny.store)
    for how in ({}, {"tile": 5, "halo": 2}):
        made, coarse = frame(load_model(tmp_path / "model"), tiny, **how), pairs.read("coarse", 11)
        assert not np.allclose(made, frame(without(tmp_path / "model"), tiny, **how), atol=1e-3)
        again = coarsen(torch.from_numpy(made), torch.from_numpy(pairs.grid("fine").lat_weights).float(), 4).numpy()
        scale = np.array([coarse[0].std(), 1.0])[:, None, None]
        assert (np.abs(again - coarse) / np.maximum(scale, np.abs(coarse) * [[[0]], [[1]]])).max() < 1e-5


def test_killed_between_training_and_learning_learns_at_the_next_start(
    tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(site, "learn", killed)
        train(tiny, tmp_path)
    assert not (tmp_path / "model" / "config.json").exists()
    again = train(tiny, tmp_path)
    assert about(again) == about(model)
    xr.testing.assert_identical(memory_of(again), memory_of(model))


def test_stopped_while_learning_is_resumable(tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched, pytest.raises(orbit2.errors.Interrupted):
        patched.setattr(site, "learn", lambda *_: None)  # what it says when a signal came
        train(tiny, tmp_path)
    assert json.loads((tmp_path / "checkpoints" / "status.json").read_text())["state"] == "resumable"
    assert about(train(tiny, tmp_path)) == about(model)


def test_trained_on_tiles_it_covers_every_cell_once(tiny: Tiny, tmp_path: Path) -> None:
    folder = train(tiny, tmp_path, tile=5, halo=2)
    assert np.isfinite(memory_of(folder)["offset"].values).all() and (memory_of(folder)["offset"][0].values != 0).mean() > 0.99
    truth = PairStore(tiny.store).read("fine", 11)
    errors = [np.sqrt(((frame(one, tiny)[0] - truth[0]) ** 2).mean()) for one in (load_model(folder), without(folder))]
    assert errors[0] < errors[1]


@pytest.mark.parametrize("kind", ["vit", "unet", "conv"])
def test_every_kind_of_model_has_it(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    config = tiny.slice(tmp_path / "config.json", site_memory=True, steps=1, validate_every=1)
    section = json.loads(config.read_text())
    section["architecture"] = {"kind": kind, **({"embed_dim": 16, "depth": 1, "heads": 2} if kind == "vit" else {"width": 4})}
    config.write_text(json.dumps(section))
    run(config=config, stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics}, out=tmp_path / "model",
        checkpoints=tmp_path / "c")  # fmt: skip
    assert about(tmp_path / "model")["gain"]["2m_temperature"] > 0.1


def test_a_fine_tuned_model_learns_its_own_on_its_own_region(tiny: Tiny, model: Path, tmp_path: Path) -> None:
    region = {"finetune_from": "tiny", "region": [-30, 30, 300, 60], "architecture": None}
    folder = train(tiny, tmp_path, parent=model, model=region)
    kept, fine = memory_of(folder), PairStore(tiny.store).grid("fine")
    part = fine.crop(*fine.window((-30, 30, 300, 60)))
    assert remembered.grid_of(folder / "site_memory" / "tiny.nc").same_as(part)
    np.testing.assert_allclose(kept["lat"], part.lat)
    grid = PairStore(tiny.store).grid("coarse")
    assert load_model(folder).site(grid)[1].startswith("on")  # it predicts its region only
    assert not np.allclose(frame(load_model(folder), tiny), frame(without(folder), tiny))
    plain = train(tiny, tmp_path / "plain", parent=model, model=region, site_memory=False)
    assert load_model(plain).site(grid)[1] == "off: the model has none"  # its parent's is not inherited


def test_a_model_without_it_is_as_it_was(tiny: Tiny, tmp_path: Path) -> None:
    folder = train(tiny, tmp_path, site_memory=False)
    found = load_model(folder)
    assert "site_memory" not in found.about and found.remembering(PairStore(tiny.store).grid("coarse")) == {}
    assert "Site memory" not in (folder / "card.md").read_text() and not (folder / "site_memory").exists()


def test_predictions_and_card_say_whether_it_is_on(tiny: Tiny, model: Path) -> None:
    downscaler, pairs = load_model(model), PairStore(tiny.store)
    data = pairs.dataset("coarse").isel(time=[11])
    made = downscaler.downscale(data)
    assert made.attrs["site_memory"].startswith("on: of tiny")
    np.testing.assert_allclose(made["2m_temperature"].values[0], frame(downscaler, tiny)[0], atol=1e-3)
    assert without(model).downscale(data).attrs["site_memory"] == "off: as asked for"
    card = (model / "card.md").read_text()
    assert "## Site memory" in card and "2m_temperature" in card.split("## Site memory")[1].split("## Variables")[0]


def test_the_key_moves_no_hash_at_its_default() -> None:
    run_ = load("config/runs/demo.yaml", ["models.reslim.train.site_memory=false"])
    from orbit2.config import slices

    told = slices.model(run_, "reslim")
    assert "site_memory" not in told["model"]["train"]
    assert model_hash(run_, "reslim") == "52eac92a" != model_hash(load("config/runs/demo.yaml"), "reslim")


def test_cycles_need_a_year_and_hours() -> None:
    hourly = np.datetime64("2026-01-01T00", "s") + np.arange(400) * np.timedelta64(7, "h")
    daily = np.datetime64("2025-01-01T12", "s") + np.arange(400) * np.timedelta64(24, "h")
    assert site.cycles_of(hourly, 7.0) == ("day", "half_day")
    assert site.cycles_of(daily, 24.0) == ("year", "half_year")
    assert site.cycles_of(hourly[:16], 7.0) == ("day",)
    assert site.cycles_of(hourly[:15], 7.0) == ()
    assert site.cycles_of(daily[:300], 24.0) == ()


def test_cycles_of_day_and_year_are_found_whatever_the_slope() -> None:
    """The mean, the slope and the rhythm that a residual was made of come back from the sums."""
    times = np.datetime64("2025-01-01T00", "s") + np.arange(600) * np.timedelta64(15, "h")
    cycles = site.cycles_of(times, 15.0)
    assert cycles == ("year", "half_year", "day", "half_day")
    clock = site.clock(times)
    rng = np.random.default_rng(3)
    p = torch.from_numpy(rng.normal(size=(600, 1, 2, 3)))
    waves = remembered.waves(clock, cycles)
    r = 0.3 - 0.2 * p + 0.5 * waves[:, 0, None, None, None] - 0.1 * waves[:, 5, None, None, None]
    sums = site.Sums(1, site.Box(0, 0, 2, 3), 3, cycles, times)
    for k in range(600):
        sums.update(site.Box(0, 0, 2, 3), p[k], p[k] + r[k], torch.ones(1, 2, 3, dtype=torch.bool), clock[k])
    maps = sums.learned().maps(torch.ones(1, 3, dtype=torch.float64))
    made = maps.added(p.float(), clock)
    assert float((made - (p + r)).abs().max()) < 0.1  # the slope is fitted before the rhythm
    assert float((made - (p + r)).std()) < 0.1 * float(r.std())
    half = sums.learned().maps(torch.tensor([[0.5, 0.0, 0.0]], dtype=torch.float64))
    np.testing.assert_allclose(half.offset, 0.5 * sums.learned().residual, rtol=1e-5)


def test_cells_with_fewer_samples_get_less() -> None:
    times = np.datetime64("2025-01-01T00", "s") + np.arange(10) * np.timedelta64(24, "h")
    sums, clock = site.Sums(1, site.Box(0, 0, 1, 3), 3, (), times), site.clock(times)
    for k in range(10):
        truth = torch.tensor([[[1.0, 1.0 if k < 5 else torch.nan, torch.nan]]])
        sums.update(site.Box(0, 0, 1, 3), torch.zeros(1, 1, 3), truth, torch.ones(1, 1, 3, dtype=torch.bool), clock[k])
    offset = sums.learned().maps(torch.tensor([[0.5, 0.0, 0.0]], dtype=torch.float64)).offset
    np.testing.assert_allclose(offset[0, 0], [10 / 20, 5 / 15, 0.0], rtol=1e-6)


@pytest.mark.parametrize("crs", ["EPSG:5070", "+proj=ob_tran +o_proj=longlat +o_lon_p=0 +o_lat_p=39.25 +lon_0=18 +type=crs"])
def test_maps_on_a_map_projection_are_found_again(tmp_path: Path, crs: str) -> None:
    crs = CRS.from_user_input(crs).to_wkt()
    grid = ProjectedGrid(np.linspace(-2.0, 2.0, 9), np.linspace(0.0, 6.0, 13), crs)
    maps = remembered.Maps(torch.arange(96.0).reshape(1, 8, 12), torch.ones(1, 8, 12), torch.zeros(1, 0, 8, 12))
    remembered.write(tmp_path / "x.nc", grid, ["2m_temperature"], maps, {})
    known = remembered.grid_of(tmp_path / "x.nc")
    assert known.same_as(grid)
    rows, columns = remembered.positions(known, grid.crop(slice(2, 6), slice(3, 12)))
    assert rows.tolist() == list(range(2, 6)) and columns.tolist() == list(range(3, 12))
    moved, mercator = ProjectedGrid(grid.y_edges + 0.1, grid.x_edges, crs), ProjectedGrid(grid.y_edges, grid.x_edges, "EPSG:3857")
    for other in (moved, mercator, global_grid(7.5)):
        assert min(index.min() for index in remembered.positions(known, other)) == -1
