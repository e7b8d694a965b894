"""The sections about the main task: what was run, results, maps, spectra, scatter, training. Never opens files by itself."""

from __future__ import annotations

from orbit2.grid import named
from orbit2.report import figures, leaves, maps, scenes, spectra, tables, text
from orbit2.report.blocks import Block, Section, paragraph, shown
from orbit2.report.inputs import Inputs, Task, ordered
from orbit2.report.tables import Cell, Scores, Table, number


def when(text_value: str) -> str:
    """An ISO date-time for people: `2026-03-30 18:00`."""
    return text_value.replace("T", " ")


def lead(inputs: Inputs, task: Task) -> list[str]:
    """What was run, in one paragraph, and the attribution of its data."""
    dataset, name = task.dataset, task.config.model
    model = inputs.models[name]
    coarse, fine = named(dataset.coarse_grid), named(dataset.fine_grid)
    what, credit = text.SOURCES[dataset.source]
    blocks = dataset.split.blocks
    names = ", ".join(tables.lower(tables.label(v)) for v in dataset.outputs)
    size = f"{model.parameters:,} parameters" if model.parameters is not None else "size unknown"
    architecture = inputs.config.architecture_of(name).kind.capitalize()
    first = (
        f"{architecture} ({size}) refines {what} from {scenes.spacing(coarse)} to {scenes.spacing(fine)} "
        f"({coarse.shape[0]} × {coarse.shape[1]} to {fine.shape[0]} × {fine.shape[1]} cells) for {names}. "
        f"Trained on {when(blocks['train'].start)} to {when(blocks['train'].end)}, tuned on {when(blocks['validation'].start)} to "
        f"{when(blocks['validation'].end)}, tested on {len(task.times)} unseen frames from {scenes.stamp(task.times[0])} to "
        f"{scenes.stamp(task.times[-1])}. Every score below is beside interpolations of the very same inputs."
    )
    credits = dict.fromkeys(str(entry["attribution"]) for _, entry in inputs.resources if entry.get("attribution"))
    return [first, " ".join(credits) or credit]


def headline(inputs: Inputs, task: Task, scores: Scores) -> Section:
    name = task.config.model
    names = task.variables
    against = "bicubic" if "bicubic" in scores.baselines(name) else (scores.baselines(name) or [name])[0]
    section = Section("results", "How well does it do?", "Results")
    section.blocks = [
        paragraph(tables.reading(scores, name, names, len(task.times)), "reading"),
        Block("tiles", tiles=tuple(tables.tiles(scores, name, names))),
        paragraph(
            f"The large numbers are the change in RMSE against the best interpolation; negative is better. Reference: "
            f"{scores.text('reference')}; "
            f"period: {when(scores.text('date_range').replace('/', ' to '))}.",
            "note",
        ),
        *shown(figures.skill(scores, name, names, against)),
        Block("heading", text="RMSE beside interpolation"),
        Block(
            "table",
            table=tables.rmse_table(
                scores,
                name,
                names,
                caption="Area-weighted RMSE over all test frames, in the units under each name. “Best interpolation” is the lowest of all, "
                "named under its value; for precipitation that includes interpolation of ln(1 + x).",
            ),
        ),
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
    section.blocks = [
        paragraph(
            "Input, truth, interpolation and model share one colour scale; the two differences share another. "
            + (f"The box on the globe is enlarged below it: {maps.describe_box(box)}. " if inside else "")
            + text.COAST_CREDIT
        )
    ]
    for i, variable_name in enumerate(task.variables):
        layers = scenes.frame_layers(task, variable_name, frame, name)
        title = tables.label(variable_name)
        blocks = []
        if task.grid.periodic:
            blocks += shown(
                scenes.world_figure(
                    layers,
                    f"map_{variable_name}",
                    f"{title}, global",
                    f"{scenes.stamp(task.times[frame])}. Equal Earth projection (equal area).",
                    box if inside else None,
                )
            )
        if inside:
            blocks += shown(
                scenes.zoom_figure(
                    scenes.frame_layers(task, variable_name, frame, name, box),
                    f"zoom_{variable_name}",
                    f"{title}, {maps.describe_box(box)}",
                    "The same maps enlarged, on their own colour scale. Every cell is drawn as it is, without smoothing.",
                    box,
                    csv=scenes.box_csv(task, variable_name, frame, name, box),
                )
            )
        section.blocks.append(Block("fold", text=title, blocks=tuple(blocks), open=i == 0 or variable_name == task.variables[-1]))
    section.blocks += leaves.blocks(inputs, task)
    return section


def spectra_section(task: Task, scores: Scores) -> Section:
    name = task.config.model
    section = Section("spectra", "Is the fine structure real?", "Spectra")
    section.blocks = [
        paragraph(
            "A sharp-looking map can be wrong at small scales. Power spectra show how much variance each field has at each wavelength; "
            "a method that is too smooth falls below the truth beyond the coarse grid's Nyquist wavelength."
        )
    ]
    table = resolution_table(task, scores)
    if table is not None:
        section.blocks.append(Block("table", table=table))
    radial, zonal = shown(spectra.radial_spectra(task, name, scores)), spectra.zonal_spectra(task, name, scores)
    if not radial and not zonal:
        section.blocks.append(paragraph("This domain holds none of the configured latitude bands and boxes, so there is no spectrum."))
    section.blocks += radial
    for i, figure in enumerate(zonal):
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
            row.append(
                Cell.of(
                    scores.value(name, variable_name, "effective_resolution_km", space, region),
                    3,
                    note=f"{against} {number(other)}" if other is not None else "",
                )
            )
        body.append(tuple(row))
    return Table(
        "effective_resolution",
        f"Effective resolution of {name} in km (smaller is finer), with {against or 'no interpolation'} in grey: the longest "
        f"wavelength at which "
        "the power leaves half to twice the truth's.",
        ("Variable", *(spectra.band_title(r) for r in regions)),
        tuple(body),
    )


def density_section(task: Task) -> Section:
    section = Section("scatter", "Truth against model", "Scatter")
    section.blocks = shown(figures.densities(task, task.config.model))
    return section


def training_section(inputs: Inputs) -> Section:
    section = Section("training", "Training", "Training")
    for model in ordered(inputs):
        figure = figures.training(model)
        section.blocks += shown(figure) if figure else [paragraph(f"No training curve was kept for {model.name}.", "note")]
    return section
