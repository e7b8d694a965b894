"""A month as moving pictures: input, truth and model side by side on colours that stay, a bar below that runs through the month."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from orbit2.config.sources import synthetic
from orbit2.errors import OrbitError
from orbit2.files import atomic
from orbit2.grid import AnyGrid
from orbit2.report.figures import maps, scenes
from orbit2.report.figures.panels import Panels
from orbit2.report.inputs import Task
from orbit2.report.style import COLOURS, RULE, Display, display
from orbit2.report.tables import label

Pixels = npt.NDArray[np.uint8]
Array = npt.NDArray[np.float64]
MOST = 248  # frames: three-hourly ones of a month
SCALED = 4_000_000  # values that the colour scale is found from
SHARP = 100  # dots per inch: half of the report's


def evenly(frames: Sequence[int], most: int = MOST) -> list[int]:
    """Every n-th of `frames`, no more than `most`."""
    return list(frames[:: -(-len(frames) // most)])


def mark(task: Task) -> str:
    """What follows the words of a picture whose fields are no weather."""
    return " (SYNTHETIC)" if synthetic(task.dataset.sources) else ""


def fields(task: Task, name: str, frame: int, shown: Display) -> list[tuple[str, Array, AnyGrid]]:
    """(title, values in shown units, grid) of each panel: the input where it is one, the truth or observation where there is one, and
    the model. An observation that is a gap is missing everywhere."""
    found: list[tuple[str, Array, AnyGrid]] = []
    if task.is_input(name):
        found.append(("Input", task.input(name, frame), task.input_grid))
    if task.has_truth:
        found.append(("Truth", task.truth(name, frame), task.grid))
    elif name in task.observed and task.observations is not None:
        seen, grid = task.observation(name, frame), task.observations.grid("fine")
        found.append(("Observation", np.full(grid.shape, np.nan) if seen is None else seen, grid))
    found.append((f"Model ({task.config.model})", task.predicted(name, frame), task.grid))
    return [(title, shown.field(values), grid) for title, values, grid in found]


def pictures(task: Task, name: str, steps: Sequence[int], month: Sequence[int], box: maps.Box | None) -> Iterator[Pixels]:
    """One picture [h, w, 3] of each frame of `steps`, all of one size; `month`: all frames that the bar runs through."""
    shown = display(name)
    whole = box is None and task.grid.periodic
    window = box or maps.extent(task.grid)

    def drawn(values: Array, grid: AnyGrid) -> Array:
        return maps.on_world(values, grid) if whole else maps.cut(values, grid, window)[0]

    norm = shown.norm(*_sampled(task, name, steps, shown, drawn))
    first = fields(task, name, steps[0], shown)
    width, height, bar = 4.65, 3.3 if whole else _height(task.grid, window), 0.05
    panels = Panels(1, len(first), width, height)
    panels.figure.set_dpi(SHARP)
    images = []
    for i, (title, values, grid) in enumerate(first):
        ax = panels.axes(i, (0.015, 0.30, 0.97, 0.58) if whole else (0.115, 1.15 / height, 0.84, 1 - 1.5 / height))
        drawing = maps.world(ax, values, grid, shown.cmap, norm) if whole else maps.zoom(ax, values, grid, window, shown.cmap, norm)
        ax.set_title(f"{title}, {scenes.spacing(grid)}", pad=5)
        maps.colourbar(panels.axes(i, (0.13, 0.78 / height, 0.74, 0.09 / height)), drawing, shown.units)
        images.append(drawing)
    line = panels.figure.add_axes((0.03, 0.06 / height, 0.94, bar / height))
    line.set(xlim=(0, len(month)), ylim=(0, 1))
    line.set_axis_off()
    line.axvspan(0, len(month), color=RULE)
    gone = line.axvspan(0, 0.001, color=COLOURS["model"])
    text = panels.figure.text(0.03, 0.14 / height, "", fontsize=10)
    canvas = panels.figure.canvas
    assert isinstance(canvas, FigureCanvasAgg)
    for frame in steps:
        for drawing, (_, values, grid) in zip(images, fields(task, name, frame, shown), strict=True):
            drawing.set_data(drawn(values, grid))
        gone.set_width(month.index(frame) + 1)
        text.set_text(f"{label(name)}, {scenes.stamp(task.times[frame])}{mark(task)}")
        canvas.draw()  # type: ignore[no-untyped-call]
        pixels = np.asarray(canvas.buffer_rgba())[..., :3]  # type: ignore[no-untyped-call]
        yield pixels[: pixels.shape[0] // 2 * 2, : pixels.shape[1] // 2 * 2].copy()  # H.264 has colours of 2 x 2 pixels


def _sampled(task: Task, name: str, steps: Sequence[int], shown: Display, drawn: Callable[[Array, AnyGrid], Array]) -> list[Array]:
    """What the colour scale is found from: some cells of all frames, or of some of them, of what is not the input."""
    chosen = evenly(steps, 12)
    found = []
    for frame in chosen:
        for _, values, grid in fields(task, name, frame, shown)[-2:]:
            seen = drawn(values, grid)
            stride = max(1, int(np.ceil(np.sqrt(seen.size * 2 * len(chosen) / SCALED))))
            found.append(seen[::stride, ::stride])
    return found


def _height(grid: AnyGrid, box: maps.Box) -> float:
    """Inches of a panel whose map has the shape of the box."""
    return float(np.clip(3.95 / maps.aspect(grid, box) + 1.55, 3.1, 5.8))


def writer(path: Path) -> Callable[[Path, Iterable[Pixels], float], None]:
    """What writes files like `path`. Raises OrbitError for a kind that there is none for."""
    kinds = {".mp4": _mp4, ".gif": _gif}
    if path.suffix.lower() not in kinds:
        raise OrbitError("not a kind of moving picture", where="--out", got=path.name, allowed=", ".join(kinds),
                         hint="end the name of --out in one of these")  # fmt: skip
    return kinds[path.suffix.lower()]


def _mp4(path: Path, frames: Iterable[Pixels], rate: float) -> None:
    """H.264, as every browser plays it."""
    import imageio_ffmpeg  # brings ffmpeg itself

    with atomic(path) as temporary:
        sink: Any = None
        for pixels in frames:
            if sink is None:
                sink = imageio_ffmpeg.write_frames(
                    str(temporary), pixels.shape[1::-1], fps=rate, codec="libx264", quality=None, macro_block_size=2,
                    output_params=["-crf", "20", "-movflags", "+faststart", "-f", "mp4"], ffmpeg_log_level="error",
                )  # fmt: skip
                sink.send(None)
            sink.send(np.ascontiguousarray(pixels))
        sink.close()


def _gif(path: Path, frames: Iterable[Pixels], rate: float) -> None:
    """256 colours of the first picture, no dithering: maps are flat."""
    several = iter(frames)
    first = Image.fromarray(next(several)).quantize(256, method=Image.Quantize.MEDIANCUT, dither=Image.Dither.NONE)
    rest = (Image.fromarray(pixels).quantize(palette=first, dither=Image.Dither.NONE) for pixels in several)
    with atomic(path) as temporary:
        first.save(temporary, format="GIF", save_all=True, append_images=rest, duration=round(1000 / rate), loop=0)
