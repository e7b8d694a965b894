"""The prediction does not depend on how it was split, nor on whether inputs are read whole or by window. Bit for bit."""

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2.data.pairs import PairStore
from orbit2.door.ingest import Inputs
from orbit2.downscale import Settings, downscale_file, load_model, run, samples, timing
from orbit2.downscale.places import attributes
from orbit2.errors import OrbitError
from tests.data.small_downscaling import arguments, computed, exit_code, forked, random_model, shards, task
from tests.data.small_ranks import free_port
from tests.data.tiny_training import Tiny, build

# 3 time blocks x 3 x 4 tiles, none of them even
CUTS = {"halos thrown away": {"tile": [5, 7], "halo": 2, "time_block": 5, "batch": 3, "blend": 0},
        "blended": {"tile": [5, 7], "halo": 2, "time_block": 5, "batch": 3, "blend": 2}}  # fmt: skip


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny_split"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model"), dropout=0.2)


@pytest.fixture(scope="module", params=[pytest.param("halos thrown away", marks=pytest.mark.slow), "blended"])
def cut(request: pytest.FixtureRequest) -> dict[str, Any]:
    return CUTS[request.param]


@pytest.fixture(scope="module")
def whole(tiny: Tiny, model: Path, cut: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, all items in order."""
    out = tmp_path_factory.mktemp("whole") / "p.zarr"
    run(**arguments(tiny, model, task(out.with_suffix(".config"), **cut), out))
    return out


def test_one_shard_per_item_and_variable_holds_what_predict_says(tiny: Tiny, model: Path, cut: dict[str, Any], whole: Path) -> None:
    files = [name for name in shards(whole) if name.startswith(("2m_temperature/", "precipitation_rate/"))]
    assert len(files) == 2 * 3 * 12 and computed(whole) == list(range(36))
    store, loaded = PairStore(tiny.store), load_model(model)
    stored = xr.open_zarr(whole, consolidated=False)
    assert stored.attrs["finalised"] and stored["2m_temperature"].shape == (12, 48, 96)
    for i in (0, 7):
        frame = loaded.predict(store.read("coarse", i), store.variables("coarse"), store.static_values("fine"), store.grid("coarse"),
                               store.times[i], (5, 7), 2, cut["blend"])  # fmt: skip
        for field, name in zip(frame, loaded.outputs, strict=True):
            np.testing.assert_allclose(stored[name].values[i], field, rtol=1e-5, atol=1e-4)  # batches of 3 there, of 1 here


def test_three_blocks_and_two_ranks_write_the_same_bits(
    tiny: Tiny, model: Path, cut: dict[str, Any], whole: Path, tmp_path: Path
) -> None:
    blocks, pair = tmp_path / "b" / "p.zarr", tmp_path / "r" / "p.zarr"
    blocks.parent.mkdir()
    pair.parent.mkdir()
    config = task(tmp_path / "c.json", **cut)
    run(**arguments(tiny, model, config, blocks), block="init", receipt=tmp_path / "init.json")
    with pytest.raises(OrbitError, match="24 of 36"):
        run(**arguments(tiny, model, config, blocks), block="1/3", receipt=tmp_path / "1.json")
        run(**arguments(tiny, model, config, blocks), block="finalise")
    pids = [forked(lambda i=i: run(**arguments(tiny, model, config, blocks), block=f"{i}/3", receipt=tmp_path / f"{i}.json"))  # type: ignore[misc]
            for i in (0, 2)]  # fmt: skip
    assert [exit_code(pid) for pid in pids] == [0, 0]
    run(**arguments(tiny, model, config, blocks), block="finalise")
    assert shards(blocks) == shards(whole) and computed(blocks) == list(range(36))
    assert {"init.json", "0.json", "1.json", "2.json"} <= {p.name for p in tmp_path.iterdir()} and blocks.with_suffix(".json").is_file()

    port = str(free_port())

    def rank(number: int) -> None:
        os.environ.update(RANK=str(number), WORLD_SIZE="2", LOCAL_RANK=str(number), MASTER_ADDR="127.0.0.1", MASTER_PORT=port)
        run(**arguments(tiny, model, config, pair))

    pids = [forked(lambda n=n: rank(n)) for n in (0, 1)]  # type: ignore[misc]
    assert [exit_code(pid) for pid in pids] == [0, 0]
    assert shards(pair) == shards(whole) and computed(pair) == list(range(36)) and pair.with_suffix(".json").is_file()
    assert len(list(pair.parent.glob(".p.zarr.*.journal/*.jsonl"))) == 2


def test_reading_by_window_gives_the_same_bits(tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also across the date line, from a file whose latitude falls and whose longitude begins at -180."""
    data = PairStore(tiny.store).dataset("coarse").isel(time=[3, 4, 5]).load()
    data = data.assign_coords(lon=(data["lon"] + 180) % 360 - 180).sortby("lon").sortby("lat", ascending=False)
    data.transpose("lon", "time", "lat").drop_encoding().to_netcdf(tmp_path / "in.nc")
    settings = Settings(tile=5, halo=3, time_block=2, batch=2)
    downscale_file(input=tmp_path / "in.nc", model=model, out=tmp_path / "a.zarr", settings=settings)
    monkeypatch.setattr(samples, "KEPT_BYTES", 0)  # statics by window too
    monkeypatch.setattr("orbit2.door.ingest.Inputs.frame", lambda *_: pytest.fail("a whole field was read"))
    downscale_file(input=tmp_path / "in.nc", model=model, out=tmp_path / "b.zarr", settings=settings)
    first, second = (xr.open_zarr(tmp_path / name, consolidated=False).load() for name in ("a.zarr", "b.zarr"))
    for name in ("2m_temperature", "precipitation_rate"):
        np.testing.assert_array_equal(first[name].values, second[name].values)


def test_chunks_wider_than_tiles_are_read_once_per_band(tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = PairStore(tiny.store).dataset("coarse").isel(time=[3, 4]).load().drop_encoding()
    settings, asked = Settings(tile=4, halo=1), []
    chunks = {name: {"chunks": (1, 12, 24)} for name in data.data_vars}
    data.to_zarr(tmp_path / "in.zarr", zarr_format=3, consolidated=False, encoding=chunks)
    downscale_file(input=tmp_path / "in.zarr", model=model, out=tmp_path / "a.zarr", settings=settings)
    monkeypatch.setattr(samples, "KEPT_BYTES", 4 * 2 * 6 * 24)  # just the band of one row of tiles
    original = Inputs.cells
    monkeypatch.setattr(Inputs, "cells", lambda self, i, rows, columns: asked.append(len(columns)) or original(self, i, rows, columns))
    downscale_file(input=tmp_path / "in.zarr", model=model, out=tmp_path / "b.zarr", settings=settings)
    assert asked == [24] * (2 + 6), "a sample of two times that is compared with the training; then two times, three bands"
    assert shards(tmp_path / "a.zarr") == shards(tmp_path / "b.zarr")


@pytest.mark.parametrize("settings", [
    Settings(tile=5, halo=2), *(pytest.param(each, marks=pytest.mark.slow) for each in (Settings(), Settings(tile=5, halo=2, blend=0)))])
def test_blocks_of_a_users_file_need_no_other_step(tiny: Tiny, model: Path, tmp_path: Path, settings: Settings) -> None:
    PairStore(tiny.store).dataset("coarse").isel(time=[3, 4, 5]).load().drop_encoding().to_netcdf(tmp_path / "in.nc")
    for i in (2, 0, 1):
        assert not (tmp_path / "a.zarr").exists() or not xr.open_zarr(tmp_path / "a.zarr", consolidated=False).attrs["finalised"]
        downscale_file(input=tmp_path / "in.nc", model=model, out=tmp_path / "a.zarr", settings=settings, block=f"{i}/3")
    downscale_file(input=tmp_path / "in.nc", model=model, out=tmp_path / "b.zarr", settings=settings)
    assert xr.open_zarr(tmp_path / "a.zarr", consolidated=False).attrs["finalised"]
    assert shards(tmp_path / "a.zarr") == shards(tmp_path / "b.zarr")
    with pytest.raises(OrbitError, match="another prediction is already there"):
        downscale_file(input=tmp_path / "in.nc", model=model, out=tmp_path / "a.zarr", settings=Settings(tile=4), block="0/3")
    downscale_file(input=tmp_path / "in.nc", model=model, out=tmp_path / "a.zarr", settings=settings)  # nothing to do
    assert shards(tmp_path / "a.zarr") == shards(tmp_path / "b.zarr")
    assert xr.open_zarr(tmp_path / "a.zarr", consolidated=False).attrs["finalised"]


def test_a_regional_model_in_tiles(tiny: Tiny, tmp_path: Path) -> None:
    regional = random_model(tmp_path / "model", region=(-45, 60, 30, 200))
    config = task(tmp_path / "c.json", "03", "04", tile=3, halo=12)
    run(**arguments(tiny, regional, config, tmp_path / "p.zarr"))
    stored = xr.open_zarr(tmp_path / "p.zarr", consolidated=False)
    grid = PairStore(tiny.store).grid("fine")
    assert stored["2m_temperature"].shape == (2, 28, 44)
    assert stored["lat"].values[0] == pytest.approx(grid.lat[12]) and stored["lon"].values[0] == pytest.approx(grid.lon[8])
    everywhere = random_model(tmp_path / "other")
    run(**arguments(tiny, everywhere, task(tmp_path / "d.json", "03", "04", tile=3, halo=12), tmp_path / "q.zarr"))
    field = xr.open_zarr(tmp_path / "q.zarr", consolidated=False)["2m_temperature"].values[:, 12:40, 8:52]
    spread = np.abs(stored["2m_temperature"].values - field).mean() / field.std()
    assert spread < 0.1, "the same model on the same place sees other windows only"


def test_blocks_that_finish_together_both_find_it_complete(tiny: Tiny, model: Path, tmp_path: Path) -> None:
    """Of blended tiles: what crosses the blocks is mixed by one of them, whichever, and no journal is left behind."""
    PairStore(tiny.store).dataset("coarse").isel(time=[3, 4, 5]).load().drop_encoding().to_netcdf(tmp_path / "in.nc")
    settings = Settings(tile=5, halo=2)
    downscale_file(input=tmp_path / "in.nc", model=model, out=tmp_path / "b.zarr", settings=settings)
    for attempt in range(3):
        out = tmp_path / f"a{attempt}.zarr"

        def one(block: str, out: Path = out) -> None:
            downscale_file(input=tmp_path / "in.nc", model=model, out=out, settings=settings, block=block)

        pids = [forked(lambda i=i: one(f"{i}/3")) for i in range(3)]  # type: ignore[misc]
        assert [exit_code(pid) for pid in pids] == [0, 0, 0]
        assert xr.open_zarr(out, consolidated=False).attrs["finalised"] and shards(out) == shards(tmp_path / "b.zarr")
        assert not list(tmp_path.glob(f".{out.name}.*"))


def test_a_block_that_tells_late_leaves_no_journal(tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other block finds everything complete, and clears up, while this one has yet to tell what it took."""
    PairStore(tiny.store).dataset("coarse").isel(time=[3, 4]).load().drop_encoding().to_netcdf(tmp_path / "in.nc")
    out = tmp_path / "a.zarr"

    def one(block: str) -> None:
        downscale_file(input=tmp_path / "in.nc", model=model, out=out, settings=Settings(tile=5, halo=2), block=block)

    tell = timing.keep

    def late(*args: object) -> None:
        monkeypatch.setattr(timing, "keep", tell)
        assert exit_code(forked(lambda: one("1/2"))) == 0
        assert xr.open_zarr(out, consolidated=False).attrs["finalised"]
        tell(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(timing, "keep", late)
    one("0/2")
    assert not list(tmp_path.glob(f".{out.name}.*"))
    before = shards(out)
    left = tmp_path / f".{out.name}.{attributes(out)['signature']}.journal"
    left.mkdir()
    (left / "timing-0.json").write_text("{}")  # as an earlier version left it
    one("0/2")
    assert shards(out) == before
