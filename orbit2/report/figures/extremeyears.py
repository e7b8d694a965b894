"""The hottest or wettest year beside the others, and what changes from the first years to the last. Draws rows of diagnose."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pandas as pd

from orbit2.metrics.table import TRUTH
from orbit2.report.figures.panels import Figure, Panels, one
from orbit2.report.style import MUTED, colour, method_name
from orbit2.report.tables import Beside, Cell, Scores, Table, csv_text, label, lower, traced, units

HIGHEST, OTHERS = "years:highest", "years:others"
KINDS = {HIGHEST: "highest year", OTHERS: "other years"}
CHANGE, SPREAD, PATTERN = "change_halves", "change_halves_rmse", "change_halves_pearson_r"
INPUT = "nearest"  # each fine cell has its coarse cell's value


def known(scores: Scores, model: str, names: Sequence[str]) -> dict[str, dict[str, str]]:
    """Variable -> region -> its best baseline, of the variables that were scored in both."""
    found = {}
    for name in names:
        best = {region: scores.best(model, name, "rmse", "physical", region) for region in KINDS}
        if all(best.values()) and all(scores.value(model, name, "rmse", region=region) is not None for region in KINDS):
            found[name] = {region: other[0] for region, other in best.items() if other is not None}
    return found


def year_of(scores: Scores, name: str) -> str:
    """The year, as the rows' own words say it."""
    rows = scores.rows[(scores.rows["region"] == HIGHEST) & (scores.rows["variable"] == name)]
    found = re.search(r"\b(\d{4}), the highest", str(rows["method"].iloc[0])) if len(rows) else None
    return found[1] if found else ""


def reading(scores: Scores, model: str, names: Sequence[str]) -> str:
    """For how many variables the lead over every baseline holds in the year that is highest in the truth."""
    found = known(scores, model, names)
    if not found:
        return ""
    rows = {region: [scores.row(who, name, "rmse", region=region) for name, best in found.items() for who in (model, best[region])]
            for region in KINDS}  # fmt: skip
    won = {region: traced(str(sum(_ratio(scores, model, name, region, best[region]) < 1 for name, best in found.items())), *rows[region],
                          how="lower") for region in KINDS}  # fmt: skip
    of = traced(str(len(found)), *(scores.row(model, name, "rmse", region=HIGHEST) for name in found), how="rows")
    return (f"In the year whose mean over the domain is the highest of the truth, {model} has a lower RMSE than every baseline for "
            f"{won[HIGHEST]} of {of} variables; in the other years for {won[OTHERS]} of {of}.")


def _ratio(scores: Scores, model: str, name: str, region: str, other: str) -> float:
    own, best = (scores.value(who, name, "rmse", region=region) for who in (model, other))
    assert own is not None and best is not None
    return own / best if best else float("inf")


def figure(scores: Scores, model: str, names: Sequence[str], task: str) -> Figure | None:
    """Two bars a variable; None without rows of both."""
    found = known(scores, model, names)
    if not found:
        return None
    panels = Panels(1, 1, 6.2, 0.62 * len(found) + 1.2)
    ax = panels.axes(0, (0.4, 0.62 / panels.height, 0.56, 1 - 0.95 / panels.height))
    shades, table = {HIGHEST: colour(model), OTHERS: "#8a939c"}, []
    for y, (name, best) in enumerate(found.items()):
        for k, region in enumerate(KINDS):
            ratio = _ratio(scores, model, name, region, best[region])
            ax.barh(y + (k - 0.5) * 0.36, ratio, height=0.34, color=shades[region], label=KINDS[region] if y == 0 else None)
            ax.text(ratio + 0.01, y + (k - 0.5) * 0.36, f"{ratio:.3g}", va="center", fontsize=8)
            table.append({"variable": name, "years": KINDS[region], "highest": year_of(scores, name), "ratio": ratio,
                          "baseline": best[region]})  # fmt: skip
    ax.axvline(1, color=MUTED, linewidth=1.2, linestyle="--")
    ax.set_yticks(range(len(found)), [f"{label(name)}\n({year_of(scores, name)})" for name in found])
    ax.set_xlim(0, 1.15 * max(1.0, *(float(str(row["ratio"])) for row in table)))
    ax.invert_yaxis()
    ax.grid(False, axis="y")
    ax.set_xlabel("RMSE ÷ RMSE of the best baseline in those years")
    panels.figure.legend(loc="upper right", ncols=2, fontsize=8)
    told = ", ".join(f"{label(str(row['variable']))} {row['years']} {row['ratio']:.3g}" for row in table)
    caption = ("Error of the model over that of the best baseline (dashed: as good), in the year in which the truth's mean over the domain "
               "is highest (in brackets) and in the other whole years.")  # fmt: skip
    alt = f"Bars of RMSE over the best baseline's: {told}."
    numbers = csv_text(pd.DataFrame(table))
    return one(panels, f"extreme_years_{task}", "The hottest and the wettest year", caption, [alt], numbers, columns=1)


def change_table(scores: Scores, model: str, names: Sequence[str], task: str) -> Table | None:
    """What changes in the truth, the input, the model and the baseline that is nearest to the truth's change."""
    rows = []
    for name in names:
        if scores.value(TRUTH, name, CHANGE) is None:
            continue
        best = scores.best(model, name, SPREAD, "physical")
        others = [who for who in (INPUT, model, best[0] if best else "") if who and scores.value(who, name, SPREAD) is not None]
        cells = [Cell.of(scores.value(TRUTH, name, CHANGE), 3)]
        for who in (INPUT, model):
            cells += [Cell.of(scores.value(who, name, metric), 3, strong=who == model) if who in others else Cell("n/a")
                      for metric in (CHANGE, SPREAD, PATTERN)]  # fmt: skip
        cells.append(Cell.of(best[1] if best else None, 3, note=method_name(best[0]) if best else ""))
        rows.append((Cell(label(name), note=units(name)), *cells))
    if not rows:
        return None
    heads = [f"{who}: {what}" for who in ("input", model) for what in ("change", "RMSE over cells", "correlation over cells")]
    return Table(f"change_{task}", f"Change from the first half of the whole years to the second ({period(scores)}), mean over the domain: "
                 "of the truth, of the input (each cell with its coarse cell's value) and of the model; and how far the last two are "
                 "from the truth's, cell by cell. In the last column the lowest RMSE of a baseline.",
                 ("Variable", "truth: change", *heads, "best baseline: RMSE over cells"), tuple(rows))  # fmt: skip


def period(scores: Scores) -> str:
    """`2005 to 2009 less 2000 to 2004`, as the rows say."""
    rows = scores.rows[scores.rows["metric"] == CHANGE]
    found = re.search(r"mean of (\d{4} to \d{4}) less that of (\d{4} to \d{4})", str(rows["method"].iloc[0])) if len(rows) else None
    told = Beside("diagnose/metrics.parquet", (("metric", CHANGE),), "method")
    return traced(f"{found[1]} less {found[2]}", told, how="told") if found else ""


def change_reading(scores: Scores, model: str, names: Sequence[str]) -> str:
    """Whether the model keeps the input's change over the domain, and is nearer to the truth's cell by cell."""
    found = [name for name in names if scores.value(model, name, SPREAD) is not None and scores.value(INPUT, name, SPREAD) is not None]
    if not found:
        return ""
    pairs = [scores.row(who, name, SPREAD) for name in found for who in (model, INPUT)]
    nearer = sum(float(scores.value(model, name, SPREAD) or 0) < float(scores.value(INPUT, name, SPREAD) or 0) for name in found)
    told = [f"{lower(label(name))} {scores.told(TRUTH, name, CHANGE)} {units(name)} in the truth, {scores.told(INPUT, name, CHANGE)} in "
            f"the input, {scores.told(model, name, CHANGE)} with {model}" for name in found]  # fmt: skip
    return (f"From the first half of the years to the second the mean over the domain changes by: {'; '.join(told)}. Cell by cell {model} "
            f"is nearer to the truth's change than the input for {traced(str(nearer), *pairs, how='lower')} of "
            f"{traced(str(len(found)), *(scores.row(model, name, SPREAD) for name in found), how='rows')} variables. So few years hold one "
            "change and much weather: it is no trend.")
