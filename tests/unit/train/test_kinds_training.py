"""Every kind of model goes through the same trainer: it learns, resumes, is fine-tuned, is saved, and downscales a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import xarray as xr
from safetensors.torch import load_file

from orbit2.cli import main
from orbit2.data.pairs import PairStore
from orbit2.downscale import load_model
from orbit2.train import run, trainer
from tests.data.tiny_training import NAMES, Tiny

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "vit": {"kind": "vit", "embed_dim": 16, "depth": 1, "heads": 2, "decoder_depth": 0, "patch": 4, "dropout": 0.1, "drop_path": 0.1},
    "unet": {"kind": "unet", "width": 4, "levels": 2},
    "conv": {"kind": "conv", "width": 6, "layers": 2},
}
every_kind = pytest.mark.parametrize("kind", ARCHITECTURES)


def train(tiny: Tiny, out: Path, kind: str, parent: Path | None = None, model: dict[str, Any] | None = None, **settings: Any) -> Path:
    config = tiny.slice(out / "config.json", model=model, **settings)
    section = json.loads(config.read_text())
    section["architecture"] = ARCHITECTURES[kind]
    if parent is None:
        section["model"]["architecture"] = ARCHITECTURES[kind]
    config.write_text(json.dumps(section))
    stores, statistics = {"tiny": tiny.store}, {"tiny": tiny.statistics}
    run(config=config, stores=stores, statistics=statistics, out=out / "model", checkpoints=out / "checkpoints", parent=parent)
    return out / "model"


@every_kind
def test_learns_and_downscales_a_file(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    folder = train(tiny, tmp_path, kind, steps=30, validate_every=15, learning_rate=5e-3)
    scores = [r["validation_loss"] for r in map(json.loads, (folder / "metrics.jsonl").read_text().splitlines()) if "validation_loss" in r]
    assert scores[-1] < 0.97 and scores[-1] < scores[0]
    assert json.loads((folder / "config.json").read_text())["architecture"]["kind"] == kind
    model = load_model(folder)
    store = PairStore(tiny.store)
    grid, coarse = store.grid("coarse"), store.read("coarse", 11)
    whole = model.predict(coarse, NAMES, store.static_values("fine"), grid, store.times[11])
    assert whole.shape == (2, 48, 96) and np.isfinite(whole).all() and whole[1].min() >= 0
    units = ("K", "mm day-1")
    names = {name: (("time", "lat", "lon"), coarse[None, i], {"units": units[i]}) for i, name in enumerate(NAMES)}
    static = tmp_path / "static.nc"
    fine = grid.refine(4)
    height = store.static_values("fine")[0]
    xr.Dataset({"orography": (("lat", "lon"), height, {"units": "m"})}, {"lat": fine.lat, "lon": fine.lon}).to_netcdf(static)
    given = xr.Dataset(names, {"time": store.times[11:12].astype("datetime64[ns]"), "lat": grid.lat, "lon": grid.lon})
    made = model.downscale(given.isel(lat=slice(None, None, -1)), static)
    np.testing.assert_allclose(made["2m_temperature"].values[0], whole[0], atol=2e-2)


@every_kind
def test_an_interrupted_run_resumes_bit_for_bit(tiny: Tiny, tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = load_file(train(tiny, tmp_path / "straight", kind, checkpoint_every=3) / "weights.safetensors")
    step = trainer.take
    taken = []

    def failing(setup: trainer.Setup, batch: Any, number: int) -> Any:
        taken.append(number)
        if len(taken) == 6:
            raise KeyboardInterrupt
        return step(setup, batch, number)

    monkeypatch.setattr(trainer, "take", failing)
    with pytest.raises(KeyboardInterrupt):
        train(tiny, tmp_path / "stopped", kind, checkpoint_every=3)
    resumed = load_file(train(tiny, tmp_path / "stopped", kind, checkpoint_every=3) / "weights.safetensors")
    assert taken[:7] == [0, 1, 2, 3, 4, 5, 3]
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items()) and straight.keys() == resumed.keys()


@every_kind
def test_is_fine_tuned_on_a_region_for_one_output(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    parent = train(tiny, tmp_path / "parent", kind, steps=4)
    section = {"finetune_from": "tiny", "region": [-30, 60, 20, 200], "outputs": ["precipitation_rate"]}
    child = train(tiny, tmp_path / "child", kind, parent=parent, model=section, steps=1, learning_rate=1e-9)
    about = json.loads((child / "config.json").read_text())
    assert "new: none" in about["origin"] and "kept: 2m_temperature" in about["origin"]
    before, after = (load_file(folder / "weights.safetensors") for folder in (parent, child))
    last = "decoder.head.weight" if kind == "vit" else "leave.weight"
    assert len(after[last]) == len(before[last]) // 2
    torch.testing.assert_close(after[last], before[last][len(after[last]) :], atol=1e-6, rtol=0)
    assert load_model(child).outputs == ("precipitation_rate",)


def test_flash_without_its_library_or_device_stops_before_the_data(tiny: Tiny, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tiny.slice(tmp_path / "config.json")
    section = json.loads(config.read_text())
    section["architecture"] |= {"attention": "flash"}  # heads of 8
    section["model"]["architecture"] |= {"attention": "flash"}
    config.write_text(json.dumps(section))
    with pytest.raises(SystemExit) as stop:
        main(["train", *tiny.command(config, tmp_path), "--device", "cpu"])
    error = capsys.readouterr().err
    assert stop.value.code == 2 and not (tmp_path / "model").exists()
    (line,) = (line for line in error.splitlines() if "attention: flash cannot be used here" in line)
    assert "install flash-attn on a GPU machine and train in bf16, or use auto" in line and "Traceback" not in error
    assert not list((tmp_path / "checkpoints").glob("step*"))
