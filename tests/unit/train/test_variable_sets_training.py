"""One model, two datasets with other variables, grids and statics in alternation."""

from pathlib import Path
from typing import Any

import pytest
import torch

from orbit2.config.load import validate
from orbit2.config.schema import ModelConfig
from orbit2.files import read_json, write_json
from orbit2.model import folder
from orbit2.parallel.launch import Ranks
from orbit2.train import losses, run
from orbit2.train.build import Setup
from orbit2.train.taken import optimise
from tests.data.tiny_training import batch_of
from tests.data.variable_sets import LAND, WIDE, Made, build_both, section


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    return build_both(tmp_path_factory.mktemp("sets"))


def setup(both: dict[str, Made], **changes: Any) -> Setup:
    torch.manual_seed(0)
    plan = section(augment=False, **changes)
    made = Setup(
        plan,
        validate(ModelConfig, plan["model"], "model"),
        {name: facts.store for name, facts in both.items()},
        {name: facts.statistics for name, facts in both.items()},
        None,
        Ranks(0, 1, torch.device("cpu")),
    )
    for name, parameter in made.model.named_parameters():  # as training would wake the layers that start at zero
        if name.endswith(("smooth.weight", "leave.weight", "aggregate.missing")):
            torch.nn.init.normal_(parameter, std=0.1)
    return made


def test_vocabularies_are_unions_and_batches_carry_their_own(both: dict[str, Made]) -> None:
    made = setup(both)
    assert made.model.statics == ("orography", "land_sea_mask", "slope")
    assert made.outputs == ("2m_temperature", "total_precipitation_24hr", "2m_temperature_max")
    wide, land = (pairs.batch([0]) for pairs in made.training)
    assert wide.variables == (*WIDE["inputs"], *WIDE["statics"]) and land.variables == (*LAND["inputs"], *LAND["statics"])
    assert wide.coarse.shape[1] == 5 and land.coarse.shape[1] == 4 and wide.coarse.shape[2:] != land.coarse.shape[2:]
    assert torch.isnan(wide.fine[:, 2]).all() and torch.isfinite(wide.fine[:, :2]).all()
    assert torch.isnan(land.fine[:, 0]).all() and torch.isfinite(land.fine[:, 1:, :, 8:]).all()


def test_statics_arrive_by_name(both: dict[str, Made]) -> None:
    made = setup(both)
    pairs = made.training[1]
    fields = made.normaliser.normalise(torch.from_numpy(pairs.store.static_values("fine")), ["slope", "orography"])
    given = pairs.batch([0]).statics[0]
    assert torch.equal(given[2], fields[0]) and torch.equal(given[0], fields[1]) and torch.isnan(given[1]).all()


def test_outputs_a_dataset_lacks_get_exactly_no_gradient(both: dict[str, Made]) -> None:
    made = setup(both)
    s2 = 16
    for which, lacking in ((0, 2), (1, 0)):
        batch, model = made.training[which].batch([0, 1]), made.model
        prediction = model(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)
        prediction.retain_grad()
        part = made.objective.terms(prediction, batch.fine, batch.weights, batch.geometry.periodic, model.scale(batch.geometry))
        assert part.data_weight[lacking] == 0 and part.data[lacking] == 0 and part.prior[lacking] == 0
        model.zero_grad(set_to_none=True)
        losses.combine(part, part.packed(), made.channel_weights, 0.02)[0].backward()
        assert prediction.grad is not None and (prediction.grad[:, lacking] == 0).all()
        for c in range(3):
            own = [prediction.grad[:, c], model.decoder.smooth.weight.grad[c], model.decoder.smooth.bias.grad[c],
                   model.residual.leave.weight.grad[c * s2 : (c + 1) * s2]]  # fmt: skip
            assert all((g == 0).all() == (c == lacking) for g in own)
        absent = [i for i, name in enumerate(model.inputs) if name not in batch.variables]
        for table in (model.aggregate.weight, model.aggregate.embedding, model.aggregate.bias, model.residual.enter):
            assert (table.grad[absent] == 0).all()
        assert all(torch.isfinite(p.grad).all() for p in model.parameters() if p.grad is not None)


def test_the_loss_is_the_dataset_s_own(both: dict[str, Made]) -> None:
    """Outputs without truth leave the mean over outputs to the others: each counts one half."""
    made = setup(both)
    batch = made.training[1].batch([0])
    prediction = torch.zeros(batch.fine.shape)
    scale = made.model.scale(batch.geometry)
    part = made.objective.terms(prediction, batch.fine, batch.weights, False, scale)
    total = losses.combine(part, part.packed(), made.channel_weights, 0.0)[0]
    own = []
    for c in (1, 2):
        there = torch.isfinite(batch.fine[:, c]) & (batch.weights[:, 0] > 0)
        square = ((batch.fine[:, c] / scale[c]) ** 2 * batch.weights[:, 0])[there].double().sum()
        own.append(square / batch.weights[:, 0].expand_as(there)[there].double().sum())
    assert float(total) == pytest.approx(float(sum(own)) / 2, rel=1e-5)


@pytest.mark.parametrize(
    ("kind", "loss"),
    [*((k, "bayesian_tv") for k in ("reslim", "vit", "unet", "conv")), ("reslim", "spectral"), ("reslim", "perceptual")],
)
def test_alternating_steps_train_on_both(both: dict[str, Made], loss: str, kind: str) -> None:
    made = setup(both, loss=loss, kind=kind, perceptual_steps=2)
    scales = torch.stack([made.model.scale_at(pairs.store.grid("coarse").km) for pairs in made.training])
    made.objective.prepare(made.training, scales, made.here)
    seen = set()
    for step in range(5):
        batch = batch_of(made.steps, step)
        seen.add(batch.samples[0].split(":")[0])
        assert optimise(made, batch, step)["loss"] > 0
    assert seen == {"wide", "land"}
    assert all(torch.isfinite(p).all() for p in made.model.parameters())


def test_a_whole_run_scores_every_output(both: dict[str, Made], tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", section())
    run(
        config=tmp_path / "config.json",
        stores={name: made.store for name, made in both.items()},
        statistics={name: made.statistics for name, made in both.items()},
        out=tmp_path / "model",
        checkpoints=tmp_path / "checkpoints",
    )
    _, normaliser, about = folder.load(tmp_path / "model")
    assert about["outputs"] == ["2m_temperature", "total_precipitation_24hr", "2m_temperature_max"]
    assert set(normaliser.moments) == {*WIDE["inputs"], *LAND["inputs"], *WIDE["statics"], *LAND["statics"]}
    # the first dataset that has a variable decides its normalisation, for both
    first = read_json(both["wide"].statistics)["coarse"]["total_precipitation_24hr"]["log1p_mean"]
    assert normaliser.moments["total_precipitation_24hr"][0] == first
