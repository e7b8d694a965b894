"""Maps of every date: a slider of dates, a choice of variables, two fields under a line that is swiped. Never scores anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.colors import Colormap, Normalize
from matplotlib.image import AxesImage

from orbit2.grid import AnyGrid
from orbit2.hands import in_order
from orbit2.progress import counted
from orbit2.report.figures import maps
from orbit2.report.figures.panels import Panels, Picture
from orbit2.report.figures.scenes import spacing, stamp
from orbit2.report.inputs import Task
from orbit2.report.interactive import rasters
from orbit2.report.interactive.widgets import Address, Still, Widget
from orbit2.report.style import Display, display
from orbit2.report.tables import label

Array = npt.NDArray[np.float64]
AGAINST = "bicubic"
SEEN = 100_000  # cells of a date that its colours are chosen from


@dataclass(frozen=True)
class View:
    """Where a map looks: the globe (no box) or a box."""

    key: str
    title: str
    box: maps.Box | None

    def draw(self, field: Array, grid: AnyGrid, cmap: Colormap, norm: Normalize) -> rasters.Pixels:
        return rasters.world(field, grid, cmap, norm) if self.box is None else rasters.box(field, grid, self.box, cmap, norm)

    def inside(self, field: Array, grid: AnyGrid) -> Array:
        """What the colours are chosen from."""
        return field if self.box is None else maps.cut(field, grid, self.box)[0]


def widget(task: Task, model: str, zoom: maps.Box, dates: int, frame: int) -> Widget | None:
    """At most `dates` dates of a task, `frame` among them: the model beside the truth, or the observations, or without either the input.
    None where none was asked for or nothing is predicted."""
    frames, views = chosen(len(task.times), dates, frame), _views(task, zoom)
    names = task.variables if task.observations is None else task.observed
    if not frames or not views or not names:
        return None
    stamps = [stamp(task.times[i]) for i in frames]
    layers = _layers(task, model)
    beside = _beside(task)
    pictures: dict[str, Still] = {}
    variables: dict[str, dict[str, Any]] = {}
    for name in counted(names, "maps of every date", len(names), "variable"):
        look = display(name)
        norms = _norms(task, name, frames, views, look)
        pictures |= dict(in_order(_drawn(task, name, frames, views, norms, layers)))
        variables[name] = {"label": label(name), "bars": {key: bar(look.cmap, norm, look.units) for key, norm in norms.items()}}
    now = frames.index(frame)
    shown = [picture for key, picture in pictures.items() if key.split("/")[0] == views[0].key and int(key.split("/")[2]) == now]
    every = [*(bar for one in variables.values() for bar in one["bars"].values()), *shown]
    rest = [picture for picture in pictures.values() if not any(picture is one for one in every)]
    about = {
        "dates": stamps, "now": now, "views": [(view.key, view.title) for view in views], "layers": list(layers.items()),
        "variables": [(name, one["label"]) for name, one in variables.items()],
        "beside": beside,
        "first": {as_: pictures.get(f"{views[0].key}/{names[0]}/{now}/{key}") for as_, key in (("left", beside), ("right", "model"))},
        "bar": variables[names[0]]["bars"][views[0].key],
        "shown": f"{len(frames)} of {len(task.times)} test frames" + (", evenly spread." if len(frames) < len(task.times) else "."),
    }  # fmt: skip

    titles = {view.key: view.title for view in views}
    told = partial(told_of, {"dates": stamps, "views": titles}, variables, pictures)
    return Widget("dates", about, told, (*every, *rest), frozenset(range(len(every))), f"dates_{task.name}")


def told_of(
    known: Mapping[str, Any], variables: Mapping[str, Mapping[str, Any]], pictures: Mapping[str, Still], address: Address
) -> Mapping[str, Any]:
    """What the script reads: `known`, where the bar of each variable is and each map."""
    bars = {name: {key: {"src": address(one), "alt": one.alt} for key, one in variable["bars"].items()}
            for name, variable in variables.items()}  # fmt: skip
    labels = {name: {"label": variable["label"], "bars": bars[name]} for name, variable in variables.items()}
    return {**known, "variables": labels, "pictures": {key: address(picture) for key, picture in pictures.items()}}


def _drawn(
    task: Task, name: str, frames: list[int], views: list[View], norms: Mapping[str, Normalize], layers: Mapping[str, str]
) -> Iterator[Callable[[], tuple[str, Still]]]:  # fmt: skip
    """Every map of a variable, drawn and still to be packed: (its key, the map)."""

    def packed(key: str, pixels: rasters.Pixels, alt: str) -> tuple[str, Still]:
        return key, Still.of(pixels, alt)

    look = display(name)
    for i, at in enumerate(frames):
        for key, (values, grid) in _fields(task, name, at, look).items():
            for view in views:
                pixels = view.draw(values, grid, look.cmap, norms[view.key])
                alt = f"{label(name)}, {layers[key]}, {stamp(task.times[at])}"
                yield partial(packed, f"{view.key}/{name}/{i}/{key}", pixels, alt)


def chosen(count: int, most: int, frame: int) -> list[int]:
    """At most `most` of `count` frames, evenly spread, `frame` among them instead of the one next to it."""
    if min(count, most) < 1:
        return []
    spread = np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(int))
    spread[np.abs(spread - frame).argmin()] = frame
    return [int(i) for i in np.unique(spread)]


def _views(task: Task, zoom: maps.Box) -> list[View]:
    """The globe and the zoomed box of a global task, all of a region."""
    grid = task.grid
    if not grid.periodic:
        whole = maps.extent(grid)
        return [View("domain", f"all of it, {maps.describe_box(whole)}", whole)]
    inside = [View("box", maps.describe_box(zoom), zoom)] if maps.overlaps(grid, zoom) else []
    return [View("globe", "the globe", None), *inside]


def _layers(task: Task, model: str) -> dict[str, str]:
    """What can be laid over what, key -> name for people."""
    known = {"input": f"Input, {spacing(task.input_grid)}"}
    if task.has_truth:
        known["truth"] = f"Truth, {spacing(task.grid)}"
    if task.observations is not None:
        known["observed"] = f"Observations, {spacing(task.observations.grid('fine'))}"
    return {**known, "interpolated": f"{AGAINST.capitalize()}, {spacing(task.grid)}", "model": f"Model ({model}), {spacing(task.grid)}"}


def _beside(task: Task) -> str:
    """What the model is seen against first."""
    return "truth" if task.has_truth else "observed" if task.observations is not None else "input"


def _norms(task: Task, name: str, frames: list[int], views: list[View], look: Display) -> dict[str, Normalize]:
    """One colour scale for all dates of a view, from a part of the truth's cells (of the model's, where there is none)."""
    seen: dict[str, list[Array]] = {view.key: [] for view in views}
    for at in frames:
        field = look.field(task.truth(name, at) if task.has_truth else task.predicted(name, at))
        for view in views:
            inside = view.inside(field, task.grid)
            step = max(1, int(np.sqrt(inside.size / SEEN)))
            seen[view.key].append(inside[::step, ::step].copy())
    return {key: look.norm(*fields) for key, fields in seen.items()}


def _fields(task: Task, name: str, frame: int, look: Display) -> dict[str, tuple[Array, AnyGrid]]:
    found = {"model": (look.field(task.predicted(name, frame)), task.grid)}
    if task.has_truth:
        found["truth"] = look.field(task.truth(name, frame)), task.grid
    if task.observations is not None and (seen := task.observation(name, frame)) is not None:
        found["observed"] = look.field(seen), task.observations.grid("fine")
    if task.is_input(name):
        found["input"] = look.field(task.input(name, frame)), task.input_grid
        found["interpolated"] = look.field(task.interpolated(name, frame, AGAINST)), task.grid
    return found


def bar(cmap: Colormap, norm: Normalize, units: str, what: str = "maps of every date") -> Picture:
    """The colour bar, by itself."""
    panels = Panels(1, 1, 4.6, 0.55)
    ax = panels.axes(0, (0.04, 0.70, 0.92, 0.24))
    image = AxesImage(ax, cmap=cmap, norm=norm)
    image.set_data([[0.0]])
    maps.colourbar(ax, image, units)
    _, pixels = panels.render(1)
    return Picture(pixels, f"Colour bar of the {what}, in {units}.", photographic=False)
