"""What a prediction's members say: scores of the ensemble, rank histograms, probabilities of rain. Never shows a mean as a member."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.ticker import MaxNLocator

from orbit2.metrics.verdict import spaces
from orbit2.report.figures import ensembles
from orbit2.report.figures.panels import Figure, Panels, one
from orbit2.report.pages.blocks import Block, paragraph, shown
from orbit2.report.style import COLOURS, MUTED, colour
from orbit2.report.tables import Cell, Scores, Table, csv_text, label, traced, units
from orbit2.variables import is_precipitation

COLUMNS = (
    ("crps_fair", "CRPS (fair)", 3), ("spread_skill", "spread ÷ error", 3), ("rank_outliers", "outliers ÷ expected", 3),
    ("rank_deviation", "unevenness of ranks", 2), ("energy_score", "energy score", 3), ("variogram_score", "variogram score", 3),
)  # fmt: skip
EVENTS = (("brier_fair", "Brier score (fair)"), ("brier_skill", "Brier skill"), ("reliability", "reliability"))


def members_of(scores: Scores, model: str, names: Sequence[str]) -> int:
    """Members of the model's ensemble; 0 for a task with one prediction."""
    found = (scores.value(model, name, "members") for name in names)
    return int(next((value for value in found if value is not None), 0))


def ensemble_blocks(scores: Scores, model: str, names: Sequence[str], task: str) -> list[Block]:
    """Scores of the members, for a task that has them."""
    count = members_of(scores, model, names)
    if not count:
        return []
    found_in = next(name for name in names if scores.value(model, name, "members") is not None)
    told = traced(str(count), scores.row(model, found_in, "members"))
    words = (f"The prediction has {told} members. All other scores are of their mean, distributions of all, climate indices of the first. "
             "CRPS is the error of the whole ensemble, in the units of the variable, to be read beside the mean absolute error of one "
             "field, which stands under it; fair: the same for any number of members. Spread over error, with the factor √((M + 1)/M) for "
             f"{told} members, is 1 when the spread tells the error; below 1 the ensemble is too sure of itself. Each member is as likely "
             "as the truth to be the lowest or the highest: outliers 1, flat ranks.")  # fmt: skip
    table = Block("table", table=scores_table(scores, model, names, task))
    found = [Block("heading", text="What the members say"), paragraph(words), table]
    rain = events_table(scores, model, names, task)
    diagrams = [*shown(rank_figure(scores, model, names, task)), *shown(ensembles.spread_and_error(scores, model, names, task)),
                *shown(ensembles.reliability(scores, model, names, count, task))]  # fmt: skip
    return [*found, *diagrams, *([Block("table", table=rain)] if rain is not None else [])]


def scores_table(scores: Scores, model: str, names: Sequence[str], task: str) -> Table:
    """A row per variable and space; under the CRPS the lowest mean absolute error of what is one field."""
    rows = []
    for name in names:
        for space in spaces(name):
            best = scores.best(model, name, "mae", space)
            row = [Cell(label(name), note=units(name, space))]
            for metric, _, digits in COLUMNS:
                note = f"MAE {scores.told(best[0], name, 'mae', space)} {best[0]}" if best is not None and metric == "crps_fair" else ""
                row.append(Cell.of(scores.value(model, name, metric, space), digits, strong=metric == "crps_fair", note=note))
            rows.append(tuple(row))
    caption = f"Scores of the ensemble of {model}; in grey the lowest mean absolute error of a baseline."
    return Table(f"ensemble_{task}", caption, ("Variable", *(title for _, title, _ in COLUMNS)), tuple(rows))


def events_table(scores: Scores, model: str, names: Sequence[str], task: str) -> Table | None:
    """How well the share of members with so much rain is the probability of it."""
    rain = [name for name in names if is_precipitation(name)]
    rows = []
    for name in rain:
        for event in ("1", "5", "10", "20", "30", "50"):
            values = [scores.value(model, name, f"{metric}_{event}") for metric, _ in EVENTS]
            if any(value is not None for value in values):
                rows.append((Cell(f"{label(name)}, ≥ {event} mm/day"), *(Cell.of(value, 3) for value in values)))
    if not rows:
        return None
    caption = ("The share of members with so much rain as its probability. Skill: against always forecasting how often it rains so much; "
               "n/a where it never did.")  # fmt: skip
    return Table(f"events_{task}", caption, ("Event", *(title for _, title in EVENTS)), tuple(rows))


def rank_figure(scores: Scores, model: str, names: Sequence[str], task: str) -> Figure | None:
    """A rank histogram per variable, in units of a flat one."""
    count = members_of(scores, model, names)
    found = {}
    for name in names:
        shares = [scores.value(model, name, f"rank_share_{rank}") for rank in range(count + 1)]
        known = [share for share in shares if share is not None]
        if len(known) == count + 1:
            found[name] = [share * (count + 1) for share in known]
    if not found:
        return None
    panels = Panels(-(-len(found) // 2), min(2, len(found)), 4.6, 2.8)
    alts = []
    for panel, (name, values) in enumerate(found.items()):
        ax = panels.axes(panel, (0.14, 0.2, 0.82, 0.66))
        ax.bar(range(count + 1), values, width=0.92, color=colour(model))
        ax.axhline(1, color=COLOURS.get("bicubic", MUTED), linewidth=1.2, linestyle="--")
        ax.set_title(label(name), fontsize=10.5)
        ax.xaxis.set_major_locator(MaxNLocator(integer=True))
        ax.set_xlabel("Members below the truth")
        ax.set_ylabel("Area ÷ expected")
        ax.grid(False, axis="x")
        alts.append(f"Rank histogram of {label(name)}: lowest {values[0]:.2f}, highest {values[-1]:.2f} of what is expected.")
    rows = [{"variable": name, "rank": rank, "relative": value} for name, values in found.items() for rank, value in enumerate(values)]
    caption = ("How often the truth lies between which members, over what is expected of it (dashed). A U: too little spread; a slope: a "
               "bias; a dome: too much spread. Cells that are dry in the truth and in all members are left out.")  # fmt: skip
    return one(panels, f"ranks_{task}", "Where the truth lies among the members", caption, alts, csv_text(pd.DataFrame(rows)))
