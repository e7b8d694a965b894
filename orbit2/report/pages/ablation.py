"""Models of one run that predicted the same samples, beside each other: what size, parts and training bring."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.ticker import MaxNLocator

from orbit2.config.comparisons import SAME
from orbit2.metrics.verdict import spaces
from orbit2.report.figures import extremeyears, leftout, maps
from orbit2.report.figures.panels import Figure, Panels, one
from orbit2.report.inputs import Inputs, Task
from orbit2.report.pages.blocks import Block, Section, paragraph, shown
from orbit2.report.style import MUTED
from orbit2.report.tables import Cell, Scores, Table, csv_text, label, traced, units

SHADES = ("#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#1c2733", "#8a939c")


def alike(inputs: Inputs, task: Task) -> list[Task]:
    """The tasks whose predictions hold the same samples on the same grid as `task`'s, this one first; one for each model."""
    found = {task.config.model: task}
    for other in inputs.tasks.values():
        same = all(getattr(other.config, key) == getattr(task.config, key) for key in SAME if key not in ("tile", "members", "precision"))
        if other.has_truth and same and other.config.model not in found and other.grid.same_as(task.grid) and (
            len(other.times) == len(task.times) and bool((other.times == task.times).all())):  # fmt: skip
            found[other.config.model] = other
    return list(found.values())


def sections(inputs: Inputs, task: Task) -> list[Section]:
    """A section where several models predicted the same samples; with one, what the run cannot say names the reason."""
    tasks = alike(inputs, task)
    if len(tasks) < 2:
        return []
    section = Section("ablation", "What do the parts of the model bring?", "Models compared")
    section.blocks = [
        paragraph(f"{len(tasks)} models of this run predicted the same {len(task.times)} samples of {task.config.dataset}."),
        Block("table", table=_settings(inputs, tasks)), Block("table", table=_scores(inputs, tasks)), *shown(figure(inputs, tasks)),
    ]  # fmt: skip
    return [section]


def left_out_sections(inputs: Inputs, task: Task) -> list[Section]:
    """What the model does in a region that its training left out; none where its model leaves none out."""
    box = inputs.config.models[task.config.model].leave_out
    if box is None:
        return []
    section = Section("left-out", "Does it work where it never saw a truth?", "Left-out region")
    if inputs.regions is None:
        section.blocks = [paragraph("The climate diagnostics are not there: run the diagnose stage for scores inside and outside.", "note")]
        return [section]
    scores, model = Scores(inputs.regions, task.name), task.config.model
    words = leftout.reading(scores, model, task.variables, box)
    table = leftout.table(scores, model, task.variables, task.name)
    drawn = leftout.figure(scores, model, task.variables, task.name)
    section.blocks = [paragraph(words, "reading")] if words else []
    section.blocks += [Block("table", table=table)] if table is not None else []
    section.blocks += shown(drawn)
    if not section.blocks:
        words = f"No whole day was scored both in and outside {maps.describe_box(box)}, so nothing can be said."
        section.blocks = [paragraph(words, "note")]
    return [section]


def extreme_year_sections(inputs: Inputs, task: Task) -> list[Section]:
    """The highest year beside the others, and the change over the years; none where diagnose has neither (why stands under what the run
    cannot say)."""
    if inputs.regions is None:
        return []
    scores, model, names = Scores(inputs.regions, task.name), task.config.model, task.variables
    section = Section("years", "Does it hold in the hottest and wettest year, and keep a change?", "Extreme years")
    for words, found in (
        (extremeyears.reading(scores, model, names), shown(extremeyears.figure(scores, model, names, task.name))),
        (extremeyears.change_reading(scores, model, names), [
            Block("table", table=table) for table in [extremeyears.change_table(scores, model, names, task.name)] if table is not None]),
    ):  # fmt: skip
        section.blocks += [paragraph(words, "reading")] if words else []
        section.blocks += found
    return [section] if section.blocks else []


def _settings(inputs: Inputs, tasks: Sequence[Task]) -> Table:
    """What differs between the models: only keys of which they have more than one value."""
    told = {}
    for name in (task.config.model for task in tasks):
        trained = inputs.config.models[name].train.model_dump(mode="json")
        told[name] = {**inputs.config.architecture_of(name).model_dump(mode="json"), **{f"train.{k}": v for k, v in trained.items()}}
    keys = [key for key in dict.fromkeys(k for one in told.values() for k in one)
            if len({repr(one.get(key)) for one in told.values()}) > 1
            and not any(isinstance(one.get(key), dict) for one in told.values())]  # fmt: skip
    rows = []
    for task in tasks:
        model = inputs.models[task.config.model]
        seconds = task.prediction.attrs.get("seconds_per_sample")
        taken = float(seconds) if isinstance(seconds, (int, float)) else None
        differs = ", ".join(f"{key}: {told[model.name].get(key)}" for key in keys)
        rows.append((Cell(model.name), Cell.of(model.parameters, 6), Cell.of(taken, 3), Cell(differs or "the same settings")))
    return Table("ablation_models", "The models, what a sample costs, and their settings where they differ.",
                 ("Model", "parameters", "seconds per sample", "settings that differ"), tuple(rows), source="records")  # fmt: skip


def _columns(tasks: Sequence[Task]) -> list[tuple[str, str]]:
    names = [name for name in tasks[0].variables if all(name in task.variables for task in tasks)]
    return [(name, space) for name in names for space in spaces(name)]


def _scores(inputs: Inputs, tasks: Sequence[Task]) -> Table:
    columns, rows = _columns(tasks), []
    lowest = {c: min((v for task in tasks if (v := _rmse(inputs, task, *c)) is not None), default=None) for c in columns}
    for task in tasks:
        cells = []
        for column in columns:
            value = _rmse(inputs, task, *column)
            ends = Scores(inputs.scores, task.name).interval(task.config.model, column[0], "rmse", column[1])
            note = f"{ends[0]:.3g} to {ends[1]:.3g}" if ends else ""
            cells.append(Cell.of(value, 4, strong=value is not None and value == lowest[column], note=note))
        rows.append((Cell(task.config.model), *cells))
    return Table("ablation_scores", "Area-weighted RMSE of every model on the same samples, the lowest in bold; in grey 95 % intervals.",
                 ("Model", *(f"{label(name)} ({units(name, space)})" for name, space in columns)), tuple(rows))  # fmt: skip


def _rmse(inputs: Inputs, task: Task, name: str, space: str) -> float | None:
    return Scores(inputs.scores, task.name).value(task.config.model, name, "rmse", space)


def figure(inputs: Inputs, tasks: Sequence[Task]) -> Figure | None:
    """RMSE over that of the best baseline against the number of parameters; a dot per model, a panel per variable."""
    found, behind = [], {}
    for name, space in _columns(tasks):
        points = []
        for task in tasks:
            scores, model = Scores(inputs.scores, task.name), task.config.model
            own, best = scores.value(model, name, "rmse", space), scores.best(model, name, "rmse", space)
            parameters = inputs.models[model].parameters
            if own is not None and best is not None and best[1] > 0 and parameters:
                points.append((model, parameters, own / best[1]))
                behind[own / best[1]] = scores.row(model, name, "rmse", space), scores.row(best[0], name, "rmse", space)
        if len(points) > 1:
            found.append(((name, space), points))
    if not found:
        return None
    panels, alts, table = Panels(-(-len(found) // 2), min(2, len(found)), 4.6, 2.9), [], []
    shade = {task.config.model: SHADES[i % len(SHADES)] for i, task in enumerate(tasks)}
    for panel, ((name, space), points) in enumerate(found):
        ax = panels.axes(panel, (0.15, 0.19, 0.81, 0.68))
        for model, parameters, ratio in points:
            ax.plot(parameters, ratio, "o", color=shade[model], markersize=7, label=model)
            table.append({"variable": name, "space": space, "model": model, "parameters": parameters, "ratio": ratio})
        ax.axhline(1, color=MUTED, linewidth=1, linestyle="--")
        ax.set_xscale("log")
        sizes = [parameters for _, parameters, _ in points]
        ax.set_xlim(min(sizes) / 1.6, max(sizes) * 1.6)
        ax.minorticks_off()
        ax.set_xticks(sorted(set(sizes)), [f"{size:,.0f}" for size in sorted(set(sizes))], fontsize=7.5)
        ax.yaxis.set_major_locator(MaxNLocator(5))
        ax.set(xlabel="Parameters", ylabel="RMSE ÷ best baseline")
        ax.set_title(label(name) + (", ln(1 + x)" if space == "log1p" else ""), fontsize=9.5)
        ax.margins(y=0.2)
        if panel == 0:
            ax.legend(fontsize=7.5)
        told = ", ".join(f"{model} {ratio:.3f}" for model, _, ratio in points)
        alts.append(f"Error over the best baseline's by size, {label(name)}: {told}.")
    ratios = np.array([row["ratio"] for row in table], dtype=np.float64)
    least, most = (traced(f"{ratio:.3g}", *behind[ratio], how="ratio") for ratio in (float(ratios.min()), float(ratios.max())))
    caption = (f"RMSE divided by the lowest of the baselines (dashed: as good), {least} to {most}; models of one run, trained as their "
               "settings say, one seed each.")  # fmt: skip
    return one(panels, "ablation", "Error by size of the model", caption, alts, csv_text(pd.DataFrame(table)))
