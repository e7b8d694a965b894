"""Which pictures are in the page and which lie beside it: the page stays below its size whatever is drawn. Never drops a picture."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from orbit2.hands import in_order
from orbit2.report.figures.panels import Picture
from orbit2.report.interactive.widgets import QUALITY, Still

FOLDER = "figures/page"


@dataclass
class Shelf:
    """Addresses of pictures: data in the page for the first that fit into `room` bytes, files beside it for the others."""

    room: int
    packed: dict[int, bytes] = field(default_factory=dict)  # what earlier shelves have packed, by the picture's id
    beside: dict[str, bytes] = field(default_factory=dict)
    _addresses: dict[int, str] = field(default_factory=dict)
    _kept: list[Picture | Still] = field(default_factory=list)  # so that no other picture gets the same id

    def place(self, pictures: Sequence[tuple[str, Picture | Still, int]]) -> None:
        """(name, picture, rank): lower ranks enter the page first, within a rank in the order given."""
        new = {id(picture): picture for _, picture, _ in pictures if id(picture) not in self.packed}
        self.packed.update(zip(new, in_order(partial(picture.webp, QUALITY) for picture in new.values()), strict=True))
        for name, picture, _ in sorted(pictures, key=lambda one: one[2]):
            if id(picture) in self._addresses:
                continue
            data = self.packed[id(picture)]
            address = "data:image/webp;base64," + base64.b64encode(data).decode("ascii")
            if len(address) <= self.room:
                self.room -= len(address)
            else:
                address = f"{FOLDER}/{name}.webp"
                self.beside[address] = data
            self._addresses[id(picture)] = address
            self._kept.append(picture)

    def address(self, picture: Picture | Still) -> str:
        return self._addresses[id(picture)]

    def write(self, folder: Path) -> None:
        """The files beside the page under `folder`, which appears as a whole."""
        for name, data in self.beside.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
