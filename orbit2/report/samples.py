"""Pictures of any sample of a run and any box, and of a month of them one after the other. Never scores anything."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from orbit2 import times
from orbit2.config.comparisons import PRODUCTS
from orbit2.errors import OrbitError
from orbit2.files import atomic, write_text
from orbit2.progress import counted
from orbit2.report.figures import maps, moving, scenes
from orbit2.report.figures.panels import DPI, Figure, strip
from orbit2.report.inputs import Inputs, Task, read
from orbit2.report.style import look
from orbit2.report.tables import label
from orbit2.variables import variable

Array = npt.NDArray[np.float64]
_SIDE = r"\s*(\d+(?:\.\d+)?)\s*°?\s*([{}])?\s*"
_REGION = re.compile(f"{_SIDE.format('NS')}[-–]{_SIDE.format('NS')},{_SIDE.format('EW')}[-–]{_SIDE.format('EW')}", re.IGNORECASE)
HINT = "e.g. 20N-40N,70E-100E or 10S-10N,170E-170W"


def box_of(region: str) -> maps.Box:
    """South, north, west, east (degrees; longitudes 0 to 360) of `20N-40N,70E-100E`. Raises OrbitError for anything else."""
    found = _REGION.fullmatch(region)
    sides = found.groups() if found else ()
    if not found or not all(sides[1::2]):
        raise OrbitError("not a region", where="--region", got=region, hint=HINT)
    pairs = zip(sides[::2], sides[1::2], strict=True)
    south, north, west, east = (float(value) * (-1 if letter in "SWsw" else 1) for value, letter in pairs)
    if not -90 <= south < north <= 90 or abs(west) > 360 or abs(east) > 360:
        raise OrbitError("not a region", where="--region", got=region, allowed="south before north, at most 90 and 360 degrees", hint=HINT)
    return south, north, west % 360, east % 360 or 360.0


def chosen(inputs: Inputs, name: str | None) -> Task:
    """The task named, or the one that the report maps; the first one of a run without any truth. Raises OrbitError for an unknown one."""
    if name is not None and name not in inputs.tasks:
        raise OrbitError("no such task", where="--task", got=name, allowed=", ".join(inputs.tasks),
                         hint="leave --task out for the mapped one")  # fmt: skip
    if name is None and any(task.has_truth for task in inputs.tasks.values()):
        return inputs.main_task()
    return inputs.tasks[name] if name is not None else next(iter(inputs.tasks.values()))


def frame_at(task: Task, time: str) -> int:
    """The frame of the sample at `time`: a date of daily samples, else to the minute. Raises OrbitError where there is none, or several."""
    samples = times.stamps(task.times)
    wanted = time.strip().replace(" ", "T")
    found = [i for i, sample in enumerate(samples) if wanted and sample.startswith(wanted)]
    if len(found) != 1:
        few = ", ".join(samples[i][:16] for i in found[:24]) if found else f"{samples[0][:16]} to {samples[-1][:16]}"
        what = "several samples of the task are of this time" if found else "no sample of the task is of this time"
        raise OrbitError(what, where=f"--time, task {task.name}", got=time, allowed=few, hint="choose one of these")
    return found[0]


def draw(
    *, config: Path, out: Path, root: Path = Path("."), time: str, region: str | None = None, task: str | None = None,
    variables: Sequence[str] = (),
) -> list[Path]:  # fmt: skip
    """Maps of one sample of a task: input, truth (or observation), interpolation, model and differences, as PNG with the cells as CSV.

    `config` is the report's slice of a run, `root` the folder that its paths are relative to; `region` a box (`box_of`), else the whole
    field. Writes `<task>_<variable>_<time>.png` (and `.csv` of a box) into the folder `out`; returns what was written.
    Raises OrbitError for a time, a task, a variable or a box that is not there.
    """
    one = chosen(read(config, root), task)
    frame, box = frame_at(one, time), None if region is None else box_of(region)
    _inside(one, box)
    paths: list[Path] = []
    with look():
        for name in known(one, variables):
            stamp = times.stamps(one.times)[frame][:16].replace(":", "").replace("-", "")
            paths += _written(_figure(one, name, frame, box, f"{one.name}_{name}_{stamp}"), moving.mark(one), out)
    return paths


def animate(
    *, config: Path, out: Path, root: Path = Path("."), month: str, region: str | None = None, task: str | None = None,
    name: str | None = None, rate: float = 4.0,
) -> tuple[int, int]:  # fmt: skip
    """Input | truth | model of every sample of a `month` (YYYY-MM) on colours that stay, as `out` (.mp4 or .gif).

    A bar below runs through the month. Of more than moving.MOST samples every n-th is drawn. Returns (frames drawn, samples of the month).
    Raises OrbitError as `draw`, and for another kind of file.
    """
    write = moving.writer(out)
    one = chosen(read(config, root), task)
    box = None if region is None else box_of(region)
    _inside(one, box)
    frames = [i for i, sample in enumerate(times.stamps(one.times)) if sample[:7] == month]
    if not frames:
        samples = times.stamps(one.times)
        raise OrbitError("no sample of the task is of this month", where=f"--month, task {one.name}", got=month,
                         allowed=f"YYYY-MM, {samples[0][:7]} to {samples[-1][:7]}", hint="choose a month of the prediction")  # fmt: skip
    (variable_name,) = known(one, [name] if name else one.variables[:1])
    steps = moving.evenly(frames)
    with look():
        pictures = moving.pictures(one, variable_name, steps, frames, box)
        write(out, counted(pictures, "animation", len(steps), "frame"), rate)
    return len(steps), len(frames)


def known(task: Task, names: Sequence[str]) -> list[str]:
    """`names`, or all that the task predicts. Raises OrbitError for a variable that it does not."""
    for name in names:
        if name not in task.variables:
            raise OrbitError("the task does not predict this variable", where=f"--variable, task {task.name}", got=name,
                             allowed=", ".join(task.variables), hint="leave --variable out for all")  # fmt: skip
    return list(names) or task.variables


def _inside(task: Task, box: maps.Box | None) -> None:
    if box is not None and not maps.overlaps(task.grid, box):
        raise OrbitError("no cell of the prediction lies in this region", where=f"--region, task {task.name}", got=maps.describe_box(box),
                         allowed=task.grid.describe(), hint="choose a box within the prediction's region")  # fmt: skip


def _figure(task: Task, name: str, frame: int, box: maps.Box | None, file: str) -> Figure:
    model, about = task.config.model, f"{variable(name).long_name}, {scenes.stamp(task.times[frame])}"
    if task.has_truth:
        layers = scenes.frame_layers(task, name, frame, model, box)
    elif name in task.observed:
        source = str(task.observations.attributes.get("source")) if task.observations else ""
        layers = scenes.observed_layers(task, name, frame, model, PRODUCTS.get(source, source))
    else:
        layers = scenes.consistency_layers(task, name, frame, model, box)
    if box is None and task.grid.periodic:
        return scenes.world_figure(layers, file, about, label(name), None)
    csv = scenes.box_csv(task, name, frame, model, box) if box is not None else None
    return scenes.zoom_figure(layers, file, about, label(name), box or maps.extent(task.grid), csv)


def _written(figure: Figure, mark: str, out: Path) -> list[Path]:
    paths = [out / f"{figure.name}.png"]
    whole = np.vstack([strip(f"{figure.title}{mark}", figure.whole.shape[1]), figure.whole])
    with atomic(paths[0]) as temporary:
        Image.fromarray(whole).save(temporary, format="PNG", dpi=(DPI, DPI), compress_level=4)
    if figure.csv is not None:
        paths.append(out / f"{figure.name}.csv")
        write_text(paths[1], figure.csv)
    return paths
