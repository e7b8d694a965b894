"""What would bring a training into reach that takes longer on its devices than anybody waits. Changes nothing, compares FLOPs alone."""

from __future__ import annotations

import torch

from orbit2.config.network import CompressionConfig
from orbit2.config.schema import RunConfig
from orbit2.grid import Grid, named
from orbit2.model.build import build as build_model
from orbit2.model.inspect import build, forward_flops, vocabulary
from orbit2.plan import search, tiling
from orbit2.plan.reach import attends

LONG = 60 * 24 * 3600.0  # seconds: two months of training without a pause
RATIO = 8.0  # tokens per leaf of the compression that is looked at
WORTH = 1.5  # times fewer FLOPs, at least, to be named


def needs(config: RunConfig, name: str, wall: float, ranks: int) -> tuple[str, ...]:
    """Science keys that would make model `name` cheaper, by its largest dataset, and devices; none where it ends within LONG."""
    if wall <= LONG:
        return ()
    section = config.models[name]
    grid = max((named(config.datasets[key].coarse_grid) for key in section.datasets), key=lambda one: one.shape[0] * one.shape[1])
    changes = []
    for key, value, times in (_tiles(config, name, grid), _compression(config, name, grid)):
        if times >= WORTH:
            changes.append(f"{key}: {value} (1/{times:.{0 if times >= 2 else 1}f} of the FLOPs)")
    devices = f"{-(-wall * ranks // LONG):,.0f} devices instead of {ranks:,}, where a step has samples for them"
    return (*changes, devices)


def _tiles(config: RunConfig, name: str, grid: Grid) -> tuple[str, str, float]:
    """The best of halves, thirds ... of a sample's sides, for a network whose attention reads all of it."""
    section, built, key = config.models[name], build(config, name), f"models.{name}.train.tile"
    if not attends(built.config) or built.config.position == "table" or section.train.tiled:
        return key, "", 1.0
    whole = tiling.training(grid, section.region, 0, 0, built.config.patch)
    costs = {}
    for tile in search.parts_of((whole.window.shape[0], whole.window.shape[1]), built.config.patch):
        cut = tiling.training(grid, section.region, tile, section.train.halo, built.config.patch)
        costs[tile] = forward_flops(built, cut.window) * len(cut.tiling)
    best = min(costs, key=lambda tile: costs[tile])
    return key, str(list(best)), forward_flops(built, whole.window) / costs[best]


def _compression(config: RunConfig, name: str, grid: Grid) -> tuple[str, str, float]:
    section, architecture = config.models[name], config.architecture_of(name)
    key = f"models.{name}.architecture.compression"
    if architecture.kind != "reslim" or architecture.compression.active or section.finetune_from is not None:
        return key, "", 1.0
    tile = section.train.tile if section.train.tiled else 0
    window = tiling.training(grid, section.region, tile, section.train.halo, architecture.patch).window
    compressed = architecture.model_copy(update={"compression": CompressionConfig(mode="budget", ratio=RATIO)})
    with torch.device("meta"):
        fewer = build_model(compressed, *vocabulary(config, name))
    return key, f"{{mode: budget, ratio: {RATIO:g}}}", forward_flops(build(config, name), window) / forward_flops(fewer, window)
