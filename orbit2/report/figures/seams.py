"""Figures of the seam test: differences by distance from a tile border, and the map around a crossing. Draws what evaluate wrote."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from orbit2 import longitudes
from orbit2.grid import Grid, ProjectedGrid
from orbit2.metrics.table import TRUTH
from orbit2.report import text
from orbit2.report.figures import mapped, maps, scenes
from orbit2.report.figures.fields import field_title, leading, split_field
from orbit2.report.figures.panels import Figure, Panels, Picture, one
from orbit2.report.inputs import Inputs, Task
from orbit2.report.style import COLOURS, INK, MUTED, display, method_name, pretty_units
from orbit2.report.tables import Scores, csv_text, label, number
from orbit2.variables import is_precipitation

AROUND = 6  # coarse cells to either side of the crossing in the map


def profiles(task: Task, scores: Scores, data: xr.Dataset) -> Figure:
    """Mean |difference| of neighbouring cells by distance from the border, a row per field, a panel per direction."""
    names, directions = leading([str(x) for x in data["field"].values]), [str(x) for x in data["direction"].values]
    offsets, factor = data["offset"].to_numpy(), int(data.attrs["refinement"])
    panels = Panels(len(names), len(directions), 3.3, 2.45)
    alts, frames = [], []
    for i, field in enumerate(names):
        control = str(data["control"].sel(field=field).item())
        for j, direction in enumerate(directions):
            curves = data["mean_difference"].sel(field=field, direction=direction)
            own, other = (curves.sel(series=series).to_numpy() for series in ("model", "control"))
            ax = panels.axes(i * len(directions) + j, (0.19, 0.2, 0.78, 0.6))
            ax.axvline(0, color=INK, linewidth=0.8, linestyle=":", zorder=1)
            ax.plot(offsets, other, color="#9aa5af", linewidth=1.1, label=control_name(control))
            ax.plot(offsets, own, color=COLOURS["model"], linewidth=1.4, label=task.config.model)
            ax.plot(0, own[offsets == 0][0], "o", color=COLOURS["model"], markersize=5)
            ax.set_ylim(0, 1.3 * float(np.nanmax([own, other])) or 1.0)  # room for the legend
            ax.set_xticks(np.arange(offsets[0], offsets[-1] + 1, 2 * factor))
            ax.set_title(f"{field_title(field)}\n", fontsize=9)
            ax.text(0, 1.03, direction_title(direction, data), transform=ax.transAxes, fontsize=7.5, color=MUTED)
            row = row_of(scores, task.config.model, field, f"seam_ratio_{direction}")
            if row is not None:
                text = f"ratio {number(float(row['value']))}" + (f" ({interval(row)})" if interval(row) else "")
                ax.text(0.98, 0.06, text, transform=ax.transAxes, ha="right", fontsize=8.5, color=INK,
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85})  # fmt: skip
            ax.set_ylabel(units_of(data, field), fontsize=8)
            ax.set_xlabel("fine cells from the border", fontsize=8, labelpad=1)
            if i == 0 and j == 0:
                ax.legend(loc="upper left", ncols=2, fontsize=7.5, handlelength=1.2, columnspacing=1, borderaxespad=0.2)
            alts.append(f"Mean absolute difference of neighbouring cells of {field_title(field)} by distance from a tile border, "
                        f"{direction_title(direction, data)}.")  # fmt: skip
            frames.append(pd.DataFrame({"field": field, "direction": direction, "offset": offsets, "model": own, "control": other,
                                        "control name": control}))  # fmt: skip
    return one(
        panels,
        f"seams_{task.name}",
        "Differences by distance from a tile border",
        "Mean absolute difference of neighbouring fine cells, area-weighted, over all borders and frames; negative distances are west "
        f"or south. The dotted line is the border. The pattern repeats every {factor} cells, the width of a coarse cell: only every "
        f"{factor}th point is like the border.",
        alts,
        csv_text(pd.concat(frames)),
        columns=len(directions),
    )


def crossing(inputs: Inputs, task: Task, scores: Scores, names: list[str], data: xr.Dataset) -> Figure | None:
    """The prediction and its differences around the crossing of borders nearest to the zoomed box, for the field with the largest ratio."""
    found = list(ratios(task, scores, names, data))
    if not found:
        return None
    smooth = [entry for entry in found if not is_precipitation(split_field(entry[0])[0])]  # where it is dry a map of rain shows nothing
    name = split_field(max(smooth or found, key=lambda entry: float(entry[2]["value"]))[0])[0]
    frame = task.frame(inputs.config.report.frame)
    look, time = display(name), scenes.stamp(task.times[frame])
    if not isinstance(task.grid, Grid):
        return _on_map(task, name, frame, data)
    lats, lons = data["lat_border"].to_numpy(), data["lon_border"].to_numpy()
    box = around(inputs.config.report.zoom, task.grid, lats, lons, AROUND * int(data.attrs["refinement"]) * task.grid.resolution)
    field = look.field(task.predicted(name, frame))
    steps = _steps(field, task.grid.periodic)
    parts = [maps.cut(values, task.grid, box)[0] for values in (field, steps)]
    units = scenes.DIFFERENCE_UNITS.get(look.units, look.units)
    panels = Panels(1, 2, 4.65, 5.0)
    for i, (values, cmap, norm, title, bar, ink) in enumerate((
        (field, look.cmap, look.norm(parts[0]), f"{label(name)}, {task.config.model}", look.units, INK),
        (steps, matplotlib.colormaps["cividis"], Normalize(0, float(np.nanquantile(parts[1], 0.99)) or 1.0),
         "Difference to the cells west and south", units, "#ffffff"),
    )):  # fmt: skip
        ax = panels.axes(i, (0.115, 0.18, 0.855, 0.76))
        image = maps.zoom(ax, values, task.grid, box, cmap, norm)
        _draw(ax, lats, lons, task, box, ink)
        ax.set_title(title, pad=5)
        maps.colourbar(panels.axes(i, (0.16, 0.085, 0.68, 0.022)), image, bar)
    whole, *cuts = panels.render(2)
    about = f"{label(name)}, {time}, {maps.describe_box(box)}"
    pictures = tuple(Picture(cut, f"Map of {what} around a crossing of tile borders: {about}.")
                     for cut, what in zip(cuts, ("the prediction", "differences between neighbouring cells"), strict=True))  # fmt: skip
    caption = (
        f"{time}. Tile borders are the dashed lines. The field (rain aside) with the largest ratio, around the crossing nearest to the "
        "zoomed box; a seam would be a straight line along them in the right-hand map. "
        + text.COAST_ENLARGED
    )
    return Figure(f"seam_map_{task.name}", f"Around a crossing of tile borders: {label(name)}", caption, pictures, whole)


def _steps(field: np.ndarray, periodic: bool) -> np.ndarray:
    """Of each cell the differences to those west and south of it, together."""
    west, south = (np.abs(field - np.roll(field, 1, axis=axis)) for axis in (1, 0))
    south[0] = 0
    if not periodic:
        west[:, 0] = 0
    steps: np.ndarray = np.hypot(west, south)
    return steps


def _on_map(task: Task, name: str, frame: int, data: xr.Dataset) -> Figure | None:
    """`crossing` on a map projection: around the crossing of borders nearest to its middle, on its own axes."""
    grid, look = task.grid, display(name)
    if not isinstance(grid, ProjectedGrid):
        return None
    reach, borders, part = AROUND * int(data.attrs["refinement"]), [], []
    for key, size in (("row_border", grid.shape[0]), ("column_border", grid.shape[1])):
        found = data[key].to_numpy()
        middle = int(found[np.abs(found - size / 2).argmin()]) if len(found) else size // 2
        borders.append(found)
        part.append(slice(max(middle - reach, 0), min(middle + reach, size)))
    rows, columns = part
    field = look.field(task.predicted(name, frame))
    shown = [values[rows, columns] for values in (field, _steps(field, False))]
    units = scenes.DIFFERENCE_UNITS.get(look.units, look.units)
    panels, here = Panels(1, 2, 4.65, 5.0), grid.crop(rows, columns)
    for i, (values, cmap, norm, title, bar, ink) in enumerate((
        (shown[0], look.cmap, look.norm(shown[0]), f"{label(name)}, {task.config.model}", look.units, INK),
        (shown[1], matplotlib.colormaps["cividis"], Normalize(0, float(np.nanquantile(shown[1], 0.99)) or 1.0),
         "Difference to the neighbouring cells", units, "#ffffff"),
    )):  # fmt: skip
        ax = panels.axes(i, (0.115, 0.18, 0.855, 0.76))
        image = mapped.draw(ax, values, here, cmap, norm)
        for row in borders[0]:
            ax.axhline(grid.y_edges[row], color=ink, linewidth=0.4, linestyle=(0, (8, 8)))
        for column in borders[1]:
            ax.axvline(grid.x_edges[column], color=ink, linewidth=0.4, linestyle=(0, (8, 8)))
        ax.set_title(title, pad=5)
        maps.colourbar(panels.axes(i, (0.16, 0.085, 0.68, 0.022)), image, bar)
    whole, *cuts = panels.render(2)
    time = scenes.stamp(task.times[frame])
    pictures = tuple(Picture(cut, f"Map of {what} around a crossing of tile borders: {label(name)}, {time}.")
                     for cut, what in zip(cuts, ("the prediction", "differences between neighbouring cells"), strict=True))  # fmt: skip
    caption = (f"{time}. Tile borders are the dashed lines. The field (rain aside) with the largest ratio, around the crossing in the "
               f"middle of the map; a seam would be a straight line along them in the right-hand map. {text.COAST_ENLARGED}")  # fmt: skip
    return Figure(f"seam_map_{task.name}", f"Around a crossing of tile borders: {label(name)}", caption, pictures, whole)


def around(zoom: maps.Box, grid: Grid, lats: np.ndarray, lons: np.ndarray, half: float) -> maps.Box:
    """`half` degrees to either side of the crossing of borders nearest to the middle of `zoom`; always on the grid, also where it is cut
    in one direction only and `zoom` lies elsewhere."""
    south, north, west, east = zoom
    lat = float(np.clip((south + north) / 2, *grid.lat_edges[[0, -1]]))
    middle, reach = (grid.lon_edges[0] + grid.lon_edges[-1]) / 2, (grid.lon_edges[-1] - grid.lon_edges[0]) / 2
    lon = float(middle + np.clip(longitudes.signed(west + longitudes.width(west, east) / 2 - middle), -reach, reach))
    if len(lats):
        lat = float(lats[np.abs(lats - lat).argmin()])
    if len(lons):
        lon = float(lons[np.abs(longitudes.signed(lons - lon)).argmin()])
    wide = min(half / max(float(np.cos(np.radians(lat))), 0.2), 170.0)  # as wide as high, in kilometres
    return max(lat - half, -90.0), min(lat + half, 90.0), (lon - wide) % 360, (lon + wide) % 360


def _draw(ax: Axes, lats: np.ndarray, lons: np.ndarray, task: Task, box: maps.Box, ink: str) -> None:
    """Tile borders as thin lines, their longitudes in the turn that the map shows."""
    west = maps.unwrap(task.grid, box)[2]
    for lat in lats:
        ax.axhline(lat, color=ink, linewidth=0.4, linestyle=(0, (8, 8)))
    for lon in lons:
        ax.axvline(longitudes.follow(float(lon), west), color=ink, linewidth=0.4, linestyle=(0, (8, 8)))


def row_of(scores: Scores, series: str, field: str, metric: str) -> pd.Series | None:
    name, space = split_field(field)
    wanted = {"model": series, "variable": name, "space": space, "metric": metric}
    found = scores.rows[np.logical_and.reduce([scores.rows[key] == value for key, value in wanted.items()])]
    return found.iloc[0] if len(found) and np.isfinite(found.iloc[0]["value"]) else None


def ratios(task: Task, scores: Scores, names: list[str], data: xr.Dataset) -> Iterator[tuple[str, str, pd.Series]]:
    """(field, direction, row) of the model's ratios."""
    for field in names:
        for direction in (str(x) for x in data["direction"].values):
            row = row_of(scores, task.config.model, field, f"seam_ratio_{direction}")
            if row is not None:
                yield field, direction, row


def control_name(name: str) -> str:
    return "the truth" if name == TRUTH else f"{method_name(name)} interpolation"


def direction_title(name: str, data: xr.Dataset) -> str:
    """`meridians` -> `west–east, across meridians`; where the grid closes, with its longitude."""
    if name == "wrap":
        lon = float(data["lon_border"].values[0])
        return f"west–east, where the grid closes ({maps.degrees(longitudes.signed(lon), 'E', 'W')})"
    if "row_border" in data:
        return "along x, across columns" if name == "meridians" else "along y, across rows"
    return "west–east, across meridians" if name == "meridians" else "south–north, across parallels"


def units_of(data: xr.Dataset, field: str) -> str:
    if split_field(field)[1] == "log1p":
        return "ln(1 + mm/day)"
    return pretty_units(str(data["units"].sel(field=field).item()))


def interval(row: pd.Series) -> str:
    """`1.13–1.31`, or nothing where too few stretches of border gave none."""
    return f"{number(float(row['ci_low']))}–{number(float(row['ci_high']))}" if np.isfinite(row["ci_low"]) else ""
