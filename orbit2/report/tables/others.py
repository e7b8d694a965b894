"""Tables of everything but RMSE: distributions, further scores, all rows of a task. Every number is the value of one row."""

from __future__ import annotations

from collections.abc import Sequence

from orbit2.metrics.fields import DRY
from orbit2.metrics.table import TRUTH
from orbit2.metrics.verdict import spaces
from orbit2.report.style import method_name
from orbit2.report.tables.cells import Cell, Table, number
from orbit2.report.tables.scores import Scores, amount, heading, label
from orbit2.variables import is_precipitation

TAILS = (("quantile_0.001", "0.1 %"), ("quantile_0.5", "median"), ("quantile_0.99", "99 %"), ("quantile_0.999", "99.9 %"))
SHARES = (("wet_share_0.1", "≥ 0.1 mm/day"), ("wet_share_1", "≥ 1 mm/day"))
OTHER_METRICS = (
    ("mae", "MAE", 3),
    ("bias", "bias", 2),
    ("pearson_r", "r", 4),
    ("pearson_r2", "r²", 4),
    ("r2_cod", "R² (COD)", 4),
    ("ssim", "SSIM", 4),
    ("psnr_pooled", "PSNR, dB", 3),
)


def distribution_table(scores: Scores, model: str, names: Sequence[str]) -> Table | None:
    """Quantiles by area, and rain's wet share, of the model with the truth's under each; None where they were not computed."""
    rows = []
    wet = any(is_precipitation(key) for key in names)
    for key in names:
        row = [heading(key, "physical")]
        for metric, _ in (*TAILS, *(SHARES if wet else ())):
            own, truth = (scores.value(who, key, metric) for who in (model, TRUTH))
            digits = 4 if metric.startswith("quantile") and not is_precipitation(key) else 3
            if own is None:
                row.append(Cell(""))
            elif metric.startswith("quantile"):
                row.append(amount(own, key, digits, strong=True, note=amount(truth, key, digits).text))
            else:
                row.append(Cell.of(own, digits, strong=True, note=number(truth, digits)))
        rows.append(tuple(row))
    if not any(cell.value is not None for row in rows for cell in row):
        return None
    heads = [title for _, title in (*TAILS, *(SHARES if wet else ()))]
    told = f" Dry: less than {DRY:g} mm/day." if wet else ""
    return Table("distribution", f"Quantiles of {model} by area over all frames, and the wet share of the area; in grey the truth's.{told}",
                 ("Variable", *heads), tuple(rows))  # fmt: skip


def other_table(scores: Scores, model: str, names: Sequence[str], against: str) -> Table:
    """The model's further scores with those of one interpolation under each."""
    rows = []
    for key in names:
        for space in spaces(key):
            row = [heading(key, space)]
            for metric, _, digits in OTHER_METRICS:
                row.append(
                    Cell.of(scores.value(model, key, metric, space), digits, note=number(scores.value(against, key, metric, space), digits))
                )
            rows.append(tuple(row))
    return Table(
        "scores",
        f"Other scores of {model}; the small grey number under each is {method_name(against)} interpolation of the same inputs.",
        ("Variable", *(title for _, title, _ in OTHER_METRICS)),
        tuple(rows),
    )


def all_scores(scores: Scores, name: str) -> Table:
    """Every row of the table of scores for the whole domain."""
    rows = scores.rows[scores.rows["region"] == scores.domain]
    body = tuple(
        (
            Cell(_plain(row.variable)),
            Cell(str(row.space)),
            Cell(method_name(str(row.model))),
            Cell(str(row.metric)),
            Cell.of(float(str(row.value)), 4),
            Cell(f"{int(str(row.n)):,}"),
            Cell(str(row.method)),
        )
        for row in rows.itertuples()
    )
    return Table(
        f"all_scores_{name}",
        f"Every score of task {name} over the whole domain, with its definition (from metrics.parquet).",
        ("Variable", "space", "model", "metric", "value", "n", "definition"),
        body,
        collapsed=f"All {len(body)} scores of task {name}",
    )


def _plain(name: object) -> str:
    text = str(name)
    return text if text.startswith("(") else label(text)
