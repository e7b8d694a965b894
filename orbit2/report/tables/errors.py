"""Tables of RMSE beside baselines, ratios and their intervals: every number is one row's value, or the quotient of two."""

from __future__ import annotations

from collections.abc import Sequence

from orbit2.baselines import FITTED, METHODS
from orbit2.metrics.verdict import spaces
from orbit2.report.style import method_name
from orbit2.report.tables.cells import Cell, Table, between
from orbit2.report.tables.scores import Scores, heading, units
from orbit2.variables import variable


def rmse_table(scores: Scores, model: str, names: Sequence[str], name: str = "headline", caption: str = "") -> Table:
    """RMSE of the model beside the best interpolation, the best baseline of all and its parent, and its ratio to the last two."""
    parent, rows = scores.parent(model), []
    for key in names:
        for space in spaces(key):
            own, best = scores.value(model, key, "rmse", space), scores.best(model, key, "rmse", space)
            plain = scores.best(model, key, "rmse", space, among=METHODS)
            row = [heading(key, space), Cell.of(own, strong=True, note=sure(scores.interval(model, key, "rmse", space)))]
            row += [Cell.of(found[1], note=method_name(found[0])) if found else Cell("n/a") for found in (plain, best)]
            row.append(ratio(own, best[1] if best else None, gap(scores, model, key, space, best)))
            if parent is not None:
                before = scores.value(parent, key, "rmse", space)
                row += [Cell.of(before), ratio(own, before, gap(scores, model, key, space, (parent, before)))]
            rows.append(tuple(row))
    beside = (f"parent {parent}", "model / parent") if parent is not None else ()
    return Table(name, caption, ("Variable", model, "best interpolation", "best baseline", "model / best", *beside), tuple(rows))


def baseline_table(scores: Scores, model: str, names: Sequence[str], name: str) -> Table:
    """RMSE of everything that was scored: a row for the model, its parent, each baseline and each other product of observations, a column
    for each variable and space."""
    columns = [(key, space) for key in names for space in spaces(key)]
    parent = scores.parent(model)
    products = scores.products()
    methods = [model, *([parent] if parent else []), *scores.baselines(model), *products]
    notes = {**dict.fromkeys(FITTED, "fitted to training samples"), **dict.fromkeys(products, "other observations: how well they agree")}
    rows = [(Cell(method_name(m), note="fine-tuned from" if m == parent else notes.get(m, "")),
             *(Cell.of(scores.value(m, key, "rmse", space), strong=m == model, note=sure(scores.interval(m, key, "rmse", space)))
               for key, space in columns)) for m in methods]  # fmt: skip
    heads = tuple(f"{variable(key).short} ({units(key, space)})" for key, space in columns)
    return Table(f"baselines_{name}", "RMSE of the model and of each baseline; n/a: there is none for this variable or space.",
                 ("Method", *heads), tuple(rows), collapsed=f"RMSE of all {len(methods)} methods")  # fmt: skip


def ratio(own: float | None, other: float | None, note: str = "") -> Cell:
    if own is None or not other:
        return Cell("n/a")
    return Cell(f"{own / other:.3f}", own / other, derived=True, strong=True, good=own < other, note=note)


def grey(scores: Scores) -> str:
    """What the small numbers are, where there are any."""
    return " In grey 95 % intervals: of the model's RMSE, and of its difference to the other's on the same days." if scores.sure else ""


def sure(ends: tuple[float, float] | None) -> str:
    return between(ends) if ends is not None else ""


def gap(scores: Scores, model: str, name: str, space: str, other: tuple[str, float | None] | None) -> str:
    """The interval of the model's RMSE less the other's, and whether it leaves chance open."""
    ends = scores.interval(model, name, f"rmse_difference_vs_{other[0]}", space) if other is not None else None
    if ends is None:
        return ""
    return f"difference {between(ends)}" + ("" if ends[0] > 0 or ends[1] < 0 else ": may be chance")
