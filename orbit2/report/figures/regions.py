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
from orbit2.report.figures import mapped, maps
from orbit2.report.figures.fields import split_field
from orbit2.report.figures.panels import Figure, Panels, Picture
from orbit2.report.inputs import Task
from orbit2.report.tables import csv_text, label, units

Array = npt.NDArray[np.float64]


def skill_maps(task: Task, data: xr.Dataset) -> Figure | None:
    fields = _fields(data, task)
    if not fields:
        return None
    pooled = np.concatenate([data[f"{f}_region_skill"].to_numpy() for f in fields])
    limit = max(0.1, float(np.nanquantile(np.abs(pooled), 0.97))) if np.isfinite(pooled).any() else 0.1
    ids, height = data["region_id"].to_numpy(), 3.05 if task.grid.periodic else _height(task)
    panels, alts = Panels(-(-len(fields) // 2), 2, 4.65, height), []
    for i, field in enumerate(fields):
        place = (0.015, 0.17, 0.97, 0.725) if task.grid.periodic else (0.115, 0.85 / height, 0.855, 1 - 1.2 / height)
        ax, image = _draw(panels, i, task, data[f"{field}_skill"].to_numpy(), ids, Normalize(-limit, limit), place)
        variable_name, space = split_field(field)
        title = label(variable_name) + (f", {units(variable_name, space)}" if len(spaces(variable_name)) > 1 else "")
        ax.set_title(title, pad=5)
        beneath = (0.13, 0.145, 0.74, 0.032) if task.grid.periodic else (0.16, 0.44 / height, 0.68, 0.11 / height)
        maps.colourbar(panels.axes(i, beneath), image, "skill against the region's best baseline")
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
    """The regions' abbreviations on a map of the globe, or on the prediction's box or map."""
    if not task.grid.periodic:
        return _local_key(task, data)
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


def _local_key(task: Task, data: xr.Dataset) -> Figure | None:
    found = np.where(np.isfinite(data["region_id"].to_numpy()), data["region_id"].to_numpy(), -1).astype(np.int64)
    names, (down, along) = [str(r) for r in data["region"].values], maps.axes_of(task.grid)
    here = np.unique(found[found >= 0])
    if not len(here):
        return None
    height = 9.0 / maps.aspect(task.grid, maps.extent(task.grid)) + 0.7
    panels = Panels(1, 1, 9.6, float(np.clip(height, 3.0, 8.0)))
    ax = panels.axes(0, (0.07, 0.07, 0.91, 0.9))
    shades = np.where(found >= 0, found * 7 % 5, np.nan)
    maps.zoom(ax, shades, task.grid, maps.extent(task.grid), matplotlib.colormaps["Pastel1"], Normalize(-0.5, 8.5))
    ax.add_collection(mapped.borders(found, down, along), autolim=False)
    for r in here:
        rows, columns = np.nonzero(found == r)
        middle = np.argmin((rows - rows.mean()) ** 2 + (columns - np.median(columns)) ** 2)
        x, y = ((edges[index] + edges[index + 1]) / 2 for edges, index in ((along, columns[middle]), (down, rows[middle])))
        ax.text(x, y, names[r], ha="center", va="center", fontsize=9, fontweight="bold", zorder=4)
    whole, cut = panels.render(1)
    kept = [int(r) for r in here]
    csv = csv_text(pd.DataFrame({"region": [names[r] for r in kept], "name": data["region_name"].values[kept],
                                 "kind": data["region_kind"].values[kept]}))  # fmt: skip
    picture = Picture(cut, "Map of the AR6 reference regions that the prediction reaches, with their abbreviations.")
    return Figure("regions_key", "The AR6 reference regions", text.REGIONS_CREDIT, (picture,), whole, wide=True, columns=1, csv=csv)


def _height(task: Task) -> float:
    """Inches of a panel with a map of the whole domain."""
    return float(np.clip(3.95 / maps.aspect(task.grid, maps.extent(task.grid)) + 1.2, 2.9, 5.6))


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
    panels: Panels, index: int, task: Task, values: Array, ids: Array, norm: Normalize, box: tuple[float, float, float, float]
) -> Any:
    ax = panels.axes(index, box)
    cmap = matplotlib.colormaps["RdBu"]
    if not task.grid.periodic:
        image = maps.zoom(ax, values, task.grid, maps.extent(task.grid), cmap, norm)
        ax.add_collection(mapped.borders(np.where(np.isfinite(ids), ids, -1), *maps.axes_of(task.grid)), autolim=False)
        return ax, image
    image = maps.world(ax, values, task.grid, cmap, norm)
    ax.imshow(edges(ids, task), origin="lower", extent=image.get_extent(), interpolation="bilinear", zorder=3)
    return ax, image
