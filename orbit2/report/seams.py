"""Whether the tiles show: the seam test of a tiled task as words, table, curves and a map. Draws what evaluate wrote; scores nothing."""

from __future__ import annotations

from collections.abc import Iterator

import matplotlib
import numpy as np
import pandas as pd
import xarray as xr
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from orbit2 import longitudes
from orbit2.grid import Grid
from orbit2.report import maps, scenes, text
from orbit2.report.blocks import Block, Section, paragraph, shown
from orbit2.report.figures import field_title, leading, one, open_netcdf, split_field
from orbit2.report.inputs import Inputs, Task
from orbit2.report.panels import Figure, Panels, Picture
from orbit2.report.style import COLOURS, INK, MUTED, display, method_name, pretty_units
from orbit2.report.tables import Cell, Scores, Table, csv_text, label, lower, number
from orbit2.variables import is_precipitation

TOLERANCE = 0.05  # a ratio this near to 1 counts as no seam
AROUND = 6  # coarse cells to either side of the crossing in the map


def sections(inputs: Inputs, task: Task) -> list[Section]:
    """One section for a task predicted on tiles; none for others and for a single tile."""
    if task.config.tile in (0, (0, 0)):
        return []
    data = open_netcdf(task.evaluate / "seams.nc", "evaluate")
    if "mean_difference" not in data:
        return []
    scores, names = Scores(inputs.scores, task.name), [str(x) for x in data["field"].values]
    section = Section(f"seams-{task.name}", f"Do the tiles show? Task {task.name}", f"Seams: {task.name}")
    rows, columns = (int(x) for x in data.attrs["tile"])
    blend = int(data.attrs.get("blend", 0))
    beyond = (f"more on every side. Within {blend} of a border the predictions of both its tiles are mixed; the rest is thrown away"
              if blend else "more on every side that are computed and thrown away")  # fmt: skip
    section.blocks = [
        paragraph(
            f"{task.config.model} predicted this task on tiles of {rows} × {columns} coarse cells, each with {int(data.attrs['halo'])} "
            f"{beyond}. If it depends on what lies beyond, neighbouring tiles disagree and the field "
            f"{'changes too quickly' if blend else 'jumps'} at their border. The seam ratio is the mean absolute difference of the two "
            f"fine cells on either side of a border, over the same at the boundaries of coarse cells {blend + 1} and {blend + 2} coarse "
            f"cells beside it{', where nothing is mixed' if blend else ''}: the same kind of "
            "place, so that neither mountains nor the upsampling count. 1 means no seam. The grey curve and number are "
            f"{_control(data)}, which was never cut: how far it is from 1 is what the place does, and the interval (95 %, "
            "from drawing stretches of border) says the same for the model."
        ),
        paragraph(verdict(task, scores, names, data), "reading"),
        Block("table", table=ratio_table(task, scores, names, data)),
        *shown(profiles(task, scores, data)),
        *shown(crossing(inputs, task, scores, names, data)),
    ]
    return [section]


def _control(data: xr.Dataset) -> str:
    found = dict.fromkeys(_control_name(str(name)) for name in data["control"].values if str(name))
    return " or ".join(found) or "missing"


def _control_name(name: str) -> str:
    return "the truth" if name == "(truth)" else f"{method_name(name)} interpolation"


def direction_title(name: str, data: xr.Dataset) -> str:
    """`meridians` -> `west–east, across meridians`; where the grid closes, with its longitude."""
    if name == "wrap":
        lon = float(data["lon_border"].values[0])
        return f"west–east, where the grid closes ({maps.degrees(longitudes.signed(lon), 'E', 'W')})"
    return "west–east, across meridians" if name == "meridians" else "south–north, across parallels"


def _row(scores: Scores, series: str, field: str, metric: str) -> pd.Series | None:
    name, space = split_field(field)
    wanted = {"model": series, "variable": name, "space": space, "metric": metric}
    found = scores.rows[np.logical_and.reduce([scores.rows[key] == value for key, value in wanted.items()])]
    return found.iloc[0] if len(found) and np.isfinite(found.iloc[0]["value"]) else None


def _ratios(task: Task, scores: Scores, names: list[str], data: xr.Dataset) -> Iterator[tuple[str, str, pd.Series]]:
    """(field, direction, row) of the model's ratios."""
    for field in names:
        for direction in (str(x) for x in data["direction"].values):
            row = _row(scores, task.config.model, field, f"seam_ratio_{direction}")
            if row is not None:
                yield field, direction, row


def verdict(task: Task, scores: Scores, names: list[str], data: xr.Dataset) -> str:
    """How many ratios are near 1, cannot be told from 1, or from the control's; how many show a seam, and the largest of these."""
    near, unclear, placed = 0, 0, 0
    seams: list[tuple[float, str, str]] = []
    for field, direction, row in _ratios(task, scores, names, data):
        control = _row(scores, str(data["control"].sel(field=field).item()), field, f"seam_ratio_{direction}")
        if abs(row["value"] - 1) <= TOLERANCE:
            near += 1
        elif not (row["ci_low"] > 1 or row["ci_high"] < 1):  # no interval: not told from 1
            unclear += 1
        elif control is not None and row["ci_low"] <= control["value"] <= row["ci_high"]:
            placed += 1
        else:
            seams.append((float(row["value"]), field, direction))
    total = near + unclear + placed + len(seams)
    if not total:
        return "No border could be tested: there is nothing beside it to compare with."
    words = [f"Of {total} ratios, {near} lie within 1 ± {TOLERANCE:g}"]
    words += [f"{unclear} lie outside but cannot be told from 1 (their interval holds it)"] if unclear else []
    words += [f"{placed} as far from 1 as what was never cut (their interval holds its ratio)"] if placed else []
    words += [f"{len(seams)} far from both"] if seams else []
    said = words[0] if len(words) == 1 else f"{', '.join(words[:-1])}, and {words[-1]}"
    if not seams:
        return f"{said}. No seam was found."
    value, field, direction = max(seams)
    if value < 1:
        return f"{said}. All of these are below 1: smoother than beside, not a jump."
    step = _row(scores, task.config.model, field, f"seam_difference_{direction}")
    across = "" if step is None else f", where neighbouring cells differ by {number(step['value'])} {_units(data, field)} on average"
    place = f"{lower(field_title(field))} {direction_title(direction, data)}"
    return f"{said}. There the tiles show. The largest is {number(value)}, {place}{across}."


def _units(data: xr.Dataset, field: str) -> str:
    if split_field(field)[1] == "log1p":
        return "ln(1 + mm/day)"
    return pretty_units(str(data["units"].sel(field=field).item()))


def ratio_table(task: Task, scores: Scores, names: list[str], data: xr.Dataset) -> Table:
    """Seam ratio by field and direction with its interval, and the control's."""
    directions = [str(x) for x in data["direction"].values]
    body = []
    for field in names:
        control = str(data["control"].sel(field=field).item())
        cells = [Cell(field_title(field))]
        for direction in directions:
            own, other = (_row(scores, series, field, f"seam_ratio_{direction}") for series in (task.config.model, control))
            notes = [interval(own)] if own is not None else []
            notes += [f"{_control_name(control)} {number(float(other['value']))}"] if other is not None else []
            cells.append(Cell.of(None if own is None else float(own["value"]), 3, strong=True, note="; ".join(filter(None, notes))))
        body.append(tuple(cells))
    return Table(
        f"seam_ratios_{task.name}",
        "Seam ratio by direction: 1 means that a tile border is like any other place. In grey the 95 % interval and the same "
        "ratio of what was never cut into tiles.",
        ("Variable", *(direction_title(direction, data) for direction in directions)),
        tuple(body),
    )


def interval(row: pd.Series) -> str:
    """`1.13–1.31`, or nothing where too few stretches of border gave none."""
    return f"{number(float(row['ci_low']))}–{number(float(row['ci_high']))}" if np.isfinite(row["ci_low"]) else ""


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
            ax.plot(offsets, other, color="#9aa5af", linewidth=1.1, label=_control_name(control))
            ax.plot(offsets, own, color=COLOURS["model"], linewidth=1.4, label=task.config.model)
            ax.plot(0, own[offsets == 0][0], "o", color=COLOURS["model"], markersize=5)
            ax.set_ylim(0, 1.3 * float(np.nanmax([own, other])) or 1.0)  # room for the legend
            ax.set_xticks(np.arange(offsets[0], offsets[-1] + 1, 2 * factor))
            ax.set_title(f"{field_title(field)}\n", fontsize=9)
            ax.text(0, 1.03, direction_title(direction, data), transform=ax.transAxes, fontsize=7.5, color=MUTED)
            row = _row(scores, task.config.model, field, f"seam_ratio_{direction}")
            if row is not None:
                text = f"ratio {number(float(row['value']))}" + (f" ({interval(row)})" if interval(row) else "")
                ax.text(0.98, 0.06, text, transform=ax.transAxes, ha="right", fontsize=8.5, color=INK,
                        bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5, "alpha": 0.85})  # fmt: skip
            ax.set_ylabel(_units(data, field), fontsize=8)
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
    found = list(_ratios(task, scores, names, data))
    if not found:
        return None
    smooth = [entry for entry in found if not is_precipitation(split_field(entry[0])[0])]  # where it is dry a map of rain shows nothing
    name = split_field(max(smooth or found, key=lambda entry: float(entry[2]["value"]))[0])[0]
    frame = task.frame(inputs.config.report.frame)
    look, time = display(name), scenes.stamp(task.times[frame])
    lats, lons = data["lat_border"].to_numpy(), data["lon_border"].to_numpy()
    box = around(inputs.config.report.zoom, task.grid, lats, lons, AROUND * int(data.attrs["refinement"]) * task.grid.resolution)
    field = look.field(task.predicted(name, frame))
    west, south = (np.abs(field - np.roll(field, 1, axis=axis)) for axis in (1, 0))
    south[0] = 0
    if not task.grid.periodic:
        west[:, 0] = 0
    steps = np.hypot(west, south)
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
