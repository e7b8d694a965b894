"""The record's extreme days: truth, input, best baseline, model and errors about the place. Never chooses a day: diagnose did."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import xarray as xr

from orbit2 import longitudes, times
from orbit2.report.figures import maps, scenes
from orbit2.report.figures.panels import Figure
from orbit2.report.inputs import Task
from orbit2.report.style import method_name
from orbit2.report.tables import Cell, Scores, Table, label, units

Array = npt.NDArray[np.float64]
MOST = 4
NORTH, EAST = 14.0, 24.0  # degrees to either side of the place


def listed(data: xr.Dataset) -> list[dict[str, object]]:
    """The events that diagnose found, as dictionaries of its names."""
    if "event_kind" not in data:
        return []
    keys = ("kind", "words", "variable", "region", "date", "lat", "lon")
    return [{key: data[f"event_{key}"].values[i] for key in keys} for i in range(min(MOST, data.sizes["event"]))]


def frame_of(task: Task, name: str, date: str, box: maps.Box) -> int | None:
    """The frame of that day; of several, the one in which the truth's mean in `box` is largest by size. None where there is none."""
    days = [times.day(sample) for sample in times.stamps(task.times)]
    found = [i for i, day in enumerate(days) if day == date[:10]]
    if len(found) <= 1:
        return found[0] if found else None

    def size(i: int) -> float:
        values = maps.cut(task.truth(name, i), task.grid, box)[0]
        return abs(float(np.nanmean(values))) if np.isfinite(values).any() else -1.0

    return max(found, key=size)


def box_about(task: Task, lat: float, lon: float) -> maps.Box:
    """A box about a place, moved so that it lies on the grid; the whole of a grid that is smaller."""
    low, high, west, east = maps.extent(task.grid)
    south = min(max(lat - NORTH, low), max(low, high - 2 * NORTH))
    north = min(south + 2 * NORTH, high)
    if task.grid.periodic:
        return south, north, float(np.mod(lon - EAST, 360.0)), float(np.mod(lon + EAST, 360.0))
    at = west + float(np.mod(lon - west, 360.0))
    begin = min(max(at - EAST, west), max(west, east - 2 * EAST))
    return south, north, begin, min(begin + 2 * EAST, east)


def figures(task: Task, data: xr.Dataset, scores: Scores, model: str) -> list[Figure]:
    """One figure an event. `scores` of evaluate: which baseline is best."""
    made = []
    for event in listed(data):
        name, date, region = str(event["variable"]), str(event["date"]), str(event["region"])
        if name not in task.variables:
            continue
        lat, lon = float(event["lat"]), float(event["lon"])  # type: ignore[arg-type]
        box = box_about(task, lat, lon)
        frame = frame_of(task, name, date, box)
        if frame is None:
            continue
        best = scores.best(model, name, "rmse", "physical")
        against = best[0] if best is not None and task.has_baseline(name, best[0]) else None
        layers = scenes.frame_layers(task, name, frame, model, box, against)
        where = f"{maps.degrees(round(lat, 1), 'N', 'S')}, {maps.degrees(round(float(longitudes.signed(lon)), 1), 'E', 'W')}"
        beside = f"; {method_name(against)} is the baseline with the lowest RMSE" if against else ""
        made.append(scenes.zoom_figure(
            layers, f"event_{event['kind']}_{task.name}",
            f"{str(event['words']).capitalize()}: {label(name)}, {scenes.stamp(task.times[frame])}",
            f"Of all days and regions of the test, chosen by the truth; most extreme in region {region} near {where}{beside}.", box,
            csv=scenes.box_csv(task, name, frame, model, box, against),
        ))  # fmt: skip
    return made


def table(data: xr.Dataset, scores: Scores, model: str, task: str) -> Table | None:
    """Means of the region on that day: truth, model, input and the baseline that came nearest. `scores` of diagnose."""
    rows = []
    for event in listed(data):
        name, region, metric = str(event["variable"]), str(event["region"]), f"event_{event['kind']}"
        truth, own, given = (scores.value(who, name, metric, region=region) for who in ("(truth)", model, "nearest"))
        if truth is None or own is None:
            continue
        others = {who: v for who in scores.baselines(model) if (v := scores.value(who, name, metric, region=region)) is not None}
        near = min(others, key=lambda who: abs(others[who] - truth)) if others else None
        rows.append((
            Cell(str(event["words"]).capitalize(), note=f"{label(name)}, {units(name)}"), Cell(region, note=str(event["date"])[:10]),
            Cell.of(truth, 4), Cell.of(own, 4, strong=True), Cell.of(given, 4),
            Cell.of(others[near] if near else None, 4, note=method_name(near) if near else ""),
        ))  # fmt: skip
    if not rows:
        return None
    return Table(
        f"events_of_{task}", f"The most extreme days of the record, as means of a region: truth, {model}, nearest neighbour (the input), "
        "and whichever baseline came nearest on that one day.",
        ("Day", "region", "truth", model, "nearest", "nearest baseline"), tuple(rows),
    )  # fmt: skip
