"""How sure, on the page to decide from: what a share of members is worth as a probability, what members say of means of areas and of rare
levels. Says why where there are no members."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain

import numpy as np

from orbit2.metrics.table import TRUTH
from orbit2.report import text
from orbit2.report.inputs import Inputs, Task
from orbit2.report.pages import sure
from orbit2.report.pages.blocks import Block, paragraph
from orbit2.report.tables import Cell, Row, Scores, Table, label, number, traced, units

WITHOUT = ("How sure it is of a single value is not told here: no task of the run has members. A model with `architecture.noise.channels` "
           "above 0 and a task with `members` give probabilities, and this page says then whether they can be relied on.")  # fmt: skip
BINS = ((0.0, 0.1), (0.1, 0.4), (0.4, 0.6), (0.6, 0.9), (0.9, 1.0))
SEEN = "event_samples_"
NAMES = ("0–10 % of members", "10–40 %", "40–60 %", "60–90 %", "90–100 %")


def blocks(inputs: Inputs, main: Task) -> list[Block]:
    """For the decision page: what a share of members is worth as a probability, what members say of means of areas, and of rare levels."""
    task = sure.task_of(inputs, main)
    if task is None:
        return [Block("heading", text="How sure is it?"), paragraph(WITHOUT, "note")]
    scores, name = Scores(inputs.scores, task.name), task.config.model
    found = [Block("heading", text="How sure is it?"), paragraph(sure.reading(scores, name, task.variables, task.members)),
             paragraph(sure.of_number(scores, name, task.variables, task.members), "note")]  # fmt: skip
    said = probabilities(scores, name, task.variables, task)
    found += [Block("table", table=said)] if said is not None else [
        paragraph("No event was seen often enough to say whether a share of members is its probability.", "note")]  # fmt: skip
    regional = region_events(inputs, name, task)
    found += [Block("table", table=regional)] if regional is not None else []
    means = area_means(inputs, scores, name, task)
    found += [Block("table", table=means)] if means is not None else []
    levels = return_bands(scores, name, task)
    if levels is not None:
        found.append(Block("table", table=levels))
    else:
        found.append(paragraph(text.NO_LEVELS, "note"))
    return found


def probabilities(scores: Scores, name: str, names: Sequence[str], task: Task) -> Table | None:
    """Per event: how often it came where so many members have it, beside what they said."""
    own = scores.rows[(scores.rows["model"] == name) & scores.rows["metric"].str.startswith("reliability_frequency_")]
    rows = []
    for one in names:
        metrics = own.loc[own["variable"] == one, "metric"]
        events = dict.fromkeys(str(metric).removeprefix("reliability_frequency_").rpartition("_")[0] for metric in metrics)
        for event in events:
            found = _bins(scores, name, one, event, task.members)
            if found is not None:
                rows.append((*found, Cell.of(scores.value(name, one, f"brier_skill_{event}"), 2)))
    if not rows:
        return None
    caption = ("Probability of a threshold at one cell and time: how often (%) it came where so many members have it; in grey what they "
               "said. Where both agree, the share of members is the probability. Brier skill: against always forecasting how often it "
               "comes; 0 or below is no help.")  # fmt: skip
    return Table(f"probabilities_{task.name}", caption, ("Event", *NAMES, "Brier skill"), tuple(rows))


def _bins(scores: Scores, name: str, one: str, event: str, members: int) -> list[Cell] | None:
    """The event, then how often it came in each of BINS; None where it never did. Every number keeps its rows."""
    kinds = ("reliability_area", "reliability_frequency")
    known = [k for k in range(members + 1) if scores.value(name, one, f"{kinds[0]}_{event}_{k}")]
    of = {kind: np.array([scores.value(name, one, f"{kind}_{event}_{k}") or 0.0 for k in known]) for kind in kinds}
    (area, came), share = of.values(), np.array(known) / members
    if not float(area @ came) > 0:
        return None
    areas = [scores.row(name, one, f"{kinds[0]}_{event}_{k}") for k in known]
    pairs = [[row, scores.row(name, one, f"{kinds[1]}_{event}_{k}")] for row, k in zip(areas, known, strict=True)]
    often = traced(number(100 * float(area @ came), 2), *chain(*pairs), how="products")
    cells = [Cell(f"{label(one)}, {said(event, one)}", note=f"{often} % of the area")]
    for i, (low, high) in enumerate(BINS):
        use = np.flatnonzero(((share > low) if i else (share >= 0)) & (share <= high))
        total = float(area[use].sum())
        if not total > 1e-5:
            cells.append(Cell("n/a"))
            continue
        chance, value = (100 * float(area[use] @ x[use]) / total for x in (share, came))
        here = [areas[k] for k in use]
        foreseen = traced(f"{chance:.0f}", *here, scores.row(name, one, "members"), how="foreseen")
        seen = traced(number(100 * total, 2), *here, how="sum")
        shown = traced(number(value, 2), *chain(*(pairs[k] for k in use)), how="weighted")
        cells.append(Cell(shown, value, derived=True, note=f"said {foreseen} %, {seen} % of the area"))
    return cells


def region_events(inputs: Inputs, name: str, task: Task) -> Table | None:
    """Brier skill and reliability of events by AR6 region; `too few` where the event hardly ever came. None where none was judged."""
    if inputs.regions is None:
        return None
    scores = Scores(inputs.regions, task.name)
    own = scores.rows[(scores.rows["model"] == name) & scores.rows["metric"].str.startswith(SEEN)]
    columns = [(one, str(metric).removeprefix(SEEN)) for one in task.variables
               for metric in dict.fromkeys(own.loc[own["variable"] == one, "metric"])]  # fmt: skip
    regions = [str(region) for region in dict.fromkeys(own["region"])]
    if not columns or not regions:
        return None
    rows = tuple((Cell(region), *(_of_region(scores, name, one, event, region) for one, event in columns)) for region in regions)
    caption = (f"Probabilities of {name} by AR6 region: Brier skill against always forecasting how often the event comes there (0 or below "
               "is no help), in grey the reliability (mean squared distance of what is said from what comes, 0 at best). Too few: the "
               "event came in fewer than 10 samples, or hardly any cell, of the region.")  # fmt: skip
    heads = tuple(f"{label(one)}, {said(event, one)}" for one, event in columns)
    return Table(f"probabilities_regions_{task.name}", caption, ("Region", *heads), rows,
                 collapsed=f"Probabilities in {len(regions)} regions", regions=tuple(regions))  # fmt: skip


def _of_region(scores: Scores, name: str, one: str, event: str, region: str) -> Cell:
    skill = scores.value(name, one, f"brier_skill_{event}", region=region)
    if skill is not None:
        return Cell.of(skill, 2, note=f"reliability {scores.told(name, one, f'reliability_{event}', region=region, digits=2)}")
    seen = scores.value(name, one, f"{SEEN}{event}", region=region)
    if seen is None:
        return Cell("n/a")
    return Cell("too few", note=f"came in {traced(f'{seen:.0f}', scores.row(name, one, f'{SEEN}{event}', region=region))} samples")


def said(event: str, name: str) -> str:
    """`≥ 10 mm/day`, `≥ the training 99 %`."""
    return f"≥ the training {100 * float(event[1:]):g} %" if event.startswith("q") else f"≥ {event} {units(name)}"


def area_means(inputs: Inputs, scores: Scores, name: str, task: Task) -> Table | None:
    """Means of areas: how far apart the lowest and the highest member are, and how often the truth lies between them."""
    regional = Scores(inputs.regions, task.name) if inputs.regions is not None else None
    rows = []
    for source in filter(None, (scores, regional)):
        own = source.rows[(source.rows["model"] == name) & (source.rows["metric"] == "area_mean_range")]
        for region in dict.fromkeys(own["region"].astype(str)):
            cells = []
            for one in task.variables:
                inside = source.value(name, one, "area_mean_inside", "physical", region)
                cells.append(Cell.of(source.value(name, one, "area_mean_range", "physical", region), 2,
                                     note=f"truth inside {_percent(inside, source.row(name, one, 'area_mean_inside', 'physical', region))}"
                                     if inside is not None else ""))  # fmt: skip
            rows.append((Cell("Whole domain" if region == source.domain else region), *cells))
    if not rows:
        return None
    count, right = sure.counted(scores, name, task.variables, task.members), sure.derived(scores, name, task.variables, task.members)
    caption = (f"Interval of a mean over an area, from the lowest to the highest of {count} members: its mean width, and how "
               f"often the truth's mean lies in it ({right['inside']} where the members are right). Members "
               "keep the means of the input's cells where `conserve` is on: all that is uncertain lies inside them, and the mean of many "
               "cells has hardly any spread. That the input is right is taken for granted.")  # fmt: skip
    return Table(f"area_means_{task.name}", caption, ("Area", *(f"{label(one)} ({units(one)})" for one in task.variables)), tuple(rows),
                 collapsed=f"Intervals of the means of {len(rows)} areas" if len(rows) > 12 else "")  # fmt: skip


def _percent(value: float, row: Row) -> str:
    return f"{traced(f'{100 * value:.0f}', row, how='percent')} %"


def return_bands(scores: Scores, name: str, task: Task) -> Table | None:
    """Return levels with what the members say of them, beside the truth's; None for a short record."""
    rows = []
    for one in task.variables:
        own = scores.rows[(scores.rows["variable"] == one) & (scores.rows["model"] == name)
                          & scores.rows["metric"].str.fullmatch(r".+_return_\d+_lowest")]  # fmt: skip
        for metric in (str(m).removesuffix("_lowest") for m in own["metric"]):
            ends = [scores.value(name, one, f"{metric}_{end}") for end in ("lowest", "highest")]
            truth, mine = scores.value(TRUTH, one, metric), scores.value(name, one, metric)
            what, _, years = metric.rpartition("_return_")
            rows.append((Cell(f"{label(one)}, {what} once in {years} years", note=units(one)), Cell.of(truth, 3), Cell.of(mine, 3),
                         *(Cell.of(end, 3) for end in ends)))  # fmt: skip
    if not rows:
        return None
    caption = ("Level reached once in so many years, mean over cells, of the truth and of members, each followed through all years by "
               "itself. The band is that of members alone: other years are not in it.")  # fmt: skip
    return Table(f"return_bands_{task.name}", caption, ("Level", "truth", "first member", "lowest member", "highest member"), tuple(rows))
