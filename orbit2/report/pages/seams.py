"""Whether the tiles show: the seam test of a tiled task as words, table, curves and a map. Scores nothing."""

from __future__ import annotations

import xarray as xr

from orbit2.config.imported import TRAINED_TILES
from orbit2.report.figures.fields import field_title, open_netcdf
from orbit2.report.figures.seams import control_name, crossing, direction_title, interval, profiles, ratios, row_of, units_of
from orbit2.report.inputs import Inputs, Task
from orbit2.report.pages.blocks import Block, Section, paragraph, shown
from orbit2.report.tables import Cell, Scores, Table, lower, number

TOLERANCE = 0.05  # a ratio this near to 1 counts as no seam


def sections(inputs: Inputs, task: Task) -> list[Section]:
    """One section for a task predicted on tiles; none for others and for a single tile."""
    as_trained = TRAINED_TILES in task.prediction.attrs
    if task.config.tile in (0, (0, 0)) and not as_trained:
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
            f"{task.config.model} predicted this task on tiles of {rows} × {columns} coarse cells"
            f"{', as it was trained,' if as_trained else ','} each with {int(data.attrs['halo'])} "
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
    found = dict.fromkeys(control_name(str(name)) for name in data["control"].values if str(name))
    return " or ".join(found) or "missing"


def verdict(task: Task, scores: Scores, names: list[str], data: xr.Dataset) -> str:
    """How many ratios are near 1, cannot be told from 1, or from the control's; how many show a seam, and the largest of these."""
    near, unclear, placed = 0, 0, 0
    seams: list[tuple[float, str, str]] = []
    for field, direction, row in ratios(task, scores, names, data):
        control = row_of(scores, str(data["control"].sel(field=field).item()), field, f"seam_ratio_{direction}")
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
    step = row_of(scores, task.config.model, field, f"seam_difference_{direction}")
    across = "" if step is None else f", where neighbouring cells differ by {number(step['value'])} {units_of(data, field)} on average"
    place = f"{lower(field_title(field))} {direction_title(direction, data)}"
    return f"{said}. There the tiles show. The largest is {number(value)}, {place}{across}."


def ratio_table(task: Task, scores: Scores, names: list[str], data: xr.Dataset) -> Table:
    """Seam ratio by field and direction with its interval, and the control's."""
    directions = [str(x) for x in data["direction"].values]
    body = []
    for field in names:
        control = str(data["control"].sel(field=field).item())
        cells = [Cell(field_title(field))]
        for direction in directions:
            own, other = (row_of(scores, series, field, f"seam_ratio_{direction}") for series in (task.config.model, control))
            notes = [interval(own)] if own is not None else []
            notes += [f"{control_name(control)} {number(float(other['value']))}"] if other is not None else []
            cells.append(Cell.of(None if own is None else float(own["value"]), 3, strong=True, note="; ".join(filter(None, notes))))
        body.append(tuple(cells))
    return Table(
        f"seam_ratios_{task.name}",
        "Seam ratio by direction: 1 means that a tile border is like any other place. In grey the 95 % interval and the same "
        "ratio of what was never cut into tiles.",
        ("Variable", *(direction_title(direction, data) for direction in directions)),
        tuple(body),
    )
