"""Training on tiles: the tiles of a batch make one loss and one gradient, they know where they are, and runs resume."""

import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor

from orbit2.config import slices
from orbit2.config.load import load, validate
from orbit2.config.network import ArchitectureConfig, TrainConfig
from orbit2.config.schema import ModelConfig
from orbit2.data.cutting import Cutting
from orbit2.data.dataset import CPU, Batch
from orbit2.errors import OrbitError
from orbit2.model.reslim import Reslim
from orbit2.parallel.launch import Ranks
from orbit2.parallel.mesh import Mesh, Sizes
from orbit2.train import losses
from orbit2.train.auxiliary import with_auxiliary
from orbit2.train.build import Setup, cutting
from orbit2.train.losses import Objective
from orbit2.train.taken import optimise
from orbit2.train.validation import residual_scale, validate_model
from tests.data.tiny_training import NAMES, Tiny, batch_of
from tests.unit.train.test_resume import curve, train

HERE = Ranks(0, 1, torch.device("cpu"))
ALONE = Mesh(Sizes(), HERE)
TILES: dict[str, Any] = {"tile": [5, 7], "halo": 2}
EXACT = {"dropout": 0.0, "drop_path": 0.0, "conserve": True}


def setup(tiny: Tiny, folder: Path, architecture: dict[str, Any] | None = None, region: Any = None, **settings: Any) -> Setup:
    """What a run is made of, its weights shaken so that every part of the network says something."""
    path = tiny.slice(folder / "config.json", model={"region": region}, **{**TILES, "batch_size": 2, **settings})
    section = json.loads(path.read_text())
    section["architecture"] |= EXACT | (architecture or {})
    section["model"]["architecture"] = section["architecture"]
    config = validate(ModelConfig, section["model"], path)
    torch.manual_seed(0)
    made = Setup(section, config, {"tiny": tiny.store}, {"tiny": tiny.statistics}, None, HERE)
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape))
    return made


def one(batch: Batch, k: int) -> Batch:
    """Window k as a batch of its own."""
    part = slice(k, k + 1)
    assert batch.context is not None
    return replace(
        batch, coarse=batch.coarse[part], fine=batch.fine[part], statics=batch.statics[part], weights=batch.weights[part],
        clock=batch.clock[part], context=batch.context[part], samples=batch.samples[part],
        geometry=replace(batch.geometry, lat=batch.geometry.lat[part], lon=batch.geometry.lon[part]))  # fmt: skip


def gradients(made: Setup, batches: list[Batch]) -> tuple[float, list[Tensor]]:
    """(loss, every gradient): the batches' sums over the denominators of all of them."""
    model = made.model.train()
    model.zero_grad()
    found = []
    for batch in batches:
        prediction = model(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)
        periodic, scale = batch.geometry.periodic, model.output_scale
        part = made.objective.terms(prediction, batch.fine, batch.weights, periodic, scale, batch.context)
        own = model.auxiliary(batch.coarse, batch.variables, batch.fine, batch.weights, periodic) if isinstance(model, Reslim) else None
        found.append((part, own))
    shared = torch.stack([part.packed() for part, _ in found]).sum(0)
    loss = torch.stack([losses.combine(part, shared, made.channel_weights, made.objective.prior_weight)[0] for part, _ in found]).sum()
    if found[0][1] is not None:
        loss = loss + 0.1 * sum(own[0] for _, own in found) / sum(own[1].detach() for _, own in found)
    loss.backward()
    return float(loss.detach()), [p.grad.clone() if p.grad is not None else torch.zeros_like(p) for p in model.parameters()]


KINDS = {
    "bayesian_tv": ({}, {"tv_weight": 0.5}),
    "spectral": ({}, {"loss": "spectral", "spectral_segment": 16, "spectral_weight": 1.0}),
    "perceptual": ({}, {"loss": "perceptual", "perceptual_weight": 1.0}),
    "compression": ({"compression": {"mode": "budget", "ratio": 4, "max_leaf": 4}}, {}),
    "unet": ({"kind": "unet", "width": 4, "levels": 2}, {}),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_of_tiles_has_the_loss_and_gradient_of_its_tiles_one_by_one(tiny: Tiny, tmp_path: Path, kind: str) -> None:
    architecture, settings = KINDS[kind]
    if kind == "unet":
        only = {"embed_dim", "depth", "heads", "decoder_depth", "residual_width", "residual_blocks", "dropout", "drop_path"}
        defaults = {key: ArchitectureConfig.model_fields[key].default for key in only}
        architecture = defaults | architecture
    made = setup(tiny, tmp_path, architecture, **settings)
    batch = batch_of(made.steps, 0)
    batch.fine[:, 0, 3:9, 5:20] = torch.nan  # part of every window, so of unequal parts of the cores
    batch.fine[4, 1] = torch.nan
    assert len(batch.samples) == 24 and len({tuple(w.flatten().tolist()) for w in batch.weights > 0}) > 2
    loss, whole = gradients(made, [batch])
    again, summed = gradients(made, [one(batch, k) for k in range(24)])
    assert again == pytest.approx(loss, rel=1e-6)
    differences = [a - b for a, b in zip(whole, summed, strict=True)]
    norm = float(torch.cat([g.flatten() for g in whole]).norm())
    rounding = 3e-6 if kind == "unet" else 1e-6  # whose convolutions sum over every fine cell in float32
    assert float(torch.cat([d.flatten() for d in differences]).norm()) < rounding * norm
    for (name, _), a, difference in zip(made.model.named_parameters(), whole, differences, strict=True):
        assert float(difference.norm()) <= 1e-5 * max(float(a.norm()), 1e-3 * norm), name


def test_a_step_of_the_trainer_counts_seams_once(tiny: Tiny, tmp_path: Path) -> None:
    made = setup(tiny, tmp_path, tv_weight=5.0, clip=1e9)
    batch = batch_of(made.steps, 0)
    loss, expected = gradients(made, [one(batch, k) for k in range(len(batch.samples))])
    assert loss != pytest.approx(gradients(made, [replace(batch, context=None)])[0], rel=1e-4)  # the seams' pairs are felt
    record = optimise(made, batch, 0)
    assert record["loss"] == pytest.approx(loss, rel=1e-6)
    for (name, parameter), gradient in zip(made.model.named_parameters(), expected, strict=True):
        assert parameter.grad is None or torch.allclose(parameter.grad, gradient, rtol=1e-4, atol=1e-6), name


@pytest.mark.parametrize("region", [None, [-50, 70, 20, 200]])
@pytest.mark.parametrize("loss", ["bayesian_tv", "mae", "quantile", "crps"])
def test_all_tiles_have_the_terms_of_the_whole_field(tiny: Tiny, tmp_path: Path, loss: str, region: Any) -> None:
    """The same predictions, cut or not: equal sums, total variation across the seams included, whatever is masked."""
    made = setup(tiny, tmp_path, {}, region, loss=loss, halo=1, ensemble=3, spectral_weight=0.0)
    pairs, index = made.training[0], int(made.training[0].indices[2])
    sample = pairs.batch([index])
    generator = torch.Generator().manual_seed(0)
    shape = (3, *sample.fine.shape) if loss == "crps" else sample.fine.shape
    prediction = torch.randn(shape, dtype=torch.float64, generator=generator).requires_grad_()
    target = torch.randn(sample.fine.shape, dtype=torch.float64, generator=generator)
    target[torch.rand(target.shape, generator=generator) < 0.2] = torch.nan
    whole = made.objective.terms(prediction, target, sample.weights, sample.geometry.periodic)
    parts = []
    for window, piece in zip(Cutting((5, 7), 1).tiling(pairs.whole), pairs.pieces(index, Cutting((5, 7), 1)), strict=True):
        batch = piece.to(CPU)
        cut, seen = window.take(prediction, 4), window.take(target, 4)
        parts.append(made.objective.terms(cut, seen, batch.weights, batch.geometry.periodic, context=batch.context))
    assert len(parts) >= 4
    for name in ("data", "data_weight", "prior", "prior_weight"):
        if name.startswith("prior") and loss not in ("bayesian_tv", "crps"):
            continue
        expected, found = getattr(whole, name), torch.stack([getattr(part, name) for part in parts]).sum(0)
        if name.startswith("prior") and loss == "crps":
            expected, found = expected[[0, 2]], found[[0, 2]]  # log power, whose segments lie within one tile, is left out
        assert torch.allclose(found, expected, rtol=1e-12, atol=0), name
        if expected.requires_grad:
            (one_way,), (other) = torch.autograd.grad(expected.sum(), prediction, retain_graph=True), torch.autograd.grad(
                found.sum(), prediction, retain_graph=True)  # fmt: skip
            assert torch.allclose(one_way, other[0], rtol=1e-12, atol=1e-14)


def test_a_tile_knows_where_it_is(tiny: Tiny, tmp_path: Path) -> None:
    made = setup(tiny, tmp_path)
    model, batch = made.model.eval(), one(batch_of(made.steps, 0), 0)
    place = batch.geometry

    def predicted(lat: float, lon: float) -> Tensor:
        moved = replace(place, lat=place.lat + lat, lon=place.lon + lon)
        with torch.no_grad():
            result: Tensor = model(batch.coarse, batch.statics, moved, batch.variables, batch.clock)
        return result

    here = predicted(0, 0)
    assert torch.allclose(predicted(0, 360), here, atol=1e-4)
    for lat, lon in ((0, 15), (0, 180), (15, 0)):
        assert float((predicted(lat, lon) - here).abs().max()) > 1e-2


def test_tiles_of_one_batch_do_not_see_each_other(tiny: Tiny, tmp_path: Path) -> None:
    made = setup(tiny, tmp_path, tiles_per_sample=4, batch_size=3)
    model, batch = made.model.eval(), batch_of(made.steps, 1)
    assert len({(float(a), float(b)) for a, b in zip(batch.geometry.lat[:, 0], batch.geometry.lon[:, 0], strict=True)}) > 4
    with torch.no_grad():
        together = model(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)
        for k in range(len(batch.samples)):
            own = one(batch, k)
            alone = model(own.coarse, own.statics, own.geometry, own.variables, own.clock)
            assert torch.allclose(together[k], alone[0], atol=1e-4)


def test_trains_on_tiles_and_resumes_to_the_bit(tiny: Tiny, tmp_path: Path) -> None:
    settings: dict[str, Any] = {**TILES, "tiles_per_sample": 3, "steps": 24, "checkpoint_every": 12, "validate_every": 12}
    straight = train(tiny, tmp_path, **settings)
    scores = [r["validation_loss"] for r in curve(tmp_path) if "validation_loss" in r]
    assert scores[-1] < 0.95 and scores[-1] < scores[0]
    for name in ("step-00000024", "best-00000024"):
        shutil.rmtree(tmp_path / "checkpoints" / name)
    shutil.rmtree(tmp_path / "model")
    resumed = train(tiny, tmp_path, **settings)
    assert all(torch.equal(tensor, resumed[name]) for name, tensor in straight.items())


def test_fine_tuning_a_region_on_tiles(tiny: Tiny, tmp_path: Path) -> None:
    train(tiny, tmp_path / "parent", steps=2)
    section = {"finetune_from": "tiny", "region": [-30, 60, 20, 200]}
    train(tiny, tmp_path / "child", parent=tmp_path / "parent" / "model", model=section, steps=4, tile=4, halo=2)
    assert all(0 < r["validation_loss"] < 1.5 for r in curve(tmp_path / "child") if "validation_loss" in r)


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[tuple[int, ...]]]:
    """Shapes of every coarse batch that a Reslim sees."""
    seen: list[tuple[int, ...]] = []
    real = Reslim.forward

    def watched(self: Reslim, coarse: Tensor, *arguments: Any) -> Tensor:
        seen.append(tuple(coarse.shape))
        return real(self, coarse, *arguments)

    monkeypatch.setattr(Reslim, "forward", watched)
    yield seen


def test_validation_goes_tile_by_tile_and_scores_the_same_cells(tiny: Tiny, tmp_path: Path, shapes: list[tuple[int, ...]]) -> None:
    bare = setup(tiny, tmp_path / "bare", {"conserve": False})
    bare.model.output_scale.zero_()  # the network off: what is left is local, so tiles and whole are the same field
    scores = [validate_model(bare.model, bare.validation, None, ALONE, cutting) for cutting in (None, Cutting((5, 7), 3))]
    assert shapes[0] == (1, 3, 12, 24) and set(shapes[1:]) == {(1, 3, 11, 13)} and len(shapes) == 13
    assert scores[0]["validation_loss"] == pytest.approx(1, rel=1e-5)
    for name in NAMES:
        assert scores[1]["validation_ratio"][name] == pytest.approx(scores[0]["validation_ratio"][name], rel=1e-5)
    everywhere = Cutting(6, 12)  # windows of the whole globe: the network itself predicts the same
    net = setup(tiny, tmp_path / "net")
    one_way, other = (validate_model(net.model, net.validation, None, ALONE, cut)["validation_loss"] for cut in (None, everywhere))
    assert other == pytest.approx(one_way, rel=1e-5) and one_way != pytest.approx(1, rel=1e-2)


def test_unit_of_the_loss_is_that_of_whole_samples(tiny: Tiny, tmp_path: Path) -> None:
    plain, tiled = setup(tiny, tmp_path / "plain", tile=0), setup(tiny, tmp_path / "tiled")
    assert torch.equal(residual_scale(plain.model, plain.training), residual_scale(tiled.model, tiled.training))
    assert torch.equal(plain.model.output_scale, tiled.model.output_scale) and plain.cutting is None


def test_a_step_draws_the_same_shapes(tiny: Tiny, tmp_path: Path, shapes: list[tuple[int, ...]]) -> None:
    train(tiny, tmp_path, **TILES, tiles_per_sample=2, steps=8, validate_every=8)
    assert set(shapes) == {(6, 3, 10, 12), (1, 3, 10, 12)}  # moved grids have a row less: no window is the smaller for it


def test_what_makes_no_sense_is_refused() -> None:
    with pytest.raises(OrbitError, match="would not know where a tile is"):
        cutting(TrainConfig(tile=4), ArchitectureConfig(position="table"))
    assert cutting(TrainConfig(), ArchitectureConfig(position="table")) is None
    with pytest.raises(ValidationError, match="means nothing without `tile`"):
        TrainConfig(tiles_per_sample=2)
    for wrong in (-1, (4, -1), (4,), "4 x 4"):
        with pytest.raises(ValidationError):
            TrainConfig(tile=wrong)
    assert cutting(TrainConfig(tile=(0, 6), halo=1), ArchitectureConfig()) == Cutting((0, 6), 1, 2, 0)
    assert cutting(TrainConfig(tile=(0, 0)), ArchitectureConfig()) is None


def test_the_shipped_run_sees_the_cells_of_the_demo(root: Path, tiny: Tiny, tmp_path: Path) -> None:
    demo, tiled = (load(root / "config" / "runs" / f"{name}.yaml") for name in ("demo", "demo_tiles"))
    plain, settings = demo.models["reslim"].train, tiled.models["tiled"].train
    assert settings.model_dump(exclude={"tile", "halo"}) == plain.model_dump(exclude={"tile", "halo"})
    assert tiled.architecture_of("tiled") == demo.architecture_of("reslim") and tiled.datasets == demo.datasets
    section = slices.model(tiled, "tiled")["model"]["train"]
    found = train(tiny, tmp_path, **{**section, "steps": 2, "validate_every": 1, "tile": [6, 12], "precision": "fp32", "threads": 1})
    assert found and "tile 6 x 12" in (tmp_path / "model" / "card.md").read_text()


def test_own_loss_of_compression_counts_cores_only(tiny: Tiny, tmp_path: Path) -> None:
    made = setup(tiny, tmp_path, {"compression": {"mode": "budget", "ratio": 4, "max_leaf": 4}})
    batch = batch_of(made.steps, 0)
    assert isinstance(made.model, Reslim) and batch.context is not None
    results = []
    for target in (batch.fine, torch.where(batch.weights > 0, batch.fine, 99.0)):
        made.model.train()(batch.coarse, batch.statics, batch.geometry, batch.variables, batch.clock)
        results.append(with_auxiliary(torch.zeros(()), made.model, batch, target))
    assert results[0].item() == results[1].item() > 0


def test_spectral_compares_each_tile_in_its_own_core(tiny: Tiny, tmp_path: Path) -> None:
    """A wrong prediction in the halo of any window changes nothing, in the core of any one of them it does."""
    made = setup(tiny, tmp_path, loss="spectral", spectral_segment=16)
    batch = batch_of(made.steps, 0)
    objective: Objective = made.objective
    base = torch.nan_to_num(batch.fine) + 0.1
    halo = torch.where(batch.weights > 0, base, base * 7)

    def prior(y: Tensor) -> Tensor:
        return objective.terms(y, batch.fine, batch.weights, False, context=batch.context).prior

    assert torch.equal(prior(halo), prior(base))
    for k in range(len(batch.samples)):
        wrong = base.clone()
        wrong[k] = torch.where(batch.weights[k] > 0, wrong[k] * 2, wrong[k])
        assert bool((prior(wrong) != prior(base)).any())
