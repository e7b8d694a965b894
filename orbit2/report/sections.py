"""What each section of the report says and shows. Never opens files itself beyond what inputs.py and figures.py offer."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from orbit2.config.load import dataset_hash
from orbit2.files import short_hash
from orbit2.grid import named
from orbit2.provenance import code_version, versions
from orbit2.report import figures, maps, scenes, tables, text
from orbit2.report.inputs import Inputs, Model, Task
from orbit2.report.panels import Figure
from orbit2.report.tables import Cell, Scores, Table, Tile, number

Kind = Literal["text", "heading", "points", "code", "facts", "words", "tiles", "table", "figure", "fold"]


@dataclass(frozen=True)
class Block:
    """One piece of a section; which fields are used depends on `kind`."""

    kind: Kind
    text: str = ""
    style: str = ""
    points: tuple[str, ...] = ()
    pairs: tuple[tuple[str, str], ...] = ()
    tiles: tuple[Tile, ...] = ()
    table: Table | None = None
    figure: Figure | None = None
    blocks: tuple[Block, ...] = ()
    open: bool = False


@dataclass
class Section:
    """A titled part of the page."""

    id: str
    title: str
    short: str
    blocks: list[Block] = field(default_factory=list)

    def figures(self) -> list[Figure]:
        return [b.figure for b in _walk(self.blocks) if b.figure is not None]

    def tables(self) -> list[Table]:
        return [b.table for b in _walk(self.blocks) if b.table is not None]


def _walk(blocks: Sequence[Block]) -> list[Block]:
    found: list[Block] = []
    for block in blocks:
        found += [block, *_walk(block.blocks)]
    return found


def paragraph(words: str, style: str = "") -> Block:
    return Block("text", text=words, style=style)


def shown(figure: Figure | None) -> list[Block]:
    return [Block("figure", figure=figure)] if figure is not None else []


def when(text_value: str) -> str:
    """An ISO date-time for people: `2026-03-30 18:00`."""
    return text_value.replace("T", " ")


def lead(inputs: Inputs, task: Task) -> list[str]:
    """What was run, in one paragraph, and the attribution of its data."""
    dataset, name = task.dataset, task.config.model
    model = inputs.models[name]
    coarse, fine = named(dataset.coarse_grid), named(dataset.fine_grid)
    what, credit = text.SOURCES[dataset.source]
    split = dataset.split
    names = ", ".join(tables._lower(tables.label(v)) for v in dataset.outputs)
    size = f"{model.parameters:,} parameters" if model.parameters is not None else "size unknown"
    architecture = inputs.config.architecture_of(name).kind.capitalize()
    first = (
        f"{architecture} ({size}) refines {what} from {scenes.spacing(coarse)} to {scenes.spacing(fine)} "
        f"({coarse.shape[0]} × {coarse.shape[1]} to {fine.shape[0]} × {fine.shape[1]} cells) for {names}. "
        f"Trained on {when(split.train.start)} to {when(split.train.end)}, tuned on {when(split.validation.start)} to "
        f"{when(split.validation.end)}, tested on {len(task.times)} unseen frames from {scenes.stamp(task.times[0])} to "
        f"{scenes.stamp(task.times[-1])}. Every score below is beside interpolations of the very same inputs."
    )
    return [first, str(task.store.attributes.get("attribution") or credit)]


def headline(inputs: Inputs, task: Task, scores: Scores) -> Section:
    name = task.config.model
    names = task.variables
    against = "bicubic" if "bicubic" in scores.baselines(name) else (scores.baselines(name) or [name])[0]
    section = Section("results", "How well does it do?", "Results")
    section.blocks = [
        paragraph(tables.reading(scores, name, names, len(task.times)), "reading"),
        Block("tiles", tiles=tuple(tables.tiles(scores, name, names))),
        paragraph(f"The large numbers are the change in RMSE against the best interpolation; negative is better. Reference: {scores.text('reference')}; "
                  f"period: {when(scores.text('date_range').replace('/', ' to '))}.", "note"),
        *shown(figures.skill(scores, name, names, against)),
        Block("heading", text="RMSE beside interpolation"),
        Block("table", table=tables.rmse_table(
            scores, name, names, caption="Area-weighted RMSE over all test frames, in the units under each name. “Best interpolation” is the lowest of all, "
                                         "named under its value; for precipitation that includes interpolation of ln(1 + x).")),
        Block("heading", text="Other scores"),
        Block("table", table=tables.other_table(scores, name, names, against)),
        Block("table", table=tables.all_scores(scores, task.name)),
    ]
    return section


def map_section(inputs: Inputs, task: Task) -> Section:
    name, frame = task.config.model, task.frame(inputs.config.report.frame)
    box = inputs.config.report.zoom
    inside = maps.overlaps(task.grid, box)
    section = Section("maps", f"One test frame: {scenes.stamp(task.times[frame])}", "Maps")
    section.blocks = [paragraph(
        "Fields share one colour scale per variable, differences another. "
        + (f"The box on the globe is enlarged below it: {maps.describe_box(box)}. " if inside else "") + text.COAST_CREDIT)]
    for i, variable_name in enumerate(task.variables):
        layers = scenes.frame_layers(task, variable_name, frame, name)
        title = tables.label(variable_name)
        blocks = []
        if task.grid.periodic:
            blocks += shown(scenes.world_figure(
                layers, f"map_{variable_name}", f"{title}, global", f"{scenes.stamp(task.times[frame])}. Equal Earth projection (equal area).",
                box if inside else None))
        if inside:
            blocks += shown(scenes.zoom_figure(
                layers, f"zoom_{variable_name}", f"{title}, {maps.describe_box(box)}",
                "Every cell is drawn as it is, without smoothing.", box, csv=scenes.box_csv(task, variable_name, frame, name, box)))
        section.blocks.append(Block("fold", text=title, blocks=tuple(blocks), open=i == 0 or variable_name == task.variables[-1]))
    return section


def spectra_section(task: Task, scores: Scores) -> Section:
    name = task.config.model
    section = Section("spectra", "Is the fine structure real?", "Spectra")
    section.blocks = [paragraph("A sharp-looking map can be wrong at small scales. Power spectra show how much variance each field has at each wavelength; "
                                "a method that is too smooth falls below the truth beyond the coarse grid's Nyquist wavelength.")]
    table = resolution_table(task, scores)
    if table is not None:
        section.blocks.append(Block("table", table=table))
    section.blocks += shown(figures.radial_spectra(task, name, scores))
    for i, figure in enumerate(figures.zonal_spectra(task, name, scores)):
        section.blocks.append(Block("fold", text=figure.title, blocks=tuple(shown(figure)), open=i == 0))
    return section


def resolution_table(task: Task, scores: Scores) -> Table | None:
    """Effective resolution of model and bicubic interpolation per variable and band or box."""
    rows = scores.rows[scores.rows["metric"] == "effective_resolution_km"]
    if not len(rows):
        return None
    name = task.config.model
    regions = [str(r) for r in dict.fromkeys(rows["region"])]
    against = "bicubic" if "bicubic" in set(rows["model"]) else None
    body = []
    for variable_name in task.variables:
        space = tables.spaces(variable_name)[0]
        row = [Cell(tables.label(variable_name), note="ln(1 + x)" if space == "log1p" else "")]
        for region in regions:
            other = scores.value(against, variable_name, "effective_resolution_km", space, region) if against else None
            row.append(Cell.of(scores.value(name, variable_name, "effective_resolution_km", space, region), 3,
                               note=f"{against} {number(other)}" if other is not None else ""))
        body.append(tuple(row))
    return Table("effective_resolution", f"Effective resolution of {name} in km (smaller is finer), with {against or 'no interpolation'} in grey: the longest wavelength at which "
                 "the power leaves half to twice the truth's.", ("Variable", *(figures.band_title(r) for r in regions)), tuple(body))


def density_section(task: Task) -> Section:
    section = Section("scatter", "Truth against model", "Scatter")
    section.blocks = shown(figures.densities(task, task.config.model))
    return section


def training_section(inputs: Inputs) -> Section:
    section = Section("training", "Training", "Training")
    for model in inputs.models.values():
        figure = figures.training(model)
        section.blocks += shown(figure) if figure else [paragraph(f"No training curve was kept for {model.name}.", "note")]
    return section


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
    origin = f"It continues from the weights of {parent} and was trained further on {where} only" if parent else f"It was trained on {where} only"
    section.blocks = [
        paragraph(f"{origin}, for {', '.join(tables._lower(tables.label(v)) for v in task.variables)}. Scores are for that box, against interpolation of the global input."),
        paragraph(tables.reading(scores, name, task.variables, len(task.times)), "reading"),
        Block("table", table=tables.rmse_table(scores, name, task.variables, f"regional_{task.name}", "Area-weighted RMSE inside the box over all test frames.")),
    ]
    frame = task.frame(inputs.config.report.frame)
    edges = task.grid
    box = (float(edges.lat_edges[0]), float(edges.lat_edges[-1]), float(edges.lon_edges[0]), float(edges.lon_edges[-1]))
    for variable_name in task.variables:
        layers = scenes.frame_layers(task, variable_name, frame, name)
        section.blocks.append(Block("fold", text=f"Maps: {tables.label(variable_name)}", open=variable_name == task.variables[0], blocks=tuple(shown(
            scenes.zoom_figure(layers, f"regional_{task.name}_{variable_name}", f"{tables.label(variable_name)}, {scenes.stamp(task.times[frame])}",
                               f"Domain of {name}: {maps.describe_box(box)}.", box, csv=scenes.box_csv(task, variable_name, frame, name, box))))))
    section.blocks.append(Block("table", table=tables.all_scores(scores, task.name)))
    return section


def zero_shot_section(inputs: Inputs, task: Task) -> Section:
    """A finer grid than any truth: what can be shown and what cannot be said."""
    name, frame = task.config.model, 0
    given, fine = task.input_grid, task.grid
    scores = Scores(inputs.scores, task.name)
    section = Section(f"zero-shot-{task.name}", f"Beyond the training resolution: {scenes.spacing(given)} to {scenes.spacing(fine)}",
                      f"Zero-shot {scenes.spacing(fine)}")
    section.blocks = [paragraph(
        f"{name} never saw inputs at {scenes.spacing(given)}. Here it refines them to {scenes.spacing(fine)} ({fine.shape[0]} × {fine.shape[1]} cells). "
        "There is no truth at this resolution in the data set, so no skill is given. What can be checked is consistency: the mean of the fine "
        "cells should equal the input cell they came from.")]
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
            blocks += shown(scenes.world_figure(
                [*layers, *([residual] if residual is not None else [])], f"zero_shot_{task.name}_map_{variable_name}", f"{title}, global",
                "Input, the model's finer field, and what the model's cell means differ from the input by.", box if inside else None))
        if inside:
            blocks += shown(scenes.zoom_figure(layers, f"zero_shot_{task.name}_zoom_{variable_name}", f"{title}, {maps.describe_box(box)}",
                                               "Left the input, right the model.", box, csv=scenes.box_csv(task, variable_name, frame, name, box)))
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
    return Table(f"consistency_{task.name}", f"Conservation residual of {name}: area-weighted mean of the fine cells minus the input cell, over all cells and frames.",
                 ("Variable", *(title for _, title in columns), "RMS residual of bicubic"), tuple(rows))


def cost_section(inputs: Inputs) -> Section:
    section = Section("cost", "What it cost", "Cost")
    rows = []
    for model in inputs.models.values():
        about = model.about
        rates = [float(r["samples_per_second"]) for r in model.curve if isinstance(r.get("samples_per_second"), (int, float))]
        rows.append((Cell(model.name), _count(about.get("parameters")), _count(about.get("steps")), _count(about.get("batch_size")),
                     Cell.of(_float(about.get("training_seconds"))), Cell.of(float(np.median(rates)) if rates else None),
                     Cell(str(about.get("precision", "n/a")).removeprefix("torch."))))
    section.blocks.append(Block("table", table=Table("cost_training", "Training, as measured by the train stage (samples per second: median of the logged steps).",
                                                     ("Model", "parameters", "steps", "batch", "seconds", "samples/s", "precision"), tuple(rows))))
    rows = []
    for task in inputs.tasks.values():
        seconds = _float(task.prediction.attrs.get("seconds_per_sample"))
        rows.append((Cell(task.name), Cell(f"{scenes.spacing(task.input_grid)} to {scenes.spacing(task.grid)}"), Cell(f"{task.grid.shape[0]} × {task.grid.shape[1]}"),
                     Cell(f"{len(task.times)}"), Cell.of(seconds)))
    section.blocks.append(Block("table", table=Table("cost_downscaling", "Downscaling, as measured by the downscale stage (all output variables of one time).",
                                                     ("Task", "grids", "cells", "samples", "seconds per sample"), tuple(rows))))
    return section


def _float(value: object) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def _count(value: object) -> Cell:
    return Cell(f"{value:,}", float(value)) if isinstance(value, int) else Cell("n/a")


def provenance_section(inputs: Inputs, config: Path, out: Path) -> Section:
    section = Section("provenance", "Provenance", "Provenance")
    run = inputs.config.model_dump(mode="json")
    pairs: list[tuple[str, str]] = [
        ("orbit2", f"{code_version()} (this report); scores by {', '.join(sorted(set(inputs.scores['code_version'].astype(str))))}"),
        ("Run", f"label {inputs.label}, configuration hash {short_hash(run)}"),
    ]
    for name in inputs.config.datasets:
        pairs.append((f"Data set {name}", f"hash {dataset_hash(inputs.config, name)}; {text.SOURCES[inputs.config.datasets[name].source][0]}"))
    for model in inputs.models.values():
        pairs.append((f"Model {model.name}", _describe(model)))
    pairs.append(("Packages", ", ".join(f"{name} {value}" for name, value in versions().items() if value != "not installed")))
    pairs.append(("Regions and coastlines", f"{text.REGIONS_CREDIT} {text.COAST_CREDIT}"))
    section.blocks.append(Block("facts", pairs=tuple(pairs)))
    checksums = _checksums(inputs)
    if checksums:
        section.blocks.append(Block("table", table=Table("checksums", "SHA-256 of what went in.", ("File", "sha256"), tuple(
            (Cell(name), Cell(digest)) for name, digest in checksums), collapsed=f"{len(checksums)} checksums")))
    command = "snakemake --profile profiles/local all"
    named_run = f"config/runs/{inputs.label}.yaml"
    intro = "The command that makes all of this, from the repository's root"
    if inputs.label != "demo":
        intro += f" (config/config.yaml must include {named_run.removeprefix('config/')} or the configuration below)"
    section.blocks += [
        paragraph(intro + ":"), Block("code", text=command),
        paragraph("This report alone, from the files of the run:"),
        Block("code", text=f"orbit2 report --config {_relative(config, inputs.root)} --out {_relative(out, inputs.root)}"),
        Block("fold", text="The complete configuration", blocks=(Block("code", text=json.dumps(run, indent=1, ensure_ascii=False)),)),
    ]
    return section


def _relative(path: Path, root: Path) -> str:
    """`path` as seen from the run's root: a report never shows where on a machine it was made."""
    try:
        return str(path.resolve().relative_to(root.resolve()))
    except ValueError:
        return path.name


def _describe(model: Model) -> str:
    about = model.about
    parts = [f"hash {model.hash}"]
    parts += [f"{key} {about[name]}" for key, name in (("seed", "seed"), ("weights of step", "best_step"), ("started from", "origin")) if about.get(name) is not None]
    if model.provenance.get("code_version"):
        parts.append(f"trained by orbit2 {model.provenance['code_version']}")
    return ", ".join(parts)


def _checksums(inputs: Inputs) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []
    for name, statistics in inputs.statistics.items():
        record = statistics.get("provenance")
        listed = record.get("inputs") if isinstance(record, dict) else None
        found += [(f"{name}: {key}", str(value)) for key, value in (listed or {}).items()]
    for task in inputs.tasks.values():
        stored = task.store.attributes.get("inputs")
        if isinstance(stored, dict):
            found += [(f"{task.config.dataset}: {key}", str(value)) for key, value in stored.items()]
    for model in inputs.models.values():
        found += [(f"model {model.name}: {key}", str(value)) for key, value in (model.about.get("sha256") or {}).items()]
    return list(dict.fromkeys(found))


def limits_section(inputs: Inputs, task: Task) -> Section:
    split = task.dataset.split
    blocks = [np.datetime64(x[:10]) for period in (split.train, split.validation, split.test) for x in (period.start, period.end)]
    days = int((max(blocks) - min(blocks)).astype("timedelta64[D]").astype(int)) + 1
    facts = {"frames": len(task.times), "first": scenes.stamp(task.times[0]), "last": scenes.stamp(task.times[-1]), "days": days,
             "refinement": task.store.refinement}
    section = Section("limits", "What this run cannot say", "Limits")
    section.blocks = [Block("points", points=tuple(text.limits(facts)))]
    notes = list(dict.fromkeys(line for value in inputs.notes.values() for line in flatten(value)))
    if notes:
        section.blocks += [Block("heading", text="Notes of the diagnose stage"), Block("points", points=tuple(notes))]
    return section


def flatten(value: object, prefix: str = "") -> list[str]:
    """Sentences of a notes.json, whatever its nesting: `key: text`."""
    if isinstance(value, str):
        return [f"{prefix}: {value}" if prefix else value]
    if isinstance(value, dict):
        return [line for key, inner in value.items() for line in flatten(inner, str(key).replace("_", " "))]
    if isinstance(value, list):
        return [line for inner in value for line in flatten(inner, prefix)]
    return []


def glossary_section() -> Section:
    return Section("glossary", "Glossary", "Glossary", [Block("words", pairs=text.GLOSSARY)])
