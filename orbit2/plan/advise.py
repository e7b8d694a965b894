"""What a training period asks of a halo, where its pair store can be looked into. Never reads another period."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from orbit2.config import slices
from orbit2.config.schema import RunConfig
from orbit2.data.pairs import PairStore
from orbit2.errors import OrbitError
from orbit2.grid import Grid, named
from orbit2.model.build import Downscaling
from orbit2.plan import halo, tiling
from orbit2.plan.records import Halo


def advice(config: RunConfig, name: str, built: Downscaling, key: str, store: Path | None) -> Halo:
    """Measured advice for model `name` on dataset `key`, from `store` (default: the run's own), or why there is none.

    Raises OrbitError for a named store that cannot be used.
    """
    train, path = config.datasets[key].split.train, store or Path(slices.store(config, key))
    if train is None:
        return Halo(str(path), "the dataset has no training period")
    if store is None and not (path / "zarr.json").is_file():
        return Halo(str(path), f"{path} is not built (run the regrid stage, or name a store: --store {key}=PATH)")
    grid, pairs = named(config.datasets[key].coarse_grid), PairStore(path)
    if not pairs.grid("coarse").same_as(grid):
        raise OrbitError("pair store is on another grid than the dataset", where=path, got=pairs.grid("coarse").describe(),
                         allowed=grid.describe(),
                         hint="give the store of this dataset with --store DATASET=PATH, or run the regrid stage again")  # fmt: skip
    scales = halo.measure(pairs, (train.start, train.end), built.outputs, built.config.interpolation, config.models[name].region)
    cells = halo.recommended(scales, built.config)
    absent = tuple(output for output in built.outputs if output not in {scale.variable for scale in scales})
    return Halo(str(path), None, tuple(scales), cells, absent, {} if cells is None else _extra(config, name, built, key, cells))


def lines(found: Halo, key: str, config: RunConfig, name: str, built: Downscaling) -> Sequence[str]:
    """The same for people."""
    if found.untold is not None:
        return [f"halo for {key}: not measured, {found.untold}"]
    region, grid = config.models[name].region, named(config.datasets[key].coarse_grid)
    part: Grid = grid if region is None else grid.crop(*grid.window(region))
    said = [f"halo for {key}, from its training period in {found.store}:", *halo.lines(found.scales, built.config, part)]
    if found.absent:
        said.append(f"  not measured, being no inputs: {', '.join(found.absent)}")
    return [*said, *(f"  {user}: {share:.0%} extra cells" for user, share in found.extra.items())]


def _extra(config: RunConfig, name: str, built: Downscaling, key: str, cells: int) -> dict[str, float]:
    """What a halo of `cells` costs for each tile of this model's training and tasks on dataset `key`."""
    section, dataset = config.models[name], config.datasets[key]
    users = [(f"models.{name}.train", dataset.coarse_grid, section.train.tile)]
    users += [(f"downscale.{task}", dataset.fine_grid if d.input == "fine" else dataset.coarse_grid, d.tile)
              for task, d in config.downscale.items() if d.model == name and d.dataset == key]  # fmt: skip
    return {
        f"{user} (tile {tile})": tiling.inference(named(grid), section.region, tile, cells, built.config.patch).extra
        for user, grid, tile in users
        if tiling.edges(tile) != (0, 0)
    }
