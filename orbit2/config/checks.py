"""What must hold between the sections of a run: places, positions, times. From the configuration alone; raises ValueError or OrbitError."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orbit2.config.network import ArchitectureConfig
from orbit2.errors import OrbitError
from orbit2.grid import Grid, named

if TYPE_CHECKING:
    from orbit2.config.schema import RunConfig

GEOGRAPHIC = "set architecture.position: geographic"


def regions(run: RunConfig) -> None:
    """A model's box lies on every grid that it is trained on or applied to: a part outside would be left out without a word."""
    for name, model in run.models.items():
        for dataset in model.datasets:
            _inside(run, f"models.{name}.region", name, dataset, "coarse")
    for name, task in run.downscale.items():
        _inside(run, f"downscale.{name}: region of '{task.model}'", task.model, task.dataset, task.input)


def _inside(run: RunConfig, user: str, model: str, dataset: str, side: str) -> None:
    region = run.models[model].region
    if region is None:
        return
    name = run.datasets[dataset].coarse_grid if side == "coarse" else run.datasets[dataset].fine_grid
    grid = named(name)
    if not grid.holds(region):
        raise ValueError(f"{user} {list(region)} is not inside the grid of dataset '{dataset}' ({name}: {grid.describe()})")
    grid.window(region)  # raises where no cell's centre is inside


def positions(run: RunConfig) -> None:
    """A table of positions serves one grid, whole: the model's and its ancestors' datasets, and every task."""
    for name in run.models:
        architecture = run.architecture_of(name)
        known = {f"models.{older}: {key}": _place(run, older, key, "coarse")
                 for older in run.lineage(name) for key in run.models[older].datasets}  # fmt: skip
        refuse_table(architecture, known, run.models[name].train.tiled, f"models.{name}")
        for task, section in run.downscale.items():
            if section.model == name:
                here = {f"downscale.{task}: {section.dataset}": _place(run, name, section.dataset, section.input)}
                tiled = section.tile not in (0, (0, 0))
                refuse_table(architecture, {**known, **here}, tiled, f"downscale.{task}")


def _place(run: RunConfig, model: str, dataset: str, side: str) -> Grid:
    region, found = run.models[model].region, run.datasets[dataset]
    grid = named(found.coarse_grid if side == "coarse" else found.fine_grid)
    return grid if region is None else grid.crop(*grid.window(region))


def refuse_table(architecture: ArchitectureConfig, grids: Mapping[str, Grid], tiled: bool, where: str) -> None:
    """Raise OrbitError for a `table` of positions that meets tiles or more than one of `grids` (by who uses them): it has no place for
    a tile, and would be stretched over every grid alike, so that the same entry means other places."""
    if architecture.position != "table":
        return
    if tiled:
        raise OrbitError("a `table` position is the same for every tile: the model would not know where a tile is", where=where,
                         got="tiles", allowed="tile: 0", hint=GEOGRAPHIC)  # fmt: skip
    users = list(grids.items())
    for user, other in users[1:]:
        first, grid = users[0]
        if not grid.same_place(other):
            raise OrbitError("a `table` position serves one grid: on another one its entries would mean other places", where=where,
                             got=f"{first} on {grid.describe()}, {user} on {other.describe()}", hint=GEOGRAPHIC)  # fmt: skip
