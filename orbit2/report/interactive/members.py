"""Members beside each other on any date: truth, their mean, three of them, their spread. Never scores anything."""

from __future__ import annotations

from functools import partial
from typing import Any

import matplotlib
import numpy as np
import numpy.typing as npt
from matplotlib.colors import Normalize
from PIL import Image

from orbit2.progress import counted
from orbit2.report.figures import maps
from orbit2.report.figures.scenes import DIFFERENCE_UNITS, stamp
from orbit2.report.inputs import Task
from orbit2.report.interactive import rasters
from orbit2.report.interactive.dates import SEEN, bar, chosen, told_of
from orbit2.report.interactive.widgets import Still, Widget
from orbit2.report.style import Display, display
from orbit2.report.tables import label

Array = npt.NDArray[np.float64]
SHOWN = 3  # members
WIDTH = 360  # pixels of a map: six stand beside each other
SPREADS = matplotlib.colormaps["YlOrBr"]


def widget(task: Task, zoom: maps.Box, dates: int, frame: int) -> Widget | None:
    """At most `dates` dates of a task with members and a truth, `frame` among them, in the zoomed box (all of a region that lies
    elsewhere); None where none was asked for."""
    frames = chosen(len(task.times), dates, frame)
    if not frames or not task.members or not task.variables:
        return None
    box = zoom if maps.overlaps(task.grid, zoom) else maps.extent(task.grid)
    stamps, titles = [stamp(task.times[at]) for at in frames], layers(task.members)
    pictures: dict[str, Still] = {}
    variables: dict[str, dict[str, Any]] = {}
    for name in counted(task.variables, "maps of members", len(task.variables), "variable"):
        look = display(name)
        fields = [_fields(task, name, at, look) for at in frames]
        norms = {"field": look.norm(*(_inside(one["truth"], task, box) for one in fields)),
                 "spread": spread_norm(*(_inside(one["spread"], task, box) for one in fields))}  # fmt: skip
        for i, one in enumerate(fields):
            for key, values in one.items():
                kind = "spread" if key == "spread" else "field"
                pixels = rasters.box(values, task.grid, box, SPREADS if key == "spread" else look.cmap, norms[kind])
                pictures[f"{name}/{i}/{key}"] = Still.of(_smaller(pixels), f"{label(name)}, {titles[key]}, {stamps[i]}")
        units = DIFFERENCE_UNITS.get(look.units, look.units)
        variables[name] = {"label": label(name), "bars": {
            "field": bar(look.cmap, norms["field"], look.units), "spread": bar(SPREADS, norms["spread"], units, "spread")}}  # fmt: skip
    now, first = frames.index(frame), task.variables[0]
    seen = [pictures[f"{first}/{now}/{key}"] for key in titles]
    every = [*variables[first]["bars"].values(), *seen]
    rest = [picture for picture in (*(b for one in variables.values() for b in one["bars"].values()), *pictures.values())
            if not any(picture is one for one in every)]  # fmt: skip
    about = {"dates": stamps, "now": now, "layers": list(titles.items()), "variables": [(n, one["label"]) for n, one in variables.items()],
             "first": dict(zip(titles, seen, strict=True)), "bars": variables[first]["bars"]}  # fmt: skip
    told = partial(told_of, {"dates": stamps, "layers": titles}, variables, pictures)
    return Widget("members", about, told, (*every, *rest), frozenset(range(len(every))), f"members_{task.name}")


def layers(members: int) -> dict[str, str]:
    """What is shown, key -> name for people."""
    some = {f"member{i}": f"Member {i + 1}" for i in range(min(SHOWN, members))}
    return {"truth": "Truth", "mean": f"Mean of {members} members", **some, "spread": "Spread (standard deviation)"}


def spread_norm(*spreads: Array) -> Normalize:
    """From no spread to their 99 % quantile."""
    pooled = np.concatenate([values[np.isfinite(values)].ravel() for values in spreads])
    return Normalize(0.0, float(np.quantile(pooled, 0.99)) or 1.0 if pooled.size else 1.0)


def _fields(task: Task, name: str, frame: int, look: Display) -> dict[str, Array]:
    mean, spread, first = task.ensemble(name, frame, SHOWN)
    return {"truth": look.field(task.truth(name, frame)), "mean": look.field(mean),
            **{f"member{i}": look.field(one) for i, one in enumerate(first)}, "spread": spread * look.scale}  # fmt: skip


def _inside(field: Array, task: Task, box: maps.Box) -> Array:
    inside = maps.cut(field, task.grid, box)[0]
    step = max(1, int(np.sqrt(inside.size / SEEN)))
    return inside[::step, ::step].copy()


def _smaller(pixels: rasters.Pixels) -> rasters.Pixels:
    height, width = pixels.shape[:2]
    if width <= WIDTH:
        return pixels
    return np.asarray(Image.fromarray(pixels).resize((WIDTH, round(height * WIDTH / width)), Image.Resampling.LANCZOS))
