"""The pieces a page is made of: blocks and sections. Never knows what they say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from orbit2.report.figures.panels import Figure, Picture
from orbit2.report.interactive.widgets import Still, Widget
from orbit2.report.pages.verdict import Tile
from orbit2.report.tables import Table

Kind = Literal["text", "heading", "points", "code", "facts", "words", "tiles", "table", "figure", "fold", "widget", "levels"]


@dataclass(frozen=True)
class Block:
    """One piece of a section; which fields are used depends on `kind`."""

    kind: Kind
    text: str = ""
    style: str = ""
    points: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    tiles: tuple[Tile, ...] = ()
    table: Table | None = None
    figure: Figure | None = None
    widget: Widget | None = None
    blocks: tuple[Block, ...] = ()
    open: bool = False


@dataclass
class Section:
    """A titled part of the page."""

    id: str
    title: str
    short: str
    blocks: list[Block] = field(default_factory=list)
    part: str = "Science"  # of the page, as the contents group them

    def figures(self) -> list[Figure]:
        return [b.figure for b in _walk(self.blocks) if b.figure is not None]

    def tables(self) -> list[Table]:
        return [b.table for b in _walk(self.blocks) if b.table is not None]

    def pictures(self) -> list[tuple[str, Picture | Still, int]]:
        """(name, picture, rank) of all that it shows: 0 is in view, 1 behind a fold, 2 behind a slider."""
        return _pictures(self.blocks, 0)


def _walk(blocks: Sequence[Block]) -> list[Block]:
    found: list[Block] = []
    for block in blocks:
        found += [block, *_walk(block.blocks)]
    return found


def _pictures(blocks: Sequence[Block], rank: int) -> list[tuple[str, Picture | Still, int]]:
    found: list[tuple[str, Picture | Still, int]] = []
    for block in blocks:
        if block.figure is not None:
            found += [(f"{block.figure.name}_{i}", picture, rank) for i, picture in enumerate(block.figure.pictures)]
        if block.widget is not None:
            found += [(f"{block.widget.files or block.widget.name}_{i}", picture, rank if i in block.widget.first else 2)
                      for i, picture in enumerate(block.widget.pictures)]  # fmt: skip
        found += _pictures(block.blocks, rank if block.kind != "fold" or block.open else 1)
    return found


def paragraph(words: str, style: str = "") -> Block:
    return Block("text", text=words, style=style)


def shown(figure: Figure | None) -> list[Block]:
    return [Block("figure", figure=figure)] if figure is not None else []
