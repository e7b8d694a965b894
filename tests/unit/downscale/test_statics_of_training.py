"""A model predicts with the static fields that it was trained with: its folder says which, and carries those that do not ship."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from orbit2.cli import main
from orbit2.cli.models import export
from orbit2.data.pairs import PairStore
from orbit2.downscale import load_model, run
from orbit2.errors import OrbitError
from tests.data.small_downscaling import arguments, random_model, task
from tests.data.tiny_training import Tiny

ERA5 = {"source": "era5", "relief": None, "fields": ["orography"], "carried": False}


@pytest.fixture
def fields(tiny: Tiny) -> xr.Dataset:
    return PairStore(tiny.store).dataset("coarse").isel(time=[3]).load().drop_encoding()


def test_training_carries_its_statics_and_prediction_uses_them(
    tiny: Tiny, model: Path, fields: xr.Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The tiny dataset's orography is no real one: with the packaged one the same model says something else."""
    caplog.set_level(logging.WARNING)
    about = json.loads((model / "config.json").read_text())
    assert about["statics_from"]["tiny"]["carried"] and about["step_hours"] == 1.0 and "statics/tiny.nc" in about["sha256"]
    store, loaded = PairStore(tiny.store), load_model(model)
    made = loaded.downscale(fields)
    expected = loaded.predict(store.read("coarse", 3), store.variables("coarse"), store.static_values("fine"), store.grid("coarse"),
                              store.times[3])  # fmt: skip
    np.testing.assert_allclose(made["2m_temperature"].values[0], expected[0], atol=2e-3)
    assert "statics" not in caplog.text
    other = loaded.downscale(fields, static="packaged")
    assert np.abs(other["2m_temperature"].values[0] - expected[0]).max() > 0.05
    assert "packaged 0.25 degree ones, as asked for" in other.attrs["warnings"]

    (out,) = export(model, tmp_path / "published")
    np.testing.assert_array_equal(load_model(out).downscale(fields)["2m_temperature"], made["2m_temperature"])
    assert "statics/tiny.nc" in (out / "SHA256SUMS").read_text()
    (out / "statics/tiny.nc").write_bytes(b"x")
    with pytest.raises(OrbitError, match=r"statics/tiny\.nc: file damaged"):
        load_model(out)


def test_an_older_folder_still_loads_and_says_what_it_does_not_say(
    fields: xr.Dataset, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = load_model(random_model(tmp_path / "m")).downscale(fields)
    assert "older model folder" in caplog.text and "packaged 0.25 degree" in made.attrs["warnings"]


def test_statics_that_are_not_at_hand_are_a_named_choice(
    tiny: Tiny, fields: xr.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = random_model(tmp_path / "m", about={"statics_from": {"tiny": ERA5}})
    fields.to_netcdf(tmp_path / "in.nc")
    with pytest.raises(SystemExit) as stop:
        main(["downscale", str(tmp_path / "in.nc"), "--model", str(made), "-o", str(tmp_path / "out.zarr")])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and "trained with (era5) do not reach here" in error and "--static packaged" in error
    for choice in ("packaged", str(statics_file(tiny, tmp_path / "mine.nc"))):
        with pytest.raises(SystemExit) as stop:
            out = tmp_path / f"{len(choice)}.zarr"
            main(["downscale", str(tmp_path / "in.nc"), "--model", str(made), "-o", str(out), "--statics", choice])
        assert stop.value.code == 0


def statics_file(tiny: Tiny, path: Path) -> Path:
    store = PairStore(tiny.store)
    grid = store.grid("fine")
    xr.Dataset({"orography": (("lat", "lon"), store.static_values("fine")[0], {"units": "m"})},
               coords={"lat": grid.lat, "lon": grid.lon}).to_netcdf(path)  # fmt: skip
    return path


def test_a_model_of_a_region_does_not_take_others_beyond_it(tiny: Tiny, model: Path, fields: xr.Dataset, tmp_path: Path) -> None:
    copy = tmp_path / "m"
    shutil.copytree(model, copy)
    with xr.open_dataset(model / "statics/tiny.nc") as whole:
        part = whole.isel(lat=slice(8, 40), lon=slice(8, 56)).load()
    (copy / "statics/tiny.nc").unlink()
    part.to_netcdf(copy / "statics/tiny.nc")
    config: dict[str, Any] = json.loads((copy / "config.json").read_text())
    del config["sha256"]["statics/tiny.nc"]
    (copy / "config.json").write_text(json.dumps(config))
    loaded = load_model(copy)
    assert loaded.downscale(fields.isel(lat=slice(3, 9), lon=slice(3, 12)))["2m_temperature"].shape == (1, 24, 36)
    with pytest.raises(OrbitError, match=r"do not reach here.*--static packaged"):
        loaded.downscale(fields.isel(lat=slice(3, 12), lon=slice(3, 12)))


def test_a_task_on_statics_of_another_source_is_refused(tiny: Tiny, tmp_path: Path) -> None:
    other = random_model(tmp_path / "m", about={"statics_from": {"tiny": ERA5}})
    copy = tmp_path / "pairs.zarr"
    shutil.copytree(tiny.store, copy)
    meta = json.loads((copy / "zarr.json").read_text())
    meta["attributes"]["static_source"] = {"source": "packaged", "relief": None}
    (copy / "zarr.json").write_text(json.dumps(meta))
    given = {**arguments(tiny, other, task(tmp_path / "c.json", "03", "03"), tmp_path / "p.zarr"), "store": copy}
    with pytest.raises(OrbitError, match=r"static fields come from elsewhere.*got 'packaged'; allowed: era5"):
        run(**given)


def test_vegetation_for_a_still_finer_grid_comes_from_the_training(tiny: Tiny, tmp_path: Path) -> None:
    """Where the packaged fields have none, config check passed and prediction failed."""
    from orbit2.model.carried import chosen

    grid = PairStore(tiny.store).grid("fine").refine(4)
    with pytest.raises(OrbitError, match=r"does not ship.*landcover.*--static FILE"):
        chosen(tmp_path, {}, grid, ("landcover", "slope"))
    (tmp_path / "statics").mkdir()
    fine = PairStore(tiny.store).grid("fine")
    xr.Dataset({"landcover": (("lat", "lon"), np.full(fine.shape, 0.5), {"units": "1"})},
               coords={"lat": fine.lat, "lon": fine.lon}).to_netcdf(tmp_path / "statics/tiny.nc")  # fmt: skip
    file, said = chosen(tmp_path, {"statics_from": {"tiny": {**ERA5, "carried": True}}}, grid, ("landcover",))
    assert file == tmp_path / "statics/tiny.nc" and said is None
