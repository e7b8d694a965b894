"""The quadtree leaves that a compressing model looked at, drawn over the input. Computed from the model's own weights; never scored."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from orbit2.grid import Grid
from orbit2.report.figures import maps
from orbit2.report.figures.panels import Figure, Panels, Picture
from orbit2.report.figures.scenes import stamp
from orbit2.report.inputs import Inputs, Task
from orbit2.report.pages.blocks import Block, paragraph, shown
from orbit2.report.style import INK, display
from orbit2.report.tables import csv_text, label

Box = tuple[float, float, float, float]  # south, north, west, east
GLOBE: Box = (-90.0, 90.0, 0.0, 360.0)


def blocks(inputs: Inputs, task: Task) -> list[Block]:
    """The figure and what it means; nothing for models that see every token, a part of the globe, or tiles of it."""
    model = inputs.models[task.config.model]
    compression = inputs.config.architecture_of(model.name).compression
    if not compression.active or model.config.region is not None or task.config.tile or task.config.input != "coarse":
        return []
    if not isinstance(task.input_grid, Grid):  # leaves are drawn as boxes of degrees
        return []
    frame = task.frame(inputs.config.report.frame)
    found, tokens = leaf_boxes(model.folder, task, frame)
    name = next((n for n in task.variables if task.is_input(n)), None)
    if name is None:
        return []
    return [
        Block("heading", text="What the transformer looked at"),
        paragraph(
            f"{model.name} compresses: its transformer saw this frame as {len(found)} leaves instead of {tokens} tokens, "
            f"{tokens / len(found):.1f} times fewer. Leaves are small where the learned density has edges; what a leaf hides from the "
            f"transformer still reaches the output through the token's own path and the convolutions."
        ),
        *shown(figure(task, name, frame, found, inputs.config.report.zoom)),
    ]


def leaf_boxes(path: object, task: Task, frame: int) -> tuple[list[Box], int]:
    """(south, north, west, east of every leaf in degrees, number of tokens) for one frame of a global task."""
    from orbit2.data.dataset import Pairs  # they bring torch, which few pages need
    from orbit2.model import folder
    from orbit2.model.reslim import Reslim

    loaded, normaliser, _ = folder.load(str(path))
    assert isinstance(loaded, Reslim)
    time, grid = str(task.times[frame]), task.input_grid
    assert isinstance(grid, Grid)
    pairs = Pairs(task.store, (time, time), normaliser, loaded.outputs)
    batch = pairs.batch([int(pairs.indices[0])])
    leaves = loaded.leaves(batch.coarse, batch.variables, batch.geometry, batch.clock)
    assert leaves is not None
    patch = loaded.config.patch
    height, width = grid.shape
    found = []
    for top, bottom, left, right in leaves.boxes():
        rows, columns = (min(top * patch, height), min(bottom * patch, height)), (min(left * patch, width), min(right * patch, width))
        lat, lon = grid.lat_edges[list(rows)], grid.lon_edges[list(columns)]
        found.append((float(lat[0]), float(lat[1]), float(lon[0]), float(lon[1])))
    return found, leaves.pyramid.rows * leaves.pyramid.columns


def figure(task: Task, name: str, frame: int, found: list[Box], zoom: Box) -> Figure:
    """The input with the leaves' outlines: everything, and the zoomed box where it lies inside."""
    grid, look, time = task.input_grid, display(name), stamp(task.times[frame])
    assert isinstance(grid, Grid)
    field = look.field(task.input(name, frame))
    norm = look.norm(field)
    everything = (*GLOBE[:2], float(grid.lon_edges[0]), float(grid.lon_edges[-1]))
    boxes = [everything, zoom] if maps.overlaps(grid, zoom) else [everything]
    panels = Panels(len(boxes), 1, 9.3, 5.2)
    for i, box in enumerate(boxes):
        ax = panels.axes(i, (0.06, 0.19, 0.92, 0.74))
        image = maps.zoom(ax, field, grid, box, look.cmap, norm)
        outline(ax, found, grid)
        ax.set_title(f"{label(name)}, input, and the leaves" if i == 0 else maps.describe_box(box), pad=5)
        maps.colourbar(panels.axes(i, (0.2, 0.09, 0.6, 0.022)), image, look.units)
    whole, *cuts = panels.render()
    pictures = tuple(
        Picture(cut, f"Map of {label(name)}, {time}, with the outlines of the quadtree's leaves, {maps.describe_box(box)}.")
        for cut, box in zip(cuts, boxes, strict=True)
    )
    caption = f"{time}. Every outlined cell is one token of the transformer. Plain longitude and latitude."
    columns = pd.DataFrame(np.array(found), columns=["south", "north", "west", "east"])
    return Figure("leaves", "Leaves of the adaptive compression", caption, pictures, whole, columns=1, csv=csv_text(columns), wide=True)


def outline(ax: Axes, found: list[Box], grid: Grid) -> None:
    """Draw the leaves' sides, also one turn further east where the map may pass the grid's seam."""
    lines = []
    for turn in (0.0, 360.0) if grid.periodic else (0.0,):
        for south, north, west, east in found:
            lines.append([(west + turn, north), (west + turn, south), (east + turn, south), (east + turn, north), (west + turn, north)])
    width = float(np.clip(60 / len(found) ** 0.5 / 4, 0.2, 0.7))
    ax.add_collection(LineCollection(lines, colors=INK, linewidths=width, alpha=0.8), autolim=False)
