"""What a model is, trained or only configured: sizes, rooms, tokens, FLOPs, memory. Allocates nothing (meta device)."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from orbit2.config.network import ArchitectureConfig
from orbit2.config.schema import RunConfig
from orbit2.grid import AnyGrid, Grid, named
from orbit2.model.build import TITLES, Downscaling
from orbit2.model.build import build as build_model
from orbit2.model.flops import Count
from orbit2.model.geometry import Geometry
from orbit2.model.memory import peak_bytes
from orbit2.model.reslim import Reslim
from orbit2.notebook import NOTEBOOK

OPTIMISER = 8  # bytes per weight: two fp32 moments of AdamW


def vocabulary(config: RunConfig, name: str) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """(inputs, then statics; outputs; statics) of model `name`, as training makes them: what a parent reads comes first and stays."""
    section = config.models[name]
    if section.imported is not None:
        return section.imported.facts.inputs, section.imported.facts.outputs, section.imported.facts.statics
    datasets = [config.datasets[key] for key in section.datasets]
    older: list[str] = []
    statics: list[str] = []
    if section.finetune_from is not None:
        read, _, before = vocabulary(config, section.finetune_from)
        older, statics = list(read[: len(read) - len(before)]), list(before)
    inputs = tuple(dict.fromkeys([*older, *(v for d in datasets for v in d.inputs)]))
    known = tuple(dict.fromkeys([*statics, *(v for d in datasets for v in d.statics)]))
    outputs = section.outputs or tuple(dict.fromkeys(v for d in datasets for v in d.outputs))
    return (*inputs, *known), outputs, known


def build(config: RunConfig, name: str) -> Downscaling:
    """Model `name` of a run on the meta device."""
    with torch.device("meta"):
        return build_model(config.architecture_of(name), *vocabulary(config, name))


def rooms(model: Downscaling) -> dict[str, int]:
    """Parameters of each part that has any."""
    counts = {name: sum(p.numel() for p in module.parameters()) for name, module in model.named_children()}
    return {name: count for name, count in counts.items() if count}


def tokens(model: Downscaling, grid: AnyGrid) -> int:
    """Tokens that attention works on for coarse `grid`, before any compression; 0 for a model without attention."""
    if model.config.kind not in ("reslim", "vit", "orbit2"):
        return 0
    scale = model.config.refinement if model.config.kind == "vit" else 1
    height, width = (-(-size * scale // model.config.patch) for size in grid.shape)
    return height * width


def cache_key(model: Downscaling, grid: AnyGrid) -> tuple[Hashable, ...]:
    """What decides how much a pass of `model` on `grid` takes, whatever its weights: the same question needs one answer."""
    names = tuple(model.inputs), tuple(model.outputs), tuple(model.statics)
    return model.config.model_dump_json(), names, grid.shape, grid.periodic, grid.km


def forward_flops(model: Downscaling, grid: AnyGrid, members: int = 0) -> int:
    """FLOPs of one forward pass of one sample on `grid` (multiply and add counted apart), by torch's own formulas; of `members` of it,
    which share the trunk, where they are more than 0.

    `model` is on the meta device; interpolations and pointwise functions are not counted.
    """
    one = _pass(model, grid, min(members, 1))[0]
    return one if members < 2 else one + (members - 1) * member_flops(model, grid)


def member_flops(model: Downscaling, grid: AnyGrid) -> int:
    """FLOPs of one member of one sample, its trunk apart; 0 for a model without noise. See `forward_flops`."""
    if not isinstance(model, Reslim) or not model.config.noise.channels:
        return 0
    known = model

    def count() -> int:
        coarse, statics, geometry = _inputs(known, grid, 1)
        s = known.config.refinement
        with torch.no_grad():
            trunk = known.trunk(coarse, statics, geometry)
            noise = torch.empty(1, 1, known.config.noise.channels, grid.shape[0] * s, grid.shape[1] * s, device="meta")
            with Count() as counter:
                known.members(trunk, noise)
        return int(counter.flops)

    return NOTEBOOK.ask(("member", cache_key(model, grid)), count, int, int)


def trunk_flops(model: Downscaling, grid: AnyGrid) -> int:
    """FLOPs of what members share."""
    return forward_flops(model, grid, 1) - member_flops(model, grid)


def _pass(model: Downscaling, grid: AnyGrid, members: int = 0) -> tuple[int, int]:
    """(FLOPs, peak bytes of activations) of one forward pass of one sample: counted together, for it is the pass that takes long."""

    def count() -> tuple[int, int]:
        with Count() as counter:
            peak = _peak(model, grid, False, 1, members)
        return int(counter.flops), peak

    key = ("pass", cache_key(model, grid), *((members,) if members else ()))
    return NOTEBOOK.ask(key, count, list, lambda told: (int(told[0]), int(told[1])))


@lru_cache(256)
def operations(
    architecture: str, inputs: tuple[str, ...], outputs: tuple[str, ...], statics: tuple[str, ...], rows: int, columns: int
) -> tuple[int, int]:
    """Floating-point operations on a window of coarse cells, wherever it lies: of a forward pass, and of one member apart from its trunk;
    `architecture` is JSON."""
    with torch.device("meta"):
        model = build_model(ArchitectureConfig.model_validate_json(architecture), inputs, outputs, statics)
    window = Grid(np.linspace(0, 60, rows + 1), np.linspace(0, 60, columns + 1))
    return forward_flops(model, window), member_flops(model, window)


def activation_bytes(model: Downscaling, grid: AnyGrid, training: bool, batch: int = 1, members: int = 0) -> int:
    """Peak bytes of activations in fp32 for `batch` samples, or `members` of each, on `grid`; with `training`, of a step with gradients.

    `model` is on the meta device. Weights, inputs, optimiser state and what a library keeps for itself come on top.
    """

    if batch == 1 and not training:
        return _pass(model, grid, members)[1]
    key = ("activations", cache_key(model, grid), training, batch, *((members,) if members else ()))
    return NOTEBOOK.ask(key, lambda: _peak(model, grid, training, batch, members), int, int)


def _peak(model: Downscaling, grid: AnyGrid, training: bool, batch: int, members: int = 0) -> int:
    coarse, statics, geometry = _inputs(model, grid, batch)
    was = model.training
    model.train(training)
    known = [*model.parameters(), *model.buffers(), coarse, statics, geometry.lat, geometry.lon]
    more = {}
    if members:
        with torch.device("meta"):
            more = {"noise": torch.empty(batch, members, model.config.noise.channels, *statics.shape[2:])}
    peak = peak_bytes(lambda: model(coarse, statics, geometry, **more), [*known, *more.values()], training)
    model.train(was)
    for parameter in model.parameters():
        parameter.grad = None
    return peak


def _inputs(model: Downscaling, grid: AnyGrid, batch: int) -> tuple[Tensor, Tensor, Geometry]:
    height, width = grid.shape
    s = model.config.refinement
    with torch.device("meta"):
        coarse = torch.empty(batch, len(model.inputs), height, width)
        statics = torch.empty(batch, len(model.statics), height * s, width * s)
        geometry = Geometry(torch.empty(batch, height), torch.empty(batch, width), grid.km, grid.km / s, grid.periodic)
    return coarse, statics, geometry


def table(model: Downscaling, grids: Mapping[str, AnyGrid]) -> list[str]:
    """Lines about a model on the meta device: parameters per room, memory of its state, and its cost on each named coarse grid."""
    total = sum(p.numel() for p in model.parameters())
    lines = [f"kind          {model.config.kind} ({TITLES[model.config.kind]})", f"parameters    {total:,}"]
    lines += [f"  {room:<12}{count:>14,}" for room, count in rooms(model).items()]
    lines.append(f"state         {size(4 * total)} weights, {size(OPTIMISER * total)} optimiser, {size(4 * total)} weight average (fp32)")
    for key, grid in grids.items():
        height, width = grid.shape
        s, count = model.config.refinement, tokens(model, grid)
        lines.append(
            f"{key}: {height}x{width} -> {height * s}x{width * s}, {f'{count:,} tokens' if count else 'no tokens'}, "
            f"{forward_flops(model, grid) / 1e9:,.2f} GFLOP forward per sample"
        )
        lines.append(
            f"  activations (fp32, one sample): {size(activation_bytes(model, grid, False))} to predict, "
            f"{size(activation_bytes(model, grid, True))} to train, gradients included"
        )
    return lines


def describe(config: RunConfig, name: str) -> str:
    """A table of model `name`: rooms, tokens, FLOPs and memory on each of its datasets' coarse grids."""
    grids = {key: named(config.datasets[key].coarse_grid) for key in config.models[name].datasets}
    imported = config.models[name].imported
    if imported is not None:
        grids = {key: named(config.datasets[key].coarse_grid) for key in dict.fromkeys(
            task.dataset for task in config.downscale.values() if task.model == name)}  # fmt: skip
    said = [] if imported is None else [f"imported      {imported.folder}" + ("" if imported.there else " (not there yet)")]
    return "\n".join([f"model         {name}", *said, *table(build(config, name), grids)])


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:,.2f} GB" if count >= 1e9 else f"{count / 1e6:,.1f} MB"
