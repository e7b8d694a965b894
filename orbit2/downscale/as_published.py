"""What is particular to predictions by imported weights: ERA5's row at 90 N, the tiles of the training, and what is said of both."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from orbit2.config.imported import TRAINED_TILES
from orbit2.door.ingest import Inputs
from orbit2.grid import AnyGrid
from orbit2.model.published import SEA
from orbit2.model.published_tiles import without_pole

if TYPE_CHECKING:
    from orbit2.downscale.cut import TileSize
    from orbit2.downscale.predictor import Downscaler


def as_trained(on: Downscaler, inputs: Inputs, tile: TileSize = 0, halo: int = 8) -> Inputs:
    """A file's fields where published weights read them: without ERA5's row at 90 N. Says where their table of positions is resized."""
    if not _published(on):
        return inputs
    grid = without_pole(inputs.grid)
    if grid is not inputs.grid:
        inputs = replace(inputs, grid=grid, rows=inputs.rows[: grid.shape[0]])
    inputs.warnings.extend(resized(on, grid, tile, halo))
    return inputs


def resized(on: Downscaler, grid: AnyGrid, tile: TileSize = 0, halo: int = 8) -> list[str]:
    """What is said where the weights read windows of another size than their table of positions was made for."""
    config = on.model.config
    if not _published(on):
        return []
    built = tuple(config.patch * side for side in config.table_shape)
    cut = on.tiling(grid, tile, halo).padded
    if cut == built:
        return []
    return [f"positions: tiles of {cut[0]}x{cut[1]} cells, made for {built[0]}x{built[1]}: table resized, at a loss"]


def lacking(on: Downscaler, names: Sequence[str]) -> list[str]:
    """What is said where a task's store does not have all that the weights were trained to read (the sea's temperature may lack)."""
    absent = [name for name in on.inputs if name not in names and name != SEA]
    if not _published(on) or not absent:
        return []
    return [f"inputs: the weights were trained with {', '.join(absent)} too, which is not given here"]


def tiled(on: Downscaler, tile: TileSize = 0) -> dict[str, str]:
    """The tiles that a prediction is made of where they are those of the training (global attribute), for who looks at their borders."""
    told = on.about.get(TRAINED_TILES)
    return {TRAINED_TILES: json.dumps(told)} if told and tile in (0, (0, 0)) else {}


def _published(on: Downscaler) -> bool:
    """Imported, or fine-tuned from what was."""
    return on.model.config.kind == "orbit2" and "weights_licence" in on.about
