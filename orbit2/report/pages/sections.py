"""The sections about the main task: what was run, results, maps, spectra, scatter, training. Never opens files by itself."""

from __future__ import annotations

from orbit2.config.comparisons import experiment
from orbit2.metrics.verdict import spaces
from orbit2.report import tables, text
from orbit2.report.figures import cells, coherence, conservation, curves, errors, events, maps, paper, scenes, spectra
from orbit2.report.figures.fields import open_netcdf
from orbit2.report.figures.panels import Figure
from orbit2.report.inputs import Inputs, Model, Task, ordered
from orbit2.report.interactive import dates
from orbit2.report.pages import leaves, members, protocols, seasons, sure, verdict, years
from orbit2.report.pages.blocks import Block, Section, paragraph, shown
from orbit2.report.tables import Cell, Scores, Table, number, traced


def when(text_value: str) -> str:
    """An ISO date-time for people: `2026-03-30 18:00`."""
    return text_value.replace("T", " ")


def lead(inputs: Inputs, task: Task) -> list[str]:
    """What was run, in one paragraph, and the attribution of its data."""
    dataset, name = task.dataset, task.config.model
    model = inputs.models[name]
    coarse, fine = task.store.grid("coarse"), task.store.grid("fine")
    what, credit = text.source_of(dataset)
    names = ", ".join(tables.lower(tables.label(v)) for v in task.variables)
    size = f"{model.parameters:,} parameters" if model.parameters is not None else "size unknown"
    architecture = inputs.config.architecture_of(name).kind.capitalize()
    first = (
        f"{architecture} ({size}) refines {what} from {scenes.spacing(coarse)} to {scenes.spacing(fine)} "
        f"({coarse.shape[0]} × {coarse.shape[1]} to {fine.shape[0]} × {fine.shape[1]} cells) for {names}. "
        f"{_learned(model, task)}. Every score below is beside interpolations of the very same inputs"
        + (", and beside corrections of them that were fitted to the training samples." if "train" in task.dataset.split.blocks else ".")
    )
    given = text.inputs({**facts(task), "experiment": experiment(inputs.config, task.name)})
    credits = dict.fromkeys(str(entry["attribution"]) for _, entry in inputs.resources if entry.get("attribution"))
    return [first, given, " ".join(credits) or credit]


def _learned(model: Model, task: Task) -> str:
    """`Trained on ... to ..., tuned on ..., tested on ...`; of imported weights where they come from."""
    first, last = scenes.stamp(task.times[0]), scenes.stamp(task.times[-1])
    if model.origin:
        return f"{model.name}: {model.origin}. Tested on {len(task.times)} frames from {first} to {last}"
    blocks = task.dataset.split.blocks
    return (f"Trained on {when(blocks['train'].start)} to {when(blocks['train'].end)}, tuned on {when(blocks['validation'].start)} to "
            f"{when(blocks['validation'].end)}, tested on {len(task.times)} unseen frames from {first} to {last}")  # fmt: skip


def facts(task: Task) -> dict[str, object]:
    """What the inputs are to the truth: which of them are its own averages."""
    dataset = task.dataset
    copies = [name for name in task.variables if name in dataset.inputs and dataset.source_of(name) == dataset.source]
    return {
        "refinement": task.store.refinement,
        "copies": [tables.lower(tables.label(name)) for name in copies],
        "others": [name for name in task.variables if name not in copies],
    }


def headline(inputs: Inputs, task: Task, scores: Scores) -> Section:
    name = task.config.model
    names = task.variables
    against = "bicubic" if "bicubic" in scores.baselines(name) else (scores.baselines(name) or [name])[0]
    section = Section("results", "How well does it do?", "Results")
    section.blocks = [
        paragraph(verdict.reading(scores, names), "reading"),
        *sure.headline(inputs, task),
        Block("tiles", tiles=tuple(verdict.tiles(scores, names))),
        paragraph(
            f"The large numbers are the change in RMSE against the best baseline; negative is better. Rain counts as won only where it is "
            f"won in mm/day and in ln(1 + mm/day). Reference: {scores.text('reference')}; "
            f"period: {when(scores.text('date_range').replace('/', ' to '))}.",
            "note",
        ),
        *shown(curves.skill(scores, name, names, against)),
        Block("heading", text="RMSE beside the baselines"),
        Block(
            "table",
            table=tables.rmse_table(
                scores,
                name,
                names,
                caption=f"Area-weighted RMSE over {verdict.rests(scores)}, in the units under each name. The best interpolation, "
                "and of all baselines (with those fitted to the training samples), is named under "
                "its value; for precipitation both include those of ln(1 + x)." + tables.grey(scores),
            ),
        ),
        Block("table", table=tables.baseline_table(scores, name, names, task.name)),
        *seasons.blocks(scores, name, names, task.name),
        *_tails(scores, name, names),
        *years.climate_blocks(scores, name, names, task.name),  # of members a section of its own tells
        Block("heading", text="Other scores"),
        Block("table", table=tables.other_table(scores, name, names, against)),
        *protocols.blocks(scores, name, names, task.name),
        Block("table", table=tables.all_scores(scores, task.name)),
    ]
    return section


def further(scores: Scores, name: str, names: list[str], task: str) -> list[Block]:
    """Distributions, the climate of a long task, the members of an ensemble: what of it there is."""
    return [*years.climate_blocks(scores, name, names, task), *members.ensemble_blocks(scores, name, names, task)]


def _tails(scores: Scores, name: str, names: list[str]) -> list[Block]:
    """Extremes and the extent of rain, model beside truth."""
    table = tables.distribution_table(scores, name, names)
    if table is None:
        return []
    words = " ".join(verdict.extremes(scores, name, names))
    return [Block("heading", text="Extremes, and how much of the area is wet"), *([paragraph(words)] if words else []),
            Block("table", table=table)]  # fmt: skip


def slider_blocks(inputs: Inputs, task: Task) -> list[Block]:
    """Maps of a task under a slider of dates, with what they show; nothing where none were asked for."""
    report = inputs.config.report
    slider = dates.widget(task, task.config.model, report.zoom, report.dates, task.frame(report.frame))
    if slider is None:
        return []
    return [
        Block("heading", text="Any date, one field over another"),
        paragraph(f"{slider.about['shown']} Draw the line to see the left map over the right one; both share one colour scale, "
                  "the same on every date.", "note"),
        Block("widget", widget=slider),
    ]  # fmt: skip


def map_section(inputs: Inputs, task: Task) -> Section:
    name, frame = task.config.model, task.frame(inputs.config.report.frame)
    box, globe = inputs.config.report.zoom, task.grid.periodic
    inside = maps.overlaps(task.grid, box)
    if not globe and not inside:  # of a region or a map that lies elsewhere, all of it
        box, inside = maps.extent(task.grid), True
    section = Section("maps", f"One test frame: {scenes.stamp(task.times[frame])}", "Maps")
    section.blocks = [
        paragraph(
            "Input, truth, interpolation and model share one colour scale; the two differences share another. "
            + (f"The box on the globe is enlarged below it: {maps.describe_box(box)}. " if inside and globe else "")
            + text.COAST_CREDIT
        )
    ]
    slider = slider_blocks(inputs, task)
    if slider:
        section.blocks += [*slider, Block("heading", text="Side by side, with differences")]
    for i, variable_name in enumerate(task.variables):
        layers = scenes.frame_layers(task, variable_name, frame, name)
        title = tables.label(variable_name)
        blocks = []
        south, north, *_ = maps.extent(task.grid)
        if task.grid.periodic:
            blocks += shown(
                scenes.world_figure(
                    layers,
                    f"map_{variable_name}",
                    f"{title}, {'global' if south <= -89 and north >= 89 else maps.describe_box(maps.extent(task.grid))}",
                    f"{scenes.stamp(task.times[frame])}. Equal Earth projection (equal area).",
                    box if inside else None,
                )
            )
        if inside:
            caption = "The same maps enlarged, on their own colour scale. " if globe else ""
            caption += "Every cell is drawn as it is, without smoothing."
            figure = f"zoom_{variable_name}"
            blocks += shown(scenes.zoomed(scenes.frame_layers, task, variable_name, frame, name, box, figure, title, caption))
        section.blocks.append(Block("fold", text=title, blocks=tuple(blocks), open=i == 0 or variable_name == task.variables[-1]))
    section.blocks += _extremes(inputs, task)
    section.blocks += leaves.blocks(inputs, task)
    return section


def _extremes(inputs: Inputs, task: Task) -> list[Block]:
    """The record's extreme days, where diagnose found some; the first is open."""
    path, name = task.diagnose / "climate.nc", task.config.model
    if inputs.regions is None or not path.is_file():
        return []
    data = open_netcdf(path, "diagnose")
    figures = events.figures(task, data, Scores(inputs.scores, task.name), name)
    if not figures:
        return []
    table = events.table(data, Scores(inputs.regions, task.name), name, task.name)
    words = ("The most extreme days that were tested, of all regions, chosen by the truth: the heaviest rain, heat, cold, wind, the lowest "
             "pressure, as far as they are predicted.")  # fmt: skip
    return [Block("heading", text="Extreme days"), paragraph(words), *([Block("table", table=table)] if table is not None else []),
            *(Block("fold", text=f.title, blocks=tuple(shown(f)), open=i == 0) for i, f in enumerate(figures))]  # fmt: skip


def _cell_maps(task: Task, scores: Scores, name: str) -> Figure | None:
    path = task.diagnose / "climate.nc"
    return cells.cell_maps(task, open_netcdf(path, "diagnose"), scores, name) if path.is_file() else None


def spectra_section(task: Task, scores: Scores) -> Section:
    name = task.config.model
    section = Section("spectra", "Is the fine structure real?", "Spectra")
    section.blocks = [
        *_structure(task, scores),
        Block("heading", text="Power at each wavelength"),
        paragraph(
            "A sharp-looking map can be wrong at small scales. Power spectra show how much variance each field has at each wavelength, not "
            "whether it is in the right place; a method that is too smooth falls below the truth beyond the coarse grid's Nyquist "
            "wavelength. Curves of rain are of ln(1 + x)."
        ),
    ]
    table = resolution_table(task, scores)
    if table is not None:
        section.blocks.append(Block("table", table=table))
    radial = [block for figure in spectra.radial_spectra(task, name, scores) for block in shown(figure)]
    zonal = spectra.zonal_spectra(task, name, scores)
    if not radial and not zonal:
        section.blocks.append(paragraph("There is no spectrum: this domain holds none of the configured latitude bands and boxes without "
                                        "missing cells."))  # fmt: skip
    section.blocks += radial
    section.blocks += [block for figure in coherence.coherences(task, name, scores) for block in shown(figure)]
    for i, figure in enumerate(zonal):
        section.blocks.append(Block("fold", text=figure.title, blocks=tuple(shown(figure)), open=i == 0))
    return section


def _structure(task: Task, scores: Scores) -> list[Block]:
    """The answer: correlation, amplitude and RMSE of what lies inside the input's cells, beside bicubic interpolation."""
    name = task.config.model
    against = "bicubic" if "bicubic" in scores.baselines(name) else None
    rows, real = [], []
    for variable_name in task.variables:
        for space in spaces(variable_name):
            own, base = ({m: scores.value(who, variable_name, f"fine_{m}", space) for m in ("pearson_r", "amplitude", "rmse")}
                         for who in (name, against or ""))  # fmt: skip
            r = own["pearson_r"]
            if r is None:
                continue
            real.append((r, variable_name, space, base["pearson_r"]))
            rows.append((Cell(tables.label(variable_name), note=tables.units(variable_name, space)),
                         *(Cell.of(v, 3, strong=True, note=number(base[m]) if base[m] is not None else "") for m, v in own.items())))
    if not rows:
        return []
    (_, weakest, space, _), (_, strongest, most, _) = min(real), max(real)
    metric = "fine_pearson_r"
    known = [(r > base, v, s) for r, v, s, base in real if base is not None]
    pairs = [scores.row(who, v, metric, s) for _, v, s in known for who in (name, against or "")]
    beyond = traced(str(sum(higher for higher, *_ in known)), *pairs, how="higher")
    words = (
        f"What lies inside the input's cells (each field minus its means over them) correlates with the truth's by "
        f"{scores.told(name, weakest, metric, space, digits=2)} ({tables.lower(tables.label(weakest))}, {tables.units(weakest, space)}) to "
        f"{scores.told(name, strongest, metric, most, digits=2)} "
        f"({tables.lower(tables.label(strongest))}); 1 would be all real, 0 all invented. "
    )
    if against:
        of = traced(str(len(real)), *(scores.row(name, v, metric, s) for _, v, s, _ in real), how="rows")
        words += f"It is higher than bicubic interpolation's for {beyond} of {of} rows. "
    words += f"On {verdict.rests(scores)}."
    table = Table(
        "fine_structure",
        f"Fine structure of {name}: correlation with the truth's, standard deviation over the truth's (1 is right, below 1 too smooth), "
        "RMSE" + ("; in grey the same of bicubic interpolation." if against else "."),
        ("Variable", "correlation", "amplitude", "RMSE"),
        tuple(rows),
    )
    return [paragraph(words, "reading"), Block("table", table=table)]


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
        for space in spaces(variable_name):
            which = tables.units(variable_name, space) if len(spaces(variable_name)) > 1 else ""
            row = [Cell(tables.label(variable_name), note=which)]
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
        f"Effective resolution of {name} in km (smaller is finer), with {against or 'no interpolation'} in grey: the wavelength from which "
        "on the power, smoothed over quarter octaves, is less than half or more than twice the truth's. Empty: not resolvable here, "
        "in fewer than 10 bins or 2 octaves.",
        ("Variable", *("globe, by degree" if r == "global" else spectra.band_title(r) for r in regions)),
        tuple(body),
    )


def density_section(task: Task, scores: Scores) -> Section:
    section = Section("scatter", "Truth against model", "Scatter")
    section.blocks = [paragraph("Rain is drawn in ln(1 + x), where a cloud of drizzle and a cloudburst fit on one axis.", "note")]
    section.blocks += shown(curves.densities(task, task.config.model))
    section.blocks += shown(errors.distributions(task, scores, task.config.model))
    return section


def patterns_section(inputs: Inputs, task: Task, scores: Scores) -> Section:
    """Where errors are, how patterns agree, whether rain is in the right place, how rare events come out: what of it there are rows for."""
    name, names = task.config.model, task.variables
    section = Section("patterns", "Where are the errors?", "Patterns")
    section.blocks = [
        *shown(errors.error_maps(task, scores, name)),
        *shown(_cell_maps(task, scores, name)),
        *shown(paper.taylor(inputs.scores, task.name, name, names)),
        *shown(paper.fractions(scores, name, names, task.name)),
        *shown(paper.returns(scores, name, names, task.name)),
        *shown(conservation.residuals(scores, name, names, task.name)),
    ]
    return section


def training_section(inputs: Inputs) -> Section:
    section = Section("training", "Training", "Training", part="Run")
    if any(not model.origin for model in inputs.models.values()):
        section.blocks.append(
            paragraph(
                "The weights kept are those with the lowest validation error in the space that the network is trained in: normalised "
                "fields, rain as ln(1 + x) alone. Rain in mm/day has no say in that choice; it is judged above, on the test block.",
                "note",
            )
        )
    for model in ordered(inputs):
        if model.origin:
            section.blocks.append(paragraph(f"{model.name}: {model.origin}.", "note"))
            continue
        figure = curves.training(model)
        section.blocks += shown(figure) if figure else [paragraph(f"No training curve was kept for {model.name}.", "note")]
    return section
