"""The few numbers a run is judged by, read from its table of scores. Never computes a score."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from orbit2.errors import OrbitError
from orbit2.metrics import table
from orbit2.metrics.verdict import DOMAINS, Judged, basis, beyond_chance, judge, wins

RATIO = "crps_ratio_vs_"


def headline(run: Path) -> str:
    """Text: the report's path, and per task RMSE of the model beside the best interpolation, the best fitted baseline and its parent.

    Where the record is long enough, the difference to the best baseline has its 95 % interval. Precipitation is compared in mm/day and in
    ln(1 + mm/day); it is a win only in both. Losses are named like wins, with what they rest on. Of a task with members the fair CRPS
    beside the mean absolute error of the field that they are held against, and their spread over their error.
    """
    scores = table.read(run / "evaluate" / "metrics.parquet")
    lines = [f"Report: {page}" if (page := run / "report" / "index.html").is_file() else f"No report yet in {run}", ""]
    for task, judged in tasks(scores).items():
        rows = scores[scores["task"] == task]
        region = next(str(r) for r in rows["region"] if r in ("global", "domain"))
        lines += [f"RMSE of task '{task}' (model '{judged[0].model}', region {region}, against {rows.iloc[0].reference})"]
        lines += [*_table(judged), *_verdict(judged, basis(rows)), *members(rows), ""]
    return "\n".join(lines).rstrip()


def tasks(scores: pd.DataFrame) -> dict[str, list[Judged]]:
    """What each task's model is judged by. Raises OrbitError when the table holds no RMSE of a model beside a baseline."""
    found = {str(task): judge(rows) for task, rows in scores.groupby("task", sort=False)}
    found = {task: judged for task, judged in found.items() if judged}
    if not found:
        raise OrbitError("the table of scores holds no RMSE of a model beside a baseline", where="evaluate/metrics.parquet",
                         hint="run the evaluate stage")  # fmt: skip
    return found


def _table(judged: Sequence[Judged]) -> list[str]:
    parent = next((one.parent[0] for one in judged if one.parent), None)
    heads = ["best interpolation", "best of all baselines", *([f"parent {parent}"] if parent else []), "ratio to best"]
    sure = any(one.gap for one in judged)
    lines = [f"  {'variable':<26}{'model':>9}" + "".join(f"{head:>29}" for head in heads[:2]) + "".join(f"{h:>15}" for h in heads[2:])
             + (f"{'95 % of the difference':>27}" if sure else "")]  # fmt: skip
    for one in judged:
        cells = [f"{found[1]:.4g} ({found[0]})" if found else "-" for found in (one.interpolation, one.best)]
        beside = [f"{one.parent[1]:.4g}" if one.parent else "-"] if parent else []
        ratio = f"{one.value / one.best[1]:.3f}" if one.best[1] > 0 else "-"
        lines.append(f"  {one.variable:<26}{one.value:>9.4g}" + "".join(f"{cell:>29}" for cell in cells)
                     + "".join(f"{cell:>15}" for cell in [*beside, ratio]) + (f"{_ends(one.gap):>27}" if sure else "")
                     + f"  {one.units}")  # fmt: skip
    return lines


def members(rows: pd.DataFrame) -> list[str]:
    """Fair CRPS of each variable and space; nothing for a task with one field."""
    own = rows[(rows["region"].isin(DOMAINS)) & (rows["season"] == "all") & (rows["protocol"] == "standard")]
    crps = own[own["metric"] == "crps_fair"]
    if crps.empty:
        return []
    values = dict(zip(zip(own["variable"], own["space"], own["metric"], own["model"], strict=True), own["value"], strict=True))
    ratio = next((str(metric) for metric in own["metric"] if str(metric).startswith(RATIO)), None)
    count, other = own.loc[own["metric"] == "members", "value"], ratio.removeprefix(RATIO) if ratio else ""
    lines = [f"  CRPS (fair) of {int(count.iloc[0]) if len(count) else 'the'} members; the RMSE above is of their mean",
             f"  {'variable':<26}{'CRPS':>9}" + (f"{f'MAE of {other}':>24}{'ratio':>8}" if ratio else "") + f"{'spread/error':>14}"]
    for name, space, model, value in zip(crps["variable"], crps["space"], crps["model"], crps["value"], strict=True):
        mae, beside = values.get((name, space, "mae", other)), values.get((name, space, ratio, model))
        spread = values.get((name, space, "spread_skill", model))
        cells = [f"{'-' if mae is None else f'{mae:.4g}':>24}{'-' if beside is None else f'{beside:.3f}':>8}"] if ratio else []
        units = "" if space == "physical" else "  ln(1+x)"
        lines.append(f"  {name:<26}{value:>9.4g}" + "".join(cells) + f"{'-' if spread is None else f'{spread:.2f}':>14}{units}")
    return lines


def _ends(gap: tuple[float, float] | None) -> str:
    return f"{gap[0]:+.3g} to {gap[1]:+.3g}" if gap is not None else "-"


def _verdict(judged: Sequence[Judged], basis: str) -> list[str]:
    """Wins and losses in words: a variable is won when it is won in every space."""
    won, plain, parent = (wins(judged, against) for against in ("best", "interpolation", "parent"))
    counts = [f"{who} for {sum(found.values())} of {len(found)}"
              for who, found in (("every baseline", won), ("every interpolation", plain), ("its parent", parent)) if found]  # fmt: skip
    lines = [f"  On {basis}: lower RMSE than {', than '.join(counts)} variables (rain: in mm and in ln(1+mm))."]
    told = beyond_chance(judged)
    if told:
        count = f"{sum(told.values())} of {len(told)}"
        lines.append(f"  Beyond chance (95 % interval of the difference to the best baseline below 0): {count}.")
    lost = [f"{one.variable} ({one.value:.4g} against {one.best[1]:.4g} {one.units} with {one.best[0]})" for one in judged if not one.won]
    if lost:
        lines.append(f"  Worse than a baseline: {', '.join(lost)}.")
    behind = [f"{one.variable} ({one.value:.4g} against {one.parent[1]:.4g} {one.units})"
              for one in judged if one.parent and one.value >= one.parent[1]]  # fmt: skip
    if behind:
        lines.append(f"  Worse than its parent: {', '.join(behind)}.")
    return lines
