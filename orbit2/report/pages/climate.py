"""What the diagnose stage found: skill in the AR6 regions and Hovmöller diagrams. Never shows a region that was not scored as scored."""

from __future__ import annotations

from dataclasses import replace

import xarray as xr

from orbit2.metrics.verdict import frames, spaces
from orbit2.report import text
from orbit2.report.figures import maps, regions
from orbit2.report.figures.fields import open_netcdf
from orbit2.report.figures.hovmoller import beside, hovmoller
from orbit2.report.figures.spectra import band_title
from orbit2.report.inputs import Inputs, Task
from orbit2.report.interactive import regionmap
from orbit2.report.pages.blocks import Block, Section, paragraph, shown
from orbit2.report.pages.verdict import rests
from orbit2.report.style import method_name
from orbit2.report.tables import Cell, Row, Scores, Table, label, lower, number, traced, units
from orbit2.variables import VARIABLES

SKILL = "rmse_skill_vs_best_baseline"
MARKED = "rmse_marked_vs_best_baseline"
WIDEST = 180.0  # degrees of longitude of a map of a task's own; else it is one of the world
DISCRIMINATES = 0.95  # a diagram on which nearest neighbour does better tells no method from another


def sections(inputs: Inputs, task: Task) -> list[Section]:
    """The regions and the Hovmöller section; one that says what is missing when diagnose was not run."""
    if inputs.regions is None or not (task.diagnose / "regions.nc").is_file():
        return [
            Section(
                "regions",
                "Regions",
                "Regions",
                [
                    paragraph(
                        f"The climate diagnostics of task {task.name} are not there: run the diagnose stage to get skill by region "
                        f"and Hovmöller diagrams.",
                        "note",
                    )
                ],
            )
        ]
    scores = Scores(inputs.regions, task.name)
    return [_regions(inputs, task, scores), _hovmoller(task, scores)]


def of_another(inputs: Inputs, task: Task) -> list[Block]:
    """Regions and diagrams of a task beside the main one, folded: of the regions only those that have scored cells."""
    if inputs.regions is None or not (task.diagnose / "regions.nc").is_file():
        return []
    scores, data = Scores(inputs.regions, task.name), open_netcdf(task.diagnose / "regions.nc", "diagnose")
    whole = _region_table(task, scores, data)
    kept = [i for i, row in enumerate(whole.rows) if any(cell.value is not None for cell in row[1:])]
    if not kept:
        return []
    table = replace(whole, name=f"regions_{task.name}_table", rows=tuple(whole.rows[i] for i in kept),
                    regions=tuple(whole.regions[i] for i in kept) if whole.regions else ())  # fmt: skip
    counts = _counts(task, scores, [str(r) for r in data["region"].values])
    blocks = [*([paragraph(counts)] if counts else []), *_map(inputs, task, scores, data), Block("table", table=table)]
    found = [Block("fold", text=f"Regions of task {task.name}", blocks=tuple(blocks))]
    diagrams = open_netcdf(task.diagnose / "hovmoller.nc", "diagnose")
    names = [v for v in task.variables if f"{v}_longitude" in diagrams]
    if names:
        band = str(diagrams[f"{names[0]}_longitude"].attrs.get("band", ""))
        drawn = [hovmoller(task, diagrams, name, task.config.model) for name in names]
        pictures = [block for name, figure in zip(names, drawn, strict=True)
                    for block in shown(replace(figure, name=f"hovmoller_{task.name}_{name}"))]  # fmt: skip
        said = paragraph(_hovmoller_verdict(scores, task.config.model, names, band))
        found.append(Block("fold", text=f"Time and longitude of task {task.name}, {band_title(band)}", blocks=(said, *pictures)))
    return found


def _regions(inputs: Inputs, task: Task, scores: Scores) -> Section:
    data = open_netcdf(task.diagnose / "regions.nc", "diagnose")
    section = Section("regions", "Where does it help?", "Regions")
    section.blocks = [
        paragraph(
            "Skill is 1 − RMSE of the model ÷ RMSE of the baseline that does best in that region, interpolation or fitted: positive where "
            "the model helps. Land regions count their "
            f"land cells, ocean regions their sea cells. {text.REGIONS_CREDIT}"
        )
    ]
    counts = _counts(task, scores, [str(r) for r in data["region"].values])
    if counts:
        section.blocks.append(paragraph(counts, "reading"))
    section.blocks += _map(inputs, task, scores, data)
    section.blocks += shown(regions.skill_maps(task, data))
    section.blocks.append(Block("table", table=_region_table(task, scores, data)))
    section.blocks.append(Block("fold", text="Which region is which", blocks=tuple(shown(regions.key_map(task, data)))))
    return section


def _map(inputs: Inputs, task: Task, scores: Scores, data: xr.Dataset) -> list[Block]:
    """The map that answers, of the world or of what the task covers; nothing where no region was scored."""
    names = {str(code): str(name) for code, name in zip(data["region"].values, data["region_name"].values, strict=True)}
    outlines, box = inputs.notes.get(task.name, {}).get("outlines", {}), maps.extent(task.grid)
    wide = task.grid.periodic or box[3] - box[2] > WIDEST
    made = regionmap.widget(scores, task.config.model, task.variables, names, outlines, None if wide else box)
    return [Block("widget", widget=made)] if made is not None else []


def _counts(task: Task, scores: Scores, regions: list[str]) -> str:
    """In how many regions each variable gains; rain in each space and in both."""
    parts = []
    for variable_name in task.variables:
        found = {space: {r: v for r in regions if (v := scores.value(task.config.model, variable_name, SKILL, space, r)) is not None}
                 for space in spaces(variable_name)}  # fmt: skip
        if not any(found.values()):
            continue
        rows = {space: [scores.row(task.config.model, variable_name, SKILL, space, r) for r in skill] for space, skill in found.items()}
        counts = [f"{traced(str(sum(v > 0 for v in skill.values())), *rows[space], how='positive')} of "
                  f"{traced(str(len(skill)), *rows[space], how='rows')} in {units(variable_name, space)}"
                  for space, skill in found.items()]  # fmt: skip
        if len(found) == 1:
            parts.append(f"{counts[0].partition(' in ')[0]} for {lower(label(variable_name))}")
        else:
            both = set.intersection(*(set(skill) for skill in found.values()))
            won = sum(all(skill[r] > 0 for skill in found.values()) for r in both)
            rows_of = [scores.row(task.config.model, variable_name, SKILL, space, r) for r in sorted(both) for space in found]
            won_of = traced(str(won), *rows_of, how="both"), traced(str(len(both)), *rows_of, how="pairs")
            parts.append(f"{' of '.join(won_of)} for {lower(label(variable_name))} ({', '.join(counts)})")
    return f"Regions in which {task.config.model} beats the best baseline: " + ", ".join(parts) + "." if parts else ""


def _region_table(task: Task, scores: Scores, data: xr.Dataset) -> Table:
    names, kinds = ([str(x) for x in data[key].values] for key in ("region_name", "region_kind"))
    model, rows = task.config.model, []
    columns = [(v, space) for v in task.variables for space in spaces(v)]
    for region, name, kind in zip((str(r) for r in data["region"].values), names, kinds, strict=True):
        cells = scores.value("(any)", "(any)", "n_cells", region=region)
        row = [
            Cell(name, note=f"{region}, {kind.lower().replace('-', ' and ')}"),
            Cell(f"{cells:,.0f}", cells) if cells is not None else Cell("n/a"),
        ]
        for variable_name, space in columns:
            skill = scores.value(model, variable_name, SKILL, space, region)
            rmse = scores.value(model, variable_name, "rmse", space, region)
            if skill is None:
                row.append(Cell("n/a"))
            else:
                star = " *" if scores.value(model, variable_name, MARKED, space, region) else ""
                row.append(Cell(f"{skill:+.2f}".replace("-", "−"), skill, note=number(rmse) + star, good=skill > 0))
        rows.append(tuple(row))
    heads = [f"{VARIABLES[v].short} ({units(v, space)})" for v, space in columns]
    return Table(
        "regions_table",
        f"RMSE skill of {model} by region against the best baseline there, and below it the model's RMSE; n/a: no cell of the "
        f"region was scored, or its rain is zero throughout. {marks(scores)}",
        ("Region", "cells", *heads),
        tuple(rows),
        regions=tuple(str(r) for r in data["region"].values),
    )


def marks(scores: Scores) -> str:
    """What the stars mean, or why there are none."""
    marked = scores.rows.loc[scores.rows["metric"] == MARKED, "value"]
    if not len(marked):
        return f"No region is marked: {rests(scores)}, so that any of these differences may be chance."
    keys = scores.rows.loc[scores.rows["metric"] == MARKED, ["model", "variable", "space", "region", "metric", "season"]]
    rows = [Row(scores.task, *map(str, key)) for key in keys.itertuples(index=False)]
    counted = (traced(str(int((marked > 0).sum())), *rows, how="positive"), traced(str(len(marked)), *rows, how="rows"))
    return (f"* ({counted[0]} of {counted[1]}): the difference of RMSE stands when at most a tenth of all marks may be chance (false "
            "discovery rate); without a star it may be chance.")


def _hovmoller(task: Task, scores: Scores) -> Section:
    name = task.config.model
    data = open_netcdf(task.diagnose / "hovmoller.nc", "diagnose")
    section = Section("hovmoller", "Do weather systems move as they should?", "Hovmöller")
    names = [v for v in task.variables if f"{v}_longitude" in data]
    if not names:
        section.blocks = [paragraph("No time-longitude diagram was made for this task.", "note")]
        return section
    band = str(data[f"{names[0]}_longitude"].attrs.get("band", ""))
    section.blocks = [
        paragraph(
            f"Time-longitude (Hovmöller) diagrams: each row is one test frame, averaged over {band_title(band)}. The frames are "
            f"shown as they are, rain in mm/day."
        ),
        paragraph(_hovmoller_verdict(scores, name, names, band), "reading"),
    ]
    rows = []
    for variable_name in names:
        row, other = [Cell(label(variable_name))], beside(data[f"{variable_name}_longitude"])
        for metric in ("hovmoller_longitude_pattern_r", "hovmoller_longitude_nrmse"):
            row += [
                Cell.of(scores.value(name, variable_name, metric, region=band), 4, strong=True),
                Cell.of(scores.value(other, variable_name, metric, region=band), 4, note=method_name(other) if other else ""),
                Cell.of(scores.value("nearest", variable_name, metric, region=band), 4),
            ]
        rows.append(tuple(row))
    section.blocks.append(
        Block(
            "table",
            table=Table(
                "hovmoller_scores",
                "Agreement of the diagrams with the truth: pattern correlation (1 is perfect) and RMSE over the truth's standard "
                "deviation (0 is perfect).",
                ("Variable", f"correlation, {name}", "drawn beside it", "nearest", f"RMSE/σ, {name}", "drawn beside it", "nearest"),
                tuple(rows),
            ),
        )
    )
    for i, variable_name in enumerate(names):
        section.blocks.append(
            Block(
                "fold",
                text=label(variable_name),
                open=i == 0 or i == len(names) - 1,
                blocks=tuple(shown(hovmoller(task, data, variable_name, name))),
            )
        )
    return section


def _hovmoller_verdict(scores: Scores, model: str, names: list[str], band: str) -> str:
    """Judged only where the diagram can tell methods apart: nearest-neighbour interpolation moves nothing and adds nothing."""
    metric, r = "hovmoller_longitude_nrmse", "hovmoller_longitude_pattern_r"
    controls = [v for n in names if (v := scores.value("nearest", n, r, region=band)) is not None]
    if not controls:
        return "Nearest-neighbour interpolation was not scored, so what a diagram of this record can tell apart is not known."
    told = [n for n in names if (v := scores.value("nearest", n, r, region=band)) is not None and v < DISCRIMINATES]
    if not told:
        known = {n: v for n in names if (v := scores.value("nearest", n, r, region=band)) is not None}
        ends = [scores.told("nearest", which(known, key=lambda n: known[n]), r, region=band, digits=2) for which in (min, max)]
        return (f"These diagrams cannot discriminate: on {frames(scores.rows)}, nearest-neighbour interpolation alone, which moves nothing "
                f"and adds nothing, already correlates with the truth by {' to '.join(ends)}. "
                "No verdict.")
    better, pairs = [], []
    for name in told:
        own, best = scores.value(model, name, metric, region=band), scores.best(model, name, metric, "physical", band)
        if own is not None and best is not None:
            pairs += [scores.row(who, name, metric, region=band) for who in (model, best[0])]
            better += [name] if own < best[1] else []
    left = [n for n in names if n not in told]
    others = traced(str(len(left)), *(scores.row("nearest", n, r, region=band) for n in left), how="rows")
    rest = f" For the other {others} nearest neighbour alone comes close: the diagram cannot discriminate, no verdict." if left else ""
    where = ", ".join(lower(label(n)) for n in told)
    return (f"Where nearest-neighbour interpolation correlates by less than {DISCRIMINATES:g} ({where}), {model} is nearer to the truth "
            f"than every baseline for {traced(str(len(better)), *pairs, how='lower')} of "
            f"{traced(str(len(told)), *(scores.row('nearest', n, r, region=band) for n in told), how='rows')}.{rest}")
