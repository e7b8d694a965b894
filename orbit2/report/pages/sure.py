"""How sure a prediction with members is, and whether it may be: a section of its own. Never shows a mean as a member, and nothing where
there are no members."""

from __future__ import annotations

from collections.abc import Sequence

from orbit2.metrics.table import TRUTH
from orbit2.metrics.verdict import spaces
from orbit2.report import tables
from orbit2.report.figures import maps, scenes
from orbit2.report.figures.panels import Figure
from orbit2.report.figures.scenes import DIFFERENCE_UNITS, Layer, stamp
from orbit2.report.inputs import Inputs, Task
from orbit2.report.interactive import members as viewer
from orbit2.report.pages import members, verdict
from orbit2.report.pages.blocks import Block, Section, paragraph, shown
from orbit2.report.style import display
from orbit2.report.tables import Cell, Scores, Table, label, lower, traced, units

AREAS = ("land", "sea", "tropics")


def task_of(inputs: Inputs, main: Task) -> Task | None:
    """The task that says how sure the main one is: itself where it has members, else the first with members on the same dataset."""
    others = (other for other in inputs.tasks.values() if other.has_truth and other.config.dataset == main.config.dataset)
    return next((one for one in (main, *others) if one.has_truth and one.members > 1), None)


def sections(inputs: Inputs, main: Task) -> list[Section]:
    """The section `How sure`; none without members."""
    task = task_of(inputs, main)
    if task is None:
        return []
    scores, name, names = Scores(inputs.scores, task.name), task.config.model, task.variables
    zoom, frame, count = inputs.config.report.zoom, task.frame(inputs.config.report.frame), counted(scores, name, names, task.members)
    section = Section("sure", "How sure is it?", "How sure")
    section.blocks = [
        paragraph(" ".join([reading(scores, name, names, task.members), f"On {verdict.rests(scores)}."]), "reading"),
        paragraph(f"{of_number(scores, name, names, task.members)} What members mean, when they are wrong and what they cost: "
                  "docs/uncertainty.md of orbit2.", "note"),
        Block("table", table=area_table(scores, name, names, task)),
        *_viewer(inputs, task),
        Block("heading", text="Truth, mean, three members, spread"),
        paragraph("The mean is the best single guess, and smoother than the truth; each member is as rough as the truth, and wrong in "
                  "another way. The spread says where they differ: read it beside the reliability below.", "note"),
        *(Block("fold", text=label(one), open=i == 0, blocks=tuple(shown(figure(task, one, frame, zoom, count))))
          for i, one in enumerate(names)),
        *members.ensemble_blocks(scores, name, names, task.name),
        *_structure(scores, name, names, task),
    ]  # fmt: skip
    if task is not main:
        section.blocks += [Block("heading", text="The mean of the members as one prediction"),
                           Block("table", table=tables.rmse_table(
                               scores, name, names, f"sure_rmse_{task.name}",
                               f"Area-weighted RMSE of the mean of {counted(scores, name, names, task.members)} members."
                               + tables.grey(scores)))]  # fmt: skip
    region = _regions(inputs, task)
    section.blocks += [Block("table", table=region)] if region is not None else []
    section.blocks.append(Block("table", table=tables.all_scores(scores, task.name)))
    return [section]


def _viewer(inputs: Inputs, task: Task) -> list[Block]:
    report = inputs.config.report
    found = viewer.widget(task, report.zoom, report.dates, task.frame(report.frame))
    if found is None:
        return []
    return [Block("heading", text="Any date, member by member"),
            paragraph("Truth, mean and members share one colour scale, the same on every date; the spread has its own.", "note"),
            Block("widget", widget=found)]  # fmt: skip


def counted(scores: Scores, name: str, names: Sequence[str], count: int) -> str:
    """How many members, with the row that says so."""
    found = next((one for one in names if scores.value(name, one, "members") is not None), None)
    return str(count) if found is None else traced(str(count), scores.row(name, found, "members"))


def derived(scores: Scores, name: str, names: Sequence[str], count: int) -> dict[str, str]:
    """What follows from how many they are, in per cent: `share` 1/M, `outside` 2/(M + 1) and `inside` (M - 1)/(M + 1)."""
    found = next((one for one in names if scores.value(name, one, "members") is not None), None)
    values = {"share": f"{100 / count:.1f}", "outside": f"{200 / (count + 1):.0f}", "inside": f"{100 * (count - 1) / (count + 1):.0f}"}
    return {how: f"{shown if found is None else traced(shown, scores.row(name, found, 'members'), how=how)} %"
            for how, shown in values.items()}  # fmt: skip


def of_number(scores: Scores, name: str, names: Sequence[str], count: int) -> str:
    """How M, the number of members, enters what is told."""
    shown, of = counted(scores, name, names, count), derived(scores, name, names, count)
    return (f"With M = {shown} members a probability is a multiple of 1/{shown}, and nothing rarer than that can be told from one time and "
            f"place. In a perfect ensemble the truth lies outside all members in 2/(M + 1) = {of['outside']} of cases; the mean's "
            f"squared error is 1/M = {of['share']} of the members' variance above that of endless members. The fair CRPS and the "
            "spread over error are written so that they do not depend on M; ranks, Brier scores and probabilities do.")  # fmt: skip


def reading(scores: Scores, name: str, names: Sequence[str], count: int) -> str:
    """The CRPS beside the absolute error of one field, and whether spread and ranks are right, in words."""
    beside, members = reference(scores, name), counted(scores, name, names, count)
    ratios = [(value, one, space) for one in names for space in spaces(one)
              if beside and (value := scores.value(name, one, f"crps_ratio_vs_{beside}", space)) is not None]  # fmt: skip
    said = []
    if ratios:
        (_, best, near), (_, worst, far) = min(ratios), max(ratios)
        low, high = (scores.told(name, one, f"crps_ratio_vs_{beside}", space, digits=2) for one, space in ((best, near), (worst, far)))
        said.append(f"The CRPS of {members} members of {name} is {low} ({lower(label(best))}) to {high} "
                    f"({lower(label(worst))}) of the mean absolute error of {beside}, which gives one field: 0.71 is what members that "
                    "know their normal errors reach.")  # fmt: skip
    else:
        crps = [f"{lower(label(one))} {scores.told(name, one, 'crps_fair')} {units(one, 'physical')}" for one in names
                if scores.value(name, one, "crps_fair") is not None]  # fmt: skip
        said += [f"The CRPS of {members} members of {name}: {', '.join(crps)}."] if crps else []
    found = [(value, one, space) for one in names for space in spaces(one)
             if (value := scores.value(name, one, "spread_skill", space)) is not None]  # fmt: skip
    if found:
        widths = [value for value, *_ in found]
        least, most = (scores.told(name, one, "spread_skill", space, digits=2) for _, one, space in (min(found), max(found)))
        judged = ("too sure of itself" if min(widths) < 0.85 and max(widths) <= 1.15 else
                  "not sure enough of itself" if max(widths) > 1.15 and min(widths) >= 0.85 else
                  "as sure as it may be" if min(widths) >= 0.85 else "too sure of some variables, not enough of others")  # fmt: skip
        said.append(f"Its spread over its error is {least} to {most} (1 is right): it is {judged}.")
    return " ".join(said)


def headline(inputs: Inputs, main: Task) -> list[Block]:
    """What the results' first lines say of members beside the deterministic model; nothing without them."""
    task = task_of(inputs, main)
    if task is None:
        return []
    scores = Scores(inputs.scores, task.name)
    words = reading(scores, task.config.model, task.variables, task.members)
    return [paragraph(f"With members: {words}", "reading")] if words else []


def reference(scores: Scores, name: str) -> str | None:
    """The one field that the members are held against."""
    found = scores.rows.loc[scores.rows["metric"].str.startswith("crps_ratio_vs_") & (scores.rows["model"] == name), "metric"]
    return str(found.iloc[0]).removeprefix("crps_ratio_vs_") if len(found) else None


def area_table(scores: Scores, name: str, names: Sequence[str], task: Task) -> Table:
    """A row per variable and space: CRPS over the MAE of one field, spread over error and outliers, of the domain and its parts."""
    beside, present = reference(scores, name), set(scores.rows["region"])
    areas = [scores.domain, *(area for area in AREAS if area in present)]
    kinds = [*([(f"crps_ratio_vs_{beside}", f"CRPS ÷ MAE of {beside}")] if beside else [("crps_fair", "CRPS")]),
             ("spread_skill", "spread ÷ error"), ("rank_outliers", "outliers ÷ expected")]  # fmt: skip
    rows = []
    for one in names:
        for space in spaces(one):
            cells = [Cell.of(scores.value(name, one, metric, space, area), 3, strong=i == 0 and area == areas[0],
                             note=scores.ends(name, one, metric, space, area))
                     for i, (metric, _) in enumerate(kinds) for area in areas]  # fmt: skip
            rows.append((Cell(label(one), note=units(one, space)), *cells))
    caption = (f"Members of {name}. CRPS: the error of all of them together, beside the mean absolute error of one field in the same "
               "cells; spread over error and outliers are 1 where the members are right about themselves. Tropics: within 20° of the "
               "equator. In grey the 95 % interval, where the record is long enough for one.")  # fmt: skip
    heads = tuple(f"{title}, {'all' if area == areas[0] else area}" for _, title in kinds for area in areas)
    return Table(f"sure_{task.name}", caption, ("Variable", *heads), tuple(rows))


def _structure(scores: Scores, name: str, names: Sequence[str], task: Task) -> list[Block]:
    """Whether members are like the truth from cell to cell: one member, in grey the mean of members and the one field."""
    beside, rows = reference(scores, name), []
    for one in names:
        for space in spaces(one):
            if scores.value(name, one, "crps_differences", space) is None:
                continue
            row = [Cell(label(one), note=units(one, space))]
            for low, high in ((2, 3), (3, 6)):
                metric = f"power_ratio_{low}_to_{high}_cells"
                grey = [("mean", name, f"mean_{metric}"), (beside, beside, metric)]
                row.append(Cell.of(scores.value(name, one, metric, space), 3, note=_grey(scores, one, space, grey)))
            grey = [("truth", TRUTH, "block_edge_ratio"), (beside, beside, "block_edge_ratio")]
            row.append(Cell.of(scores.value(name, one, "block_edge_ratio", space), 3, note=_grey(scores, one, space, grey)))
            row += [Cell.of(scores.value(name, one, f"crps_{what}_ratio_vs_{beside}" if beside else f"crps_{what}", space), 3)
                    for what in ("differences", "2x2")]  # fmt: skip
            rows.append(tuple(row))
    if not rows:
        return []
    over = f"CRPS ÷ MAE of {beside}" if beside else "CRPS"
    caption = (f"One member of {name}: power of waves of 2 to 3 and of 3 to 6 cells along rows over the truth's (1 is right; in grey "
               "that of the mean of members, which is smoother, and of the one field); mean difference of neighbours across the edges of "
               f"input cells over that inside them; {over} of differences of neighbouring cells and of means of 2 x 2 cells.")  # fmt: skip
    heads = ("Variable", "power, 2–3 cells", "power, 3–6 cells", "edges of input cells", "differences", "means of 2 × 2")
    return [Block("heading", text="Is each member like the truth from cell to cell?"),
            Block("table", table=Table(f"sure_structure_{task.name}", caption, heads, tuple(rows)))]  # fmt: skip


def _grey(scores: Scores, name: str, space: str, which: Sequence[tuple[str | None, str | None, str]]) -> str:
    """Of (what it is called, whose, metric) those that have a row."""
    return ", ".join(f"{called} {scores.told(who, name, metric, space, digits=2)}" for called, who, metric in which
                     if who is not None and scores.value(who, name, metric, space) is not None)  # fmt: skip


def _regions(inputs: Inputs, task: Task) -> Table | None:
    """CRPS over MAE (or the CRPS) and spread over error by AR6 region."""
    if inputs.regions is None:
        return None
    scores, name = Scores(inputs.regions, task.name), task.config.model
    own = scores.rows[(scores.rows["model"] == name) & (scores.rows["metric"] == "spread_skill")]
    regions = [str(region) for region in dict.fromkeys(own["region"])]
    if not regions:
        return None
    beside = reference(scores, name)
    kinds = [(f"crps_ratio_vs_{beside}" if beside else "crps_fair", f"CRPS ÷ MAE of {beside}" if beside else "CRPS"),
             ("spread_skill", "spread ÷ error")]  # fmt: skip
    columns = [(one, space, metric, title) for metric, title in kinds for one in task.variables for space in spaces(one)[-1:]]
    rows = tuple((Cell(region), *(Cell.of(scores.value(name, one, metric, space, region), 3,
                                          note=scores.ends(name, one, metric, space, region))
                                  for one, space, metric, _ in columns)) for region in regions)  # fmt: skip
    caption = (f"Members of {name} by AR6 region; rain in ln(1 + mm/day). In grey the 95 % interval over days, where the record is long "
               "enough.")  # fmt: skip
    return Table(f"sure_regions_{task.name}", caption, ("Region", *(f"{label(one)}: {title}" for one, _, _, title in columns)), rows,
                 collapsed=f"How sure it is in {len(regions)} regions", regions=tuple(regions))  # fmt: skip


def figure(task: Task, name: str, frame: int, zoom: maps.Box, count: str) -> Figure:
    """Truth, mean, three members and spread of one frame in the zoomed box (all of a region that lies elsewhere); `count` members."""
    box = zoom if maps.overlaps(task.grid, zoom) else maps.extent(task.grid)
    look, time, titles = display(name), stamp(task.times[frame]), viewer.layers(task.members)
    mean, spread, first = task.ensemble(name, frame, viewer.SHOWN)
    fields = {"truth": task.truth(name, frame), "mean": mean, **{f"member{i}": one for i, one in enumerate(first)}}
    norm = look.norm(maps.cut(look.field(fields["truth"]), task.grid, box)[0])
    drawn = [Layer(titles[key], look.field(values), task.grid, look.cmap, norm, look.units, f"{label(name)}, {titles[key]}, {time}")
             for key, values in fields.items()]  # fmt: skip
    spread = spread * look.scale
    drawn.append(Layer(titles["spread"], spread, task.grid, viewer.SPREADS, viewer.spread_norm(maps.cut(spread, task.grid, box)[0]),
                       DIFFERENCE_UNITS.get(look.units, look.units),
                       f"{label(name)}, spread of {task.members} members, {time}"))  # fmt: skip
    caption = f"{time}. The first {len(first)} of {count} members."
    return scenes.zoom_figure(drawn, f"members_{task.name}_{name}", f"{label(name)}: members, {maps.describe_box(box)}", caption, box,
                              columns=3, width=3.3)  # fmt: skip
