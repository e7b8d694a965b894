"""Scores in two conventions side by side, and where rain lies. Never mixes them: large numbers are of one, grey ones of the other."""

from __future__ import annotations

from collections.abc import Sequence

from orbit2.metrics.verdict import spaces
from orbit2.report import tables
from orbit2.report.pages.blocks import Block, paragraph
from orbit2.report.style import method_name
from orbit2.report.tables import Cell, Scores, Table, number
from orbit2.variables import is_precipitation

PAPER = "orbit2_paper"
PAIRS = (  # Table IV's heading, its metric, ours, digits
    ("“R²”", "paper_pearson_r", "r2_cod", 4),
    ("RMSE", "paper_rmse", "rmse", 3),
    ("σ1, > 68 %", "paper_rmse_above_0.6827", "rmse_above_0.6827", 3),
    ("σ2, > 95 %", "paper_rmse_above_0.9545", "rmse_above_0.9545", 3),
    ("σ3, > 99.7 %", "paper_rmse_above_0.9973", "rmse_above_0.9973", 3),
    ("σ4, > 99.99 %", "paper_rmse_above_0.9999", "rmse_above_0.9999", 3),
    ("SSIM", "paper_ssim", "ssim", 4),
    ("PSNR, dB", "paper_psnr", "psnr_daily_mean", 3),
)
WORDS = (
    "These are the columns of ORBIT-2's Table IV, computed as its public evaluation code computes them, and in grey the same columns by "
    "this project's definitions. They differ: the paper's “R²” is a mean of daily correlations (grey: the coefficient of determination), "
    "its RMSE is low by the root of the mean cosine of the latitude, its σ1 is the error of all cells wherever most are dry, and "
    "SSIM and PSNR stretch every frame to its own range. Compare the large numbers with that table and with nothing else."
)
RAIN = (
    ("useful from, ≥ 1 mm/day", "fss_useful_km_1mm", 3), ("useful from, ≥ 10 mm/day", "fss_useful_km_10mm", 3),
    ("useful from, wettest 1 %", "fss_useful_km_q0.99", 3),
)  # fmt: skip


def blocks(frame_scores: Scores, model: str, names: Sequence[str], task: str) -> list[Block]:
    """Table IV's columns and where rain lies: what of it there is."""
    found: list[Block] = []
    rain = rain_table(frame_scores, model, names, task)
    if rain is not None:
        found += [Block("heading", text="Is rain in the right place?"), Block("table", table=rain)]
    paper = paper_table(frame_scores, model, names, task)
    if paper is not None:
        found += [Block("heading", text="In the conventions of ORBIT-2's paper"), paragraph(WORDS, "note"), Block("table", table=paper)]
    return found


def paper_table(scores: Scores, model: str, names: Sequence[str], task: str) -> Table | None:
    """Table IV's columns of `model`, with the `standard` ones under them; None where the protocol was not asked for."""
    other = Scores(scores.frame, scores.task, PAPER)
    if not len(other.rows):
        return None
    rows = []
    for key in names:
        for space in spaces(key):
            row = [Cell(tables.label(key), note=tables.units(key, space))]
            for _, metric, own, digits in PAIRS:
                value, ours = other.value(model, key, metric, space), number(scores.value(model, key, own, space), digits)
                row.append(Cell("") if value is None else Cell.of(value, digits, note=ours))
            rows.append(tuple(row))
    return Table(
        f"paper_{task}",
        f"{model} in the conventions of ORBIT-2's Table IV (protocol {PAPER}); in grey what the definitions of this project give.",
        ("Variable", *(title for title, *_ in PAIRS)),
        tuple(rows),
    )


def rain_table(scores: Scores, model: str, names: Sequence[str], task: str) -> Table | None:
    """From which size of neighbourhood on a model's rain is useful, km, beside conservative interpolation; None without rain scores."""
    against = next((name for name in ("conservative", *scores.baselines(model)) if name in scores.baselines(model)), None)
    rows = []
    for key in (name for name in names if is_precipitation(name)):
        row = [Cell(tables.label(key))]
        for _, metric, digits in RAIN:
            own, other = (None if who is None else scores.value(who, key, metric) for who in (model, against))
            note = "" if against is None else f"{method_name(against)} {'nowhere' if other is None else number(other, digits)}"
            row.append(Cell.of(own, digits, strong=True, note=note) if own is not None else Cell("nowhere", note=note))
        rows.append(tuple(row))
    if not rows or not scores.rows["metric"].str.startswith("fss_").any():
        return None
    return Table(
        f"rain_places_{task}",
        f"The smallest neighbourhood, km from north to south, in which the rain of {model} is more often right than not (fractions skill "
        "of at least 0.5 + f/2, f the share of the area where it rains so much); “nowhere”: in none of up to 33 cells.",
        ("Variable", *(title for title, *_ in RAIN)),
        tuple(rows),
    )
