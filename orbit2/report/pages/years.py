"""What the years of a long task are like: climate indices of the truth, the model and its best baseline. Never for less than a year."""

from __future__ import annotations

from collections.abc import Sequence

from orbit2.metrics.extremes import MEANINGS
from orbit2.metrics.table import TRUTH
from orbit2.report.pages.blocks import Block, paragraph
from orbit2.report.style import method_name
from orbit2.report.tables import Cell, Scores, Table, label, lower, number, units
from orbit2.variables import is_precipitation

OTHERS = {
    "lag1_autocorrelation": "correlation of a day with the day before", "p01": "wet day after a dry one, probability",
    "p11": "wet day after a wet one, probability", "interannual_sigma": "standard deviation of annual means",
}  # fmt: skip
NAMES = {
    "rx1day": "Rx1day", "rx5day": "Rx5day", "sdii": "SDII", "prcptot": "PRCPTOT", "r95p": "R95p", "r99p": "R99p", "cdd": "CDD",
    "cwd": "CWD", "wet_days": "wet days", "r10mm": "R10mm", "r20mm": "R20mm", "r50mm": "R50mm", "txx": "TXx", "txn": "TXn", "su": "SU",
    "id": "ID", "tnx": "TNx", "tnn": "TNn", "fd": "FD", "tr": "TR",
}  # fmt: skip
DISTANCES = (("perkins", "Perkins score", 3), ("wasserstein", "Wasserstein distance", 3), ("kolmogorov_smirnov", "largest gap", 3))


def climate_blocks(scores: Scores, model: str, names: Sequence[str], task: str) -> list[Block]:
    """Distances of distributions; where a task has a year of days, its climate."""
    blocks = []
    table = distance_table(scores, model, names, task)
    if table is not None:
        blocks.append(Block("table", table=table))
    tables = [found for name in names if (found := index_table(scores, model, name, task)) is not None]
    if tables:
        blocks += [Block("heading", text="What the years are like"),
                   paragraph("Means over the scored years and cells, and in the last two columns how far the model's and the best "
                             "baseline's are off from cell to cell.")]  # fmt: skip
        blocks += [Block("table", table=found) for found in tables]
    return blocks


def distance_table(scores: Scores, model: str, names: Sequence[str], task: str) -> Table | None:
    """How far the distribution of all values lies from the truth's, with the best baseline's under it."""
    rows = []
    for name in names:
        row = [Cell(label(name), note=units(name))]
        for metric, _, digits in DISTANCES:
            others = {m: v for m in scores.baselines(model) if (v := scores.value(m, name, metric)) is not None}
            best = (max if metric == "perkins" else min)(others.items(), key=lambda item: item[1], default=None)
            note = "" if best is None else f"{number(best[1], digits)} {method_name(best[0])}"
            row.append(Cell.of(scores.value(model, name, metric), digits, strong=True, note=note))
        if any(cell.value is not None for cell in row[1:]):
            rows.append(tuple(row))
    if not rows:
        return None
    caption = ("How like the truth's the distribution of all values is, wherever they stand: the common area of both (1 at best), how far "
               "values must be moved on average, the largest difference of the shares below a value; in grey the "
               "best baseline's.")  # fmt: skip
    return Table(f"distances_{task}", caption, ("Variable", *(title for _, title, _ in DISTANCES)), tuple(rows))


def index_table(scores: Scores, model: str, name: str, task: str) -> Table | None:
    """A row per index: truth, model, baseline with the lowest RMSE, and the RMSE of both."""
    known = dict.fromkeys(str(metric) for metric in scores.rows.loc[scores.rows["variable"] == name, "metric"])
    levels = [metric for metric in known if "_return_" in metric and not metric.endswith("_rmse")]
    wanted = [metric for metric in (*NAMES, *levels, *OTHERS) if metric in known]
    rows = []
    for metric in wanted:
        truth, own = (scores.value(who, name, metric) for who in (TRUTH, model))
        error, best = scores.value(model, name, f"{metric}_rmse"), scores.best(model, name, f"{metric}_rmse", "physical")
        if own is None or truth is None:
            continue
        other = Cell("n/a") if best is None else Cell.of(scores.value(best[0], name, metric), note=method_name(best[0]))
        good = None if best is None or error is None else error < best[1]
        own_error = Cell(number(error), error, strong=True, good=good)
        rows.append((Cell(title(metric), note=MEANINGS.get(metric, "")), Cell.of(truth), Cell.of(own, strong=True), other, own_error,
                     Cell.of(None if best is None else best[1])))  # fmt: skip
    if not rows:
        return None
    amounts = "amounts in mm" if is_precipitation(name) else f"values in {units(name)}"
    caption = f"Climate of {lower(label(name))}: {amounts}, spells and counts in days."
    heads = ("Index", "truth", model, "best baseline", "RMSE", "RMSE of the baseline")
    return Table(f"climate_{task}_{name}", caption, heads, tuple(rows))


def title(metric: str) -> str:
    """`r95p` -> `R95p`, `rx1day_return_20` -> `Rx1day once in 20 years`."""
    index, _, years = metric.partition("_return_")
    name = NAMES.get(index) or OTHERS[index]
    return f"{name} once in {years} years" if years else name
