"""Sections of the other tasks: a model fine-tuned on a region, and a grid finer than any truth. Never gives skill without a truth."""

from __future__ import annotations

from collections.abc import Mapping

from orbit2.config.comparisons import experiment
from orbit2.report import tables
from orbit2.report.figures import conservation, maps, scenes
from orbit2.report.inputs import Inputs, Task
from orbit2.report.pages import climate, seasons, sections, verdict
from orbit2.report.pages.blocks import Block, Section, paragraph, shown
from orbit2.report.tables import Cell, Scores, Table


def regional_section(inputs: Inputs, task: Task) -> Section:
    """A model fine-tuned on a box: its own small table and map."""
    name = task.config.model
    model = inputs.models[name]
    scores = Scores(inputs.scores, task.name)
    region = model.config.region
    where = maps.describe_box(region) if region else "its own domain"
    parent = model.config.finetune_from
    spacings = f"{scenes.spacing(task.input_grid)} to {scenes.spacing(task.grid)}"
    if region:
        title, short = f"Fine-tuned on a region: {name}", f"Regional: {name}"
    else:
        title, short = f"{task.config.dataset}: {spacings}", f"{task.config.dataset}"
    section = Section(f"regional-{task.name}", title, short)
    origin = f"{name} continues from the weights of {parent} and was trained further on" if parent else f"{name} was trained on"
    if model.origin:
        origin = f"{name} is not of this run: {model.origin}. It is applied to"
    alone = f" {parent} itself was not applied here, so what fine-tuning brought is not measured." if parent else ""
    domain = maps.describe_box(_domain(task))
    scored = domain if domain == where else f"{domain} (every cell of the coarse grid that the box touches)"
    trained = f"{where} only" if region else ", ".join(model.config.datasets) or task.config.dataset
    section.blocks = [
        paragraph(
            f"{origin} {trained}. Scores of {', '.join(tables.lower(tables.label(v)) for v in task.variables)} are for "
            f"{scored if region else 'the domain of ' + task.config.dataset}, beside baselines from the same input"
            + (f" and beside {parent} on the same cells." if scores.parent(name) else f".{alone}")
            + f" Experiment: {experiment(inputs.config, task.name)}."
        ),
        paragraph(verdict.reading(scores, task.variables), "reading"),
        Block(
            "table",
            table=tables.rmse_table(
                scores, name, task.variables, f"regional_{task.name}",
                f"Area-weighted RMSE over the domain, {verdict.rests(scores)}." + tables.grey(scores),
            ),
        ),
        Block("table", table=tables.baseline_table(scores, name, task.variables, task.name)),
        *seasons.blocks(scores, name, task.variables, task.name),
        *sections.further(scores, name, list(task.variables), task.name),
    ]
    section.blocks += sections.slider_blocks(inputs, task)
    frame, box = task.frame(inputs.config.report.frame), _domain(task)
    for variable_name in task.variables:
        layers = scenes.frame_layers(task, variable_name, frame, name)
        section.blocks.append(
            Block(
                "fold",
                text=f"Maps: {tables.label(variable_name)}",
                open=variable_name == task.variables[0],
                blocks=tuple(
                    shown(
                        scenes.zoom_figure(
                            layers,
                            f"regional_{task.name}_{variable_name}",
                            f"{tables.label(variable_name)}, {scenes.stamp(task.times[frame])}",
                            f"Domain of {name}: {maps.describe_box(box)}.",
                            box,
                            csv=scenes.box_csv(task, variable_name, frame, name, box),
                        )
                    )
                ),
            )
        )
    section.blocks += climate.of_another(inputs, task)
    section.blocks.append(Block("table", table=tables.all_scores(scores, task.name)))
    return section


def observed_section(inputs: Inputs, task: Task) -> Section:
    """A prediction without a truth on its own grid, scored against observations on theirs."""
    name, frame = task.config.model, task.frame(inputs.config.report.frame)
    assert task.observations is not None
    scores, grid = Scores(inputs.scores, task.name), task.observations.grid("fine")
    product = str(task.observations.attributes.get("source", task.config.observations)).upper()
    title = f"Against {product}: {scenes.spacing(task.input_grid)} to {scenes.spacing(task.grid)}, scored at {scenes.spacing(grid)}"
    section = Section(f"observed-{task.name}", title, f"Against {product}")
    section.blocks = [
        paragraph(
            f"{name} refines the input to {scenes.spacing(task.grid)}; {product} is an independent product on cells of "
            f"{scenes.spacing(grid)}. Model and interpolations are averaged conservatively to those cells before they are scored; nothing "
            f"finer is observed. "
            f"The days of the two products: {'; '.join(_days(task))}. Experiment: {experiment(inputs.config, task.name)}."
        ),
        paragraph(verdict.reading(scores, task.observed), "reading"),
        Block(
            "table",
            table=tables.rmse_table(
                scores, name, task.observed, f"observed_{task.name}", f"Area-weighted RMSE against {product} over all frames that it has."
            ),
        ),
        *sections.further(scores, name, list(task.observed), task.name),
        *sections.slider_blocks(inputs, task),
    ]
    for variable_name in task.observed:
        layers = scenes.observed_layers(task, variable_name, frame, name, product)
        heading = f"{tables.label(variable_name)}, {scenes.stamp(task.times[frame])}"
        about = (layers, f"observed_{task.name}_{variable_name}", heading, f"Input, model and {product}, each on its own cells.")
        if task.grid.periodic:
            section.blocks += shown(scenes.world_figure(*about, None))
        else:
            section.blocks += shown(scenes.zoom_figure(*about, _domain(task)))
    section.blocks.append(Block("table", table=tables.all_scores(scores, task.name)))
    return section


def _domain(task: Task) -> maps.Box:
    """South, north, west, east of the prediction."""
    return maps.extent(task.grid)


def _days(task: Task) -> list[str]:
    """What a day means in the input and in the observations, as their stores say."""
    stores = [task.store] + ([task.observations] if task.observations is not None else [])
    found: dict[str, None] = {}
    for store in stores:
        days = store.attributes.get("day")
        if isinstance(days, Mapping):
            found |= dict.fromkeys(f"{source}: {day}" for source, day in days.items())
    return list(found)


def zero_shot_section(inputs: Inputs, task: Task) -> Section:
    """A finer grid than any truth: what can be shown and what cannot be said."""
    name, frame = task.config.model, 0
    given, fine = task.input_grid, task.grid
    scores = Scores(inputs.scores, task.name)
    section = Section(
        f"zero-shot-{task.name}",
        f"Beyond the training resolution: {scenes.spacing(given)} to {scenes.spacing(fine)}",
        f"Zero-shot {scenes.spacing(fine)}",
    )
    section.blocks = [
        paragraph(
            f"{name} never saw inputs at {scenes.spacing(given)}. Here it refines them to {scenes.spacing(fine)} ({fine.shape[0]} × "
            f"{fine.shape[1]} cells). "
            "There is no truth at this resolution in the data set, so no skill is given. What can be checked is consistency: the "
            "mean of the fine "
            "cells should equal the input cell they came from."
        )
    ]
    table = consistency_table(task, scores)
    if table is not None:
        section.blocks += [Block("table", table=table), *shown(conservation.residuals(scores, name, task.variables, task.name))]
    section.blocks += sections.slider_blocks(inputs, task)
    box = inputs.config.report.zoom
    inside = maps.overlaps(fine, box)
    for i, variable_name in enumerate(task.variables):
        layers = scenes.consistency_layers(task, variable_name, frame, name)
        title = f"{tables.label(variable_name)}, {scenes.stamp(task.times[frame])}"
        blocks: list[Block] = []
        if fine.periodic and i == 0:
            residual = scenes.residual_layer(task, variable_name, frame)
            blocks += shown(
                scenes.world_figure(
                    [*layers, *([residual] if residual is not None else [])],
                    f"zero_shot_{task.name}_map_{variable_name}",
                    f"{title}, global",
                    "The input and the model's finer field"
                    + (
                        ", and by how much its cell means differ from the input."
                        if residual is not None
                        else ", whose cell means equal the input but for rounding."
                    ),
                    box if inside else None,
                )
            )
        if inside:
            caption = "The input and the finer field that the model makes of it, on one colour scale."
            figure = f"zero_shot_{task.name}_zoom_{variable_name}"
            blocks += shown(scenes.zoomed(scenes.consistency_layers, task, variable_name, frame, name, box, figure, title, caption))
        section.blocks.append(Block("fold", text=tables.label(variable_name), blocks=tuple(blocks), open=i == 0))
    return section


def consistency_table(task: Task, scores: Scores) -> Table | None:
    """Conservation residuals of a task, in physical units."""
    name = task.config.model
    columns = (("conservation_rmse", "RMS residual"), ("conservation_bias", "mean residual"), ("conservation_p99", "99 % of |residual|"))
    rows = []
    for variable_name in task.variables:
        values = [scores.value(name, variable_name, metric) for metric, _ in columns]
        base = scores.value("bicubic", variable_name, "conservation_rmse")
        if any(value is not None for value in values):
            rows.append((Cell(tables.label(variable_name), note=tables.units(variable_name)), *(Cell.of(v) for v in values), Cell.of(base)))
    if not rows:
        return None
    return Table(
        f"consistency_{task.name}",
        f"Conservation residual of {name}: area-weighted mean of the fine cells minus the input cell, over all cells and frames.",
        ("Variable", *(title for _, title in columns), "RMS residual of bicubic"),
        tuple(rows),
    )
