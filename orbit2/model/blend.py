"""Neighbouring tiles mixed across their borders: within `Tiling.blend` coarse cells of a border both tiles' predictions count, with
weights that go linearly from one to the other. Further inside a core is its own window's prediction, bit for bit.

A network with attention sees another part of the world in each tile, so neighbours disagree however wide the halo; mixed, the
disagreement is spread over 2 x blend cells instead of a step. Pure arrays: never looks at files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from orbit2.model.tiles import Tiling, scaled

FloatArray = npt.NDArray[np.float32]
Kept = Callable[[int], FloatArray]  # tile -> what was kept of its window, [..., sh, sw]: see Tiling.kept


@dataclass(frozen=True)
class Part:
    """What tile `tile` adds to another tile's core: `weights` [h, w] at `place` of that core, from `source` of what was kept of its own
    window; both in fine cells."""

    tile: int
    place: tuple[slice, slice]
    source: tuple[slice, slice]
    weights: FloatArray


@dataclass(frozen=True)
class _Strip:
    """One direction of a part, in coarse cells of the core; `weights` per grain."""

    number: int
    place: slice
    weights: FloatArray


def parts(tiling: Tiling, index: int, factor: int, grain: int) -> list[Part]:
    """What the neighbours of tile `index` add to its core; its own weight is what they leave of 1.

    `grain`: steps of the weights in a coarse cell: `factor` for every fine cell, 1 for weights that are constant in a coarse cell, which
    keep block means that each tile conserves.
    """
    row, column = divmod(index, tiling.counts[1])
    down, across = ((_own(tiling, axis, number, grain), *_strips(tiling, axis, number, grain)) for axis, number in enumerate((row, column)))
    found = []
    for vertical in down:
        for horizontal in across:
            tile = vertical.number * tiling.counts[1] + horizontal.number
            if vertical is down[0] and horizontal is across[0]:
                continue
            rows, columns = _source(tiling, tile, index, vertical.place, horizontal.place)
            weights = np.outer(vertical.weights, horizontal.weights)
            found.append(Part(
                tile=tile,
                place=(scaled(vertical.place, factor), scaled(horizontal.place, factor)),
                source=(scaled(rows, factor), scaled(columns, factor)),
                weights=np.kron(weights, np.ones((factor // grain,) * 2, dtype=np.float32)),
            ))  # fmt: skip
    return found


def neighbours(tiling: Tiling, index: int) -> list[int]:
    """Tiles whose predictions enter the core of tile `index`, without itself; the relation is mutual."""
    return sorted({part.tile for part in parts(tiling, index, 1, 1)} - {index})


def blend(tiling: Tiling, index: int, factor: int, grain: int, kept: Kept, known: Sequence[Part] | None = None) -> FloatArray:
    """The core [..., sh', sw'] of tile `index`, out of what was `kept` of its window and of its neighbours' windows; `known`: its `parts`,
    which are every time's.

    Missing where its own window says so; a neighbour's missing value counts for nothing.
    """
    own = kept(index)
    rows, columns = tiling.own_part(index)
    core = own[..., scaled(rows, factor), scaled(columns, factor)]
    mixed: FloatArray = np.array(core)
    for part in parts(tiling, index, factor, grain) if known is None else known:
        difference = kept(part.tile)[(..., *part.source)] - core[(..., *part.place)]
        mixed[(..., *part.place)] += part.weights * np.where(np.isnan(difference), 0, difference)
    return mixed


def _extent(tiling: Tiling, axis: int, number: int) -> int:
    """Cells of a core along `axis`."""
    domain, edge = tiling.domain[axis], tiling.core[axis]
    return min(edge, int(domain.stop - domain.start) - number * edge)


def _beside(tiling: Tiling, axis: int, number: int) -> tuple[int | None, int | None]:
    """Numbers of the cores before and behind a core; None at an end. Cores around the whole globe close."""
    count, width = tiling.counts[axis], tiling.domain[axis].stop - tiling.domain[axis].start
    closed = axis == 1 and tiling.periodic and width == tiling.shape[1] and count > 1
    before, behind = number - 1, number + 1
    if closed:
        return before % count, behind % count
    return before if before >= 0 else None, behind if behind < count else None


def _reach(tiling: Tiling, axis: int, *pair: int) -> int:
    """How far the cores of `pair` mix to either side of their border: no cell has neighbours from both sides."""
    rooms = [_extent(tiling, axis, n) // (1 if None in _beside(tiling, axis, n) else 2) for n in pair]
    return min(tiling.blend, *rooms)


def _strips(tiling: Tiling, axis: int, number: int, grain: int) -> Iterator[_Strip]:
    """What the cores before and behind give, along one direction."""
    size, (before, behind) = _extent(tiling, axis, number), _beside(tiling, axis, number)
    if before is not None and (reach := _reach(tiling, axis, before, number)):
        yield _Strip(before, slice(0, reach), _falling(reach, grain))
    if behind is not None and (reach := _reach(tiling, axis, number, behind)):
        yield _Strip(behind, slice(size - reach, size), _falling(reach, grain)[::-1])


def _own(tiling: Tiling, axis: int, number: int, grain: int) -> _Strip:
    """What is left for the core itself."""
    size = _extent(tiling, axis, number)
    weights = np.ones(size * grain, dtype=np.float32)
    for strip in _strips(tiling, axis, number, grain):
        weights[scaled(strip.place, grain)] -= strip.weights
    return _Strip(number, slice(0, size), weights)


def _falling(reach: int, grain: int) -> FloatArray:
    """The other side's weights, from the border inward: 1/2 at the border, 0 after `reach` cells."""
    steps = reach * grain
    weights: FloatArray = (0.5 * (1 - (np.arange(steps, dtype=np.float32) + 0.5) / steps)).astype(np.float32)
    return weights


def _source(tiling: Tiling, tile: int, owner: int, rows: slice, columns: slice) -> tuple[slice, slice]:
    """Where cells `rows`, `columns` of the owner's core lie in what was kept of a tile's window."""
    window, kept, core = tiling[tile], tiling.kept(tile), tiling[owner].owned()
    row, column = core[0].start + rows.start - int(window.rows[0]), core[1].start + columns.start - int(window.columns[0])
    if tiling.periodic:
        column %= tiling.shape[1]
    starts = row - kept[0].start, column - kept[1].start
    first, second = (slice(start, start + part.stop - part.start) for start, part in zip(starts, (rows, columns), strict=True))
    return first, second
