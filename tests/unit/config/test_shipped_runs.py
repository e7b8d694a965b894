"""What ships is walked: every model and every task of every shipped run, at its real size, on cells of its real grids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch

from orbit2.config.dataset import DatasetConfig
from orbit2.config.load import CONFIG_ROOT, load, read_yaml
from orbit2.config.network import ArchitectureConfig
from orbit2.config.schema import DownscaleConfig, RunConfig
from orbit2.data.transforms import Normaliser
from orbit2.downscale.cut import HostInputs
from orbit2.downscale.predictor import Downscaler
from orbit2.grid import Grid, named
from orbit2.model.build import Downscaling, build
from orbit2.model.geometry import Geometry
from orbit2.model.inspect import forward_flops, vocabulary
from orbit2.model.tiles import Tiling, Window, tiles
from orbit2.model.transfer import transfer
from tests.data.shipped import RUNS

MODELS = sorted((CONFIG_ROOT / "models").glob("*.yaml"))
SMALL, HALO = (6, 10), 2  # coarse cells of the pieces that untiled grids, and tiles of more than MANY cells, are looked at in
MANY = 10_000
WALKED: set[str] = set()  # runs include one another: what is word for word the same is walked once


def new(run: RunConfig, what: str, model: str, *others: DownscaleConfig | DatasetConfig) -> bool:
    """Whether this was not walked for another run."""
    lineage = run.lineage(model)
    parts = [run.models[name].model_dump_json() for name in lineage] + [other.model_dump_json() for other in others]
    data = [run.datasets[key].model_dump_json() for name in lineage for key in run.models[name].datasets]
    key = " ".join([what, *parts, *data])
    fresh = key not in WALKED
    WALKED.add(key)
    return fresh


def made(run: RunConfig, name: str) -> Downscaling:
    """Model `name` as training begins it, every path of it awake: from random weights, or from those of its parent."""
    section = run.models[name]
    torch.manual_seed(len(run.lineage(name)))
    model = build(run.architecture_of(name), *vocabulary(run, name))
    km = sorted({round(named(run.datasets[key].coarse_grid).km, 6) for key in section.datasets})
    model.set_scale(km, torch.rand(len(km), len(model.outputs)) + 0.5)
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():  # layers that begin at zero would hide what lies before them
                torch.nn.init.normal_(parameter, std=0.02)
    return model


def downscaler(run: RunConfig, name: str, model: Downscaling) -> Downscaler:
    section = run.models[name]
    about = {"name": name, "region": section.region,
             "datasets": {key: {"coarse_grid": run.datasets[key].coarse_grid} for key in section.datasets}}  # fmt: skip
    moments = dict.fromkeys({*model.inputs, *model.outputs}, (1.0, 0.5))
    return Downscaler(model.eval(), Normaliser(moments, section.train.precipitation_threshold), about, torch.device("cpu"))


def fields(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).uniform(0.5, 2, shape).astype(np.float32)


def pieces(on: Downscaler, grid: Grid, task: DownscaleConfig) -> Tiling:
    """The task's own tiles; small ones of the same domain where it has none."""
    whole = on.tiling(grid, task.tile, task.halo, task.blend)
    if task.tile:
        assert len(whole) > 1
        return whole if area(task.tile) <= MANY else on.tiling(grid, SMALL, HALO, task.blend)
    assert len(whole) == 1
    return tiles(grid.shape, grid.periodic, SMALL, HALO, on.model.config.patch, on.domain(grid))


def area(tile: int | tuple[int, int]) -> int:
    rows, columns = (tile, tile) if isinstance(tile, int) else tile
    return rows * columns


def apart(tiling: Tiling) -> list[int]:
    """The first tile (across the 0 meridian on a periodic grid) and one in the middle."""
    return [0, (tiling.counts[0] // 2) * tiling.counts[1] + tiling.counts[1] // 2]


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_task_of_a_shipped_run_predicts(path: Path) -> None:
    run = load(path)
    for label, task in run.downscale.items():
        dataset = run.datasets[task.dataset]
        if run.models[task.model].imported is not None:  # its folder is not here: see test_imported_models.py and test_published_walk.py
            continue
        if not new(run, "task", task.model, task, dataset):
            continue
        on = downscaler(run, task.model, made(run, task.model))
        grid = named(dataset.coarse_grid if task.input == "coarse" else dataset.fine_grid)
        offered = dataset.inputs if task.input == "coarse" else dataset.outputs
        names = tuple(name for name in offered if name in on.inputs)
        assert names == offered, f"{label}: the model reads all that the task gives it"
        (where, seen), (s, statics) = listened(on.model), (on.refinement, len(on.model.statics))
        tiling = pieces(on, grid, task)
        time = np.array([np.datetime64(dataset.split.blocks[task.split].start, "s")])
        for index in apart(tiling):
            window, part = tiling[index], tiling.kept(index)
            shape = len(window.rows), len(window.columns)
            view = on.view(names, fields(2, statics, s * shape[0], s * shape[1]), grid, window)
            found = on.submit(HostInputs.of(fields(1, 1, len(names), *shape)), view, part, time).array()
            rows, columns = (s * (cells.stop - cells.start) for cells in part)
            assert found.shape == (1, len(on.outputs), rows, columns) and np.isfinite(found).all(), label
            assert found.std(axis=(2, 3)).min() > 0, label
        where.remove() if where else None
        if on.model.config.kind in ("reslim", "vit"):  # the others know no places
            assert len(seen) == 2 and (seen[0] - seen[1]).abs().max() > 0.01, label


def listened(model: Downscaling) -> tuple[torch.utils.hooks.RemovableHandle | None, list[torch.Tensor]]:
    """What a model adds to its tokens for where they are, from now on."""
    seen: list[torch.Tensor] = []
    if not hasattr(model, "position"):
        return None, seen
    return model.position.register_forward_hook(lambda _module, _given, found: seen.append(found.clone())), seen


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_every_model_of_a_shipped_run_learns_on_all_its_datasets(path: Path) -> None:
    run = load(path)
    for name, section in run.models.items():
        if section.imported is not None or not new(run, "model", name):
            continue
        model = made(run, name).train()
        for key in section.datasets:
            dataset = run.datasets[key]
            names = (*dataset.inputs, *dataset.statics)
            assert set(names) <= set(model.inputs) and set(dataset.outputs) & set(model.outputs)
            grid = named(dataset.coarse_grid)
            box = None if section.region is None else grid.window(section.region)
            own = section.train.tiled and area(section.train.tile) <= MANY
            tile, halo = (section.train.tile, section.train.halo) if own else (SMALL, HALO)
            coarse, statics, geometry = batch(model, grid, tiles(grid.shape, grid.periodic, tile, halo, 1, box)[0], names)
            model.zero_grad()
            channels = model.config.noise.channels
            noise = {"noise": torch.randn(len(coarse), 2, channels, *statics.shape[-2:])} if channels else {}
            clock = torch.rand(len(coarse), 4) if model.config.time_embedding else None
            model(coarse, statics, geometry, names, clock, **noise).square().mean().backward()
            for part, parameter in model.named_parameters():
                assert parameter.grad is not None and torch.isfinite(parameter.grad).all(), f"{name} on {key}: {part}"
            unmoved = [part for part, parameter in model.named_parameters() if not parameter.grad.any()]  # type: ignore[union-attr]
            assert not [part for part in unmoved if "missing" not in part], f"{name} on {key}"  # nothing is missing here


@pytest.mark.parametrize("path", RUNS, ids=lambda path: path.stem)
def test_a_fine_tuned_model_begins_where_its_parent_ended(path: Path) -> None:
    """Given what its parent reads, it predicts the same of what both predict."""
    run = load(path)
    for name, section in run.models.items():
        if section.finetune_from is None or not new(run, "transfer", name):
            continue
        parent, child = made(run, section.finetune_from).eval(), made(run, name).eval()
        both = [output for output in parent.outputs if output in child.outputs]
        lost = [k for k, output in enumerate(parent.outputs) if output not in child.outputs]
        assert parent.config.kind == "reslim"
        with torch.no_grad():  # the last smoothing mixes the outputs: what the lost ones gave to the others goes with them
            parent.decoder.smooth.weight[:, lost] = 0  # type: ignore[union-attr, operator]
        report = transfer(parent, child)
        assert both and set(report.kept) == {*parent.inputs, *both} and child.inputs[: len(parent.inputs)] == parent.inputs
        grid = named(run.datasets[section.datasets[0]].coarse_grid)
        box = None if section.region is None else grid.window(section.region)
        coarse, statics, geometry = batch(parent, grid, tiles(grid.shape, grid.periodic, SMALL, HALO, 1, box)[0], parent.inputs)
        with torch.inference_mode():
            old, young = (model(coarse, statics, geometry, parent.inputs) for model in (parent, child))
        for output in both:
            torch.testing.assert_close(young[:, child.outputs.index(output)], old[:, parent.outputs.index(output)], rtol=1e-4, atol=1e-5)


def batch(model: Downscaling, grid: Grid, window: Window, names: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor, Geometry]:
    s, (height, width) = model.config.refinement, (len(window.rows), len(window.columns))
    lat, lon = (torch.from_numpy(axis).float()[None] for axis in (grid.lat[window.rows], grid.lon[window.columns]))
    return (torch.from_numpy(fields(3, 1, len(names), height, width)),
            torch.from_numpy(fields(4, 1, len(model.statics), s * height, s * width)),
            Geometry(lat, lon, grid.km, grid.km / s, window.periodic))  # fmt: skip


@pytest.mark.parametrize("path", MODELS, ids=lambda path: path.stem)
def test_every_shipped_network_works(path: Path) -> None:
    """At its size without data, and with data at a width that fits here."""
    described, run = read_yaml(path), load(CONFIG_ROOT / "runs/us_finetune.yaml")
    words = vocabulary(run, "us_finetune")
    with torch.device("meta"):
        real = build(ArchitectureConfig.model_validate(described), *words)
    grid = named("us_15")
    assert forward_flops(real, grid) > 1e8
    if described.get("embed_dim", 0) > 512:
        described |= {"embed_dim": 8 * described["heads"], "depth": 2}
    torch.manual_seed(0)
    model = build(ArchitectureConfig.model_validate(described), *words).eval()
    coarse, statics, geometry = batch(model, grid, tiles(grid.shape, grid.periodic, SMALL, HALO)[0], model.inputs)
    with torch.inference_mode():
        found = model(coarse, statics, geometry)
    assert found.shape == (1, len(words[1]), *statics.shape[-2:]) and torch.isfinite(found).all()


def test_a_fine_tuned_model_is_described_with_what_its_parent_reads() -> None:
    """As training builds it: `model info` and `plan` count its parent's variables too."""
    few = "datasets.us_28km.inputs=[total_precipitation_24hr,2m_temperature_min,2m_temperature_max]"
    run = load(CONFIG_ROOT / "runs/us_finetune.yaml", [few, "datasets.us_28km.input_sources={}"])
    parent, child = (vocabulary(run, name)[0] for name in ("foundation", "us_finetune"))
    assert len(parent) == 23 and child == parent
