"""Map figures of a dated frame: input, truth, interpolation, model and differences; zero-shot; regional. Never scores anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.colors import Colormap, Normalize

from orbit2 import times
from orbit2.areas import relative_areas
from orbit2.baselines import METHODS
from orbit2.baselines.interpolation import block_mean
from orbit2.grid import AnyGrid, Grid
from orbit2.report import text
from orbit2.report.figures import maps
from orbit2.report.figures.panels import Figure, Panels, Picture
from orbit2.report.inputs import Task
from orbit2.report.style import Display, display, method_name
from orbit2.report.tables import csv_text, label
from orbit2.variables import variable

Array = npt.NDArray[np.float64]
DIFFERENCE_UNITS = {"°C": "K"}


@dataclass(frozen=True)
class Layer:
    """One map: a title, a field in shown units on a grid, its colours."""

    title: str
    values: Array
    grid: AnyGrid
    cmap: Colormap
    norm: Normalize
    units: str
    alt: str


def stamp(time: np.datetime64) -> str:
    """`2026-03-30 18:00 UTC`."""
    return times.stamp(time)[:16].replace("T", " ") + " UTC"


def frame_layers(
    task: Task, name: str, frame: int, model: str, box: maps.Box | None = None, against: str | None = "bicubic"
) -> list[Layer]:  # fmt: skip
    """Input, truth, baseline, model, baseline - truth, model - truth of one frame of a task that has a truth.

    Colour scales span the whole field, or only what lies in `box`.
    """
    look = display(name)
    time = stamp(task.times[frame])
    given = look.field(task.input(name, frame)) if task.is_input(name) else None
    truth, own = look.field(task.truth(name, frame)), look.field(task.predicted(name, frame))
    base = look.field(task.interpolated(name, frame, against)) if against is not None and task.is_input(name) else None
    beside = method_name(against) if against is not None else ""

    def inside(values: Array) -> Array:
        return values if box is None else maps.cut(values, task.grid, box)[0]

    norm = look.norm(inside(truth))
    errors = [(title, field - truth) for title, field in ((beside, base), (model, own)) if field is not None]
    error_norm = look.difference_norm(*(inside(error) for _, error in errors))
    layers = []
    if given is not None:
        layers.append(_layer("Input", given, task.input_grid, look, norm, f"{label(name)}, coarse input, {time}"))
    layers.append(_layer("Truth", truth, task.grid, look, norm, f"{label(name)}, truth on the fine grid, {time}"))
    if base is not None:
        what = f"{beside} interpolation" if against in METHODS else beside
        layers.append(_layer(beside[:1].upper() + beside[1:], base, task.grid, look, norm, f"{label(name)}, {what}, {time}"))
    layers.append(_layer(f"Model ({model})", own, task.grid, look, norm, f"{label(name)}, {model}, {time}"))
    units = DIFFERENCE_UNITS.get(look.units, look.units)
    for title, error in errors:
        layers.append(
            Layer(
                f"{title} − truth", error, task.grid, look.difference_cmap, error_norm, units, f"{label(name)}, {title} minus truth, {time}"
            )
        )
    return layers


def _layer(title: str, values: Array, grid: AnyGrid, look: Display, norm: Normalize, alt: str) -> Layer:
    return Layer(f"{title}, {spacing(grid)}", values, grid, look.cmap, norm, look.units, alt)


def spacing(grid: AnyGrid) -> str:
    """`4°`, `0.25°`; of a grid without parallels `12 km`."""
    return f"{grid.resolution:.3g}°" if isinstance(grid, Grid) else f"{grid.km:.3g} km"


def world_figure(layers: list[Layer], name: str, title: str, caption: str, box: maps.Box | None) -> Figure:
    """Global maps, two panels a row."""
    panels = Panels(-(-len(layers) // 2), 2, 4.65, 3.05)
    for i, layer in enumerate(layers):
        ax = panels.axes(i, (0.015, 0.17, 0.97, 0.725))
        image = maps.world(ax, layer.values, layer.grid, layer.cmap, layer.norm, box)
        ax.set_title(layer.title, pad=5)
        maps.colourbar(panels.axes(i, (0.13, 0.145, 0.74, 0.032)), image, layer.units)
    return _figure(panels, layers, name, title, caption, None, "Global map")


def zoom_figure(
    layers: list[Layer], name: str, title: str, caption: str, box: maps.Box, csv: str | None = None, columns: int = 2, width: float = 4.65,
) -> Figure:  # fmt: skip
    """The same maps inside `box`, two panels a row or `columns` of `width` inches; the panel's shape follows the box's."""
    aspect = maps.aspect(layers[0].grid, box)
    height = float(np.clip(0.85 * width / aspect + 1.1, 2.7, 5.4))
    panels = Panels(-(-len(layers) // columns), columns, width, height)
    top, foot = 0.32 / height, 0.80 / height
    for i, layer in enumerate(layers):
        ax = panels.axes(i, (0.115, foot, 0.855, 1 - top - foot))
        image = maps.zoom(ax, layer.values, layer.grid, box, layer.cmap, layer.norm)
        ax.set_title(layer.title, pad=5)
        maps.colourbar(panels.axes(i, (0.16, 0.42 / height, 0.68, 0.11 / height)), image, layer.units)
    return _figure(panels, layers, name, title, f"{caption} {text.COAST_ENLARGED}", csv, f"Map of {maps.describe_box(box)}", columns)


def zoomed(
    layers: Callable[[Task, str, int, str, maps.Box | None], list[Layer]], task: Task, name: str, frame: int, model: str, box: maps.Box,
    figure: str, title: str, caption: str,
) -> Figure:  # fmt: skip
    """`layers` (frame_layers, consistency_layers) of one variable enlarged in `box`, with its cells as CSV."""
    where = f"{title}, {maps.describe_box(box)}"
    return zoom_figure(layers(task, name, frame, model, box), figure, where, caption, box, csv=box_csv(task, name, frame, model, box))


def _figure(
    panels: Panels, layers: list[Layer], name: str, title: str, caption: str, csv: str | None, kind: str, columns: int = 2
) -> Figure:  # fmt: skip
    whole, *cuts = panels.render(len(layers))
    pictures = tuple(Picture(pixels, f"{kind}, {layer.title}: {layer.alt}.") for pixels, layer in zip(cuts, layers, strict=True))
    return Figure(name, title, caption, pictures, whole, columns, csv=csv)


def box_csv(task: Task, name: str, frame: int, model: str, box: maps.Box, against: str | None = "bicubic") -> str:
    """Cells of the zoomed box as CSV in canonical units: latitude, longitude, truth, interpolation, model."""
    fields: dict[str, Array] = {}
    if task.has_truth:
        fields["truth"] = task.truth(name, frame)
    if against is not None and task.is_input(name):
        fields[against] = task.interpolated(name, frame, against)
    fields[model] = task.predicted(name, frame)
    columns: dict[str, Array] = {}
    for key, values in fields.items():
        inside, down, along = maps.cut(values, task.grid, box)
        lat, lon = np.meshgrid((down[:-1] + down[1:]) / 2, (along[:-1] + along[1:]) / 2 % 360, indexing="ij")
        if not isinstance(task.grid, Grid):
            chosen = task.grid.window(box)
            lat, lon = task.grid.lat2d[chosen], task.grid.lon2d[chosen] % 360
        columns.setdefault("lat", lat.ravel())
        columns.setdefault("lon", lon.ravel())
        columns[f"{key} ({variable(name).units})"] = inside.ravel()
    return csv_text(pd.DataFrame(columns))


def consistency_layers(task: Task, name: str, frame: int, model: str, box: maps.Box | None = None) -> list[Layer]:
    """For a task without a truth: its input and the finer prediction; the colour scale spans the input, or what of it lies in `box`."""
    look = display(name)
    time = stamp(task.times[frame])
    given, own = look.field(task.input(name, frame)), look.field(task.predicted(name, frame))
    norm = look.norm(given if box is None else maps.cut(given, task.input_grid, box)[0])
    return [
        _layer("Input", given, task.input_grid, look, norm, f"{label(name)}, input, {time}"),
        _layer(f"Model ({model})", own, task.grid, look, norm, f"{label(name)}, {model}, {time}"),
    ]


def observed_layers(task: Task, name: str, frame: int, model: str, product: str) -> list[Layer]:
    """For a task with observations: input (where it is one), prediction and observation, each on its own grid, on one colour scale."""
    look = display(name)
    time = stamp(task.times[frame])
    own, seen = look.field(task.predicted(name, frame)), task.observation(name, frame)
    norm = look.norm(own if seen is None else look.field(seen))
    layers = []
    if task.is_input(name):
        layers.append(_layer("Input", look.field(task.input(name, frame)), task.input_grid, look, norm, f"{label(name)}, input, {time}"))
    layers.append(_layer(f"Model ({model})", own, task.grid, look, norm, f"{label(name)}, {model}, {time}"))
    if seen is not None and task.observations is not None:
        grid = task.observations.grid("fine")
        layers.append(_layer(product, look.field(seen), grid, look, norm, f"{label(name)}, {product}, {time}"))
    return layers


def residual_layer(task: Task, name: str, frame: int) -> Layer | None:
    """Area-weighted block mean of the prediction minus its input, on the input's grid.

    None for a prediction of part of the globe, and where nothing but rounding would be seen.
    """
    factor = task.store.refinement
    if task.grid.shape != task.input_grid.refine(factor).shape:
        return None
    look = display(name)
    means = block_mean(look.field(task.predicted(name, frame)), relative_areas(task.grid), factor)
    given = look.field(task.input(name, frame))
    residual = means - given
    if np.nanquantile(np.abs(residual), 0.999) < 1e-3 * np.nanstd(given):
        return None
    units = DIFFERENCE_UNITS.get(look.units, look.units)
    return Layer(
        "Block mean of the model − input",
        residual,
        task.input_grid,
        look.difference_cmap,
        look.difference_norm(residual),
        units,
        f"{label(name)}, conservation residual, {stamp(task.times[frame])}",
    )
