"""Maps of the AR6 regions: skill in each, and which is which. Draws what diagnose wrote."""

from __future__ import annotations

from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
import pandas as pd
import xarray as xr
from matplotlib.colors import Normalize

from orbit2.metrics.verdict import spaces
from orbit2.report import text
from orbit2.report.figures import maps
from orbit2.report.figures.fields import split_field
from orbit2.report.figures.panels import Figure, Panels, Picture
from orbit2.report.inputs import Task
from orbit2.report.tables import csv_text, label, units

Array = npt.NDArray[np.float64]


def skill_maps(task: Task, data: xr.Dataset) -> Figure | None:
    fields = _fields(data, task)
    if not fields or not task.grid.periodic:
        return None
    pooled = np.concatenate([data[f"{f}_region_skill"].to_numpy() for f in fields])
    limit = max(0.1, float(np.nanquantile(np.abs(pooled), 0.97))) if np.isfinite(pooled).any() else 0.1
    overlay = edges(data["region_id"].to_numpy(), task)
    panels, alts = Panels(-(-len(fields) // 2), 2, 4.65, 3.05), []
    for i, field in enumerate(fields):
        ax, image = _draw(panels, i, task, data[f"{field}_skill"].to_numpy(), overlay, Normalize(-limit, limit), (0.015, 0.17, 0.97, 0.725))
        variable_name, space = split_field(field)
        title = label(variable_name) + (f", {units(variable_name, space)}" if len(spaces(variable_name)) > 1 else "")
        ax.set_title(title, pad=5)
        maps.colourbar(panels.axes(i, (0.13, 0.145, 0.74, 0.032)), image, "skill against the region's best baseline")
        alts.append(
            f"Map of RMSE skill of {task.config.model} by AR6 region for {title}; blue where it beats interpolation, grey where "
            f"nothing was scored."
        )
    whole, *cuts = panels.render(len(fields))
    skills = {f"{f} skill": data[f"{f}_region_skill"].to_numpy() for f in fields}
    csv = csv_text(pd.DataFrame({"region": data["region"].values, **skills}))
    return Figure(
        "regions",
        f"Skill of {task.config.model} by region",
        f"Blue: better than the best baseline; red: worse; grey: not scored. All test frames pooled. {text.COAST_CREDIT}",
        tuple(Picture(p, a) for p, a in zip(cuts, alts, strict=True)),
        whole,
        csv=csv,
    )


def key_map(task: Task, data: xr.Dataset) -> Figure | None:
    """The regions' abbreviations on a map."""
    if not task.grid.periodic:
        return None
    ids = data["region_id"].to_numpy()
    names = [str(r) for r in data["region"].values]
    panels = Panels(1, 1, 9.6, 5.0)
    shades = np.where(np.isfinite(ids) & (ids >= 0), (np.nan_to_num(ids, nan=0) * 7) % 5, np.nan)
    ax = panels.axes(0, (0.01, 0.01, 0.98, 0.98))
    image = maps.world(ax, shades, task.grid, matplotlib.colormaps["Pastel1"], Normalize(-0.5, 8.5))
    ax.imshow(edges(ids, task), origin="lower", extent=image.get_extent(), interpolation="bilinear", zorder=3)
    on_map = maps.on_world(np.where(np.isfinite(ids), ids, -1), task.grid)
    left, right, bottom, top = image.get_extent()
    for i, name in enumerate(names):
        rows, columns = np.nonzero(on_map == i)
        if not len(rows):
            continue
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - np.median(columns)) ** 2)
        x = left + (columns[middle] + 0.5) / on_map.shape[1] * (right - left)
        y = bottom + (rows[middle] + 0.5) / on_map.shape[0] * (top - bottom)
        ax.text(x, y, name, ha="center", va="center", fontsize=6.5, fontweight="bold", zorder=4)
    whole, cut = panels.render(1)
    csv = csv_text(pd.DataFrame({"region": names, "name": data["region_name"].values, "kind": data["region_kind"].values}))
    return Figure(
        "regions_key",
        "The AR6 reference regions",
        text.REGIONS_CREDIT,
        (Picture(cut, "Map of the AR6 reference regions with their abbreviations."),),
        whole,
        wide=True,
        columns=1,
        csv=csv,
    )


def _fields(data: xr.Dataset, task: Task) -> list[str]:
    names = [str(x).removesuffix("_region_skill") for x in data.data_vars if str(x).endswith("_region_skill")]
    order = {name: i for i, name in enumerate(task.variables)}
    return sorted(names, key=lambda name: order.get(split_field(name)[0], 99))


def edges(ids: npt.NDArray[Any], task: Task) -> npt.NDArray[np.float64]:
    """Region boundaries on the world map's pixels as an RGBA overlay."""
    on_map = maps.on_world(ids.astype(np.float64), task.grid)
    on_map = np.where(np.isfinite(on_map), on_map, -2)
    edge = np.zeros(on_map.shape, dtype=bool)
    edge[:, 1:] |= on_map[:, 1:] != on_map[:, :-1]
    edge[1:] |= on_map[1:] != on_map[:-1]
    edge[:, 1:] |= edge[:, :-1].copy()  # two pixels wide, so that scaling loses none of it
    overlay = np.zeros((*edge.shape, 4))
    overlay[edge & (on_map > -2)] = (0.11, 0.15, 0.2, 0.85)
    return overlay


def _draw(
    panels: Panels, index: int, task: Task, values: Array, overlay: Array, norm: Normalize, box: tuple[float, float, float, float]
) -> Any:
    ax = panels.axes(index, box)
    cmap = matplotlib.colormaps["RdBu"]
    image = maps.world(ax, values, task.grid, cmap, norm)
    ax.imshow(overlay, origin="lower", extent=image.get_extent(), interpolation="bilinear", zorder=3)
    return ax, image
