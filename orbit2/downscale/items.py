"""Work items of inference: time block x tile x member, in one fixed order, and static shares of them. Pure; never reads or writes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from orbit2.errors import OrbitError


@dataclass(frozen=True)
class Item:
    """Times `start : start + count` of one tile; `member` is 0 in a deterministic run."""

    index: int
    start: int
    count: int
    tile: int
    member: int

    @property
    def place(self) -> tuple[int, int]:
        """What its members share: times and tile."""
        return self.start, self.tile


@dataclass(frozen=True)
class Items(Sequence[Item]):
    """All items of a task: time blocks outermost, then tiles, members innermost (what was read serves all members)."""

    times: int
    time_block: int
    tiles: int
    members: int = 0

    def __len__(self) -> int:
        return -(-self.times // self.time_block) * self.tiles * max(self.members, 1)

    def __getitem__(self, index: int) -> Item:  # type: ignore[override]  # no slices
        if not 0 <= index < len(self):
            raise IndexError(index)
        rest, member = divmod(index, max(self.members, 1))
        block, tile = divmod(rest, self.tiles)
        start = block * self.time_block
        return Item(index, start, min(self.time_block, self.times - start), tile, member)

    def of_tile(self, item: Item, tile: int) -> int:
        """The item of the same times and member as `item`, of another tile."""
        return item.index + (tile - item.tile) * max(self.members, 1)


def share(items: int, block: int = 0, blocks: int = 1) -> range:
    """Block `block` of `blocks` contiguous ones, equal to within one item; some are empty when there are more blocks than items."""
    return range(block * items // blocks, (block + 1) * items // blocks)


def deal(todo: Sequence[int], rank: int, world: int) -> Sequence[int]:
    """What rank `rank` of `world` does of `todo`: every world-th, so that the ranks of a job are near each other in the input."""
    return todo[rank::world]


def contiguous(todo: Sequence[int], rank: int, world: int) -> Sequence[int]:
    """What rank `rank` of `world` does of `todo` when neighbours need each other: an equal run of it."""
    part = share(len(todo), rank, world)
    return todo[part.start : part.stop]


def parse_block(text: str) -> tuple[int, int]:
    """`i/n` as (i, n), counted from 0. Raises OrbitError for anything else."""
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise OrbitError("not a block of work", where="--block", got=text, allowed="i/n with i from 0 to n - 1, e.g. 0/4",
                         hint="n shares, counted from 0")  # fmt: skip
    return int(match[1]), int(match[2])
