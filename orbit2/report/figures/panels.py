"""A figure as equal panels: one PNG for slides, and the same picture cut panel by panel so that a page can reflow them.

Never draws data itself: the other modules of this room do.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text
from PIL import Image

DPI = 200
PALETTE = 256  # colours of a page's picture: half the bytes, and hardly a pixel is off by more than 16 of 255
TOLD_APART = np.array([0, *range(6, 252, 4), 255], dtype=np.uint8)  # of 64 levels: what they are drawn as
DENSE = 0.05  # bytes per pixel from which a map may be smaller with loss
WARNING = "#f0b429"  # of the page's banner, too


@dataclass
class Panels:
    """A grid of `rows` x `columns` panels of `width` x `height` inches; axes are placed inside a panel by fractions of it."""

    rows: int
    columns: int
    width: float
    height: float

    def __post_init__(self) -> None:
        self.figure = plt.figure(figsize=(self.columns * self.width, self.rows * self.height), dpi=DPI)

    def axes(self, panel: int, box: tuple[float, float, float, float]) -> Axes:
        """Axes in panel number `panel` (row by row); `box` = (left, bottom, width, height) as fractions of the panel."""
        row, column = divmod(panel, self.columns)
        left, bottom, width, height = box
        return self.figure.add_axes(
            (
                (column + left) / self.columns,
                (self.rows - 1 - row + bottom) / self.rows,
                width / self.columns,
                height / self.rows,
            )
        )

    def _fit_titles(self) -> None:
        """Titles that would run into the next panel are written smaller."""
        width = self.width * DPI
        for ax in self.figure.axes:
            words = ax.get_title(loc="left")
            title = next((text for text in ax.get_children() if isinstance(text, Text) and words and text.get_text() == words), None)
            if title is not None:
                extent, middle = title.get_window_extent(), ax.get_window_extent().x0 + 1
                edge = (middle // width + 1) * width - 0.02 * width
                if extent.x1 > edge and extent.width:
                    title.set_fontsize(title.get_fontsize() * max(0.5, (edge - extent.x0) / extent.width))

    def render(self, count: int | None = None) -> list[npt.NDArray[np.uint8]]:
        """Draw, close and return [whole, panel 0, panel 1, ...] as RGB arrays."""
        canvas = self.figure.canvas
        assert isinstance(canvas, FigureCanvasAgg)
        self._fit_titles()
        canvas.draw()  # type: ignore[no-untyped-call]
        whole = np.asarray(canvas.buffer_rgba())[..., :3].copy()  # type: ignore[no-untyped-call]
        plt.close(self.figure)
        height, width = whole.shape[0] // self.rows, whole.shape[1] // self.columns
        total = self.rows * self.columns if count is None else count
        cuts = [divmod(i, self.columns) for i in range(total)]
        return [whole, *(whole[r * height : (r + 1) * height, c * width : (c + 1) * width] for r, c in cuts)]


def _packed(image: Image.Image, **how: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "WEBP", method=2, **how)
    return buffer.getvalue()


def few_colours(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    """`pixels` [h, w, 3] in at most PALETTE colours, chosen among all that are there, however few pixels have them."""
    red, green, blue = ((pixels[..., i] >> 2).astype(np.uint32) for i in range(3))
    code = red << 12 | green << 6 | blue
    seen = np.flatnonzero(np.bincount(code.ravel(), minlength=64**3))
    colours = TOLD_APART[np.stack([seen >> 12, seen >> 6 & 63, seen & 63], axis=-1)]
    chosen = Image.fromarray(colours[None]).quantize(PALETTE, Image.Quantize.MAXCOVERAGE, dither=Image.Dither.NONE)
    table = np.zeros(64**3, dtype=np.uint8)
    table[seen] = np.asarray(chosen)[0]
    few = Image.fromarray(np.take(table, code))
    few.putpalette(chosen.getpalette() or [])
    return few.convert("RGB")


@dataclass(frozen=True)
class Picture:
    """One <img>: pixels and the words that stand for them."""

    pixels: npt.NDArray[np.uint8]
    alt: str
    photographic: bool = True  # smooth shading: lossy compression is fine; line art stays sharp

    def __reduce__(self) -> tuple[Any, ...]:
        """To another process it goes packed."""
        from orbit2.report.interactive.widgets import QUALITY, Still

        return Still, (self.webp(QUALITY), self.alt, self.size)

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in CSS pixels; the picture itself is drawn at twice that density or so."""
        return self.pixels.shape[1] // 2, self.pixels.shape[0] // 2

    def webp(self, quality: int) -> bytes:
        """As WebP: in PALETTE colours without loss, or of a map with `quality` (1-100) where that is smaller."""
        image = Image.fromarray(self.pixels)
        # of a lossless picture, `quality` is only how hard to search
        packed = [_packed(few_colours(self.pixels), quality=40, lossless=True)]
        if self.photographic and len(packed[0]) > DENSE * image.width * image.height:
            packed.append(_packed(image, quality=quality))
        return min(packed, key=len)


@dataclass(frozen=True)
class Figure:
    """A captioned figure of the report: its pictures (they reflow in `columns`), the whole as PNG, its numbers as CSV."""

    name: str
    title: str
    caption: str
    pictures: tuple[Picture, ...]
    whole: npt.NDArray[np.uint8]
    columns: int = 2
    csv: str | None = field(default=None, repr=False)
    wide: bool = False  # too detailed for a phone: scrolls sideways there

    def write(self, folder: Path, banner: str = "") -> None:
        """figures/<name>.png, under the words of a `banner`, and tables/<name>.csv under `folder`."""
        (folder / "figures").mkdir(parents=True, exist_ok=True)
        above = [strip(f"{banner[:1].upper()}{banner[1:]}", self.whole.shape[1], WARNING)] if banner else []
        pixels = np.vstack([*above, self.whole])
        Image.fromarray(pixels).save(folder / "figures" / f"{self.name}.png", dpi=(DPI, DPI), compress_level=4)
        if self.csv is not None:
            (folder / "tables").mkdir(parents=True, exist_ok=True)
            (folder / "tables" / f"{self.name}.csv").write_text(self.csv, encoding="utf-8")


def strip(words: str, width: int, ground: str = "white") -> npt.NDArray[np.uint8]:
    """A line of words above a picture `width` pixels wide: on a page its caption says them. Smaller where they would not fit."""
    panel = Panels(1, 1, width / DPI, 0.34)
    panel.figure.set_facecolor(ground)
    text = panel.figure.text(0.015, 0.35, words, fontsize=11, fontweight="bold")
    wide = text.get_window_extent().width / (0.97 * width)
    text.set_fontsize(11 / max(1.0, wide))
    return panel.render()[0][:, :width]


def heatmap(
    ax: Axes, values: npt.NDArray[np.float64], cmap: str, limits: tuple[float, float], fmt: str, columns: list[str], rows: list[str]
) -> None:
    """A table of numbers in colour, the first row on top; – where there is none."""
    import seaborn as sns  # here: it takes a second, and only drawing needs it

    sns.heatmap(values, ax=ax, cmap=cmap, vmin=limits[0], vmax=limits[1], cbar=False, annot=True, fmt=fmt, annot_kws={"fontsize": 8},
                xticklabels=columns, yticklabels=rows)  # fmt: skip
    for y, x in np.argwhere(~np.isfinite(values)):
        ax.text(x + 0.5, y + 0.5, "–", ha="center", va="center", fontsize=8)
    ax.grid(False)
    ax.tick_params(rotation=0, length=0, labelsize=8)


def one(panels: Panels, name: str, title: str, caption: str, alts: list[str], csv: str, columns: int = 2) -> Figure:
    """A finished line-art figure."""
    whole, *cuts = panels.render(len(alts))
    pictures = tuple(Picture(pixels, alt, photographic=False) for pixels, alt in zip(cuts, alts, strict=True))
    return Figure(name, title, caption, pictures, whole, columns=columns, csv=csv)
