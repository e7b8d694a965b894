"""The unit of predictions and losses: each dataset's own, a function of resolution that a model folder remembers."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orbit2.config.load import validate
from orbit2.config.network import ArchitectureConfig
from orbit2.config.schema import ModelConfig
from orbit2.data.dataset import CPU
from orbit2.data.transforms import Normaliser
from orbit2.downscale.predictor import Downscaler
from orbit2.errors import OrbitError
from orbit2.grid import AnyGrid, global_grid, named
from orbit2.model import folder
from orbit2.model.build import Downscaling
from orbit2.model.build import build as build_model
from orbit2.model.geometry import Geometry
from orbit2.model.tiles import tiles
from orbit2.model.transfer import transfer
from orbit2.parallel.launch import Ranks
from orbit2.train import losses
from orbit2.train.build import Setup
from orbit2.train.checkpoint import Checkpoints
from orbit2.train.taken import optimise
from orbit2.train.validation import residual_scale
from tests.data import old_checkpoint
from tests.data.tiny_training import Tiny, batch_of
from tests.data.variable_sets import WIDE, Made, build, build_both, section
from tests.unit.train.test_tiles_training import setup

ARCHITECTURE = ArchitectureConfig(embed_dim=16, depth=1, heads=2, decoder_depth=1, residual_width=4, residual_blocks=1)
OUTPUTS = ("2m_temperature", "total_precipitation_24hr", "2m_temperature_max")
TABLE = torch.tensor([[0.1, 0.2, 0.3], [0.4, 0.2, 1.2]])
KM = (100.0, 400.0)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Made]:
    return build_both(tmp_path_factory.mktemp("scales"), spread=0.5)


def foundation(both: dict[str, Made], **changes: Any) -> Setup:
    plan = section(augment=False, loss="mse", **changes)
    config = validate(ModelConfig, plan["model"], "model")
    stores, facts = ({name: getattr(made, key) for name, made in both.items()} for key in ("store", "statistics"))
    return Setup(plan, config, stores, facts, None, Ranks(0, 1, torch.device("cpu")))


def model_of(outputs: tuple[str, ...] = OUTPUTS, kind: str = "reslim") -> Downscaling:
    torch.manual_seed(0)
    config = ARCHITECTURE if kind == "reslim" else ArchitectureConfig.model_validate({"kind": kind, "width": 4, "levels": 2})
    return build_model(config, (*OUTPUTS, "orography"), outputs, ("orography",))


def known() -> Downscaling:
    model = model_of()
    model.set_scale(KM, TABLE)
    return model


def test_interpolation_costs_one_in_every_dataset_and_variable(both: dict[str, Made]) -> None:
    """Pooled, the 30 degree set's errors would outweigh those of the 2 degree set."""
    made = foundation(both)
    assert made.model.output_scale.shape == (2, 3) and list(made.model.scale_km) == sorted(made.model.scale_km)
    for pairs, lacking in zip(made.training, (2, 0), strict=True):
        batch = pairs.batch(pairs.indices.tolist())
        base = made.model.residual.interpolation_of(batch.coarse, list(batch.variables), batch.geometry.periodic)
        fine = batch.fine.masked_fill(~torch.isfinite(base), torch.nan)
        part = made.objective.terms(base.nan_to_num(), fine, batch.weights, batch.geometry.periodic, made.model.scale(batch.geometry))
        costs = part.data / part.data_weight
        assert torch.isnan(costs[lacking])
        assert [float(c) for i, c in enumerate(costs) if i != lacking] == pytest.approx([1, 1], rel=1e-4)
        assert float(losses.combine(part, part.packed(), made.channel_weights, 0)[0]) == pytest.approx(1, rel=1e-4)
        assert torch.equal(made.model.scale(batch.geometry), made.model.scale_at(pairs.store.grid("coarse").km))
        assert batch.geometry.dataset == pairs.name
    wide, land = (residual_scale(made.model, [pairs]) for pairs in made.training)
    assert float(wide[1] / land[1]) > 1.5  # rain: the two differ
    assert torch.isfinite(made.model.output_scale).all()  # and what a set lacks has the other's
    assert made.model.scale_at(1.0)[0] == wide[0] and made.model.scale_at(1e4)[2] == land[2]


def test_one_dataset_is_as_before(tiny: Tiny, tmp_path: Path) -> None:
    made = setup(tiny, tmp_path)
    assert torch.equal(made.model.output_scale, residual_scale(made.model, made.training)) and made.model.output_scale.ndim == 1
    for km in (1.0, 300.0, 1e4):
        assert made.model.scale_at(km) is made.model.output_scale


def test_between_resolutions_and_beyond_them() -> None:
    model = known()
    assert torch.equal(model.scale_at(100.0), TABLE[0]) and torch.equal(model.scale_at(400.0 * (1 + 1e-9)), TABLE[1])
    assert torch.equal(model.scale_at(1.0), TABLE[0]) and torch.equal(model.scale_at(9e3), TABLE[1])
    assert model.scale_at(200.0).tolist() == pytest.approx([0.2, 0.2, math.sqrt(0.3 * 1.2)])


@pytest.mark.parametrize("kind", ["reslim", "unet"])
def test_a_model_folder_remembers_and_predicts_at_any_resolution(tmp_path: Path, kind: str) -> None:
    model = model_of(kind=kind)
    model.set_scale(KM, TABLE)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    normaliser = Normaliser(dict.fromkeys((*OUTPUTS, "orography"), (0.0, 1.0)))
    folder.save(tmp_path, model, normaliser, {"name": "m", "hash": "0"})
    loaded, _, about = folder.load(tmp_path)
    assert about["scale_km"] == list(KM) and torch.equal(loaded.output_scale, TABLE)
    coarse, statics = torch.randn(1, 4, 12, 24), torch.randn(1, 1, 48, 96)
    shape = Geometry.of(global_grid(15.0), 4)
    details = []
    for km in (100.0, 200.0, 400.0):
        geometry = Geometry(shape.lat, shape.lon, km, km / 4, True)
        with torch.no_grad():
            base = loaded.residual.interpolation_of(coarse, list(loaded.inputs), True)
            details.append((loaded(coarse, statics, geometry) - base) / loaded.scale(geometry)[:, None, None])
            assert torch.equal(loaded(coarse, statics, geometry), model.eval()(coarse, statics, geometry))
    if kind == "unet":  # which is not told the resolution: in units of the scale its predictions are the same
        assert all(torch.allclose(detail, details[0], atol=1e-4) for detail in details)
    about = json.loads((tmp_path / "config.json").read_text())
    about["scale_km"] = [100.0, 200.0, 400.0]
    (tmp_path / "config.json").write_text(json.dumps(about))
    with pytest.raises(OrbitError, match="weights do not fit"):
        folder.load(tmp_path)


def test_datasets_of_one_spacing_have_a_scale_each_and_others_the_mean(tmp_path: Path) -> None:
    model = model_of()
    model.set_scale((50.0, 50.01, 400.0), torch.cat([TABLE, TABLE[1:]]), ("smooth", "rough", "wide"))
    assert torch.equal(model.scale_at(50.0, "rough"), TABLE[1]) and torch.equal(model.scale_at(50.0, "smooth"), TABLE[0])
    mean = (TABLE[0] * TABLE[1]).sqrt()
    for km, dataset in ((50.0, ""), (50.0, "another"), (20.0, "")):
        assert torch.allclose(model.scale_at(km, dataset), mean)
    assert torch.allclose(model.scale_at(math.sqrt(50.01 * 400.0)), (mean * TABLE[1]).sqrt())
    shape = Geometry.of(global_grid(15.0), 4)
    geometry = Geometry(shape.lat, shape.lon, 50.0, 12.5, True, dataset="rough")
    assert torch.equal(model.scale(geometry.repeat(2)), TABLE[1]) and torch.equal(model.scale(geometry.expand(2).one(1)), TABLE[1])
    folder.save(tmp_path, model, Normaliser(dict.fromkeys((*OUTPUTS, "orography"), (0.0, 1.0))), {"name": "m", "hash": "0"})
    loaded, _, about = folder.load(tmp_path)
    assert about["scale_datasets"] == ["smooth", "rough", "wide"] and torch.equal(loaded.scale_at(50.0, "rough"), TABLE[1])
    child = model_of()
    child.set_scale((50.0, 100.0), torch.ones(2, 3), ("rough", "new"))
    transfer(model, child)  # a dataset of the parent's by its name, another one by its spacing
    assert torch.equal(child.output_scale[0], TABLE[1]) and torch.equal(child.output_scale[1], model.scale_at(100.0))


def test_one_spacing_twice_is_trained_in_two_units(tmp_path: Path) -> None:
    """In one unit for both, the smoother set would hardly count."""
    same = global_grid(30.0)
    made = foundation({"wide": build(tmp_path / "wide", same, WIDE, coast=False, spread=3.0),
                       "land": build(tmp_path / "land", same, WIDE, coast=False, spread=0.5)}, tile=[3, 6], halo=1)  # fmt: skip
    assert made.model.scale_datasets == ("wide", "land") and made.model.scale_km[0] == made.model.scale_km[1]
    for row, pairs in zip(made.model.output_scale, made.training, strict=True):
        assert torch.equal(row, residual_scale(made.model, [pairs]))
        for batch in (pairs.batch([0, 1]), pairs.packed([0], pieces=[(0, made.steps.cutting.tiling(pairs.whole)[0])]).to(CPU)):
            assert torch.equal(made.model.scale(batch.geometry), row)
    assert float(made.model.output_scale[0, 0] / made.model.output_scale[1, 0]) > 2
    whole = made.whole(made.averaged())
    assert whole is not None and whole.scale_datasets == ("wide", "land")


def test_a_prediction_has_the_scale_of_its_dataset() -> None:
    model = model_of()
    datasets = {"a": {"coarse_grid": "prism_10"}, "b": {"coarse_grid": "us_10"}}
    km = (named("prism_10").km, named("us_10").km)
    model.set_scale(km, TABLE, ("a", "b"))
    normaliser = Normaliser(dict.fromkeys((*OUTPUTS, "orography"), (0.0, 1.0)))

    def asked(grid: AnyGrid, dataset: str | None = None) -> tuple[str, str]:
        made = Downscaler(model, normaliser, {"datasets": datasets}, torch.device("cpu"), dataset=dataset)
        window = tiles(grid.shape, grid.periodic, 8, 1)[0]
        rows, columns = window.fine(4)
        view = made.view(OUTPUTS, np.zeros((1, len(rows), len(columns)), np.float32), grid, window)
        assert view.geometry.dataset == made.trained_as(grid)
        return view.geometry.dataset, made.remembering(grid)["output_scale"]

    assert asked(named("us_10"), "a") == ("a", "of dataset a")  # a task's dataset is what it says
    assert asked(named("us_10")) == ("b", "of dataset b")  # a user's file: by its cells, which prism_10's are not
    assert asked(named("prism_10").crop(slice(10, 30), slice(10, 40)))[0] == "a"
    for other in (asked(named("us_10"), "c"), asked(named("prism_10/4").crop(slice(0, 40), slice(0, 40)), "a")):  # its fine fields refined
        assert other[0] == "" and other[1].startswith("of its spacing, ")


def test_a_folder_from_before_has_one_scale(tmp_path: Path) -> None:
    model = model_of()
    model.output_scale.copy_(TABLE[1])
    folder.save(tmp_path, model, Normaliser(dict.fromkeys((*OUTPUTS, "orography"), (0.0, 1.0))), {"name": "m", "hash": "0"})
    loaded, _, about = folder.load(tmp_path)
    assert "scale_km" not in about and torch.equal(loaded.scale_at(3.0), TABLE[1])


def test_a_child_inherits_the_scale_of_its_resolution() -> None:
    child = model_of(("2m_temperature_max", "2m_temperature_min"))
    child.set_scale((200.0,), torch.tensor([[7.0, 8.0]]))
    transfer(known(), child)
    assert child.output_scale.tolist() == pytest.approx([math.sqrt(0.3 * 1.2), 8.0])
    several = model_of()
    several.set_scale((50.0, 200.0), torch.full((2, 3), 9.0))
    transfer(known(), several)
    assert torch.equal(several.output_scale[0], TABLE[0]) and float(several.output_scale[1, 0]) == pytest.approx(0.2)
    old = model_of()
    old.output_scale.copy_(TABLE[1])
    transfer(old, several)
    assert torch.equal(several.output_scale, TABLE[1].expand(2, 3))


def test_a_checkpoint_from_before_goes_on_with_its_one_scale(both: dict[str, Made], tmp_path: Path) -> None:
    made = foundation(both)
    state = made.state()
    for weights in (state["model"], state["average"]):
        weights["output_scale"] = torch.tensor([0.5, 0.6, 0.7])
    old_checkpoint.write(tmp_path, {}, 3, state, made.optimizer, made.model.config.heads)
    resumed, kept = foundation(both), Checkpoints(tmp_path, {})
    found = kept.choose()
    assert found is not None and found.step == 3
    kept.read(found, resumed.state(), resumed.convert)
    resumed.restored()
    assert resumed.model.scale_at(55.0).tolist() == pytest.approx([0.5, 0.6, 0.7])
    for step in range(2):
        assert optimise(resumed, batch_of(resumed.steps, step), step)["loss"] > 0
    assert torch.equal(resumed.averaged()["output_scale"], resumed.model.output_scale)
