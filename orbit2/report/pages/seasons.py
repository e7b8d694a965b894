"""Scores by season. Never shows seasons of a record that has not all of them."""

from __future__ import annotations

from collections.abc import Sequence

from orbit2.metrics.verdict import spaces
from orbit2.report.pages.blocks import Block
from orbit2.report.tables import Cell, Scores, Table, gap, heading, ratio, sure
from orbit2.times import SEASONS


def blocks(scores: Scores, model: str, names: Sequence[str], task: str) -> list[Block]:
    """A heading and the table; nothing where less than a year was scored."""
    table = season_table(scores, model, names, task)
    return [] if table is None else [Block("heading", text="By season"), Block("table", table=table)]


def season_table(scores: Scores, model: str, names: Sequence[str], name: str) -> Table | None:
    """RMSE of the model by season, with its ratio to the best baseline of that season; None where less than a year was scored."""
    parts = {season: Scores(scores.frame, scores.task, scores.protocol, season) for season in SEASONS}
    parts = {season: part for season, part in parts.items() if (part.rows["metric"] == "rmse").any()}
    if not parts:
        return None
    rows = []
    for key in names:
        for space in spaces(key):
            row = [heading(key, space)]
            for part in parts.values():
                own, best = part.value(model, key, "rmse", space), part.best(model, key, "rmse", space)
                row += [Cell.of(own, strong=True, note=sure(part.interval(model, key, "rmse", space))),
                        ratio(own, best[1] if best else None, gap(part, model, key, space, best))]  # fmt: skip
            rows.append(tuple(row))
    heads = [head for season in parts for head in (season, "model / best")]
    return Table(f"seasons_{name}", f"RMSE of {model} by season and its ratio to that season's best baseline, with 95 % intervals where a "
                 "season has 60 days.", ("Variable", *heads), tuple(rows))  # fmt: skip
