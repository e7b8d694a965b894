"""A training step and a prediction let the host run ahead of a device: no call that would wait for it is made, and nothing bad is kept."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from orbit2.config.load import validate
from orbit2.config.schema import ModelConfig
from orbit2.data.dataset import CPU, Packed
from orbit2.data.packing import MISSING
from orbit2.downscale.predictor import Downscaler
from orbit2.errors import OrbitError
from orbit2.parallel.launch import Ranks
from orbit2.train import step as steps
from orbit2.train import trainer
from orbit2.train.build import Setup
from orbit2.train.taken import read, take
from orbit2.train.validation import predicted
from tests.data.tiny_training import Tiny
from tests.data.waits import WaitsError, no_waiting

TILES = {"tile": [5, 7], "halo": 2, "tiles_per_sample": 4}
MEMBERS = {"loss": "crps", "ensemble": 2, "spectral_weight": 0.1, "spectral_segment": 16, "difference_weight": 0.1, "rain_weight": 0.1}
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "plain": ({"tv_weight": 0.1}, {"time_embedding": True}),
    "accumulated": ({"accumulate": 3, "loss": "huber"}, {}),
    "spectral-compressed-tiles": ({"loss": "spectral", "spectral_segment": 8, **TILES},
                                  {"compression": {"mode": "budget", "ratio": 2, "max_leaf": 4}}),
    "compressed-accumulated": ({"accumulate": 3}, {"compression": {"mode": "budget", "ratio": 4, "max_leaf": 4}}),
    "quantile-conserved": ({"loss": "quantile"}, {"conserve": "additive"}),
    "perceptual": ({"loss": "perceptual", "perceptual_steps": 2}, {"conserve": True}),
    "members": (MEMBERS, {"conserve": True}),
    "members-tiles": ({**MEMBERS, **TILES}, {}),
    "table": ({}, {"position": "table", "table_shape": [5, 7]}),
    "vit": ({}, {"kind": "vit"}),
    "unet": ({}, {"kind": "unet", "width": 4, "levels": 1}),
    "conv": ({}, {"kind": "conv", "width": 4, "layers": 2}),
}  # fmt: skip


def setup(tiny: Tiny, folder: Path, train: dict[str, Any], architecture: dict[str, Any], device: torch.device = CPU) -> Setup:
    section = json.loads(tiny.slice(folder / "config.json", **train).read_text())
    kind = architecture.get("kind", "reslim")
    base = section["architecture"] if kind in ("reslim", "vit") else {}
    if kind == "vit":
        base = {k: v for k, v in base.items() if not k.startswith("residual")}
    section["architecture"] = {**base, **architecture}
    section["model"]["architecture"] = section["architecture"]
    made = Setup(section, validate(ModelConfig, section["model"], "tiny"), {"tiny": tiny.store}, {"tiny": tiny.statistics}, None,
                 Ranks(0, 1, device))  # fmt: skip
    scales = torch.stack([made.model.scale_at(pairs.store.grid("coarse").km) for pairs in made.training])
    made.objective.prepare(made.training, scales, made.here)
    return made


def holed(packed: Packed) -> Packed:
    """Some of what is stored missing, as the loader would say it."""
    fine = packed.fine.clone()
    fine[..., :3, :5] = MISSING
    if packed.coarse is None:
        return replace(packed, fine=fine, gaps=(packed.gaps[0], (True,) * fine.shape[1]))
    coarse = packed.coarse.clone()
    coarse[:, 0, :2, :3] = MISSING
    return replace(packed, coarse=coarse, fine=fine, gaps=((True, False), (True,) * fine.shape[1]))


@pytest.mark.parametrize("case", CASES)
def test_a_step_and_a_prediction_wait_for_nothing(tiny: Tiny, tmp_path: Path, case: str) -> None:
    made = setup(tiny, tmp_path, *CASES[case])
    for number in range(2):
        loaded: list[Packed] = made.steps[number]  # type: ignore[assignment]
        for parts in (loaded, [holed(part) for part in loaded]):
            batches = [part.to(CPU) for part in parts]  # what the device keeps of a view is there from now on
            with no_waiting():
                taken = take(made, parts, number)
                with torch.no_grad():
                    found = predicted(made.model, batches[0])
            assert read([taken])[0]["gradient_norm"] > 0 and bool(torch.isfinite(found).all())


def test_what_the_host_foretells_is_what_a_look_finds(tiny: Tiny, tmp_path: Path) -> None:
    for case in ("plain", "spectral-compressed-tiles", "vit"):
        made = setup(tiny, tmp_path / case, *CASES[case])
        for number in range(4):
            for part in made.steps[number]:
                for packed, incomplete in ((part, False), (holed(part), True)):
                    batch = packed.to(CPU)
                    assert batch.missing is not None and batch.cores is not None
                    found = made.model.gaps(batch.coarse, batch.variables)
                    known = made.model.gaps_from(batch.missing, batch.variables)
                    assert found == known if not incomplete else (known.inputs, known.interpolated) >= (found.inputs, found.interpolated)
                    looked = predicted(made.model.eval(), replace(batch, missing=None))
                    torch.testing.assert_close(predicted(made.model.eval(), batch), looked, atol=1e-5, rtol=1e-5)
                    for weights, (rows, columns) in zip(batch.weights[:, 0], batch.cores, strict=True):
                        inside = torch.zeros_like(weights, dtype=torch.bool)
                        inside[rows, columns] = True
                        assert torch.equal(inside, weights > 0)


@pytest.mark.parametrize("call", [lambda x: x.tolist(), lambda x: bool(x.any()), lambda x: x[x > 0], lambda x: x.nonzero(),
                                  lambda x: x.cpu(), lambda x: torch.tensor([1.0]), lambda x: x.sum().item(),
                                  lambda x: float(x.sum())])  # fmt: skip
def test_waiting_is_noticed(call: Any) -> None:
    with pytest.raises(WaitsError), no_waiting():
        call(torch.ones(3))


def spoilt(monkeypatch: pytest.MonkeyPatch, at: int) -> None:
    """Let the loss of step `at` (counted from 0) and of what follows it be infinite."""
    seen = []

    def bad(setup: Setup, *given: Any) -> tuple[Tensor, Tensor]:
        shown, own = steps.gradients(setup, *given)
        seen.append(1)
        if len(seen) > at:
            for parameter in setup.model.parameters():
                if parameter.grad is not None:
                    parameter.grad.fill_(torch.nan)
            shown[steps.LOSS] = torch.inf
        return shown, own

    monkeypatch.setattr("orbit2.train.taken.gradients", bad)


def test_a_step_that_is_not_finite_moves_nothing(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = setup(tiny, tmp_path, {}, {})
    read([take(made, made.steps[0], 0)])
    state = {name: value.clone() for name, value in made.model.state_dict().items()}
    moments = {i: {k: v.clone() for k, v in one.items()} for i, one in made.optimizer.state_dict()["state"].items()}
    spoilt(monkeypatch, 0)
    taken = [take(made, made.steps[k], k) for k in (1, 2)]
    assert all(torch.equal(value, state[name]) for name, value in made.model.state_dict().items())
    for i, one in made.optimizer.state_dict()["state"].items():
        assert all(torch.equal(value, moments[i][key]) for key, value in one.items())
    with pytest.raises(OrbitError, match=r"step 2: the loss is not finite.*tiny:2026") as told:
        read(taken)
    assert "this step is not kept" in str(told.value)
    monkeypatch.undo()
    assert read([take(made, made.steps[1], 1)])[0]["loss"] > 0  # and it goes on from there


def run(tiny: Tiny, folder: Path, **settings: Any) -> list[dict[str, Any]]:
    trainer.run(config=tiny.slice(folder / "config.json", **settings), stores={"tiny": tiny.store}, statistics={"tiny": tiny.statistics},
                out=folder / "model", checkpoints=folder / "checkpoints")  # fmt: skip
    return [json.loads(line) for line in (folder / "checkpoints" / "metrics.jsonl").read_text().splitlines()]


def test_steps_that_are_read_together_are_the_same_steps(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one = run(tiny, tmp_path / "one", steps=12, validate_every=6)
    monkeypatch.setattr(trainer, "reads_every", lambda device: 5)
    five = run(tiny, tmp_path / "five", steps=12, validate_every=6)
    timed = {"samples_per_second", "data_seconds", "step_seconds", "seconds"}
    assert [{k: v for k, v in line.items() if k not in timed} for line in one] == [
        {k: v for k, v in line.items() if k not in timed} for line in five]  # fmt: skip
    weights = [(tmp_path / which / "model" / "weights.safetensors").read_bytes() for which in ("one", "five")]
    assert weights[0] == weights[1]


def test_nothing_bad_is_kept_though_it_is_seen_late(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"steps": 12, "validate_every": 12, "checkpoint_every": 4}
    whole = run(tiny, tmp_path / "whole", **settings)
    monkeypatch.setattr(trainer, "reads_every", lambda device: 100)
    spoilt(monkeypatch, 5)
    with pytest.raises(OrbitError, match="step 6"):  # the save after step 8 looks first
        run(tiny, tmp_path / "bad", **settings)
    assert sorted(path.name for path in (tmp_path / "bad" / "checkpoints").glob("step*")) == ["step-00000004"]
    monkeypatch.undo()
    again = run(tiny, tmp_path / "bad", **settings)
    assert again[-1]["validation_loss"] == whole[-1]["validation_loss"]


def test_a_prediction_reads_nothing_before_it_is_written(tiny: Tiny, tmp_path: Path) -> None:
    made = setup(tiny, tmp_path, *CASES["quantile-conserved"])
    device = Downscaler(made.model.eval(), made.normaliser, {}, CPU)
    batch = holed(made.training[0].packed([0])).to(CPU)
    gaps = made.model.gaps(batch.coarse, batch.variables)
    assert gaps.inputs
    device.physical(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock, gaps)  # scales are copied there once
    with torch.inference_mode(), no_waiting():
        prediction = device.physical(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock, gaps)
    absent = made.model.missing(batch.coarse, batch.variables, batch.geometry.periodic, gaps)
    assert absent is not None and 0 < int(absent.sum()) < absent.numel()
    assert torch.equal(torch.isnan(prediction), absent) and float(prediction.nan_to_num(1.0).min()) >= 0
