"""Which weights are kept: those with the least validation error, or with the least of it and of the upper tail's together."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from orbit2.config.network import TrainConfig
from orbit2.data.dataset import Batch
from orbit2.train import tails, trainer, validation
from orbit2.train.validation import choice, validate_model
from tests.data.tiny_training import NAMES, Tiny
from tests.unit.train.test_resume import train
from tests.unit.train.test_tiles_training import ALONE, setup


def test_the_tail_begins_at_the_quantile_of_the_training_truth(tiny: Tiny, tmp_path: Path) -> None:
    made = setup(tiny, tmp_path)
    (pairs,) = made.training
    batch = pairs.batch(pairs.indices.tolist())
    areas = batch.weights.expand_as(batch.fine[:, :1]).flatten().double().numpy()
    found = tails.thresholds([pairs])
    for i, value in enumerate(found[0].tolist()):
        own = batch.fine[:, i].flatten().double().numpy()
        assert value == pytest.approx(float(np.quantile(own, 0.99, weights=areas, method="inverted_cdf")), rel=1e-6)
    pairs.outputs = pairs.ground.outputs = (*NAMES, "10m_u_component_of_wind")
    made.normaliser.moments["10m_u_component_of_wind"] = (0.0, 1.0)
    assert torch.isnan(tails.thresholds([pairs])[0, 2])


def damped(truth: Tensor, limit: Tensor) -> Tensor:
    """Nearly the truth, and never an extreme: what a mean of many possible fields looks like."""
    return torch.minimum(truth, limit)


def bold(truth: Tensor, limit: Tensor) -> Tensor:
    """Extremes as they are; everything else wrong by a little."""
    return torch.where(truth > limit, truth, truth - 0.01)


@pytest.mark.parametrize("cut", [False, True])
def test_the_tail_prefers_another_model(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cut: bool) -> None:
    made = setup(tiny, tmp_path)
    limits = tails.thresholds(made.training)
    found = []
    for candidate in (damped, bold):
        monkeypatch.setattr(validation, "predicted", lambda model, batch, one=candidate: one(batch.fine, limits[0, :, None, None]))
        score = validate_model(made.model, made.validation, None, ALONE, made.cutting if cut else None, tails=limits)
        plain = validate_model(made.model, made.validation, None, ALONE, made.cutting if cut else None)
        assert score is not None and plain is not None and score.items() > plain.items() and choice(plain) == plain["validation_loss"]
        found.append(score)
    smooth, rough = found
    assert smooth["validation_loss"] < rough["validation_loss"] and smooth["validation_tail"] > rough["validation_tail"]
    assert choice(smooth) > choice(rough)
    assert rough["validation_tail"] == pytest.approx(0, abs=1e-5)


def test_the_tail_is_that_of_its_formula_and_of_interpolation_one(tiny: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = setup(tiny, tmp_path)
    limits, seen = tails.thresholds(made.training), []

    def interpolated(model: Any, batch: Batch) -> Tensor:
        base: Tensor = model.residual.interpolation_of(batch.coarse, list(batch.variables), batch.geometry.periodic)
        seen.append((batch.fine.clone(), base, batch.weights))
        return base + 0.1

    monkeypatch.setattr(validation, "predicted", interpolated)
    score = validate_model(made.model, made.validation, None, ALONE, tails=limits)
    (fine, base, weights), limit = seen[0], limits[0, :, None, None]
    dry = validation.least(NAMES, made.normaliser)

    def error(fields: Tensor) -> Tensor:
        fields = torch.maximum(torch.maximum(fields, dry), limit)
        return ((fields - torch.maximum(fine, limit)) ** 2 * weights).sum((0, 2, 3))

    assert score is not None
    assert list(score["validation_tail_ratio"].values()) == pytest.approx((error(base + 0.1) / error(base)).sqrt().tolist(), rel=1e-4)
    assert score["validation_tail"] == pytest.approx(sum(score["validation_tail_ratio"].values()) / 2)


def test_a_tail_that_no_validation_sample_has_says_nothing() -> None:
    assert choice({"validation_loss": 0.5, "validation_tail": float("nan")}) == 0.5
    assert not np.isfinite(choice({"validation_loss": float("nan"), "validation_tail": 0.5}))
    assert choice({"validation_loss": 0.5, "validation_tail": 0.7}) == pytest.approx(0.6)


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Validations of which the first has less error and the second less of the tail's."""
    scores = [{"validation_loss": 0.50, "validation_tail": 0.90}, {"validation_loss": 0.55, "validation_tail": 0.60}]
    names = ("validation_ratio", "validation_tail_ratio")
    each = [{name: dict.fromkeys(NAMES, value) for name, value in zip(names, one.values(), strict=True)} for one in scores]
    every = iter([{**one, **more} for one, more in zip(scores, each, strict=True)])

    def validate(*arguments: Any, tails: Tensor | None = None, **named: Any) -> dict[str, Any]:
        found = next(every)
        return found if tails is not None else {key: value for key, value in found.items() if "tail" not in key}

    monkeypatch.setattr(trainer, "validate_model", validate)
    yield


@pytest.mark.parametrize(("by", "kept"), [("error", 4), ("error_and_tail", 8)])
def test_the_run_keeps_other_weights(tiny: Tiny, tmp_path: Path, scripted: None, by: str, kept: int) -> None:
    train(tiny, tmp_path, steps=8, choose_by=by)
    about, card = json.loads((tmp_path / "model" / "config.json").read_text()), (tmp_path / "model" / "card.md").read_text()
    assert about["best_step"] == kept and [path.name for path in (tmp_path / "checkpoints").glob("best-*")] == [f"best-{kept:08d}"]
    assert about.get("chosen_by") == (by if kept == 8 else None) and ("| 0.550 | 0.600 |" in card) == (kept == 8)
    if kept == 8:
        assert 260 < about["tails"]["tiny"]["2m_temperature"] < 310 and 5 < about["tails"]["tiny"]["precipitation_rate"] < 21  # K, mm/day


def test_members_are_chosen_by_their_crps() -> None:
    with pytest.raises(ValidationError, match="by their CRPS alone"):
        TrainConfig(loss="crps", choose_by="error_and_tail")
