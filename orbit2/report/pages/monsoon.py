"""Rainy seasons: the climate matrix, dates, years and sections, in days; why something of it is missing. Never judges what cannot tell."""

from __future__ import annotations

from orbit2.report.figures import monsoon, waves
from orbit2.report.figures.fields import open_netcdf
from orbit2.report.inputs import Inputs, Task
from orbit2.report.pages.blocks import Block, Section, paragraph, shown
from orbit2.report.style import method_name
from orbit2.report.tables import Cell, Scores, Table, label, lower, number, traced

EVENTS = ("onset", "withdrawal")


def sections(inputs: Inputs, task: Task) -> list[Section]:
    """One section where diagnose has seasons of a variable; none where it has not (why stands under what the run cannot say)."""
    if inputs.regions is None:
        return []
    scores = Scores(inputs.regions, task.name)
    names = monsoon.seasons_present(scores, task.variables)
    path = task.diagnose / "climate.nc"
    if not names:
        return []
    model = task.config.model
    section = Section("seasons", "Do rainy seasons come and go when they should?", "Rainy seasons")
    for name in names:
        section.blocks += [paragraph(_reading(scores, model, name), "reading"), *shown(monsoon.matrix(scores, model, name, task.name))]
        table = dates_table(scores, model, name, task.name)
        section.blocks += [Block("table", table=table)] if table is not None else []
        if path.is_file():
            data = open_netcdf(path, "diagnose")
            section.blocks += shown(monsoon.date_maps(data, name, model, task.name)) + shown(
                monsoon.year_series(data, name, model, task.name)
            )
            figures = monsoon.section_figures(data, scores, name, model, task.name)
            section.blocks += [Block("fold", text=f"Latitude and time: {figure.title}", blocks=tuple(shown(figure)), open=i == 0)
                               for i, figure in enumerate(figures)]  # fmt: skip
    return [section]


def wave_sections(inputs: Inputs, task: Task) -> list[Section]:
    """Waves along the equator, where diagnose has them; none where it has not (why stands under what the run cannot say)."""
    path = task.diagnose / "climate.nc"
    if inputs.regions is None or not path.is_file():
        return []
    scores, model, data = Scores(inputs.regions, task.name), task.config.model, open_netcdf(path, "diagnose")
    section = Section("waves", "Do tropical waves travel as they should?", "Tropical waves")
    for name in task.variables:
        figures = waves.figures(data, scores, name, model, task.name)
        table = waves.table(scores, model, name, task.name)
        if figures and table is not None:
            section.blocks += [paragraph(waves.reading(scores, model, name), "reading"), Block("table", table=table),
                               *(block for figure in figures for block in shown(figure))]  # fmt: skip
    return [section] if section.blocks else []


def _reading(scores: Scores, model: str, name: str) -> str:
    """How far off dates are, in days, and where the model is nearer than the best of the baselines."""
    said = []
    for event in EVENTS:
        found = {d: value for d in monsoon.domains_of(scores, name)
                 if (value := scores.value(model, name, f"monsoon_{event}_mae", region=monsoon.PREFIX + d)) is not None}  # fmt: skip
        if not found:
            continue
        worst = max(found, key=lambda d: found[d])
        best = min(found, key=lambda d: found[d])
        rivals = {d: scores.best(model, name, f"monsoon_{event}_mae", "physical", monsoon.PREFIX + d) for d in found}
        won = sum(rival is not None and found[d] < rival[1] for d, rival in rivals.items())
        metric, where = f"monsoon_{event}_mae", {d: monsoon.PREFIX + d for d in found}
        ends = [f"{scores.told(model, name, metric, region=where[d], digits=2)} days ({monsoon.title_of(d)})" for d in (best, worst)]
        pairs = [scores.row(who, name, metric, region=where[d]) for d, rival in rivals.items() if rival for who in (model, rival[0])]
        counted = (traced(str(won), *pairs, how="lower"),
                   traced(str(len(found)), *(scores.row(model, name, metric, region=r) for r in where.values()), how="rows"))
        said.append(f"{event.capitalize()} of the season of {lower(label(name))} is off by {' to '.join(ends)} on average over cells "
                    f"and years; {model} is nearer than every baseline in {' of '.join(counted)} domains.")  # fmt: skip
    if not said:
        return "The run has seasonality of rain and no dates of its seasons; under what the run cannot say stands why."
    return " ".join(said)


def dates_table(scores: Scores, model: str, name: str, task: str) -> Table | None:
    """Mean absolute error and bias of the dates in days, days that hold nine tenths of the errors, and the best baseline."""
    rows = []
    for domain in monsoon.domains_of(scores, name):
        region = monsoon.PREFIX + domain
        row = [Cell(monsoon.title_of(domain))]
        for event in EVENTS:
            own, bias, within = (
                scores.value(model, name, f"monsoon_{event}_{what}", region=region) for what in ("mae", "bias", "within_90")
            )
            best = scores.best(model, name, f"monsoon_{event}_mae", "physical", region)
            ends = scores.interval(model, name, f"monsoon_{event}_mae", region=region)
            row += [Cell.of(own, 2, strong=True, note=f"{number(ends[0], 2)} to {number(ends[1], 2)}" if ends else ""), Cell.of(bias, 2),
                    Cell.of(within, 2), Cell.of(best[1] if best else None, 2, note=method_name(best[0]) if best else "")]  # fmt: skip
        if any(cell.value is not None for cell in row):
            rows.append(tuple(row))
    if not rows:
        return None
    heads = [f"{event}: {what}" for event in EVENTS for what in ("mean error", "bias", "nine of ten within ±", "best baseline")]
    return Table(
        f"season_dates_{task}_table",
        f"Dates of {model}, in days, over cells and years with a rainy season, by the cumulative anomaly; in grey 95 % intervals by year, "
        "and which baseline has the lowest mean error.",
        ("Domain", *heads), tuple(rows),
    )  # fmt: skip
