"""What tiles cost: windows, tokens, FLOPs and activations, tiled beside untiled. Never allocates a field."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orbit2.config.schema import DownscaleConfig, RunConfig
from orbit2.data.dataset import REGION_HALO
from orbit2.grid import Grid
from orbit2.model.build import Downscaling
from orbit2.model.inspect import activation_bytes, forward_flops, tokens, trunk_flops
from orbit2.model.published_tiles import equal_tiles
from orbit2.model.tiles import Tiling, of_box, tiles

Size = int | tuple[int, int]
BACKWARD = 2  # a backward pass costs about two forward ones


@dataclass(frozen=True)
class Cut:
    """One way to cut a sample: its windows, and a grid of a window's shape that the model can be counted on."""

    tiling: Tiling
    window: Grid

    @property
    def extra(self) -> float:
        """Cells computed beyond the cells that are kept, as a share of these: what the halos cost."""
        kept = 1
        for part in self.tiling.domain:
            kept *= part.stop - part.start
        return len(self.tiling) * self.tiling.padded[0] * self.tiling.padded[1] / kept - 1


def inference(grid: Grid, region: Sequence[float] | None, tile: Size, halo: int, patch: int) -> Cut:
    """How a downscaling task cuts a field on `grid` (tile 0: one window), of which a regional model covers its box."""
    whole = edges(tile) == (0, 0)
    halo = (REGION_HALO if region is not None else 0) if whole else halo
    return _cut(grid, tiles(grid.shape, grid.periodic, tile, halo, 1 if whole else patch, None if region is None else grid.window(region)))


def of_task(grid: Grid, config: RunConfig, section: DownscaleConfig, patch: int) -> Cut:
    """How a task is cut; by an imported model into the tiles that it was trained on, unless the task says others."""
    model = config.models[section.model]
    told = None if model.imported is None or edges(section.tile) != (0, 0) else model.imported.facts.tiles
    if told is None:
        return inference(grid, model.region, section.tile, section.halo, patch)
    return _cut(grid, equal_tiles(grid, {"div": told[0], "overlap": told[1]}, section.blend))


def training(grid: Grid, region: Sequence[float] | None, tile: Size, halo: int, patch: int) -> Cut:
    """How training cuts a sample on `grid` (tile 0: one window): tiles read no further than the region's own context."""
    around = of_box(grid, region, REGION_HALO if region is not None else 0)
    part = grid.crop(slice(0, len(around.rows)), slice(0, len(around.columns)))
    if edges(tile) == (0, 0):
        return Cut(tiles(part.shape, around.periodic, 0, max(part.shape), domain=(around.core_rows, around.core_columns)), part)
    return _cut(part, tiles(part.shape, around.periodic, tile, halo, patch, (around.core_rows, around.core_columns)))


def _cut(grid: Grid, tiling: Tiling) -> Cut:
    return Cut(tiling, grid.crop(slice(0, tiling.padded[0]), slice(0, tiling.padded[1])))


@dataclass(frozen=True)
class Cost:
    """What one way to cut a sample costs: FLOPs of the whole sample, peak bytes of activations of what goes through together."""

    name: str
    cut: Cut
    tokens: int
    flops: int
    activations: int


def cost(
    model: Downscaling, name: str, cut: Cut, together: int, trained: bool, members: int = 0, frozen: bool = False
) -> Cost:
    """Count `model` (on the meta device) with `together` windows at once; `trained` counts the backward pass and gradients too, but of the
    trunk where that is `frozen`. `members` of a window share the trunk."""
    flops = forward_flops(model, cut.window, members) * (1 + BACKWARD if trained else 1)
    if trained and frozen:
        flops -= BACKWARD * trunk_flops(model, cut.window)
    memory = activation_bytes(model, cut.window, trained, together, members)
    return Cost(name, cut, tokens(model, cut.window), flops * len(cut.tiling), memory)


def misplaced(cut: Cut, side: int) -> int:
    """Windows that do not begin on a whole token of `side` coarse cells: their tokens lie otherwise than in the untiled field."""
    down, across = cut.tiling.counts
    rows = sum(int(cut.tiling[i * across].rows[0]) % side == 0 for i in range(down))
    columns = sum(int(cut.tiling[j].columns[0]) % side == 0 for j in range(across))
    return len(cut.tiling) - rows * columns


def edges(size: Size) -> tuple[int, int]:
    """Rows and columns of a core."""
    return (size, size) if isinstance(size, int) else size
