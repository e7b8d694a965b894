"""The few numbers a run is judged by, read from its table of scores. Never computes a score."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from orbit2.baselines import BASELINES
from orbit2.errors import OrbitError
from orbit2.metrics import table
from orbit2.variables import is_precipitation, variable


def headline(run: Path) -> str:
    """Text: the report's path, and per task RMSE of the model and of the best interpolation, and ratios (below 1: the model wins).

    Precipitation is compared in ln(1 + mm/day), where both interpolations (of mm, of the logarithm) are candidates.
    """
    scores = table.read(run / "evaluate" / "metrics.parquet")
    lines = [f"Report: {page}" if (page := run / "report" / "index.html").is_file() else f"No report yet in {run}", ""]
    for task, rows in ratios(scores).groupby("task", sort=False):
        lines += [f"RMSE of task '{task}' (model '{rows.iloc[0].model}', region {rows.iloc[0].region}, against {rows.iloc[0].reference})",
                  f"  {'variable':<28}{'model':>10}{'best interpolation':>30}{'ratio':>8}{'of bicubic':>12}"]
        for row in rows.itertuples():
            unit = "ln(1+mm/day)" if row.space == "log1p" else variable(str(row.variable)).units
            best = f"{row.best_value:.4g} ({row.best})"
            lines.append(f"  {row.variable:<28}{row.value:>10.4g}{best:>30}{row.ratio:>8.3f}{row.of_bicubic:>12.3f}  {unit}")
        lines.append("")
    return "\n".join(lines).rstrip()


def ratios(scores: pd.DataFrame) -> pd.DataFrame:
    """One row per task and variable: task, model, variable, space, region, reference, value, best, best_value, ratio, of_bicubic.

    `ratio` is to the best interpolation, `of_bicubic` to the better of the bicubic ones (NaN without any).

    Raises OrbitError when the table holds no RMSE of a model beside an interpolation.
    """
    rmse = scores[(scores["metric"] == "rmse") & (scores["season"] == "all") & scores["region"].isin(["global", "domain"])]
    space = rmse["variable"].map(lambda name: "log1p" if is_precipitation(name) else "physical")
    rmse = rmse[rmse["space"] == space]
    interpolation = rmse["model"].isin(BASELINES)
    found: list[dict[str, Any]] = []
    for _, rows in rmse.groupby(["task", "variable"], sort=False):
        plain = interpolation.loc[rows.index]
        candidates, models = rows.loc[plain], rows.loc[~plain]
        if candidates.empty or models.empty:
            continue
        best, model = candidates.sort_values("value").iloc[0], models.iloc[0]
        bicubic = candidates.loc[candidates["model"].str.startswith("bicubic"), "value"].min()
        found.append({**{key: model[key] for key in ("task", "model", "variable", "space", "region", "reference", "value")},
                      "best": best["model"], "best_value": best["value"], "ratio": model["value"] / best["value"],
                      "of_bicubic": model["value"] / bicubic})
    if not found:
        raise OrbitError("the table of scores holds no RMSE of a model beside an interpolation", hint="run the evaluate stage")
    return pd.DataFrame(found)
