"""timing.json of real predictions: whole, and added up over the processes that took part."""

import json
from pathlib import Path
from typing import Any

import pytest

from orbit2.data.pairs import PairStore
from orbit2.downscale import downscale_file, load_model, run
from orbit2.errors import Interrupted, OrbitError
from orbit2.grid import global_grid
from orbit2.model.inspect import build_model, forward_flops
from orbit2.signals import StopRequest
from tests.data.small_downscaling import arguments, random_model, task
from tests.data.tiny_training import Tiny, build

CUT = {"tile": [6, 12], "halo": 2, "time_block": 5, "batch": 3, "blend": 0}  # 3 blocks of times x 2 x 2 tiles


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    return build(tmp_path_factory.mktemp("tiny_timing"))


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return random_model(tmp_path_factory.mktemp("model"))


def record(out: Path) -> dict[str, Any]:
    return json.loads(out.with_suffix(".timing.json").read_text())


def work(model: Path) -> int:
    """FLOPs of 12 times on four windows of 10 x 16 cells."""
    import torch

    loaded = load_model(model).model
    with torch.device("meta"):
        same = build_model(loaded.config, loaded.inputs, loaded.outputs, loaded.statics)
    return 12 * 4 * forward_flops(same, global_grid(15.0).crop(slice(0, 10), slice(0, 16)))


def test_the_parts_of_a_prediction_are_its_whole_time(tiny: Tiny, model: Path, tmp_path: Path) -> None:
    out = tmp_path / "p.zarr"
    run(**arguments(tiny, model, task(tmp_path / "c.json", **CUT), out))
    made = record(out)
    (one,), total = made["tries"], made["total"]
    assert made["kind"] == "prediction" and made["state"] == "done" and one["items"] == 12 and total["samples"] == pytest.approx(12)
    assert sum(one["seconds"].values()) == pytest.approx(one["elapsed"], abs=0.01)
    assert {"setup", "waiting", "copy", "forward", "saving"} <= set(one["seconds"]) and one["loader"]["decoding"] > 0
    assert total["flops"] == work(model) and total["samples_per_second"] == pytest.approx(12 / total["elapsed"])


def test_blocks_and_tries_add_up(tiny: Tiny, model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out, config = tmp_path / "p.zarr", task(tmp_path / "c.json", **CUT)
    given = arguments(tiny, model, config, out)
    run(**given, block="init", receipt=tmp_path / "init.json")
    run(**given, block="0/2", receipt=tmp_path / "0.json")
    seen = iter(range(100))
    with monkeypatch.context() as patch:  # after two items somebody asks it to stop
        patch.setattr(StopRequest, "__bool__", lambda _: next(seen) > 1)
        with pytest.raises(Interrupted):
            run(**given, block="1/2", receipt=tmp_path / "1.json")
    (folder,) = tmp_path.glob(".p.zarr.*.journal")
    assert len(list(folder.glob("timing-*.json"))) == 2 and (folder / "status-1.json").is_file()
    run(**given, block="1/2", receipt=tmp_path / "1.json")
    run(**given, block="finalise")
    made = record(out)
    items = [one["items"] for one in made["tries"]]
    assert items[0] == 6 and items[1] < 6 and sum(items) == 12
    assert made["total"]["samples"] == pytest.approx(12) and made["total"]["flops"] == work(model)
    assert made["total"]["elapsed"] == pytest.approx(sum(one["elapsed"] for one in made["tries"]), rel=0.02)


def test_a_file_of_somebody_else_is_not_replaced(tiny: Tiny, model: Path, tmp_path: Path) -> None:
    (tmp_path / "p.timing.json").write_text('{"mine": 1}')
    with pytest.raises(OrbitError, match="did not write"):
        run(**arguments(tiny, model, task(tmp_path / "c.json", **CUT), tmp_path / "p.zarr"))
    assert (tmp_path / "p.timing.json").read_text() == '{"mine": 1}'


def test_a_file_of_the_user_s_own_has_it_where_that_is_asked_for(tiny: Tiny, model: Path, tmp_path: Path) -> None:
    PairStore(tiny.store).dataset("coarse").isel(time=slice(0, 3)).load().drop_encoding().to_netcdf(tmp_path / "in.nc")
    for out in ("out.zarr", "out.nc"):
        downscale_file(input=tmp_path / "in.nc", model=model, out=tmp_path / out, receipt=tmp_path / f"{out}.json")
        made = json.loads((tmp_path / f"{out}.json").read_text())
        assert made["input_file"] == "in.nc" and made["total"]["samples"] == pytest.approx(3) and made["total"]["seconds"]["forward"] > 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.nc", "out.nc", "out.nc.json", "out.zarr", "out.zarr.json"]
