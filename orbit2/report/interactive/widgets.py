"""A piece of the page that answers: its markup, what its script reads, and its pictures. Never knows what it is about."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
import numpy as np
import numpy.typing as npt
from markupsafe import Markup

from orbit2.report.figures.panels import Picture
from orbit2.report.tables.traced import marked, plain

QUALITY = 76  # of maps; line art is lossless
SCRIPTS = ("page", "tables", "regions", "dates", "members", "start")


@dataclass(frozen=True, eq=False)
class Still:
    """A map of many: packed at once, so that hundreds of them need little memory."""

    data: bytes
    alt: str
    size: tuple[int, int]  # CSS pixels

    @classmethod
    def of(cls, pixels: npt.NDArray[np.uint8], alt: str) -> Still:
        return cls(Picture(pixels, alt).webp(QUALITY), alt, (pixels.shape[1], pixels.shape[0]))

    def webp(self, quality: int) -> bytes:
        """What was packed, whatever the `quality`."""
        return self.data


Address = Callable[[Picture | Still], str]  # where a picture of the page is found


@dataclass(frozen=True, eq=False)
class Widget:
    """`name` is that of its template and script; `about` what the template writes, `told` what the script reads.

    Of its `pictures` those in `first` belong into the page, where there is room; the others lie beside it.
    """

    name: str
    about: Mapping[str, Any]
    told: Callable[[Address], Mapping[str, Any]]
    pictures: tuple[Picture | Still, ...] = ()
    first: frozenset[int] = field(default_factory=frozenset)  # positions in `pictures`
    files: str = ""  # what the names of its pictures' files begin with: no two widgets of a page have the same

    def html(self, address: Address) -> Markup:
        """The markup, with what its script reads as JSON beside it."""
        template = environment().get_template(f"{self.name}.html.j2")
        return Markup(template.render(**self.about, uri=address, told=quoted(self.told(address))))


def quoted(value: object) -> Markup:
    """JSON that may stand inside a script element: no `<` can end it, or begin another."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace("&", "\\u0026").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029"))


@cache
def environment() -> jinja2.Environment:
    """The report's templates: everything that is put in is escaped, what is missing is an error, numbers of sentences keep their rows."""
    made = jinja2.Environment(loader=jinja2.PackageLoader("orbit2.report"), autoescape=True, undefined=jinja2.StrictUndefined,
                              finalize=marked, trim_blocks=True, lstrip_blocks=True)  # fmt: skip
    made.filters["plain"] = plain
    return made


@cache
def script() -> Markup:
    """The page's one script, all of it orbit2's own."""
    folder = files("orbit2.report").joinpath("interactive/scripts")
    parts = [folder.joinpath(f"{name}.js").read_text(encoding="utf-8") for name in SCRIPTS]
    return Markup('(() => {\n"use strict";\n' + "\n".join(parts) + "})();")
