"""Sections of the other tasks: a model fine-tuned on a region, and a grid finer than any truth. Never gives skill without a truth."""

from __future__ import annotations

from orbit2.report import maps, scenes, tables
from orbit2.report.blocks import Block, Section, paragraph, shown
from orbit2.report.inputs import Inputs, Task
from orbit2.report.tables import Cell, Scores, Table


def regional_section(inputs: Inputs, task: Task) -> Section:
    """A model fine-tuned on a box: its own small table and map."""
    name = task.config.model
    model = inputs.models[name]
    scores = Scores(inputs.scores, task.name)
    region = model.config.region
    where = maps.describe_box(region) if region else "its own domain"
    title = f"Fine-tuned on a region: {name}"
    section = Section(f"regional-{task.name}", title, f"Regional: {name}")
    parent = model.config.finetune_from
    origin = (
        f"It continues from the weights of {parent} and was trained further on {where} only"
        if parent
        else f"It was trained on {where} only"
    )
    section.blocks = [
        paragraph(
            f"{origin}, for {', '.join(tables.lower(tables.label(v)) for v in task.variables)}. Scores are for that box, against "
            f"interpolation of the global input."
        ),
        paragraph(tables.reading(scores, name, task.variables, len(task.times)), "reading"),
        Block(
            "table",
            table=tables.rmse_table(
                scores, name, task.variables, f"regional_{task.name}", "Area-weighted RMSE inside the box over all test frames."
            ),
        ),
    ]
    frame = task.frame(inputs.config.report.frame)
    edges = task.grid
    box = (float(edges.lat_edges[0]), float(edges.lat_edges[-1]), float(edges.lon_edges[0]), float(edges.lon_edges[-1]))
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
    section.blocks.append(Block("table", table=tables.all_scores(scores, task.name)))
    return section


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
        section.blocks.append(Block("table", table=table))
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
            blocks += shown(
                scenes.zoom_figure(
                    scenes.consistency_layers(task, variable_name, frame, name, box),
                    f"zero_shot_{task.name}_zoom_{variable_name}",
                    f"{title}, {maps.describe_box(box)}",
                    "The input and the finer field that the model makes of it, on one colour scale.",
                    box,
                    csv=scenes.box_csv(task, variable_name, frame, name, box),
                )
            )
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
